"""Segments image files into a folder, as ``feedback-seg segment`` does."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import FeedbackSegError, InputError, in_words
from napari_feedback_seg.plugin.session.strokes import adaptation_to
from napari_feedback_seg.segmentation.command_line import shell_line
from napari_feedback_seg.segmentation.events import TileDone

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.segmentation.files import FileJob
    from napari_feedback_seg.segmentation.prediction import SegmentOptions

STROKES_FILE = "learnt.strokes"

_PARTS = 1000
"""What a file counts in the progress, however many tiles it has."""


class Batch:
    """Files in, a folder of labels out, with the model and the options of the tab Segment.

    An output is there whole or not at all, so that one that is there is done: a run that was cancelled
    goes on with the other files.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._failed: list[str] = []
        self.inputs: tuple[str, ...] = ()  # files and folders
        self.output = ""  # the folder
        # whether an image whose file says its pixel size is resampled to the model's, and the result back
        self.rescale = True

    def set(
        self, inputs: Sequence[str] | None = None, output: str | None = None, rescale: bool | None = None
    ) -> None:
        """Choose what to segment, where to, and how."""
        self.inputs = self.inputs if inputs is None else tuple(inputs)
        self.output = self.output if output is None else output
        self.rescale = self.rescale if rescale is None else rescale
        self._session.tell("batch")

    @property
    def command_line(self) -> str:
        """The line that does the same in a terminal; empty until it is known what to do."""
        if not self.inputs or not self.output:
            return ""
        session, options = self._session, self._session.segmenting.options
        unsaved, strokes = session.unsaved.get(session.model_name), session.instant.strokes()
        model = session.model_name if unsaved is None else str(unsaved.path)
        words = ["feedback-seg", "segment", *self.inputs, "-o", self.output, "--model", model]
        words += ["--overlap", f"{options.overlap:g}"]
        words += ["--device", session.device] if session.device != "auto" else []
        words += ["--flips"] if options.flips else []
        words += [] if options.remove_specks else ["--keep-specks"]
        words += ["--probabilities"] if options.probabilities else []
        words += [] if self.rescale else ["--no-rescale"]
        words += ["--strokes", str(self._strokes_file)] if strokes is not None and strokes.token else []
        return shell_line(words)

    @property
    def _strokes_file(self) -> Path:
        """Where what was learnt of the strokes is written, so that the line for a terminal finds it."""
        return Path(self.output) / STROKES_FILE

    def plan(self) -> tuple[list[FileJob], list[FileJob]]:
        """Return all that is to be written, and what of it is not there yet.

        Raises InputError if the files and the folder do not go together.
        """
        from napari_feedback_seg.segmentation.files import plan

        if not self.inputs or not self.output:
            raise InputError("Choose the images, and the folder for their labels.")
        output = Path(self.output)
        try:
            output.mkdir(parents=True, exist_ok=True)
            jobs = plan(self.inputs, output, probabilities=self._session.segmenting.options.probabilities)
        except (ValueError, OSError) as error:
            raise InputError(str(error)) from error
        return jobs, [job for job in jobs if not _is_done(job)]

    def start(self) -> bool:
        """Segment what is not done yet; return whether that has begun."""
        session = self._session
        try:
            jobs, pending = self.plan()
        except FeedbackSegError as error:
            session.said.emit(str(error), "error")
            session.note(str(error))
            return False
        if not pending:
            session.note(f"All {len(jobs)} images are done: their labels are in '{self.output}'.")
            return False
        options = replace(session.segmenting.options, device=session.device, region=None, pixel_size_nm=None)
        entry, rescale, device = session.entry, self.rescale, session.device
        strokes, file = session.instant.strokes(), self._strokes_file

        def work() -> Generator[Any, None, None]:
            from napari_feedback_seg.correction.adaptation import save_adaptation

            model = session.load_model(entry)
            adaptation = yield from adaptation_to(strokes, model, device)
            if adaptation is not None:
                save_adaptation(adaptation, file, overwrite=True)
                model = adaptation.apply(model)
            yield from _segment(pending, model, options, rescale)

        self._failed = []
        return session.jobs.run(
            work,
            title=f"Segmenting {len(pending)} files",
            owner=self,
            on_event=self._take,
            on_done=lambda _: self._end(jobs, "Done"),
            on_failed=lambda error: self._end(jobs, in_words(error)),
            on_stopped=lambda: self._end(jobs, "Cancelled"),
        )

    def _take(self, event: Any) -> None:
        from napari_feedback_seg.segmentation.files import FileFailed

        if isinstance(event, FileFailed):
            self._failed.append(f"{event.job.source.name}: {event.error}")

    def _end(self, jobs: list[FileJob], how: str) -> None:
        done = sum(map(_is_done, jobs))  # one may have been written while it was stopped
        lines = [f"{how.rstrip('.')}. {done} of {len(jobs)} images are done; labels in '{self.output}'."]
        if done + len(self._failed) < len(jobs):
            lines.append("Press Segment files to go on with the others.")
        self._session.note("\n".join([*lines, *self._failed]))


def _is_done(job: FileJob) -> bool:
    return all(path.exists() for path in job.outputs)


def _segment(
    jobs: Sequence[FileJob], model: Any, options: SegmentOptions, rescale: bool
) -> Generator[Any, None, None]:
    """Yield tiles counted over all files, and the files that are done or failed."""
    from napari_feedback_seg.segmentation.files import FileTile, segment_files

    number = {job: n for n, job in enumerate(jobs)}
    # Of a file some outputs may be there, of another time: all of them are written.
    with closing(segment_files(jobs, model, options, rescale=rescale, overwrite=True)) as events:
        for event in events:
            if isinstance(event, FileTile):
                share = (event.section + event.done / event.total) / event.sections
                yield TileDone(round(_PARTS * (number[event.job] + share)), _PARTS * len(jobs))
            else:
                yield event

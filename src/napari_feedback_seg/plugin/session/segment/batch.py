"""Segments image files into a folder, as ``feedback-seg segment`` does."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import FeedbackSegError, InputError, in_words
from napari_feedback_seg.io import made_by_in, pixel_size
from napari_feedback_seg.plugin.session.strokes import adaptation_to
from napari_feedback_seg.segmentation.command_line import shell_line
from napari_feedback_seg.segmentation.events import FileDone, FileFailed, FileTile, TileDone

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.segmentation.file_jobs import FileJob
    from napari_feedback_seg.segmentation.prediction import SegmentOptions

STROKES_FILE = "learnt.strokes"

_PARTS = 1000
"""What a file counts in the progress, however many tiles it has."""


class Batch:
    """Files in, a folder of labels out, with the model and the options of the tab Segment.

    An output is there whole or not at all, and notes what made it. So one that this model made with these
    settings is done: a run that was cancelled goes on with the other files.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._failed: list[FileFailed] = []
        self._unsized = 0  # files whose pixel size nobody says
        self._silent: dict[Path, bool] = {}  # whether a file does not say its pixel size
        self.status = ""  # how it ended, in sentences
        self.inputs: tuple[str, ...] = ()  # files and folders
        self.output = ""  # the folder
        # whether an image whose pixel size is known is resampled to the model's, and the result back
        self.rescale = True

    def set(
        self, inputs: Sequence[str] | None = None, output: str | None = None, rescale: bool | None = None
    ) -> None:
        """Choose what to segment, where to, and how."""
        self.inputs = self.inputs if inputs is None else tuple(inputs)
        self.output = self.output if output is None else output
        self.rescale = self.rescale if rescale is None else rescale
        self._silent = {}
        self._say("")

    @property
    def command_line(self) -> str:
        """What does the same in a terminal: a line, or one for each pixel size that was typed in.

        Empty until it is known what to do.
        """
        if not self.inputs or not self.output:
            return ""
        session, options = self._session, self._session.segmenting.options
        unsaved, strokes = session.unsaved.get(session.model_name), session.instant.strokes()
        words = ["-o", self.output]
        words += ["--model", session.model_name if unsaved is None else str(unsaved.path)]
        words += ["--overlap", f"{options.overlap:g}"]
        words += ["--device", session.device] if session.device != "auto" else []
        words += ["--flips"] if options.flips else []
        words += [] if options.remove_specks else ["--keep-specks"]
        words += ["--probabilities"] if options.probabilities else []
        words += [] if self.rescale else ["--no-rescale"]
        words += ["--strokes", str(self._strokes_file)] if strokes is not None and strokes.token else []
        lines = []
        for size, inputs in self._by_size():
            of_size = ["--pixel-size", f"{size[0]:g}"] if size else []
            lines.append(shell_line(["feedback-seg", "segment", *inputs, *words, *of_size]))
        return "\n".join(lines)

    def _by_size(self) -> list[tuple[tuple[float, float] | None, list[str]]]:
        """Return the inputs for each pixel size that was typed in; None where none was."""
        by_size: dict[tuple[float, float] | None, list[str]] = {}
        try:
            for job in self._plan():
                by_size.setdefault(job.pixel_size_nm, []).append(str(job.source))
        except InputError:
            return [(None, list(self.inputs))]
        if len(by_size) == 1:
            return [(next(iter(by_size)), list(self.inputs))]
        return list(by_size.items())

    @property
    def _strokes_file(self) -> Path:
        """Where what was learnt of the strokes is written, so that the line for a terminal finds it."""
        return Path(self.output) / STROKES_FILE

    def _plan(self) -> list[FileJob]:
        """Return what is to be written.

        Raises InputError if the files and the folder do not go together.
        """
        from napari_feedback_seg.segmentation.file_jobs import made_by, plan

        if not self.inputs or not self.output:
            raise InputError("Choose the images, and the folder for their labels.")
        session, options = self._session, self._session.segmenting.options
        strokes, entry = session.instant.strokes(), session.entry
        token = strokes.token if strokes is not None else ""
        try:
            jobs = plan(self.inputs, Path(self.output), probabilities=options.probabilities)
            digest = hashlib.sha256(entry.path.read_bytes()).hexdigest() if entry is not None else ""
        except (ValueError, OSError) as error:
            raise InputError(str(error)) from error
        name = session.card.name if session.card is not None else session.model_name
        planned = []
        for job in jobs:
            size = self._typed_for(job.source)
            noted = made_by(
                name, digest, replace(options, pixel_size_nm=size), rescale=self.rescale, strokes=token
            )
            planned.append(replace(job, pixel_size_nm=size, made_by=noted))
        return planned

    def _typed_for(self, source: Path) -> tuple[float, float] | None:
        """Return the pixel size that was typed in for a file, or for its folder, where it says none."""
        size = self._session.pixel_sizes.typed_for_file(str(source))
        if size and source not in self._silent:
            self._silent[source] = pixel_size(source) is None
        return (size, size) if size and self._silent[source] else None

    @property
    def made_otherwise(self) -> str:
        """Which labels in the folder another model made, or other settings did; empty if none."""
        from napari_feedback_seg.segmentation.file_jobs import model_in

        try:
            jobs = self._plan()
        except InputError:
            return ""
        model, found = model_in(jobs[0].made_by), []
        for job in jobs:
            others = {made_by_in(path) for path in job.outputs if path.exists()} - {job.made_by}
            if others:
                found.append(model_in(others.pop()))
        if not found:
            return ""
        names = {"other settings or strokes" if each == model else each for each in found}
        by = " or ".join(sorted(each or "something that they do not note" for each in names))
        have = "has" if len(found) == 1 else "have"
        return f"{len(found)} of {len(jobs)} images {have} labels in '{self.output}' already, made with {by}."

    def start(self, again: bool = False) -> bool:
        """Segment what is not done yet; return whether that has begun.

        Parameters
        ----------
        again : bool
            Whether labels that were made otherwise are replaced. If not, nothing is done where there are any.
        """
        session = self._session
        try:
            if self.output:
                Path(self.output).mkdir(parents=True, exist_ok=True)
            jobs = self._plan()
        except (FeedbackSegError, OSError) as error:
            session.said.emit(str(error), "error")
            self._say(str(error))
            return False
        otherwise = self.made_otherwise
        if otherwise and not again:
            self._say(f"{otherwise} Make them again, or choose another folder.", "warning")
            return False
        pending = [job for job in jobs if not job.is_done]
        if not pending:
            self._say(f"All {len(jobs)} images are done: their labels are in '{self.output}'.")
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
            yield None  # from now on the time is that of the files
            yield from _segment(pending, model, options, rescale)

        self._failed, self._unsized = [], 0
        self._say("")
        return session.jobs.run(
            work,
            title=f"Segmenting {len(pending)} files",
            owner=self,
            on_event=self._take,
            on_done=lambda _: self._end(jobs, ""),
            on_failed=lambda error: self._end(jobs, in_words(error)),
            on_stopped=lambda: self._end(jobs, "Cancelled"),
        )

    def _take(self, event: Any) -> None:
        if isinstance(event, FileFailed):
            self._failed.append(event)
        elif isinstance(event, FileDone) and not event.sized:
            self._unsized += 1

    def _end(self, jobs: list[FileJob], how: str) -> None:
        from napari_feedback_seg.segmentation.file_jobs import model_in

        done = sum(job.is_done for job in jobs)  # one may have been written while it was stopped
        failed = ", ".join(each.job.source.name for each in self._failed)
        could_not = f"; {failed} could not be segmented" if failed else ""
        by = model_in(jobs[0].made_by)
        lines = [f"{done} of {len(jobs)} images are done by {by}{could_not}. Labels in '{self.output}'."]
        if how or not failed:
            lines[0] = f"{(how or 'Done').rstrip('.')}. {lines[0]}"
        if self._unsized and self.rescale:
            lines.append(
                f"The pixel size of {self._unsized} is unknown: they were not rescaled. If they should be, "
                "open one, and type its pixel size."
            )
        if done + len(self._failed) < len(jobs):
            lines.append("Press Segment files to go on with the others.")
        lines += [f"{each.job.source.name}: {each.error}" for each in self._failed]
        self._say("\n".join(lines), "warning" if failed else "")

    def _say(self, status: str, level: str = "") -> None:
        self.status = status
        self._session.tell("batch")
        if level:
            self._session.said.emit(status, level)


def _segment(
    jobs: Sequence[FileJob], model: Any, options: SegmentOptions, rescale: bool
) -> Generator[Any, None, None]:
    """Yield tiles counted over all files, and the files that are done or failed."""
    from napari_feedback_seg.segmentation.files import segment_files

    number = {job: n for n, job in enumerate(jobs)}
    # Of a file some outputs may be there, of another time: all of them are written.
    with closing(segment_files(jobs, model, options, rescale=rescale, overwrite=True)) as events:
        for event in events:
            if isinstance(event, FileTile):
                share = (event.section + event.done / event.total) / event.sections
                yield TileDone(round(_PARTS * (number[event.job] + share)), _PARTS * len(jobs))
            else:
                yield event

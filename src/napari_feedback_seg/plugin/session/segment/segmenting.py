"""Segments the image, whoever asks for it: the tab Segment, a fine-tune that is done, "Segment the rest"."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import FeedbackSegError, InputError, in_words
from napari_feedback_seg.plugin.session.jobs import State
from napari_feedback_seg.plugin.session.records import RunRecord, RunSettings
from napari_feedback_seg.plugin.session.regions import Part
from napari_feedback_seg.plugin.session.strokes import adaptation_to, corrected_section, settle_known
from napari_feedback_seg.segmentation.events import SectionDone, TileDone
from napari_feedback_seg.segmentation.prediction import SegmentOptions, merge_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from napari.layers import Image, Layer

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.plugin.layers.image import Sections
    from napari_feedback_seg.plugin.layers.results import ResultWriter
    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.plugin.session.strokes import Strokes


class What(Enum):
    """How much of the image to segment."""

    SECTION = "section"
    UNDONE = "undone"
    ALL = "all"
    VISIBLE = "visible"
    RECTANGLE = "rectangle"
    VOLUME = "volume"


@dataclass
class Run:
    """A run that is going on."""

    image: Image
    sections: Sections
    part: Part
    options: SegmentOptions
    pixel_size_nm: tuple[float, float] | None
    started: float
    then: Callable[[bool], None] | None = None
    writer: ResultWriter | None = None
    messages: dict[int, tuple[str, ...]] = field(default_factory=dict)
    device: str = ""
    strokes: Strokes | None = None
    model: Path | None = None  # its file
    classes: tuple[LabelClass, ...] = ()


class Segmenting:
    """The one controller of segmentations."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run: Run | None = None
        self._what = What.SECTION
        self.shapes = ""  # name of the Shapes layer whose rectangle counts
        # how; device, region and pixel size are added when a run begins
        self.options = SegmentOptions(overlap=session.settings.overlap)

    @property
    def state(self) -> State:
        """What it is doing."""
        return self._session.jobs.state_of(self)

    # --- what and how

    @property
    def what(self) -> What:
        """How much to segment."""
        if self._what in self.choices:
            return self._what
        return What.ALL if What.ALL in self.choices else What.SECTION

    @property
    def choices(self) -> dict[What, str]:
        """What can be chosen for the image, and how it is called."""
        image = self._session.image
        stack = image is not None and image.ndim > 2
        choices = {What.SECTION: "This section" if stack else "The whole image"}
        if stack:
            if self.done and self.undone:
                choices[What.UNDONE] = f"Sections not done yet ({len(self.undone)})"
            choices[What.ALL] = "All sections"
        choices |= {What.VISIBLE: "Visible region", What.RECTANGLE: "Rectangle of a Shapes layer"}
        if self._session.volume.source(image) is not None:
            how_much = "rest of the" if self._session.volume.begun else "whole"
            choices[What.VOLUME] = f"The {how_much} volume, on the disk"
        return choices

    @property
    def done(self) -> set[int]:
        """The sections of the image that the model in use has segmented last."""
        session = self._session
        image, entry = session.image, session.entry
        if image is None or entry is None:
            return set()
        try:
            shape = session.layers.sections(image).section_shape
        except FeedbackSegError:
            return set()
        records = session.layers.records_of(image)
        return set().union(*(record.done_by(str(entry.path), shape) for record in records))

    @property
    def undone(self) -> list[int]:
        """The other sections of the image."""
        image, done = self._session.image, self.done
        try:
            count = self._session.layers.sections(image).count
        except FeedbackSegError:
            return []
        return [z for z in range(count) if z not in done]

    def choose(self, what: What | None = None, shapes: str | None = None) -> None:
        """Choose how much to segment, and by which Shapes layer."""
        self._what, self.shapes = what or self._what, self.shapes if shapes is None else shapes
        self._session.tell("segmenting")

    def set(self, **options: Any) -> None:
        """Change how to segment: fields of :class:`SegmentOptions`."""
        self.set_options(replace(self.options, **options))

    def set_options(self, options: SegmentOptions) -> None:
        """Set how to segment."""
        self.options = options
        self._session.tell("segmenting")

    def part(self, what: What | None = None) -> Part:
        """Return the sections and the region that are chosen.

        Raises InputError if there is no image, or what is displayed, or the Shapes layer, does not say.
        """
        layers, image, what = self._session.layers, self.current_image(), what or self.what
        if what is What.ALL:
            return Part(tuple(range(layers.sections(image).count)))
        if what is What.UNDONE:
            if not self.undone:
                raise InputError("All sections are done. To segment them again, choose All sections.")
            return Part(tuple(self.undone))
        if what is What.RECTANGLE:
            section, region = layers.rectangle(self.shapes, image)
            return Part((section,), region)
        section = layers.section_shown(image)
        return Part((section,), layers.visible_region(image) if what is What.VISIBLE else None)

    def current_image(self) -> Image:
        """Return the image.

        Raises InputError if there is no image. The sentence says what is wrong with the active layer.
        """
        image = self._session.image
        self._session.layers.sections(image if image is not None else self._session.layers.active)
        if image is None:
            raise InputError("There is no EM image that is complete. Open one, or wait for the sample.")
        return image

    # --- a run

    def segment(
        self,
        part: Part | None = None,
        *,
        options: SegmentOptions | None = None,
        pixel_size_nm: tuple[float, float] | None = None,
        title: str = "",
        then: Callable[[bool], None] | None = None,
    ) -> bool:
        """Segment a part of the image with the model in use; return whether that has begun.

        Parameters
        ----------
        part : Part, optional
            What is chosen if not given.
        options : SegmentOptions, optional
            As set if not given, rescaled if that is set.
        pixel_size_nm : (float, float), optional
            Size of a pixel for the record; that which is known if not given.
        title : str
            What a person reads of it while it runs.
        then : callable, optional
            Called when it is over, with whether all was segmented; may begin another job.
        """
        session = self._session
        if part is None and self.what is What.VOLUME:
            return session.volume.segment()
        try:
            image = self.current_image()
            sections = session.layers.sections(image)
            part = part or self.part()
        except FeedbackSegError as error:
            if not session.jobs.busy:
                self._end(str(error))
            session.said.emit(str(error), "error")
            return False
        sizes = session.pixel_sizes
        options = options or replace(self.options, pixel_size_nm=sizes.to_rescale_from)
        options = replace(options, device=session.device, region=part.region)
        run = Run(image, sections, part, options, pixel_size_nm or sizes.size, time.perf_counter(), then)
        work = partial(self.work, run, partial(session.load_model, session.entry))
        session.correcting.before_segmenting()
        run.strokes = session.instant.strokes()
        run.model = session.entry.path if session.entry is not None else None
        before, self._run = self._run, run
        if not session.jobs.run(
            work,
            title=title or f"Segmenting {image.name}",
            owner=self,
            on_event=self._take,
            on_done=self._finish,
            on_failed=self._failed,
            on_stopped=self._stopped,
        ):
            self._run = before
            return False
        return True

    def segment_as_before(self, part: Part, title: str, then: Callable[[bool], None] | None = None) -> bool:
        """Segment a part with the scale and the overlap of the result; see :meth:`segment`."""
        options, size = self.options_of_result, self._last.pixel_size_nm
        return self.segment(part, options=options, pixel_size_nm=size, title=title, then=then)

    @property
    def options_of_result(self) -> SegmentOptions:
        """Options with the scale and the overlap of the result, and with or without its specks."""
        settings = self._last.settings
        return SegmentOptions(
            device=self._session.device,
            overlap=settings.overlap,
            pixel_size_nm=settings.rescaled_from_nm,
            remove_specks=settings.remove_specks,
        )

    @property
    def _last(self) -> RunRecord:
        """The last run of the result; without one, what it would be by the settings."""
        session = self._session
        record = session.layers.record_of(session.result)
        none = RunRecord(settings=RunSettings.of(self.options))
        return record.last if record is not None and record.runs else none

    def cancel(self) -> None:
        """Stop the run after its next tile."""
        if self.state is not State.IDLE:
            self._session.jobs.cancel()

    def work(
        self, run: Run, load_model: Callable[[], Model]
    ) -> Generator[Model | TileDone | SectionDone | None, None, None]:
        """Yield the model when it is loaded, then tiles counted over all sections, and sections."""
        from napari_feedback_seg.segmentation.one_section import count_tiles
        from napari_feedback_seg.segmentation.predict import segment_section, segment_stack

        loaded = load_model()
        device = run.options.device
        adaptation = yield from adaptation_to(run.strokes, loaded, device)
        model = loaded if adaptation is None else adaptation.apply(loaded)
        if run.strokes is not None:
            run.strokes = yield from settle_known(run.strokes, run.part.sections, loaded, device)
        run.classes = tuple(model.card.classes)
        self._session.layers.prepare(run.classes)
        yield loaded
        chosen = run.part.sections
        if len(chosen) == 1:
            prediction = yield from segment_section(run.sections.plane(chosen[0]), model, run.options)
            alone = SectionDone(chosen[0], prediction)
            yield (yield from corrected_section(run.strokes, adaptation, loaded, device, alone))
            return
        tiles = count_tiles(run.sections.section_shape, model.card, run.options)
        before = {z: number * tiles for number, z in enumerate(chosen)}
        with closing(segment_stack(run.sections.image, model, run.options, chosen)) as events:
            for event in events:
                if isinstance(event, TileDone):
                    done = before[event.section] + event.done
                    yield TileDone(done, tiles * len(chosen), event.section)
                else:
                    yield (yield from corrected_section(run.strokes, adaptation, loaded, device, event))

    def _take(self, event: Any) -> None:
        run, session = self._run, self._session
        if run is None or event is None or isinstance(event, TileDone):
            return
        if isinstance(event, SectionDone):
            assert run.writer is not None
            session.correcting.answers.before_write(event.section)
            session.instant.segmented(event.section)
            try:
                run.writer.write(event.section, event.prediction)
            except LookupError:
                self._stop("The result was deleted while it was made: the segmentation was stopped.")
                return
            run.messages[event.section] = event.prediction.messages
            run.device = event.prediction.device
            session.tell("result")
            return
        strokes = run.strokes.token if run.strokes is not None else ""
        if run.strokes is not None and run.model is not None and run.strokes.settled:
            session.instant.teaching.keep_right(run.model, run.strokes, run.strokes.settled)
        record = RunRecord.of(event, run.options, run.pixel_size_nm, strokes)
        run.writer = session.layers.result_writer(
            run.image, run.sections.shape, run.classes, record, run.part.region, keep=True
        )

    def show(self, run: Run, model: Model, done: SectionDone) -> None:
        """Show a section that was segmented elsewhere as if it had been in a run."""
        self._run = run
        self._take(model)
        self._take(done)
        self._finish(None)

    def _finish(self, _: Any) -> None:
        run = self._run
        assert run is not None
        said = [*run.sections.messages, *_numbered(run.messages)]
        if run.writer is not None:
            run.writer.note_messages(said)
        seconds = time.perf_counter() - run.started
        for message in said:
            self._session.said.emit(message, "info")
        self._end("\n".join([f"Done in {seconds:.1f} s on {run.device}.", *said]), done=True)

    def _failed(self, error: Exception) -> None:
        self._end(f"{in_words(error)}{self._kept()}")
        self._session.refresh_models()

    def _stopped(self) -> None:
        kept = self._kept()
        self._end(f"Cancelled.{kept}")
        if kept and self.what is What.ALL and What.UNDONE in self.choices:
            self.choose(What.UNDONE)  # Segment goes on where it was

    def _end(self, status: str, *, done: bool = False) -> None:
        run, self._run = self._run, None
        if run is not None and run.writer is not None and run.messages:
            self._session.last_run.writer = run.writer
        self._session.note(status, run.image if run is not None else None)
        if run is not None and run.then is not None:
            run.then(done)

    def _kept(self) -> str:
        run = self._run
        if run is None or not run.messages or run.writer is None or not run.writer.there:
            return ""
        done, wanted = len(run.messages), len(run.part.sections)
        return f" {done} of {wanted} sections are done and stay." if wanted > 1 else ""

    # --- what may happen meanwhile

    def image_replaced(self, image: Layer) -> None:
        """Stop: what is computed is no longer about the image."""
        if self._run is not None and self._run.image == image:
            self._stop("The image was replaced while it was segmented: the segmentation was stopped.")

    def layer_removed(self, layer: Layer) -> None:
        """Stop if the image was deleted."""
        if self._run is not None and self._run.image == layer:
            self._stop("The image was deleted while it was segmented: the segmentation was stopped.")

    def _stop(self, sentence: str) -> None:
        self.cancel()
        self._session.said.emit(sentence, "warning")

    def forget(self) -> None:
        """Forget the run that is going on; may be called again."""
        self._run = None


def _numbered(messages: dict[int, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the messages of some sections, each once."""
    if len(messages) == 1:
        return next(iter(messages.values()))
    return merge_messages([messages.get(z, ()) for z in range(max(messages, default=-1) + 1)])

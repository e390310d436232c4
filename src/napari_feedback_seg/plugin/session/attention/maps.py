"""Shows where the network looked, for the pixel that a person points at. No Qt, no napari."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.attention_maps.support import why_no_attention
from napari_feedback_seg.errors import FeedbackSegError, InputError, ModelError
from napari_feedback_seg.plugin.session.attention.view import AttentionOptions, Found, Picture, Source, View
from napari_feedback_seg.plugin.session.jobs import State
from napari_feedback_seg.plugin.session.records import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import numpy as np
    from napari.layers import Image, Labels, Layer

    from napari_feedback_seg.attention_maps.changes import FeedbackChange
    from napari_feedback_seg.attention_maps.maps import SectionAttention
    from napari_feedback_seg.attention_maps.tile import AttentionSummary, TileAttention
    from napari_feedback_seg.plugin.session.session import Session


@dataclass(frozen=True)
class _Request:
    """A pixel whose attention is wanted; without one, the model is only made ready."""

    image: Image
    section: int
    pixel: tuple[int, int] | None


class Attention:
    """The one controller of attention maps.

    Attributes
    ----------
    picking : bool
        Whether a click in the image picks a pixel.
    hidden : bool
        Whether the layers are hidden for now.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._layers = session.layers.attention
        self._wanted: _Request | None = None
        self._engine: tuple[Source, SectionAttention] | None = None
        self._version = 0
        self._waiting = False  # for a job, to draw what is chosen
        self.options = AttentionOptions()  # what is shown
        # labels that are right, to count what the feedback made right or wrong
        self.truth: Labels | None = None
        self.picking = self.hidden = False
        self.found: Found | None = None  # the tile and the pixel that are shown
        self.change: FeedbackChange | None = None  # what the feedback changed in the tile, if that is shown
        self.status = ""  # how it is going, in a sentence
        self._layers.pointed.connect(self.pick)
        self._layers.interrupted.connect(self._stop_picking)

    @property
    def state(self) -> State:
        """What it is doing."""
        return self._session.jobs.state_of(self)

    @property
    def why_not(self) -> str | None:
        """Why the chosen model shows no attention, as a sentence; None if it does."""
        card = self._session.card
        if card is None:
            return "This model cannot be used. Choose another in the tab Segment."
        return why_no_attention(card)

    @property
    def truths(self) -> Sequence[Labels]:
        """The layers that may hold labels that are right."""
        return self._layers.truths

    # --- picking

    def set_picking(self, on: bool) -> None:
        """Let clicks in the image pick a pixel, or leave them to napari.

        The model is loaded at once, so that the first click does not wait for it.
        """
        if on:
            self._session.instant.set_picking(False)
            self._session.objects.editing.set_tool("")
        self.picking = on and self.why_not is None
        self._layers.follow(self.picking)
        session, image = self._session, self._session.image
        if self.picking and image is not None and self._wanted is None and not session.jobs.busy:
            self._ask(_Request(image, session.layers.displayed_section(image), None))
        self._tell()

    def _stop_picking(self) -> None:
        self.set_picking(False)

    def pick(self, position: Any, dragging: bool = False) -> None:
        """Show the attention of the pixel at a position of the world.

        While dragging, a position beside the image is passed over without a word.
        """
        image = self._session.image
        try:
            section, y, x = self._layers.pixel_at(image, position)
        except FeedbackSegError as error:
            if not dragging:
                self._say(str(error))
            return
        assert image is not None
        self.options = replace(self.options, view=View.PIXEL)
        self._ask(_Request(image, section, (y, x)))

    def _ask(self, request: _Request) -> None:
        self._wanted = request
        self._answer()
        self._tell()

    def _answer(self) -> None:
        """Show what is wanted, or have its tile computed first."""
        request = self._wanted
        if request is None:
            return
        try:
            source = self._source(request)
        except FeedbackSegError as error:
            self._wanted = None
            self._say(str(error))
            return
        engine = self._engine[1] if self._engine is not None and self._engine[0] == source else None
        if engine is not None and self._show_kept(request, source, engine):
            self._wanted = None
        elif self._is_free():
            self._run(
                partial(self._compute, request, source, engine, self.options.centred),
                f"Attention of {request.image.name}",
                partial(self._keep, source, self._version),
            )

    def _show_kept(self, request: _Request, source: Source, engine: SectionAttention) -> bool:
        """Show a pixel whose tile has been computed; return whether it has."""
        if request.pixel is None:
            return True
        tile = engine.kept(*request.pixel, recentre=self.options.centred)
        if tile is None:
            return False
        before = self.found
        pixel = tile.pixel(*request.pixel, strongest=self.options.strongest)
        summary = before.summary if before is not None and before.tile is tile else None
        self.found, self.hidden, self.status = Found(source, tile, pixel, summary), False, ""
        self._draw()
        return True

    def _source(self, request: _Request) -> Source:
        """Return what to compute from: as the section was segmented with the model, if it was.

        Raises
        ------
        InputError
            If the image cannot be used.
        ModelError
            If the model has no attention.
        """
        session, image, section = self._session, request.image, request.section
        if self.why_not:
            raise ModelError(self.why_not)
        session.layers.sections(image)
        entry, records = session.entry, session.layers.records_of(image)
        runs = (
            run.settings
            for record in records
            for run in reversed(record.runs)
            if entry is not None and run.model_file == str(entry.path) and section in run.sections
        )
        settings = next(runs, RunSettings(overlap=session.settings.overlap))
        return Source(image, section, entry, session.device, settings.overlap, settings.rescaled_from_nm)

    def _compute(
        self, request: _Request, source: Source, engine: SectionAttention | None, centred: bool
    ) -> Generator[None, None, SectionAttention]:
        from napari_feedback_seg.attention_maps.maps import SectionAttention

        sections = self._session.layers.sections(source.image)
        if engine is None:
            model = self._session.load_model(source.entry)
            yield
            engine = SectionAttention(
                sections.plane(source.section),
                model,
                overlap=source.overlap,
                pixel_size_nm=source.pixel_size_nm,
                device=source.device,
            )
        yield
        rows, columns = sections.section_shape
        # The first tile of all takes longer: with no pixel yet, that is done now.
        engine.at(*(request.pixel or (rows // 2, columns // 2)), recentre=centred)
        return engine

    def _keep(self, source: Source, version: int, engine: SectionAttention) -> None:
        if version == self._version:  # else its pixels were replaced meanwhile
            self._engine = (source, engine)

    # --- what is shown

    def set(self, **options: Any) -> None:
        """Change what is shown: fields of :class:`AttentionOptions`."""
        before, self.options = self.options, replace(self.options, **options)
        found = self.found
        if found is not None:
            if (before.centred, before.strongest) != (self.options.centred, self.options.strongest):
                source, pixel = found.source, found.pixel
                self._wanted = _Request(source.image, source.section, (pixel.y, pixel.x))
                self._answer()
            else:
                self.status = ""
                self._draw()
        self._tell()

    def choose_truth(self, layer: Labels | None) -> None:
        """Choose labels that are right."""
        self.truth = layer
        self._draw()
        self._tell()

    def hide(self, hidden: bool) -> None:
        """Hide the layers for now, or show them again."""
        self.hidden = hidden
        self._draw()
        self._tell()

    def clear(self) -> None:
        """Take all layers of attention away."""
        self._forget_tile()
        self._layers.clear()
        self._tell()

    def _draw(self) -> None:
        """Show what is chosen of the tile, or have its attention added up first."""
        found, view = self.found, self.options.view
        self.change, self._waiting = None, False
        if found is None:
            return
        if self.hidden:
            self._layers.hide(found.source.image)
            return
        picture = Picture(found.source.image, found.source.section, found.tile)
        if view is View.PIXEL:
            picture = replace(picture, values=found.pixel.map, pixel=found.pixel)
        elif view in (View.CLASS, View.RECEIVED):
            values = self._summed(found, view)
            if values is None:
                return
            picture = replace(picture, values=values)
        else:
            try:
                change = found.tile.change(self._true_labels(found))
            except InputError as error:
                self._say(str(error))
                return
            if view is View.CHANGED:
                self.change = change
                picture = replace(picture, values=change.disagreement, labels=change.changed)
            else:
                picture = replace(picture, labels=change.first if view is View.FIRST else change.second)
        self._layers.draw(picture)

    def _true_labels(self, found: Found) -> np.ndarray | None:
        return None if self.truth is None else self._layers.labels_of(self.truth, found.source.section)

    def _summed(self, found: Found, view: View) -> np.ndarray | None:
        """Return a map of all pixels of the tile, or of a class; None until it is computed."""
        if found.summary is None:
            self._waiting = True
            if self._is_free():
                title = f"Adding up the attention of {found.source.image.name}"
                self._run(found.tile.summarise, title, partial(self._take_summary, found.tile))
            return None
        if view is View.RECEIVED:
            return found.summary.received
        values = found.summary.class_maps.get(self.options.label)
        if values is None:
            name = next((c.name for c in found.tile.classes if c.value == self.options.label), "such class")
            self._say(f"The network sees no {name} in this tile. Choose another class, or another tile.")
        return values

    def _take_summary(self, tile: TileAttention, summary: AttentionSummary) -> None:
        if self.found is not None and self.found.tile is tile:
            self.found = replace(self.found, summary=summary)

    # --- jobs

    def _is_free(self) -> bool:
        """Return whether a job can begin; of another's the status says that it is waited for."""
        jobs = self._session.jobs
        if jobs.busy and self.state is State.IDLE:
            self.status = f"{jobs.title} is still running: the map comes when it is done."
        return not jobs.busy

    def _run(
        self, work: Callable[[], Generator[Any, None, Any]], title: str, on_done: Callable[[Any], None]
    ) -> None:
        self.status = f"{title}..."
        self._session.jobs.run(
            work,
            title=title,
            owner=self,
            on_done=on_done,
            on_failed=lambda error: self._give_up(str(error)),
            on_stopped=partial(self._give_up, "Cancelled."),
        )

    def _give_up(self, status: str) -> None:
        self._wanted, self.status = None, status
        if self._waiting:
            self.options = replace(self.options, view=View.PIXEL)
            self._draw()

    def go_on(self) -> None:
        """Do what had to wait until a job, whosever it was, was over."""
        if self.status.endswith(("...", "when it is done.")):
            self.status = ""
        if self._wanted is not None:
            self._answer()
        elif self._waiting:
            self._draw()
        self._tell()

    # --- what happens meanwhile

    def model_changed(self) -> None:
        """Take the maps of another model away."""
        if self.picking and self.why_not:
            self.set_picking(False)
        if self.found is not None and self.found.source.entry != self._session.entry:
            self._layers.hide(self.found.source.image)
            self._forget_tile(f"The model is now {self._session.model_name}. Pick a pixel again.")

    def image_replaced(self, image: Image) -> None:
        """Take the maps of pixels away that are there no more."""
        if image not in self._session.images:  # but a map
            return
        self._version += 1
        self._engine = None
        if self.found is not None and self.found.source.image == image:
            self._layers.hide(image)
            self._forget_tile()

    def layer_removed(self, layer: Layer) -> None:
        """Let go of a layer that was deleted, and of its maps."""
        if layer == self.truth:
            self.truth = None
        if self._wanted is not None and self._wanted.image == layer:
            asked, self._wanted = self._wanted, None
            if self.state is not State.IDLE:
                self._session.jobs.cancel(quietly=True)
            if asked.pixel is not None:
                self._say("The image was deleted while its attention was computed: that was stopped.")
        if self._engine is not None and self._engine[0].image == layer:
            self._engine = None
        if self.found is not None and self.found.source.image == layer:
            self._forget_tile()
            self._session.runner.later(self._layers.clear)
        self._tell()

    def forget(self) -> None:
        """Stop picking and let go of the image and of the network; may be called again."""
        self.picking = False
        self._layers.follow(False)
        self._wanted, self._engine = None, None
        self._forget_tile()

    def _forget_tile(self, status: str = "") -> None:
        self.found, self.change, self.hidden, self.status = None, None, False, status
        self._waiting = False
        self.options = replace(self.options, view=View.PIXEL)

    def _say(self, sentence: str) -> None:
        self.status = sentence
        self._session.said.emit(sentence, "warning")

    def _tell(self) -> None:
        self._session.tell("attention")

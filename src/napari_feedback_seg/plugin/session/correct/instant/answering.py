"""Answers strokes at once: the one controller of that. No Qt, no napari."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import FeedbackSegError, in_words
from napari_feedback_seg.plugin.session.correct.instant import places
from napari_feedback_seg.plugin.session.correct.instant.engine import Answered, Blank, Engine, Why
from napari_feedback_seg.plugin.session.correct.instant.shown import ShownAnswers
from napari_feedback_seg.plugin.session.correct.painted.teaching import Teaching
from napari_feedback_seg.plugin.session.jobs import Jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer

    from napari_feedback_seg.correction.strokes import Stroke
    from napari_feedback_seg.plugin.session.correct.instant.engine import Place
    from napari_feedback_seg.plugin.session.jobs import State
    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.plugin.session.strokes import Strokes


class Instant:
    """Learns from strokes as they are painted, and updates the result: what is in view first, then the rest.

    Its jobs are in a lane of their own, and give way to every job of the session: nobody has to wait, and
    painting never does. A newer stroke replaces the answer to the one before.

    What the result notes of itself tells which strokes it was made with; what was made with others is
    answered anew. That begins with a stroke: a result that is only looked at stays as it is.

    Attributes
    ----------
    on : bool
        Whether strokes are learnt from.
    teaching : Teaching
        What is painted, and which strokes are muted.
    shown : ShownAnswers
        What of the answers is in the result.
    why : Why or None
        What was asked last.
    picking : bool
        Whether a click in the image asks why.
    status : str
        How it is going, in a sentence.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._layers = session.layers.changes
        self.on = True
        self.teaching = Teaching(session)
        self.why: Why | None = None
        self.picking = False
        self.status = ""
        self.shown = ShownAnswers(session)
        self._engine: tuple[Any, Engine] | None = None
        self._begun: set[Any] = set()  # images that were painted on
        self._last: tuple[int, int] | None = None  # where was painted last
        self._lane = Jobs(session.runner)
        self._strokes: Strokes | None = None  # that are being answered
        self._question: tuple[int, int, int] | None = None
        self._asked: list[Place] = []  # the view that is being answered
        self._unfinished = ""  # the token of strokes that the view was answered with, before all was learnt
        self._failed: tuple[str, str] | None = None  # image and token of strokes that cannot be answered
        self._blank: set[Blank] = set()
        self._entry: Any = None
        self._image: Any = None
        self._resting = False
        self._stale: list[Engine] = []  # to be closed as soon as nothing runs
        self._later = False
        session.layers.looked.connect(self.look)
        session.correcting.corrections.changed.connect(self._on_corrected)
        self._layers.pointed.connect(self._on_pointed)
        self._layers.interrupted.connect(self._stop_picking)

    @property
    def state(self) -> State:
        """What it is doing."""
        return self._lane.state

    # --- what a person chooses

    def set_on(self, on: bool) -> None:
        """Answer strokes at once, or show what the model says without them."""
        if on != self.on:
            self.on = on
            self._begin_here()

    def mute_class(self, value: int, muted: bool) -> None:
        """Learn from no stroke of a class, or from all again."""
        self.teaching.mute_class(value, muted)
        self._session.correcting.take_back()
        self._begin_here()

    def mute(self, stroke: Stroke, muted: bool) -> None:
        """Do not learn from a stroke, or learn from it again."""
        self.teaching.mute(stroke, muted)
        self._session.correcting.take_back()
        self._begin_here()

    def go_to(self, stroke: Stroke) -> None:
        """Show a stroke."""
        image = self._session.image
        if image is not None:
            self._session.layers.corrections.go_to(image, stroke.section[1], *stroke.centre)

    @property
    def shows_before(self) -> bool:
        """Whether the result shows what the model says without the strokes."""
        return self.shown.shows_before

    @property
    def can_show_before(self) -> bool:
        """Whether it is known what the model says without the strokes."""
        return self.shown.knows_before

    def show_before(self, wanted: bool) -> None:
        """Show what the model says without the strokes, or with them."""
        if wanted == self.shows_before or (wanted and self._session.jobs.busy):
            return
        if wanted:
            self._stop()
        self._layers.hide()
        self.shown.show_before(wanted)
        self.look()
        self._tell()

    def set_picking(self, on: bool) -> None:
        """Let clicks in the image ask why, or leave them to napari."""
        if on:
            self._session.attention.set_picking(False)
            self._session.objects.editing.set_tool("")
        self.picking = on
        self._layers.follow(on)
        self._tell()

    def ask(self, section: int, row: int, column: int) -> None:
        """Ask which strokes moved the answer at a pixel."""
        self._question = (section, row, column)
        self._stop()
        self._begin_here()

    def _ask_again(self) -> None:
        """Ask once more what was asked last: other strokes are learnt from now."""
        if self.why is not None and self._question is None:
            self._question = self.why.section, self.why.row, self.why.column

    def end_flash(self) -> None:
        """Outline no longer what the last stroke has changed."""
        self._layers.hide()

    def strokes(self, *, anyway: bool = False) -> Strokes | None:
        """Return what is learnt from now, or would be if it were on; None without an image, or a model."""
        strokes, (token, learnt) = self.teaching.strokes(self.on or anyway), self.learnt
        if strokes is None or strokes.token != token:
            return strokes
        return replace(strokes, learnt=learnt)

    @property
    def learnt(self) -> tuple[str, Any]:
        """The token of the strokes that were learnt last, and what was learnt of them."""
        return self._engine[1].learnt if self._engine is not None else ("", None)

    # --- beginning and ending

    def _on_corrected(self, sections: Sequence[int]) -> None:
        if not sections:
            return
        corrections = self._session.correcting.corrections
        before = {z: self.teaching.read_again(z) for z in sections}
        if corrections.image is not None:
            self._begun.add(corrections.image.unique_id)
        self._resting = False
        if self.teaching.digests:
            for z, labels in before.items():
                self._last = places.where_changed(labels, self.teaching.labels(z)) or self._last
        self.shown.show_before(False)
        self._ask_again()
        self.look()

    def _begin_here(self) -> None:
        if self._session.image is not None:
            self._begun.add(self._session.image.unique_id)
        self._ask_again()
        self.look()
        self._tell()

    def look(self) -> None:
        """Look, when napari is done with what it is doing, whether there is anything to answer."""
        image = self._session.image
        if not self._later and image is not None and image.unique_id in self._begun:
            self._later = True
            self._session.runner.later(self._go)

    def give_way(self, _: str = "") -> None:
        """Stop: a job begins."""
        self.shown.show_before(False)
        self._stop()

    def _stop(self) -> None:
        self._lane.cancel(quietly=True)

    def _go(self) -> None:
        """Begin, if there is something to be answered and nothing else runs."""
        self._later = False
        session, image = self._session, self._session.image
        if (
            image is None
            or self._resting
            or image.unique_id not in self._begun
            or session.jobs.busy
            or session.correcting.proposal is not None
            or session.correcting.shows_before
            or self.shows_before
        ):
            return
        strokes, result = self.strokes(), session.result
        record = session.layers.record_of(result) if result is not None else None
        if strokes is None:
            return
        view = places.in_view(session, image, self._last)
        if not self._lane.busy and self._failed != (strokes.image, strokes.token):
            self._say(places.unanswered(session, strokes, record, view) if self.on else "")
        if record is None:
            return
        view = places.stale(session, strokes, record, view, self._blank)
        if self._lane.busy:
            mine = self._strokes
            other = mine is None or (mine.token, mine.image) != (strokes.token, strokes.image)
            if other or not set(map(repr, view)) <= set(map(repr, self._asked)):
                self._stop()  # what is newer, or came into view, goes first
            return
        unfinished = bool(strokes.token) and self._unfinished == strokes.token
        if self._failed == (strokes.image, strokes.token):
            return
        others = places.rest(session, image, strokes, record, self._blank)
        if not (view or others or self._question or unfinished):
            return
        if unfinished:
            view = places.in_view(session, image, self._last)
        engine = self._engine_for()
        self._strokes, self._asked = strokes, view
        if engine.learnt[0] != strokes.token:
            self.status = "Learning from the strokes..."
        self._lane.run(
            partial(engine.work, strokes, view, others, self._question),
            title="Answering strokes",
            on_event=self._take,
            on_done=self._done,
            on_failed=self._fail,
            on_stopped=self._end,
        )
        self._tell()

    def _engine_for(self) -> Engine:
        session, options = self._session, self._session.segmenting.options_of_result
        entry = session.entry
        how = session.device, options.overlap, options.remove_specks
        key = (None if entry is None else entry.path, *how)
        if self._engine is None or self._engine[0] != key:
            self._close()
            load = partial(session.load_model, entry)
            self._engine = key, Engine(load, *how)
        return self._engine[1]

    def _done(self, _: None) -> None:
        self._unfinished = ""
        self._end()

    def _end(self) -> None:
        self.status, self._asked = "", []
        self._free()
        self.look()
        self._tell()

    def _fail(self, error: Exception) -> None:
        """Say what is wrong, once: these strokes are not tried again."""
        strokes, self._question, self._asked = self._strokes, None, []
        self._failed = (strokes.image, strokes.token) if strokes is not None else None
        self.status = in_words(error)
        self._session.said.emit(f"The strokes could not be answered. {self.status}", "error")
        self._close()
        self._free()
        self._tell()

    # --- what is found

    def _take(self, event: Any) -> None:
        if isinstance(event, Why):
            self._question, self.why = None, event
            self._tell()
        elif isinstance(event, Blank):
            self._blank.add(event)
        elif isinstance(event, Answered):
            if self._strokes is not None and self.learnt[0] != self._strokes.token:
                self._unfinished = self._strokes.token
            in_view = event.place in self._asked  # else the outline would go to what nobody sees
            if self._strokes is None or not self.shown.write(event, self._strokes, in_view=in_view):
                self._stop()

    # --- what happens meanwhile

    def _on_pointed(self, position: Any, dragging: bool = False) -> None:
        if dragging:
            return
        try:
            pixel = self._layers.pixel_at(self._session.image, position)
        except FeedbackSegError as error:
            self.status = str(error)
            self._tell()
            return
        self.ask(*pixel)

    def _stop_picking(self) -> None:
        self.set_picking(False)

    def changed(self, part: str) -> None:
        """Take note that a part of the session has changed."""
        session = self._session
        if part == "model" and self._entry != (session.entry and session.entry.path):
            self._entry = session.entry and session.entry.path
            self._turn()
            self._close()
        elif part == "image" and self._image != (session.image and session.image.unique_id):
            self._image, self._last = session.image and session.image.unique_id, None
            self._turn()
        elif part in ("correcting", "result"):
            self.look()

    def _turn(self) -> None:
        """Turn to another image, or another model."""
        self.why, self._question, self.status = None, None, ""
        self.show_before(False)
        self.shown.forget()
        self._stop()
        self.look()

    def image_replaced(self, image: Layer) -> None:
        """Forget what was seen of pixels that are there no more."""
        self.teaching.replaced(image)
        if image == self._session.image:
            self._turn()

    def layer_removed(self, layer: Layer) -> None:
        """Stop if the image was deleted; forget what was changed in a result that was."""
        if layer.unique_id in self._begun and layer not in self._session.images:
            self._begun.discard(layer.unique_id)
            self._stop()
        if self.shown.is_in(layer):
            self.shown.forget()
            self._tell()

    def segmented(self, section: int) -> None:
        """Take note that a section is about to be segmented anew."""
        self.shown.forget(section)

    def wake(self) -> None:
        """Go on after :meth:`forget`: a dock is there again."""
        self._resting = False
        self.look()

    def forget(self) -> None:
        """Let go of the model and of what runs, as the dock closes; may be called again."""
        self._question, self._resting = None, True
        self.shown.show_before(False)
        with suppress(LookupError):  # the viewer may be gone
            self._layers.follow(False)
            self._layers.clear()
        self.picking = False
        self._stop()
        self._close()

    def _close(self) -> None:
        """Let go of the model, as soon as nothing runs."""
        if self._engine is not None:
            self._stale.append(self._engine[1])
            self._engine = None
        if not self._lane.busy:
            self._free()

    def _free(self) -> None:
        for each in self._stale:
            each.close()
        self._stale = []

    def _say(self, status: str) -> None:
        if status != self.status:
            self.status = status
            self._tell()

    def _tell(self) -> None:
        self._session.tell("instant")

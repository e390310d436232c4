"""Where to look next: the places where the model is least sure. No Qt, no napari."""

from __future__ import annotations

import heapq
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.plugin.session.correct.fine_tuning import DoubtWork, Place, SectionSearched

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_feedback_seg.plugin.session.correct.painted.corrections import Corrections
    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.segmentation.prediction import SegmentOptions

APART = 32
"""A place with a correction within so many pixels needs no other."""

_NONE = "There is no doubtful place."
_NONE_LEFT = "There is no doubtful place left. After the next strokes there will be others."
_UNSEGMENTED = " Press Segment to see what it says there."


class DoubtfulPlaces:
    """Finds doubtful places over all sections, once for each image and model, and goes to them.

    Sections that are segmented come first. A search that was cancelled goes on where it was.
    """

    def __init__(self, session: Session, corrections: Corrections) -> None:
        self._session, self._corrections = session, corrections
        self._image: Image | None = None
        self._model = self._strokes = ""
        self._left: list[int] = []  # sections still to be searched
        self._places: list[tuple[bool, float, int, Place]] = []  # a heap, the next one first
        self._found = self._waiting = False
        self.text = ""  # what there is to say of it

    def next_place(self, options: SegmentOptions) -> None:
        """Go to the least certain place that is not corrected yet; search for such places first if need be.

        Parameters
        ----------
        options : SegmentOptions
            How the result was segmented.
        """
        session, image = self._session, self._session.image
        try:
            sections = session.layers.sections(image)
        except FeedbackSegError as error:
            session.said.emit(str(error), "error")
            return
        assert image is not None
        strokes = session.instant.strokes()
        token = strokes.token if strokes is not None else ""
        other = (image, session.model_name) != (self._image, self._model)
        if other or (token != self._strokes and not self._left and not self._places):  # all were looked at
            if session.jobs.busy:
                session.said.emit(f"{session.jobs.title} is still running. Wait for it.", "warning")
                return
            shown, segmented = session.layers.displayed_section(image), self._session.segmented
            self._image, self._model, self._places, self._found = image, session.model_name, [], False
            self._left = sorted(range(sections.count), key=lambda z: (z not in segmented, z != shown))
            self._strokes = token
        if self._go() or (session.jobs.busy and self._waiting):
            return
        if not self._left:
            self._say(_NONE_LEFT if self._found else _NONE)
            return
        rounds = session.card.spec.rounds if session.card else 1
        options = replace(options, region=None, overlap=0.1, probabilities=True, first_round=rounds > 1)
        started = session.jobs.run(
            DoubtWork(
                sections, tuple(self._left), options, partial(session.load_model, session.entry), strokes
            ),
            title="Looking for doubtful places",
            owner=self,
            on_event=partial(self._take, image),
            on_done=self._done,
            on_failed=self._failed,
            on_stopped=self._stopped,
        )
        if started:
            self._waiting = True
            self._say("Looking for places where the model is in doubt...")

    def forget(self) -> None:
        """Forget the places; may be called again."""
        self._image, self._places, self._left, self._waiting = None, [], [], False
        self.text = ""

    def _say(self, text: str) -> None:
        self.text = text
        self._session.tell("correcting")

    def _take(self, image: Image, event: Any) -> None:
        if not isinstance(event, SectionSearched) or image != self._image:
            return
        segmented, self._found = self._session.segmented, self._found or bool(event.places)
        for place in event.places:
            key = (place.section not in segmented, -place.doubt, len(self._places), place)
            heapq.heappush(self._places, key)
        self._left = [z for z in self._left if z != event.section]
        if self._waiting and image == self._session.image:
            self._go()

    def _done(self, _: Any) -> None:
        self._left = []  # the others are blank
        if self._waiting:
            self._waiting = False
            self._say(_NONE_LEFT if self._found else _NONE)

    def _stopped(self) -> None:
        if self._waiting:
            self._waiting = False
            self._say("")

    def _failed(self, error: Exception) -> None:
        self.forget()
        self._say(str(error))

    def _go(self) -> bool:
        """Go to the next place; return whether there is one."""
        image = self._image
        while self._places and image is not None:
            place = heapq.heappop(self._places)[-1]
            if not self._is_corrected(place):
                self._waiting = False
                self._session.layers.corrections.go_to(image, place.section, place.row, place.column)
                on = f" on section {place.section}" if image.ndim > 2 else ""
                where = f"Row {place.row}, column {place.column}{on}, in the middle of the view"
                segmented = place.section in self._session.segmented
                self._say(f"{where}: is it right?{'' if segmented else _UNSEGMENTED}")
                return True
        return False

    def _is_corrected(self, place: Place) -> bool:
        if self._corrections.layer is None:
            return False
        rows = slice(max(0, place.row - APART), place.row + APART)
        columns = slice(max(0, place.column - APART), place.column + APART)
        return bool(self._corrections.painted(place.section)[rows, columns].any())

"""Where to look next: the places where the model is least sure. No Qt, no napari."""

from __future__ import annotations

import heapq
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.generators import forward
from napari_feedback_seg.plugin.session.jobs import State
from napari_feedback_seg.plugin.session.strokes import adapted_to
from napari_feedback_seg.segmentation.events import TileDone

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari.layers import Image

    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.plugin.layers.image import Sections
    from napari_feedback_seg.plugin.session.correct.painted.corrections import Corrections
    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.plugin.session.strokes import Strokes
    from napari_feedback_seg.segmentation.prediction import SegmentOptions

GRID = 64
"""Of each square of so many pixels, the most doubtful place is found."""

_NEIGHBOURHOOD = 15

APART = 32
"""A place with a correction within so many pixels needs no other."""

_NONE = "There is no doubtful place."
_NONE_LEFT = "There is no doubtful place left. After the next strokes there will be others."
_UNSEGMENTED = " Press Segment to see what it says there."


@dataclass(frozen=True)
class Place:
    """A place where the model is in doubt."""

    section: int
    row: int
    column: int
    doubt: float


@dataclass(frozen=True)
class SectionSearched:
    """The doubtful places of a section."""

    section: int
    places: tuple[Place, ...]


class DoubtfulPlaces:
    """Finds doubtful places over all sections, once for each image and model, and goes to them.

    Sections that are segmented come first. A search that was cancelled goes on where it was. A stroke ends
    it, so that it is answered at once.
    """

    def __init__(self, session: Session, corrections: Corrections) -> None:
        self._session, self._corrections = session, corrections
        self._image: Image | None = None
        self._model = self._strokes = ""
        self._left: list[int] = []  # sections still to be searched
        self._places: list[tuple[bool, float, int, Place]] = []  # a heap, the next one first
        self._found = self._waiting = False
        self._text, self._about = "", (None, None)  # and which image and result it is about
        corrections.changed.connect(self._on_corrections)

    @property
    def text(self) -> str:
        """What there is to say of it; nothing if another image is chosen, or its labels were deleted."""
        return self._text if self._about == self._shown else ""

    def next_place(self) -> None:
        """Go to the least certain place that is not corrected yet; search for such places first if needed."""
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
        options = replace(
            session.segmenting.options_of_result, overlap=0.1, probabilities=True, first_round=rounds > 1
        )
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
        self._text = ""

    def take_back(self) -> None:
        """Take back what was said: the image is about to be segmented."""
        self._text = ""

    @property
    def _shown(self) -> tuple[Any, Any]:
        """The image that is chosen, and its result."""
        image, result = self._session.image, self._session.result
        return image and image.unique_id, result and result.unique_id

    def _on_corrections(self, sections: Sequence[int]) -> None:
        jobs = self._session.jobs
        if sections and jobs.state_of(self) is not State.IDLE:
            jobs.cancel(quietly=True)

    def _say(self, text: str) -> None:
        self._text, self._about = text, self._shown
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


@dataclass(frozen=True)
class DoubtWork:
    """The search for places where the model is in doubt."""

    sections: Sections  # the image
    chosen: Sequence[int]  # the sections, in the order in which they are searched
    options: SegmentOptions  # how to segment
    load_model: Callable[[], Model]  # returns the model. Called off the GUI thread.
    strokes: Strokes | None = None  # with which the model is in doubt

    def __call__(self) -> Generator[TileDone | SectionSearched | None, None, None]:
        """Yield tiles counted over all sections, and the places of each section."""
        from napari_feedback_seg.segmentation.predict import segment_section
        from napari_feedback_seg.segmentation.sections import BlankSection

        model = yield from adapted_to(self.strokes, self.load_model(), self.options.device)
        for number, z in enumerate(self.chosen):
            try:
                with closing(segment_section(self.sections.plane(z), model, self.options)) as events:
                    prediction = yield from forward(events, partial(self._counted, number))
            except BlankSection:
                continue
            yield SectionSearched(z, doubtful_places(z, prediction))

    def _counted(self, number: int, tile: TileDone) -> TileDone:
        total = tile.total * len(self.chosen)
        return TileDone(number * tile.total + tile.done, total, self.chosen[number])


def doubtful_places(z: int, prediction: Any) -> tuple[Place, ...]:
    """Return the most doubtful place of each square of a section.

    Doubt is the entropy of the probabilities, from 0 to 1, plus as much again where the two
    rounds disagree, averaged over the neighbourhood.
    """
    from scipy.ndimage import uniform_filter

    probabilities = prediction.probabilities.astype(np.float32)
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-6))).sum(axis=0)
    doubt = entropy / np.log(len(probabilities))
    if prediction.first_round is not None:
        doubt += prediction.first_round != prediction.labels
    doubt = uniform_filter(doubt, _NEIGHBOURHOOD)
    places = []
    for top in range(0, doubt.shape[0], GRID):
        for left in range(0, doubt.shape[1], GRID):
            square = doubt[top : top + GRID, left : left + GRID]
            row, column = np.unravel_index(square.argmax(), square.shape)
            places.append(Place(z, top + int(row), left + int(column), float(square.max())))
    return tuple(places)

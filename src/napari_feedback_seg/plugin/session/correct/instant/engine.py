"""The work of answering strokes at once, off the GUI thread. No Qt, no napari."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.generators import forward

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.correction.adaptation import Adaptation
    from napari_feedback_seg.correction.answer import Answer, Reason
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.correction.instant import InstantAnswers
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.plugin.session.regions import Region
    from napari_feedback_seg.plugin.session.strokes import Strokes
    from napari_feedback_seg.segmentation.lazy import Plane

_LEARNING = "learning"
"""The token of no strokes."""

_LEAST = 0.05
"""What moved a pixel less, in logits, would be shown as 0.0."""


@dataclass(frozen=True)
class Place:
    """A part of a section, its rows and columns."""

    section: int
    region: Region


@dataclass(frozen=True, eq=False)
class Answered:
    """A place is answered."""

    place: Place  # where
    answer: Answer  # what the model says with the strokes
    classes: tuple[LabelClass, ...]  # those that it knows


@dataclass(frozen=True)
class Blank:
    """There is nothing to see on a section of an image."""

    image: str
    section: int


@dataclass(frozen=True, eq=False)
class Why:
    """Why a pixel is what it is: the stroke that lies on it, then those that moved it, the most first."""

    section: int
    row: int
    column: int
    reasons: tuple[Reason, ...]
    settled: bool = False  # whether it was put right around a stroke before the model learnt that

    @property
    def speak_for(self) -> tuple[Reason, ...]:
        """The reasons without strokes that lie elsewhere and speak against it, or hardly moved it."""
        here = self.section, self.row, self.column
        return tuple(each for each in self.reasons if each.moved >= _LEAST or each.stroke.lies_on(*here))


@dataclass
class Engine:
    """Answers of one model, with all that it has seen; used by one thread at a time."""

    load_model: Callable[[], Model]  # returns the model. Called off the GUI thread.
    device: str  # where to compute
    overlap: float
    remove_specks: bool = True
    # the token of the strokes that were learnt last, and what was learnt of them
    learnt: tuple[str, Adaptation | None] = ("", None)
    _answers: InstantAnswers | None = None
    _classes: tuple[LabelClass, ...] = ()
    _image: str = ""
    _read: dict[int, np.ndarray | Plane] = field(default_factory=dict)

    def work(
        self,
        strokes: Strokes,
        view: Sequence[Place] = (),
        rest: Sequence[Place] = (),
        question: tuple[int, int, int] | None = None,
    ) -> Generator[object, None, None]:
        """Learn, answer what is in view, then a question, then the rest; yield what is found."""
        answers = self._for(strokes.new_classes)
        yield None
        if self.learnt[0] != strokes.token:
            yield from self._learn(answers, strokes, view)
        else:
            yield from self._answer(answers, strokes, view)
        if question is not None:
            z, row, column = question
            reasons = tuple(_reasons(answers, self._section(strokes, z), row, column))
            settled = strokes.settled_on(z)
            yield Why(z, row, column, reasons, settled is not None and bool(settled[row, column]))
        yield from self._answer(answers, strokes, rest)

    def close(self) -> None:
        """Free the network and what it has seen; may be called again."""
        if self._answers is not None:
            self._answers.close()
        self._answers, self.learnt = None, ("", None)
        self._read = {}

    def _for(self, new_classes: tuple[LabelClass, ...]) -> InstantAnswers:
        from napari_feedback_seg.correction.instant import InstantAnswers

        if self._answers is None or new_classes != self._classes:
            self.close()
            self._answers = InstantAnswers(
                self.load_model(),
                new_classes=new_classes,
                device=self.device,
                overlap=self.overlap,
                remove_specks=self.remove_specks,
            )
            self._classes = new_classes
        return self._answers

    def _learn(
        self, answers: InstantAnswers, strokes: Strokes, view: Sequence[Place]
    ) -> Generator[object, None, None]:
        """Learn from the strokes, and answer what is in view whenever that changes it."""
        self.learnt = (_LEARNING, None)  # until this is through
        answers.set_strokes(
            [self._section(strokes, z) for z in strokes.labels] if strokes.token else [],
            muted=strokes.muted,
            muted_classes=strokes.muted_classes,
        )
        with closing(answers.fit()) as events:
            for event in events:
                if event.changed:
                    yield from self._answer(answers, strokes, view)
                yield None
        self.learnt = (strokes.token, answers.adaptation)

    def _answer(
        self, answers: InstantAnswers, strokes: Strokes, places: Sequence[Place]
    ) -> Generator[object, None, None]:
        from napari_feedback_seg.segmentation.sections import BlankSection

        settled: dict[int, np.ndarray | None] = {}  # of the section at hand, which may be many places
        for place in places:
            z = place.section
            if z not in settled:
                settled = {z: strokes.settled_on(z)}
            section = self._section(strokes, z)
            # What is painted lies on top of the result, and is not written into it.
            blank = np.zeros(section.image.shape, np.uint8)
            section = replace(section, labels=blank, settled=settled[z])
            try:
                with closing(answers.answer(section, place.region)) as events:
                    answer = yield from forward(events)
            except BlankSection:
                yield Blank(strokes.image, place.section)
                continue
            yield Answered(place, answer, tuple(answers.model.card.classes))

    def _section(self, strokes: Strokes, z: int) -> CorrectedSection:
        """Return a section; one that is painted on, and read from a file, is read once."""
        if z not in strokes.labels or isinstance(strokes.sections.data, np.ndarray):
            return strokes.section(z)
        if self._image != strokes.image:
            self._image, self._read = strokes.image, {}
        if z not in self._read:
            self._read[z] = strokes.section(z).image
        return strokes.section(z, self._read[z])


def _reasons(answers: InstantAnswers, section: CorrectedSection, row: int, column: int) -> list[Reason]:
    """Return the strokes that moved a pixel, the one that lies on it first, muted or not."""
    from napari_feedback_seg.correction.answer import Reason
    from napari_feedback_seg.segmentation.sections import BlankSection

    try:
        reasons = answers.why(section, row, column)
    except BlankSection:
        reasons = []
    here = [
        each
        for each in answers.strokes
        if each.section == (section.source, section.index)
        and (each.pixels == (row, column)).all(axis=1).any()
    ]
    moved = {each.stroke.key: each for each in reasons}
    first = [moved.pop(each.key, Reason(each, 0.0)) for each in here]
    return [*first, *moved.values()]

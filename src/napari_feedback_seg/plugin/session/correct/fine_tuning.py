"""The long work of correcting, off the GUI thread: the fine-tune, and the search for doubtful places."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.correction.corrections import LEAST_PIXELS
from napari_feedback_seg.errors import InputError, TrainingError
from napari_feedback_seg.plugin.session.correct.instant.engine import adapted_to, said
from napari_feedback_seg.plugin.session.correct.painted.counts import summed
from napari_feedback_seg.segmentation.events import TileDone

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from napari.layers import Image

    from napari_feedback_seg.correction.config import FinetuneConfig
    from napari_feedback_seg.correction.events import FinetuneCheck, FinetuneResult, FinetuneStep
    from napari_feedback_seg.correction.finetune import FineTuning
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.plugin.layers.image import Sections
    from napari_feedback_seg.plugin.session.correct.instant.engine import Strokes
    from napari_feedback_seg.plugin.session.correct.painted.teaching import Digests
    from napari_feedback_seg.plugin.session.drafts import Draft
    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.segmentation.prediction import SegmentOptions

GRID = 64
"""Of each square of so many pixels, the most doubtful place is found."""

_NEIGHBOURHOOD = 15


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


@dataclass
class FinetuneWork:
    """A fine-tune that was asked for in the panel."""

    image: Image
    sections: Sections  # its grey values
    corrections: dict[int, np.ndarray]  # section to its corrections (Y, X), as they were
    painted: Digests  # what tells them from others
    draft: Draft  # where they are kept, and the state of the fine-tune
    parent: str  # name of the model
    load_model: Callable[[], Model]  # returns the model. Called off the GUI thread.
    config: FinetuneConfig  # the settings
    device: str  # where to compute
    pixel_size_nm: Any  # side of a pixel, if the image is rescaled for the model
    source: str  # name of the image
    path_for: Callable[[str], Path]  # returns, for the name of a model, the file that it is written to
    # the corrections as they are answered at once, which is what the fine-tune begins with
    strokes: Strokes | None = None
    tuning: FineTuning | None = None
    keep_best: bool = False  # of what was learnt before it is stopped

    def __call__(self) -> Generator[FinetuneStep | FinetuneCheck, None, tuple[FinetuneResult, Path]]:
        """Fine-tune; return what became of it, and the file of the tuned model."""
        from napari_feedback_seg.correction.corrections import CorrectedSection
        from napari_feedback_seg.correction.events import FinetuneStep
        from napari_feedback_seg.correction.finetune import FineTuning

        model = self.load_model()
        sections = [
            CorrectedSection(self.sections.plane(z), self._taught(z), z, self.pixel_size_nm, self.source)
            for z in self.corrections
        ]
        # Learnt anew, so that a fine-tune that was cut off finds its checkpoint.
        strokes = self.strokes and replace(self.strokes, learnt=None)
        steps = adapted_to(strokes, model, self.device)
        begin = yield from said(steps, lambda _: FinetuneStep(0, 0, "learning from the strokes"))
        known = {each.value for each in begin.card.classes}
        new = tuple(each for each in self.config.new_classes if each.value not in known)
        self.tuning = FineTuning(
            replace(begin, digest=model.digest),
            [each for each in sections if each.labels.any()],
            replace(self.config, new_classes=new),
            device=self.device,
            checkpoint=self.draft.checkpoint,
        )
        result = yield from self.tuning.run()
        return self._keep(result)

    def best(self) -> Generator[None, None, tuple[FinetuneResult, Path] | None]:
        """Return what was learnt before the fine-tune was stopped; None if that is nothing."""
        yield
        result = self.tuning.best_so_far() if self.tuning else None
        return self._keep(result) if result else None

    def remove_checkpoint(self) -> None:
        """Remove what was kept to go on with."""
        with suppress(OSError):  # the next fine-tune writes over it
            self.draft.checkpoint.unlink(missing_ok=True)

    def _taught(self, z: int) -> np.ndarray:
        """Return the corrections of a section that are to be learnt from."""
        from napari_feedback_seg.correction.strokes import find_strokes

        labels, strokes = self.corrections[z].copy(), self.strokes
        if strokes is not None and (strokes.muted or strokes.muted_classes):
            for stroke in find_strokes(labels, (strokes.image, z)):
                muted = any(stroke.lies_on(*each) for each in strokes.muted)
                if muted or stroke.value in strokes.muted_classes:
                    labels[tuple(stroke.pixels.T)] = 0
        return labels

    def _keep(self, result: FinetuneResult) -> tuple[FinetuneResult, Path]:
        from napari_feedback_seg.models.model_file import save_model

        return result, save_model(result.tuned, self.path_for(result.tuned.card.name))


@dataclass(frozen=True)
class Proposal:
    """A fine-tuned model that a person is to keep or to go back from."""

    parent: str  # names of the model before and of the fine-tuned one
    tuned: str
    keep: bool  # whether it is recommended to keep it
    sentence: str  # the recommendation and what is known
    details: tuple[str, ...] = ()  # lines on each class, and what went wrong
    # where before and after can be compared: the section that was shown, and another one
    sections: tuple[int, ...] = ()


def prepare(session: Session) -> FinetuneWork:
    """Return the fine-tune on all corrections of the image.

    Raises InputError or TrainingError if there is nothing to learn from.
    """
    correcting = session.correcting
    corrections, draft = correcting.corrections, correcting.journal.draft
    image = session.image
    sections = session.layers.sections(image)
    assert image is not None
    total = summed(corrections.counts.values())
    pixels = sum(each.pixels for each in total.values())
    if corrections.unknown:
        values = ", ".join(map(str, corrections.unknown))
        raise InputError(f"Labels that are no class are painted ({values}): erase them, or add the class.")
    if not pixels:
        raise TrainingError("Nothing is corrected yet: choose a class and paint over what is wrong.")
    if pixels < LEAST_PIXELS:
        raise TrainingError(f"{pixels} corrected px are too little to learn from: paint a few strokes.")
    if draft is None:
        raise InputError("This image has no place for its corrections. Save it as a TIFF, and open that.")
    known = {each.value for each in session.card.classes} if session.card else set()
    new = tuple(each for each in corrections.classes if each.value in total.keys() - known)
    return FinetuneWork(
        image,
        sections,
        {z: corrections.labels(z) for z in corrections.counts},
        session.instant.teaching.digests,
        draft,
        session.model_name,
        partial(session.load_model, session.entry),
        replace(correcting.config, new_classes=new),
        session.device,
        correcting.options().pixel_size_nm,
        image.name,
        correcting.models.path_for,
        session.instant.strokes(),
    )


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
                    prediction = yield from said(events, partial(self._counted, number))
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

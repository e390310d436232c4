"""Labels beside a ground truth: which, what they mean, and the scores. No Qt, no napari."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.metrics import compare
from napari_feedback_seg.plugin.session.segment.derived import Derived

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari.layers import Labels, Layer

    from napari_feedback_seg.metrics import SectionCompared
    from napari_feedback_seg.plugin.session.session import Session


OTHER = LabelClass(254, "everything else", "#808080", 0.4)
"""What is not in the mask, where 0 means that."""

SAMPLE = 512
"""A layer is looked at on so many rows and columns of its middle section at the most."""


@dataclass(frozen=True)
class Mask:
    """What a mask means."""

    of: LabelClass  # the class of its pixels
    # whether 0 means another class; else it means unlabelled, which does not count
    rest_is_other: bool = True

    def classes(self, classes: Sequence[LabelClass]) -> tuple[LabelClass, ...]:
        """Return the classes that are scored."""
        return (self.of, OTHER) if self.rest_is_other else tuple(classes)

    def truth(self, mask: Any) -> np.ndarray:
        """Return the labels (uint8) that a mask stands for."""
        rest = OTHER.value if self.rest_is_other else 0
        return np.where(np.asarray(mask) != 0, np.uint8(self.of.value), np.uint8(rest))

    def labels(self, labels: Any) -> np.ndarray:
        """Return labels as they can be compared with :meth:`truth`."""
        found = np.asarray(labels)
        if not self.rest_is_other:
            return found
        rest = np.where(found == 0, np.uint8(0), np.uint8(OTHER.value))  # 0 was not segmented
        return np.where(found == self.of.value, np.uint8(self.of.value), rest)


class Comparing(Derived):
    """Compares a Labels layer, at first the result at hand, with another one."""

    part = "comparing"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._at_hand: Labels | None = None
        self._kind_of: Any = None
        self.labels: Labels | None = None  # the layers
        self.truth: Layer | None = None
        # value of the class of which the truth is a mask; 0 if it holds labels of the same classes
        self.kind = 0
        self.rest_is_other = True  # whether 0 in a mask means another class; else it means unlabelled

    @property
    def scores(self) -> dict[str, Any] | None:
        """The scores, as :func:`~napari_feedback_seg.metrics.compare` gives them."""
        found: dict[str, Any] | None = self.value
        return found

    @property
    def choices(self) -> list[Labels]:
        """The layers that can be compared, the topmost first."""
        return self._session.layers.comparable

    @property
    def truths(self) -> list[Any]:
        """The layers that they can be compared with: those of others before results."""
        layers, labels = self._session.layers, self.labels
        if labels is None:
            return []
        shape = layers.pixels(labels).shape
        found = [each for each in layers.comparable if each != labels] + layers.masks
        same = [each for each in found if layers.pixels(each).shape == shape]
        return sorted(same, key=lambda each: layers.record_of(each) is not None)

    @property
    def label_classes(self) -> tuple[LabelClass, ...]:
        """The classes of the labels; for a layer that is no result those of the truth or of the model."""
        for layer in (self.labels, self.truth):
            found = self._session.layers.classes_of(layer) if layer is not None else ()
            if found:
                return found
        card = self._session.card
        return tuple(card.classes) if card is not None else ()

    @property
    def mask(self) -> Mask | None:
        """What the truth means, if it is a mask of one class."""
        of = next((each for each in self.label_classes if each.value == self.kind), None)
        return Mask(of, self.rest_is_other) if of is not None else None

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """The classes that are scored."""
        mask, classes = self.mask, self.label_classes
        return mask.classes(classes) if mask is not None else classes

    @property
    def missing(self) -> str:
        """What there is to be done before anything can be compared; empty if there is nothing."""
        if self.labels is None:
            return "Open two Labels layers of the same shape to compare them, or segment the image."
        if self.truth is None:
            shape = " x ".join(map(str, self._session.layers.pixels(self.labels).shape))
            return (
                f"Open a Labels layer of the same shape as '{self.labels.name}' ({shape}) to compare it with."
            )
        return "" if self.classes else "Choose a model that can be used: its classes are compared."

    def choose(
        self,
        labels: Labels | None = None,
        truth: Layer | None = None,
        kind: int | None = None,
        rest_is_other: bool | None = None,
    ) -> None:
        """Choose what to compare, and what the truth means."""
        self.labels, self.truth = labels or self.labels, truth or self.truth
        self.kind = self.kind if kind is None else kind
        self.rest_is_other = self.rest_is_other if rest_is_other is None else rest_is_other
        self._follow()
        self.check()
        self._session.tell(self.part)

    def key(self) -> tuple[tuple[Layer, ...], Any] | None:
        """Return both layers, and what is made of them."""
        if self.labels is None or self.truth is None:
            return None
        return (self.labels, self.truth), (self._session.layers.stamp(self.labels), self.classes)

    def changed(self, part: str) -> None:
        """Take note that a part of the session has changed."""
        if part in ("image", "layers", "model", "result"):
            self._follow()
        super().changed(part)

    def start(self) -> bool:
        """Compare the two layers; return whether that has begun."""
        session, result, truth = self._session, self.labels, self.truth
        if result is None or truth is None:
            return False
        corrections = session.correcting.corrections
        corrections.look()
        made_here = session.layers.record_of(result) is not None
        labels = corrections.of_result(result) if made_here else session.layers.pixels(result)
        classes, mask, expected_at = self.classes, self.mask, session.layers.pixels(truth)

        def work() -> Generator[SectionCompared, None, dict[str, Any]]:
            found, expected = np.asarray(labels), np.asarray(expected_at)
            if mask is not None:
                found, expected = mask.labels(found), mask.truth(expected)
            return (yield from compare(expected, found, classes))

        return self._compute(work, f"Comparing {result.name}")

    def _computed(self) -> None:
        self._session.layers.show_errors(self.labels, self.value["errors"], self.classes)

    def _follow(self) -> None:
        """Turn to another result at hand, and to other layers if one is gone."""
        at_hand, choices = self._session.result_at_hand, self.choices
        if at_hand != self._at_hand or self.labels not in choices:
            self._at_hand = self.labels = at_hand
        if self.labels not in choices:
            self.labels = next(iter(choices), None)
        truths = self.truths
        if self.truth not in truths:
            self.truth = next(iter(truths), None)
        classes = self.label_classes
        if self.truth is not None and self.truth.unique_id != self._kind_of and classes:
            self._kind_of = self.truth.unique_id
            mask = looks_like_mask(self._session.layers.pixels(self.truth), classes)
            self.kind = guess_class(self.truth.name, classes).value if mask else 0


def looks_like_mask(data: Any, classes: Sequence[LabelClass]) -> bool:
    """Return whether an array has one value beside 0, and that is no class: 255, or true."""
    middle = data[data.shape[0] // 2] if data.ndim == 3 else data
    steps = tuple(slice(None, None, max(1, length // SAMPLE)) for length in middle.shape)
    values = set(np.unique(np.asarray(middle[steps])).tolist()) - {0}
    known = {each.value for each in classes}
    return len(values) == 1 and (data.dtype == bool or not values & known)


def guess_class(name: str, classes: Sequence[LabelClass]) -> LabelClass:
    """Return the class that a name speaks of, such as ``mito_mask.tif``; the first one if none."""
    low = name.lower()
    return next((each for each in classes if each.name.lower()[:4] in low), classes[0])

"""A ground truth that is a mask of one class, as most public sets have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.classes import LabelClass

if TYPE_CHECKING:
    from collections.abc import Sequence

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

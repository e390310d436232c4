"""What the feedback changed: the labels of round 1 beside those of round 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.classes import LabelClass


@dataclass(frozen=True)
class ClassChange:
    """How many pixels the feedback moved, for one class.

    Attributes
    ----------
    label_class : LabelClass
        The class.
    before, after : int
        Pixels of the class in round 1 and in round 2.
    left, joined : int
        Pixels that were of the class in round 1 alone, and that are in round 2 alone.
    to_right, to_wrong : int or None
        Of the pixels that are of the class by the ground truth: how many became right, and
        how many had been right and became wrong. None without a ground truth.
    """

    label_class: LabelClass
    before: int
    after: int
    left: int
    joined: int
    to_right: int | None = None
    to_wrong: int | None = None


@dataclass(frozen=True)
class FeedbackChange:
    """What the second round made of the first.

    Attributes
    ----------
    first, second : ndarray
        (Y, X) uint8, the labels of both rounds.
    changed : ndarray
        (Y, X) uint8: where they differ the label of round 2, else 0.
    disagreement : ndarray
        (Y, X) float32, 0 to 1: the share of the probability that went to another class.
        Half the sum over the classes of ``|p2 - p1|``.
    classes : tuple of ClassChange
        The counts, in the order of the model's classes.
    """

    first: np.ndarray
    second: np.ndarray
    changed: np.ndarray
    disagreement: np.ndarray
    classes: tuple[ClassChange, ...]


def compare_rounds(
    first: np.ndarray,
    second: np.ndarray,
    disagreement: np.ndarray,
    classes: Sequence[LabelClass],
    truth: np.ndarray | None = None,
) -> FeedbackChange:
    """Return what changed between two rounds.

    Parameters
    ----------
    first, second : ndarray
        (Y, X) uint8 labels.
    disagreement : ndarray
        (Y, X), as in :class:`FeedbackChange`.
    classes : sequence of LabelClass
        The classes of the labels.
    truth : ndarray, optional
        (Y, X), the right labels; 0 is unlabelled and does not count.

    Raises
    ------
    InputError
        If the ground truth has another shape, or a label that is no class.
    """
    if truth is not None:
        _check_truth(truth, second.shape, classes)
    moved = first != second
    counts = []
    for each in classes:
        was, is_now = first == each.value, second == each.value
        change = ClassChange(
            each, int(was.sum()), int(is_now.sum()), int((was & moved).sum()), int((is_now & moved).sum())
        )
        if truth is not None:
            true = (truth == each.value) & moved
            change = ClassChange(
                each,
                change.before,
                change.after,
                change.left,
                change.joined,
                int((true & is_now).sum()),
                int((true & was).sum()),
            )
        counts.append(change)
    changed = np.where(moved, second, UNLABELLED).astype(np.uint8)
    return FeedbackChange(first, second, changed, disagreement, tuple(counts))


def _check_truth(truth: np.ndarray, shape: tuple[int, ...], classes: Sequence[LabelClass]) -> None:
    if truth.shape != shape:
        raise InputError(
            f"The ground truth has the shape {truth.shape} and the section {shape}: take labels of the "
            "same section."
        )
    unknown = sorted(set(np.unique(truth).tolist()) - {UNLABELLED} - {each.value for each in classes})
    if unknown:
        named = ", ".join(f"{each.value} {each.name}" for each in classes)
        raise InputError(
            f"The ground truth has labels that are no class of the model: {unknown[:5]}. The classes are "
            f"{named}; 0 is unlabelled."
        )

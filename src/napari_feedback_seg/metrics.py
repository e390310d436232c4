"""Scores of a segmentation, from one confusion matrix over all its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_feedback_seg.classes import UNLABELLED, LabelClass

if TYPE_CHECKING:
    from collections.abc import Sequence

Labels = npt.NDArray[np.uint8]


def confusion_matrix(
    truth: Labels, predicted: Labels, classes: Sequence[LabelClass]
) -> npt.NDArray[np.int64]:
    """Count pixels by true class (rows) and predicted class (columns).

    Parameters
    ----------
    truth, predicted : array of uint8
        Class values, of the same shape. Pixels whose truth is 0 (unlabelled) do not count.
    classes : sequence of LabelClass
        The order of rows and columns.

    Returns
    -------
    array of int64
        (classes + 1, classes + 1); the last row and column count what is none of the classes.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"Truth {truth.shape} and prediction {predicted.shape} differ in shape.")
    index = np.full(256, len(classes), np.int64)
    index[[each.value for each in classes]] = np.arange(len(classes))
    side = len(classes) + 1
    pairs = index[truth] * side + index[predicted]
    counts = np.bincount(pairs[truth != UNLABELLED], minlength=side * side).reshape(side, side)
    return counts


def iou(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return intersection over union of each class; NaN where a class is nowhere."""
    size = min(confusion.shape) - 1
    intersection = np.diag(confusion)[:size]
    union = confusion.sum(axis=0)[:size] + confusion.sum(axis=1)[:size] - intersection
    scores = np.full(size, np.nan)
    np.divide(intersection, union, out=scores, where=union > 0)
    return scores


def iou_table(confusion: npt.NDArray[np.int64], classes: Sequence[LabelClass]) -> dict[str, Any]:
    """Return ``{"iou": {class name: value}, "mean_iou": value}``, fractions of 1.

    A class that is nowhere has no value and does not count in the mean.
    """
    values = iou(confusion)
    named = {
        each.name: float(value) for each, value in zip(classes, values, strict=True) if np.isfinite(value)
    }
    return {"iou": named, "mean_iou": float(np.mean(list(named.values()))) if named else None}

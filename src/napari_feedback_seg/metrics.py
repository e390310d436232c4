"""Scores of a segmentation: per class from one confusion matrix, and of the cells it encloses.

The scores of the cells are those of neuron tracers, who ask which cells were joined or cut,
and not how thick a membrane was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import label
from skimage.metrics import adapted_rand_error, variation_of_information

from napari_feedback_seg.classes import UNLABELLED, LabelClass
from napari_feedback_seg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

Labels = npt.NDArray[np.integer[Any]]

BORDERS = ("membrane", "synapse")
"""The classes that part cells: a synapse lies on a membrane and takes its place in the labels."""


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
        (classes + 1, classes + 1); the last row and column count pixels of other classes.

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
    both, either, _ = _overlap(confusion)
    return _ratio(both, either)


def dice(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the Dice coefficient (F1) of each class; NaN where a class is nowhere."""
    both, _, sizes = _overlap(confusion)
    return _ratio(2 * both, sizes)


def iou_table(confusion: npt.NDArray[np.int64], classes: Sequence[LabelClass]) -> dict[str, Any]:
    """Return ``{"iou": {class name: value}, "mean_iou": value}``, fractions of 1.

    A class that is nowhere has no value. The mean is over the classes that the truth has: one that
    it lacks would be 0 or nothing at all for the sake of a single pixel. Its pixels count against
    the classes that they are taken from.
    """
    return _table("iou", iou(confusion), confusion, classes)


class Scores:
    """Scores over sections that are added one by one.

    Parameters
    ----------
    classes : sequence of LabelClass
        The classes of the labels.
    possible : array of bool, optional
        (256, classes): the classes that a label allows, where it is not simply the value of one. Then a
        class is scored on the pixels of which it is known whether they are of that class.
    """

    def __init__(self, classes: Sequence[LabelClass], possible: npt.NDArray[np.bool_] | None = None) -> None:
        self._classes = classes
        if possible is None:
            possible = np.zeros((256, len(classes)), bool)
            possible[[each.value for each in classes], np.arange(len(classes))] = True
            self._simple = True
        else:
            self._simple = False
        self._possible = possible
        self._counts = np.zeros((256, len(classes) + 1), np.int64)
        self._cells: list[dict[str, float]] = []

    def add(self, truth: Labels, predicted: Labels, cells: Labels | None = None) -> None:
        """Add a section: true labels and predicted class values (Y, X), and true cells if known."""
        self._counts += label_counts(truth, predicted, self._classes)
        found = None
        if cells is not None:
            found = compare_cells(cells, predicted, self._classes)
        elif self._simple:
            found = cell_scores(truth, predicted, self._classes)
        if found is not None:
            self._cells.append(found)

    def table(self) -> dict[str, Any]:
        """Return the scores.

        Returns
        -------
        dict
            ``iou`` and ``dice`` per class name, ``mean_iou`` and ``mean_dice``; ``cells``, the mean
            over the sections of :func:`cell_scores`, where there is any; ``confusion``, in pixels:
            a row for each true class, a column for each predicted one and one for none of them. A pixel
            whose label leaves several classes open is in no row of it, but counts in ``iou`` and ``dice``
            of the classes that it rules out.
        """
        confusion, both, sizes = coded_overlap(self._counts, self._possible)
        table = coded_iou_table(self._counts, self._possible, self._classes)
        table |= _table("dice", _ratio(2 * both, sizes), confusion, self._classes)
        if self._cells:
            table["cells"] = {
                name: float(np.mean([each[name] for each in self._cells])) for name in self._cells[0]
            }
        return {**table, "confusion": confusion.tolist()}


def label_counts(truth: Labels, predicted: Labels, classes: Sequence[LabelClass]) -> npt.NDArray[np.int64]:
    """Count pixels by true label (256 rows) and predicted class (columns; the last is any other).

    Pixels whose truth is 0 (unlabelled) do not count.

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
    pairs = truth.astype(np.int64) * side + index[predicted]
    counts = np.bincount(pairs.ravel(), minlength=256 * side).reshape(256, side)
    counts[UNLABELLED] = 0
    return counts


def coded_iou_table(
    counts: npt.NDArray[np.int64], possible: npt.NDArray[np.bool_], classes: Sequence[LabelClass]
) -> dict[str, Any]:
    """Return :func:`iou_table` where a label may be a set of classes; see :func:`coded_overlap`."""
    confusion, both, sizes = coded_overlap(counts, possible)
    return _table("iou", _ratio(both, sizes - both), confusion, classes)


def coded_overlap(
    counts: npt.NDArray[np.int64], possible: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return what overlaps where a label may be a set of classes.

    Parameters
    ----------
    counts : array
        (256, classes + 1) as :func:`label_counts` gives them.
    possible : array of bool
        (256, classes): the classes that a label allows.

    Returns
    -------
    tuple of array
        (classes, classes + 1): pixels that are surely of a class (rows), by prediction. Then, of each
        class, the pixels of the intersection, and of truth and prediction together. A pixel that can be
        of the class or of another counts in neither.
    """
    count = possible.sum(axis=1, keepdims=True)
    sure = possible & (count == 1)
    known = (count > 0) & (sure | ~possible)
    confusion = sure.astype(np.int64).T @ counts
    both = np.diag(confusion).copy()
    labelled = sure.any(axis=0)
    predicted = (known * counts[:, :-1]).sum(axis=0) * labelled
    return confusion, both, confusion.sum(axis=1) + predicted


@dataclass(frozen=True)
class SectionCompared:
    """A section has been compared.

    Attributes
    ----------
    done, total : int
        Sections compared so far, and sections in all.
    """

    done: int
    total: int


def compare(
    truth: Labels, predicted: Labels, classes: Sequence[LabelClass]
) -> Generator[SectionCompared, None, dict[str, Any]]:
    """Compare two label images; yield an event for each section.

    Parameters
    ----------
    truth, predicted : array of integers
        Class values (Y, X), or (Z, Y, X) for a stack of sections. Pixels that are 0, unlabelled or
        not segmented, in either do not count.
    classes : sequence of LabelClass
        The classes of the labels.

    Returns
    -------
    dict
        As :meth:`Scores.table`; ``errors`` as :func:`errors` gives them; and ``left_out``, the share of
        what is labelled in truth that is not segmented.

    Raises
    ------
    InputError
        If the shapes differ, nothing is labelled or segmented, or there are values that are no class.
    """
    if truth.shape != predicted.shape:
        raise InputError(f"The shapes differ: {truth.shape} (ground truth) and {predicted.shape}.")
    truth, predicted = _class_values(truth, classes), _class_values(predicted, classes)
    if not truth.any():
        raise InputError("The ground truth is 0, unlabelled, everywhere.")
    labelled = np.count_nonzero(truth)
    truth = np.where(predicted == UNLABELLED, UNLABELLED, truth)
    counted = np.count_nonzero(truth)
    if not counted:
        raise InputError("Nothing is segmented where the ground truth is labelled.")
    scores = Scores(classes)
    sections = [each.reshape(-1, *each.shape[-2:]) for each in (truth, predicted)]
    for done, section in enumerate(zip(*sections, strict=True), start=1):
        scores.add(*section)
        yield SectionCompared(done, len(sections[0]))
    left_out = 1 - counted / labelled
    return {**scores.table(), "errors": errors(truth, predicted), "left_out": left_out}


def errors(truth: Labels, predicted: Labels) -> npt.NDArray[np.uint8]:
    """Return the true class where the prediction is another; 0 where it is right or nothing is labelled."""
    return np.where(truth != predicted, truth, UNLABELLED).astype(np.uint8)


def cells(labels: Labels, classes: Sequence[LabelClass]) -> npt.NDArray[np.int64]:
    """Return the cells, numbered, that the membranes of a section enclose.

    A cell is what is connected (over the sides of pixels, not their corners), labelled, and
    neither membrane nor synapse. There is no least size: a speck is a cell, and what it says
    in the scores is as little as its pixels.

    Parameters
    ----------
    labels : array of uint8
        Class values (Y, X).
    classes : sequence of LabelClass
        Their classes.

    Returns
    -------
    array of int64
        (Y, X), 1 and up for the cells, 0 elsewhere.
    """
    no_cell = [UNLABELLED, *(each.value for each in classes if each.name in BORDERS)]
    found: npt.NDArray[np.int64] = label(np.isin(labels, no_cell, invert=True), connectivity=1)
    return found


def cell_scores(truth: Labels, predicted: Labels, classes: Sequence[LabelClass]) -> dict[str, float] | None:
    """Compare the cells of a section.

    What is membrane or synapse in truth does not count: where in a membrane the border runs is
    nobody's error. The predicted membranes are thinned to lines, each of their pixels going to the
    nearest predicted cell: a membrane drawn too thick is no error either. What is left are cells that
    are joined, and cells that are cut. Beyond what is labelled in truth there are no cells in either.

    Parameters
    ----------
    truth, predicted : array of uint8
        Class values (Y, X).
    classes : sequence of LabelClass
        Their classes.

    Returns
    -------
    dict or None
        ``vi_split`` and ``vi_merge``, the two parts of the variation of information in bits: what the
        prediction cuts, the entropy H(predicted cell | true cell), and what it joins,
        H(true cell | predicted cell). ``are``, the adapted Rand error, 1 - F1 of the pairs of pixels
        that lie in one cell. All are 0 at best. None where there is nothing to compare: no membrane
        among the classes, or no true cell of more than a pixel.

    References
    ----------
    Meila (2007): Comparing clusterings, an information based distance. J. Multivariate Analysis 98.
    Arganda-Carreras et al. (2015): Crowdsourcing the creation of image segmentation algorithms for
    connectomics. Front. Neuroanat. 9:142.
    """
    if "membrane" not in [each.name for each in classes]:
        return None
    predicted = np.where(truth == UNLABELLED, UNLABELLED, predicted)
    return compare_cells(cells(truth, classes), predicted, classes)


def compare_cells(
    true_cells: Labels, predicted: Labels, classes: Sequence[LabelClass]
) -> dict[str, float] | None:
    """Compare the cells that a prediction encloses with numbered ones; see :func:`cell_scores`.

    Parameters
    ----------
    true_cells : array of int
        (Y, X) numbers of the cells; 0 does not count.
    predicted : array of uint8
        Class values (Y, X).
    classes : sequence of LabelClass
        Their classes.
    """
    if np.unique(true_cells[true_cells > 0], return_counts=True)[1].max(initial=0) < 2:
        return None
    found = cells(predicted, classes)
    if found.any():
        nearest = ndimage.distance_transform_edt(found == 0, return_distances=False, return_indices=True)
        found = found[tuple(nearest)]
    counted = true_cells > 0
    pair = true_cells[counted], found[counted]
    split, merge = variation_of_information(*pair)
    error, _, _ = adapted_rand_error(*pair, ignore_labels=())
    return {"vi_split": float(split), "vi_merge": float(merge), "are": float(error)}


def _overlap(confusion: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
    """Return for each class the pixels of intersection, of union, and of truth and prediction together."""
    count = min(confusion.shape) - 1
    both = np.diag(confusion)[:count]
    sizes = confusion.sum(axis=0)[:count] + confusion.sum(axis=1)[:count]
    return both, sizes - both, sizes


def _ratio(above: npt.NDArray[np.int64], below: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    found = np.full(len(above), np.nan)
    np.divide(above, below, out=found, where=below > 0)
    return found


def _table(
    name: str,
    values: npt.NDArray[np.float64],
    confusion: npt.NDArray[np.int64],
    classes: Sequence[LabelClass],
) -> dict[str, Any]:
    named = {
        each.name: float(value) for each, value in zip(classes, values, strict=True) if np.isfinite(value)
    }
    true = values[confusion.sum(axis=1)[: len(values)] > 0]
    return {name: named, f"mean_{name}": float(true.mean()) if true.size else None}


def _class_values(labels: Labels, classes: Sequence[LabelClass]) -> npt.NDArray[np.uint8]:
    odd = np.setdiff1d(labels, [UNLABELLED, *(each.value for each in classes)])
    if odd.size:
        known = ", ".join(f"{each.value} {each.name}" for each in classes)
        raise InputError(
            f"There are label values that are no class ({', '.join(map(str, odd[:5]))}). "
            f"The classes are {known}; 0 is unlabelled."
        )
    return labels.astype(np.uint8)

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import contingency_table

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.metrics import confusion_matrix, iou, iou_table


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 5, (40, 50)).astype(np.uint8), random.integers(1, 5, (40, 50)).astype(np.uint8)


def test_equals_an_independent_implementation(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, predicted = pair
    confusion = confusion_matrix(truth, predicted, EM_CLASSES)
    table = contingency_table(truth, predicted).toarray()  # rows and columns by value
    assert (confusion[:4, :4] == table[1:5, 1:5]).all()
    for value, score in zip((1, 2, 3, 4), iou(confusion), strict=True):
        labelled = truth > 0
        here, there = (truth == value) & labelled, (predicted == value) & labelled
        assert score == pytest.approx((here & there).sum() / (here | there).sum())


def test_a_pixel_predicted_as_no_class_counts_against_its_class() -> None:
    truth = np.array([[1, 1, 4, 4]], np.uint8)
    predicted = np.array([[1, 0, 4, 4]], np.uint8)
    table = iou_table(confusion_matrix(truth, predicted, EM_CLASSES), EM_CLASSES)
    assert table["iou"] == {"membrane": 0.5, "cytoplasm": 1.0}  # the others are nowhere
    assert table["mean_iou"] == 0.75


def test_nothing_labelled_scores_nothing() -> None:
    nothing = np.zeros((3, 3), np.uint8)
    table = iou_table(confusion_matrix(nothing, nothing + 1, EM_CLASSES), EM_CLASSES)
    assert table == {"iou": {}, "mean_iou": None}


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        confusion_matrix(np.ones((2, 2), np.uint8), np.ones((2, 3), np.uint8), EM_CLASSES)

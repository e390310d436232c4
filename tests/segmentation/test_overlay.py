from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.segmentation.overlay import overlay


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.full((300, 400), 4, np.uint8)
    labels[:100], labels[100:150], labels[150:160] = 1, 2, 3
    return labels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_classes_have_their_colours(labels: np.ndarray, dtype: type) -> None:
    section = np.random.default_rng(0).integers(0, 200, labels.shape).astype(dtype)
    picture = np.asarray(overlay(section, labels, EM_CLASSES, strength=1.0)).astype(int)
    left, right = picture[:300, :400], picture[:300, 408:808]
    assert (left == left[..., :1]).all()  # the section alone is grey
    for each in EM_CLASSES[:3]:
        inside = labels == each.value
        expected = left[inside] * (1 - each.opacity) + np.array(each.rgb) * each.opacity
        assert np.abs(right[inside] - expected).max() <= 2
    assert np.abs(right[labels == 4] - left[labels == 4]).mean() < 25  # cytoplasm is nearly transparent


def test_the_legend_has_every_colour(labels: np.ndarray) -> None:
    picture = np.asarray(overlay(labels * 10, labels, EM_CLASSES))
    legend = picture[300:].reshape(-1, 3)
    for each in EM_CLASSES:
        assert (legend == each.rgb).all(axis=1).sum() > 200


def test_a_constant_section_with_nan_is_drawn() -> None:
    section = np.full((40, 50), np.nan, np.float32)
    section[0] = 7
    picture = overlay(section, np.zeros((40, 50), np.uint8), EM_CLASSES)
    assert picture.size == (640, 70)

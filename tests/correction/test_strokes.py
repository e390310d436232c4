"""Strokes, as they are dealt from what is painted."""

from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.correction.strokes import find_strokes, not_muted, still_settled

SYNAPSE, CYTOPLASM = 3, 4


@pytest.fixture
def labels() -> np.ndarray:
    """Three strokes, two of them of one class."""
    labels = np.zeros((40, 60), np.uint8)
    labels[10:12, 10:16] = SYNAPSE
    labels[30:32, 10:16] = SYNAPSE
    labels[10:12, 40:46] = CYTOPLASM
    return labels


@pytest.fixture
def settled(labels: np.ndarray) -> np.ndarray:
    """What was put right around each."""
    settled = np.zeros_like(labels)
    settled[6:16, 6:20] = settled[26:36, 6:20] = SYNAPSE
    settled[6:16, 36:50] = CYTOPLASM
    settled[labels > 0] = 0
    return settled


def still(settled: np.ndarray, labels: np.ndarray, muted: tuple = ()) -> np.ndarray:
    return still_settled(settled, labels, not_muted(find_strokes(labels), muted, ()))


def test_it_stays_as_long_as_its_strokes_do(labels: np.ndarray, settled: np.ndarray) -> None:
    assert np.array_equal(still(settled, labels), settled)


def test_a_part_goes_with_its_stroke(labels: np.ndarray, settled: np.ndarray) -> None:
    expected = settled.copy()
    expected[:20, :30] = 0
    muted = still(settled, labels, ((0, 10, 12),))
    assert np.array_equal(muted, expected)
    labels[:20, :30] = 0
    assert np.array_equal(still(settled, labels), expected)


def test_a_part_goes_where_another_class_is_painted(labels: np.ndarray, settled: np.ndarray) -> None:
    labels[7, 8] = CYTOPLASM
    expected = settled.copy()
    expected[:20, :30] = 0
    assert np.array_equal(still(settled, labels), expected)


def test_what_is_painted_since_is_no_part_of_it(labels: np.ndarray, settled: np.ndarray) -> None:
    labels[6:10, 6:20] = SYNAPSE
    found = still(settled, labels)
    assert not found[labels > 0].any()
    assert np.array_equal(found[labels == 0], settled[labels == 0])


def test_a_stroke_stays_the_same_whatever_else_is_painted(labels: np.ndarray) -> None:
    before = {each.key for each in find_strokes(labels)}
    labels[20:22, 30:50] = SYNAPSE
    labels[35:37, 50:58] = 1
    after = {each.key for each in find_strokes(labels)}
    assert len(before) == 3
    assert before < after


def test_its_pixels_are_in_no_order_to_be_seen(labels: np.ndarray) -> None:
    labels[:] = 1
    pixels = find_strokes(labels)[0].pixels
    assert abs(pixels[:60].mean(axis=0) - (19.5, 29.5)).max() < 6
    assert len(np.unique(pixels, axis=0)) == labels.size

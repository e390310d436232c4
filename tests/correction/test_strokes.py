"""Strokes, as they are dealt from what is painted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from napari_feedback_seg.correction.strokes import Settled, find_strokes, not_muted

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
def settled(labels: np.ndarray) -> Settled:
    """What was put right around each; the areas of the first two touch."""
    owners = np.zeros(labels.shape, np.int32)
    owners[6:20, 6:20], owners[20:36, 6:20], owners[6:16, 36:50] = 1, 2, 3
    return Settled(sparse.csr_array(owners), np.array([SYNAPSE, SYNAPSE, CYTOPLASM], np.uint8))


def classes(settled: Settled) -> np.ndarray:
    return np.array([0, *settled.values], np.uint8)[settled.owners.toarray()]


def still(settled: Settled, labels: np.ndarray, muted: tuple = ()) -> np.ndarray:
    owners, right = settled.still(labels, not_muted(find_strokes(labels), muted, ()))
    assert np.array_equal(right, np.where(labels > 0, 0, np.array([0, *settled.values])[owners]))
    return right


def test_it_stays_as_long_as_its_strokes_do(labels: np.ndarray, settled: Settled) -> None:
    assert np.array_equal(still(settled, labels), np.where(labels > 0, 0, classes(settled)))


def test_a_part_goes_with_its_stroke_and_the_one_beside_it_stays(
    labels: np.ndarray, settled: Settled
) -> None:
    expected = np.where(labels > 0, 0, classes(settled))
    expected[:20, :30] = 0
    assert np.array_equal(still(settled, labels, ((0, 10, 12),)), expected)
    labels[:20, :30] = 0
    assert np.array_equal(still(settled, labels), expected)


def test_paint_of_another_class_is_a_wall(labels: np.ndarray, settled: Settled) -> None:
    labels[8, 6:20] = CYTOPLASM
    expected = np.where(labels > 0, 0, classes(settled))
    expected[6:9, 6:20] = 0
    assert np.array_equal(still(settled, labels), expected)


def test_what_is_painted_since_is_no_part_of_it(labels: np.ndarray, settled: Settled) -> None:
    labels[6:10, 6:20] = SYNAPSE
    found = still(settled, labels)
    assert not found[labels > 0].any()
    assert np.array_equal(found[labels == 0], classes(settled)[labels == 0])


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

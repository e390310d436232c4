from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.attention_maps.changes import compare_rounds
from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.errors import InputError

FIRST = np.array([[1, 1, 2], [4, 4, 3]], np.uint8)
SECOND = np.array([[1, 4, 4], [4, 1, 3]], np.uint8)
TRUTH = np.array([[1, 1, 4], [0, 1, 3]], np.uint8)
NONE = np.zeros((2, 3), np.float32)


def test_changed_pixels_have_their_new_class() -> None:
    change = compare_rounds(FIRST, SECOND, NONE, EM_CLASSES)
    assert change.changed.tolist() == [[0, 4, 4], [0, 1, 0]]
    assert change.changed.dtype == np.uint8


def test_moved_pixels_are_counted_for_each_class() -> None:
    membrane, mitochondria, synapse, cytoplasm = compare_rounds(FIRST, SECOND, NONE, EM_CLASSES).classes
    assert (membrane.before, membrane.after, membrane.left, membrane.joined) == (2, 2, 1, 1)
    assert (mitochondria.before, mitochondria.after, mitochondria.left) == (1, 0, 1)
    assert (synapse.left, synapse.joined) == (0, 0)
    assert (cytoplasm.before, cytoplasm.after, cytoplasm.left, cytoplasm.joined) == (2, 3, 1, 2)
    assert membrane.to_right is None


def test_ground_truth_tells_right_from_wrong() -> None:
    membrane, _, synapse, cytoplasm = compare_rounds(FIRST, SECOND, NONE, EM_CLASSES, TRUTH).classes
    assert (membrane.to_right, membrane.to_wrong) == (1, 1)
    assert (cytoplasm.to_right, cytoplasm.to_wrong) == (1, 0)
    assert (synapse.to_right, synapse.to_wrong) == (0, 0)


def test_ground_truth_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(3, 3\) and the section \(2, 3\)"):
        compare_rounds(FIRST, SECOND, NONE, EM_CLASSES, np.ones((3, 3), np.uint8))


def test_ground_truth_with_a_label_that_is_no_class_is_refused() -> None:
    with pytest.raises(InputError, match=r"no class of the model: \[9\]. The classes are 1 membrane"):
        compare_rounds(FIRST, SECOND, NONE, EM_CLASSES, np.full((2, 3), 9))

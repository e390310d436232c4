from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.generators import finish
from napari_feedback_seg.objects.cells import NO_TISSUE, find_cells
from napari_feedback_seg.objects.options import CellOptions, Through
from napari_feedback_seg.objects.sources import Segmentation

VOXEL = (30.0, 6.0, 6.0)


def grid(shape=(120, 160), step=40) -> np.ndarray:
    """Return membranes around square cells."""
    membrane = np.zeros(shape, np.uint8)
    for width in range(-2, 2):
        membrane[max(0, width) :: step] = membrane[:, max(0, width) :: step] = 254
    return membrane


def cells_of(membrane, **options):
    return finish(find_cells(membrane, CellOptions(**options), VOXEL))


def test_each_enclosure_is_a_cell_and_all_is_covered():
    labels, count = cells_of(grid())

    assert count == 12
    assert labels.all()
    assert labels[20, 20] != labels[20, 60]


def test_a_gap_in_a_membrane_is_closed():
    membrane = grid((80, 160), 80)
    membrane[38:44, 78:82] = 0

    labels, count = cells_of(membrane)

    assert count == 2
    assert labels[40, 40] != labels[40, 120]


def test_weak_membranes_join_where_few_cells_are_wanted():
    membrane = np.where(grid((80, 160), 80) > 0, 140, 0).astype(np.uint8)

    assert cells_of(membrane, bias=0.1)[1] == 1
    assert cells_of(membrane, bias=0.6)[1] == 2


def test_cells_are_linked_through_z_over_a_blank_section():
    stack = np.stack([np.roll(grid(), 2 * z, axis=1) for z in range(5)])
    stack[2] = NO_TISSUE

    labels, count = cells_of(stack)
    apart, of_sections = cells_of(stack, through=Through.NONE)

    assert not labels[2].any()
    assert labels[0, 20, 20] == labels[4, 20, 28] != labels[0, 20, 60]
    assert count <= 16
    assert of_sections >= 48
    assert not apart[2].any()


def test_nothing_segmented_is_no_cell():
    assert cells_of(np.full((40, 40), NO_TISSUE, np.uint8))[1] == 0


def test_no_membrane_is_one_cell():
    labels, count = cells_of(np.zeros((40, 40), np.uint8))

    assert count == 1
    assert labels.all()


def test_a_large_section_is_made_of_blocks():
    membrane = grid((200, 200))

    whole, count = cells_of(membrane)
    parts, of_parts = finish(find_cells(membrane, CellOptions(), VOXEL, size=(1, 90, 90)))

    assert of_parts == count
    pairs = np.unique(np.stack([whole.ravel(), parts.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) >= 0.9 * pairs.shape[1]


def test_what_parts_cells_is_membrane_and_synapse():
    probabilities = np.zeros((1, 4, 2, 3), np.float32)
    probabilities[0, 0, 0, 0], probabilities[0, 2, 0, 0] = 0.5, 0.25
    probabilities[0, 3, 0, 1] = 1
    soft = Segmentation(probabilities, EM_CLASSES, (2, 3), soft=True)
    labels = Segmentation(np.array([[[1, 3, 2], [4, 0, 0]]]), EM_CLASSES, (2, 3))

    assert next(soft.borders()).tolist() == [[190, 0, NO_TISSUE], [NO_TISSUE] * 3]
    assert next(labels.borders()).tolist() == [[254, 254, 0], [0, NO_TISSUE, NO_TISSUE]]
    assert next(soft.of_class(1))[0, 0] == 128


def test_without_a_class_membrane_there_are_no_cells():
    with pytest.raises(InputError, match="membrane"):
        next(Segmentation(np.ones((1, 2, 2)), EM_CLASSES[1:2], (2, 2)).borders())

from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.plugin.session.correct.painted.counts import MOST_CELLS, Count, count, summed


def test_pixels_and_strokes_of_each_class():
    section = np.zeros((60, 60), np.uint8)
    section[10:12, 10:12] = section[10:12, 13:15] = section[12, 15] = 3  # two strokes, one at a corner
    section[40, 40] = 1
    assert count(section) == {1: Count(1, 1), 3: Count(9, 2)}
    assert count(np.zeros((5, 0), np.uint8)) == count(np.zeros((7, 9), np.uint8)) == {}


@pytest.mark.parametrize("shape", [(70, 50), (2100, 1030)])
def test_of_many_strokes_the_pixels_are_those_of_numpy(shape):
    rng = np.random.default_rng(1)
    section = np.zeros(shape, np.uint8)
    for turn in range(30):
        row, column = rng.integers(0, shape[0] - 9), rng.integers(0, shape[1] - 9)
        section[row : row + 9, column : column + 9] = turn % 5
    found = count(section)
    assert {value: each.pixels for value, each in found.items()} == {
        value: int((section == value).sum()) for value in range(1, 5) if (section == value).any()
    }
    assert all(each.strokes >= 1 for each in found.values())


def test_a_large_section_is_counted_on_a_grid():
    section = np.zeros((4 * MOST_CELLS, 30), np.uint8)
    section[8, 8] = section[8, 11] = section[3000, 8] = 2  # the first two are three pixels apart
    assert count(section) == {2: Count(3, 2)}


def test_labels_all_over():
    section = np.full((2 * MOST_CELLS, 40), 1, np.uint8)
    section[:, 20:] = 2
    section[1, 1] = 3  # between the pixels that are looked at
    assert count(section) == {
        1: Count(2 * MOST_CELLS * 20 - 1, 1),
        2: Count(2 * MOST_CELLS * 20, 1),
        3: Count(1, 1),
    }


def test_counts_of_sections_add_up():
    assert summed([{1: Count(5, 1)}, {}, {1: Count(2, 2), 4: Count(1, 1)}]) == {
        1: Count(7, 3),
        4: Count(1, 1),
    }

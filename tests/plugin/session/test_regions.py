from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.plugin.session.regions import places, within, without


def test_where_a_region_lies_in_a_part():
    region = slice(10, 20), slice(30, 50)
    assert within(region, None) == region
    assert within(region, (slice(5, 40), slice(30, 90))) == (slice(5, 15), slice(0, 20))


def test_places_are_those_of_numpy():
    section = np.random.default_rng(0).integers(0, 40, (50, 30), np.uint8) // 38
    for ours, theirs in zip(places(section), np.nonzero(section), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "other",
    [
        np.s_[2:5, 3:6],
        np.s_[0:4, 0:4],
        np.s_[4:20, 2:5],
        np.s_[0:10, 0:8],
        np.s_[1:9, 7:12],
        np.s_[12:14, 0:3],
    ],
)
def test_what_is_left_of_a_region_and_the_common_part_are_the_region(other) -> None:
    plane = np.zeros((20, 20), int)
    plane[1:10, 1:8] = 1
    plane[other] = 0
    pieces = np.zeros((20, 20), int)
    for piece in without(np.s_[1:10, 1:8], other):
        assert pieces[piece].size
        pieces[piece] += 1
    np.testing.assert_array_equal(pieces, plane)

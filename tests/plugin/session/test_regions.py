from __future__ import annotations

import numpy as np

from napari_feedback_seg.plugin.session.regions import places, within


def test_where_a_region_lies_in_a_part():
    region = slice(10, 20), slice(30, 50)
    assert within(region, None) == region
    assert within(region, (slice(5, 40), slice(30, 90))) == (slice(5, 15), slice(0, 20))


def test_places_are_those_of_numpy():
    section = np.random.default_rng(0).integers(0, 40, (50, 30), np.uint8) // 38
    for ours, theirs in zip(places(section), np.nonzero(section), strict=True):
        np.testing.assert_array_equal(ours, theirs)

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from napari_feedback_seg.plugin.session.correct.painted.composed import Composed, composed

RESULT = np.uint8([[1, 1, 2], [2, 0, 3]])
CORRECTIONS = np.uint8([[0, 4, 0], [0, 2, 77]])


def test_a_correction_counts_and_elsewhere_the_result():
    np.testing.assert_array_equal(composed(RESULT, CORRECTIONS), [[1, 4, 2], [2, 2, 77]])


def test_a_value_that_is_no_class_does_not_count():
    np.testing.assert_array_equal(composed(RESULT, CORRECTIONS, {1, 2, 3, 4}), [[1, 4, 2], [2, 2, 3]])


def test_where_nothing_was_segmented_nothing_is_made_of_strokes():
    assert not composed(np.zeros_like(RESULT), CORRECTIONS).any()


@pytest.mark.parametrize("corrections", [None, np.zeros_like(RESULT)])
def test_without_corrections_nothing_is_copied(corrections):
    assert composed(RESULT, corrections) is RESULT


class TestArray:
    def test_of_a_stack_each_section_is_composed_when_it_is_read(self):
        result = np.stack([RESULT, np.zeros_like(RESULT), RESULT])
        corrections = np.zeros_like(result)
        both = Composed(result, corrections, range(1, 5))
        assert (both.shape, both.ndim, both.dtype, len(both)) == ((3, 2, 3), 3, np.uint8, 3)
        corrections[2], corrections[1] = CORRECTIONS, CORRECTIONS
        np.testing.assert_array_equal(both[2], [[1, 4, 2], [2, 2, 3]])
        np.testing.assert_array_equal(np.asarray(both), [RESULT, np.zeros_like(RESULT), both[2]])
        np.testing.assert_array_equal(list(both), np.asarray(both))

    def test_what_was_read_does_not_change_with_the_layers(self):
        result = RESULT.copy()
        before = np.asarray(Composed(result))
        result[:] = 4
        np.testing.assert_array_equal(before, RESULT)

    def test_of_a_section_there_is_no_section(self):
        both = Composed(RESULT, CORRECTIONS)
        np.testing.assert_array_equal(both, [[1, 4, 2], [2, 2, 77]])
        with pytest.raises(IndexError, match="Only a stack"):
            both[0]

    def test_a_lazy_array_stays_lazy(self):
        reads = []

        def read(block, block_info=None):
            reads.append(block_info[0]["chunk-location"])
            return block

        lazy = da.from_array(np.stack([RESULT] * 3), chunks=(1, 2, 3)).map_blocks(read, meta=np.uint8([]))
        np.testing.assert_array_equal(Composed(lazy)[1], RESULT)
        assert reads == [(1, 0, 0)]


@pytest.mark.parametrize("flat", [False, True])
def test_a_part_is_that_of_the_whole(flat):
    rng = np.random.default_rng(0)
    result, corrections = rng.integers(0, 4, (2, 3, 20, 30)).astype(np.uint8)
    result[1] = 0  # not segmented, and stays empty
    result[0, 5:9, 5:9] = 0  # a border in a section that is
    if flat:
        result, corrections = result[0], corrections[0]
    both = Composed(result, corrections, (1, 2))
    place = (slice(0, 2), slice(4, 10), slice(3, 12))[flat:]

    np.testing.assert_array_equal(both[place], np.asarray(both)[place])
    np.testing.assert_array_equal(Composed(result)[place], result[place])

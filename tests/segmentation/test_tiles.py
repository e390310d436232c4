from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.segmentation.sections import rescale
from napari_feedback_seg.segmentation.tiles import (
    RollingBlend,
    RowResampler,
    Tile,
    gaussian_window,
    mirrored,
    starts,
)

RNG = np.random.default_rng(0)


class TestStarts:
    @pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.9, 0.999])
    @pytest.mark.parametrize("length", [1, 7, 31, 32, 33, 64, 100, 257])
    def test_tiles_cover_the_axis_with_the_overlap_asked_for(self, length, overlap):
        found = starts(length, 32, overlap, slice(0, length))
        covered = {row for start in found for row in range(start, start + 32)}
        assert covered >= set(range(length))
        stride = max(1, round(32 * (1 - overlap)))
        assert set(np.diff(found)[:-1]) <= {stride}
        assert all(0 < step <= stride for step in np.diff(found))
        assert all(start < length and start + 32 > 0 for start in found)

    def test_what_is_too_much_is_shared_by_both_ends(self):
        [only] = starts(25, 32, 0.25, slice(0, 25))
        before, after = -only, only + 32 - 25
        assert 0 <= before - after <= 1

    def test_the_last_tile_ends_where_the_tissue_does(self):
        assert starts(100, 32, 0.25, slice(0, 100)) == [0, 24, 48, 68]
        assert starts(100, 32, 0.25, slice(0, 100), slice(9, 99)) == [9, 33, 57, 67]

    def test_what_lies_beyond_the_tissue_moves_no_other_tile(self):
        clean, with_bar = (starts(768, 256, 0.25, slice(0, 768), slice(0, end)) for end in (768, 750))
        assert clean[:-1] == with_bar[:-1]

    def test_a_region_takes_the_tiles_of_the_whole_that_touch_it(self):
        whole = starts(200, 32, 0.25, slice(0, 200))
        part = starts(200, 32, 0.25, slice(50, 60))
        assert part == [start for start in whole if start < 60 and start + 32 > 50]
        assert 0 < len(part) < len(whole)


class TestMirrored:
    @pytest.mark.parametrize("length", [1, 2, 3, 10])
    def test_as_numpy_reflects(self, length):
        expected = np.pad(np.arange(length), 25, mode="reflect")
        np.testing.assert_array_equal(mirrored(-25, length + 25, length), expected)


class TestWindow:
    def test_as_monai_weighs(self):
        from monai.data.utils import compute_importance_map

        importance = compute_importance_map((32, 32), mode="gaussian", sigma_scale=0.125)
        np.testing.assert_allclose(gaussian_window(32), importance.numpy(), atol=1e-3)

    def test_no_pixel_is_without_weight(self):
        assert gaussian_window(64).min() > 0


def blended(length: int, tile: int, overlap: float, region: tuple[slice, slice]) -> np.ndarray:
    """Blend random predictions of 2 channels; the value of a tile depends on its place only."""
    blend = RollingBlend(2, tile, *region)
    blocks = []
    for y in starts(length, tile, overlap, region[0]):
        for x in starts(length, tile, overlap, region[1]):
            prediction = np.random.default_rng([y + 1000, x + 1000]).random((2, tile, tile), np.float32)
            blocks += blend.add(Tile(y, x), prediction)
    return np.concatenate(blocks + blend.rest(), axis=1)


def blended_at_once(length: int, tile: int, overlap: float) -> np.ndarray:
    """Do the same on the whole section at once, in double precision."""
    margin = tile
    sums = np.zeros((2, length + 2 * margin, length + 2 * margin))
    weights = np.zeros(sums.shape[1:])
    window = gaussian_window(tile).astype(np.float64)
    for y in starts(length, tile, overlap, slice(0, length)):
        for x in starts(length, tile, overlap, slice(0, length)):
            prediction = np.random.default_rng([y + 1000, x + 1000]).random((2, tile, tile), np.float32)
            at = np.s_[y + margin : y + margin + tile, x + margin : x + margin + tile]
            sums[:, *at] += prediction * window
            weights[at] += window
    inside = np.s_[margin : margin + length]
    return sums[:, inside, inside] / weights[inside, inside]


class TestBlend:
    @pytest.mark.parametrize("overlap", [0, 0.25, 0.6])
    @pytest.mark.parametrize("length", [1, 9, 16, 50])
    def test_rolling_equals_all_at_once(self, length, overlap):
        whole = (slice(0, length), slice(0, length))
        np.testing.assert_allclose(
            blended(length, 16, overlap, whole), blended_at_once(length, 16, overlap), rtol=1e-5
        )

    def test_region(self):
        region = (slice(11, 30), slice(20, 49))
        expected = blended_at_once(50, 16, 0.25)[:, *region]
        np.testing.assert_allclose(blended(50, 16, 0.25, region), expected, rtol=1e-5)


class TestRowResampler:
    @pytest.mark.parametrize(
        ("source", "target"), [((40, 30), (97, 71)), ((90, 80), (31, 20)), ((7, 1), (1, 7))]
    )
    @pytest.mark.parametrize("step", [1, 5, 100])
    def test_in_pieces_as_at_once(self, source, target, step):
        whole = RNG.random((2, *source), np.float32)
        resampler = RowResampler(source, target, slice(0, target[0]), slice(0, target[1]))
        rows, columns = resampler.needed
        pieces = [
            piece
            for start in range(0, source[0], step)
            for piece in resampler.add(whole[:, rows, columns][:, start : start + step])
        ]
        expected = np.stack([rescale(channel, target) for channel in whole])
        np.testing.assert_allclose(np.concatenate(pieces, axis=1), expected, atol=1e-6)

    def test_region(self):
        whole = RNG.random((2, 40, 30), np.float32)
        resampler = RowResampler((40, 30), (97, 71), slice(50, 61), slice(0, 9))
        rows, columns = resampler.needed
        assert rows.stop - rows.start < 9
        [piece] = resampler.add(whole[:, rows, columns])
        expected = np.stack([rescale(channel, (97, 71)) for channel in whole])[:, 50:61, :9]
        np.testing.assert_allclose(piece, expected, atol=1e-6)

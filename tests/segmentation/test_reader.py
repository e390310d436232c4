from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.segmentation.reader import TileReader
from napari_feedback_seg.segmentation.sections import BlankSection, normalise, rescale
from napari_feedback_seg.segmentation.tiles import Tile


class TestReader:
    def test_a_tile_is_cut_from_the_mirrored_normalised_section(self, section):
        reader = TileReader(section, section.shape)
        padded = np.pad(normalise(section), 40, mode="reflect")
        for y, x in [(-40, -40), (0, 0), (20, 33), (60, 80)]:
            expected = padded[y + 40 : y + 72, x + 40 : x + 72]
            np.testing.assert_array_equal(reader.read(Tile(y, x), 32), expected)

    @pytest.mark.parametrize("shape", [(150, 180), (30, 41), (75, 91)])
    def test_at_another_pixel_size(self, section, shape):
        reader = TileReader(section, shape)
        padded = np.pad(normalise(rescale(normalise(section), shape)), 40, mode="reflect")
        for y, x in [(-20, -20), (0, 0), (5, 9)]:
            expected = padded[y + 40 : y + 72, x + 40 : x + 72]
            np.testing.assert_allclose(reader.read(Tile(y, x), 32), expected, atol=1e-5)

    def test_holes_do_not_spread(self, section):
        holed = section.astype(np.float64)
        holed[10:12, 10:12] = np.nan
        assert np.isfinite(TileReader(holed, (40, 40)).read(Tile(0, 0), 32)).all()

    def test_blank(self):
        with pytest.raises(BlankSection, match="one grey value"):
            TileReader(np.full((9, 9), 3), (9, 9))
        with pytest.raises(BlankSection, match="one grey value"):
            TileReader(np.full((9, 9), 3), (5, 5))

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.segmentation.tissue import find_border, mirror_into

SIDE = 512


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    return builtin_section(SIDE, seed=1).image


def turned(degrees: float) -> np.ndarray:
    """Return what is outside of a section that was turned about its middle."""
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    angle = np.deg2rad(degrees)
    return (abs(np.cos(angle) * y - np.sin(angle) * x) > SIDE / 2) | (
        abs(np.sin(angle) * y + np.cos(angle) * x) > SIDE / 2
    )


def side(share: float) -> np.ndarray:
    outside = np.zeros((SIDE, SIDE), bool)
    outside[:, : round(share * SIDE)] = True
    return outside


def corner(share: float) -> np.ndarray:
    outside = np.zeros((SIDE, SIDE), bool)
    length = round(np.sqrt(share) * SIDE)
    outside[-length:, :length] = True
    return outside


def frame(share: float) -> np.ndarray:
    outside = np.ones((SIDE, SIDE), bool)
    width = round((1 - np.sqrt(1 - share)) * SIDE / 2)
    outside[width:-width, width:-width] = False
    return outside


def found_in(section: np.ndarray, step: int = 1) -> np.ndarray:
    border = find_border(section, step)
    if border is None:
        return np.zeros(section.shape, bool)
    return border.mask(section, *map(np.arange, section.shape))


class TestBorder:
    @pytest.mark.parametrize("value", [0, 90, 255])
    @pytest.mark.parametrize(
        "outside",
        [
            *[shape(share) for shape in (side, corner, frame) for share in (0.01, 0.4, 0.9)],
            *[turned(degrees) for degrees in (0.5, 3, 20, 45)],
        ],
    )
    def test_is_found_and_nothing_else(self, tissue, outside, value):
        found = found_in(np.where(outside, value, tissue).astype(np.uint8))
        assert found[outside].all()
        assert found[~outside].mean() < 0.002

    @pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "f8"])
    def test_of_any_dtype(self, tissue, dtype):
        found = found_in(
            np.where(turned(3), np.array(-1 if dtype != "u2" else 7, dtype), tissue.astype(dtype))
        )
        assert found[turned(3)].all()

    def test_of_two_values(self, tissue):
        image = np.where(side(0.1), 0, np.where(side(0.1)[:, ::-1], 255, tissue))
        assert (found_in(image) == (side(0.1) | side(0.1)[:, ::-1])).mean() > 0.999

    @pytest.mark.parametrize("step", [2, 3])
    def test_of_every_nth_pixel(self, tissue, step):
        outside = turned(3)
        found = found_in(np.where(outside, 0, tissue), step)
        assert found[outside].mean() > 0.99
        assert found[~outside].mean() < 0.002

    def test_with_what_is_written_in_it(self, tissue):
        """A data bar at the lower edge, with letters."""
        image = tissue.copy()
        image[-40:] = 0
        image[-30:-10, 20:30] = 255
        image[-30:-10, 300:302] = 128
        assert found_in(image)[-40:].all()

    def test_after_jpeg(self, tissue):
        file = io.BytesIO()
        Image.fromarray(np.where(side(0.3), 0, tissue).astype(np.uint8)).save(file, "jpeg", quality=75)
        found = found_in(np.asarray(Image.open(file)))
        assert found[side(0.3)].mean() > 0.94
        assert found[~side(0.3)].mean() < 0.002

    @pytest.mark.parametrize("percent", [0, 5, 10])
    def test_saturated_tissue_stays(self, tissue, percent):
        low, high = np.percentile(tissue, [percent, 100 - percent])
        saturated = np.clip((tissue - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        assert not found_in(saturated).any()

    def test_a_white_blob_at_the_edge_stays(self, tissue):
        """A vessel of 60 pixels, cut by the edge."""
        y, x = np.indices(tissue.shape)
        assert not found_in(np.where(np.hypot(y, x - 200) < 30, 255, tissue)).any()

    def test_one_value_within_stays(self, tissue):
        image = tissue.copy()
        image[100:300, 100:300] = 0
        assert not found_in(image).any()


class TestMirror:
    def test_a_straight_border(self):
        values = np.arange(40.0).reshape(4, 10)
        outside = np.zeros((4, 10), bool)
        outside[:, 7:] = True
        expected = values.copy()
        expected[:, 7:] = values[:, [5, 4, 3]]
        np.testing.assert_array_equal(mirror_into(values, outside), expected)

    def test_always_shows_tissue(self, tissue):
        outside = turned(20)
        values = np.where(outside, np.nan, tissue)
        assert np.isfinite(mirror_into(values, outside)).all()

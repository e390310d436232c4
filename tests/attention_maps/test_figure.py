from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from skimage.color import rgb2lab

from napari_feedback_seg.attention_maps.colours import colour_table, coloured, contrast_limits
from napari_feedback_seg.attention_maps.figure import FigureRow, attention_figure
from napari_feedback_seg.attention_maps.maps import SectionAttention

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_feedback_seg.models.model import Model

PANEL, GAP, LEGEND = 320, 12, 34


def test_lightness_of_the_colours_grows_evenly() -> None:
    lightness = rgb2lab(colour_table()[None] / 255)[0, :, 0]
    assert colour_table()[0].tolist() == [0, 0, 0]
    assert np.abs(np.diff(lightness) - lightness[-1] / 255).max() < 0.5


def test_contrast_leaves_outliers_out() -> None:
    values = np.linspace(0, 1, 10_000)
    values[-1] = 1000
    low, high = contrast_limits(values)
    assert 0 < low < 0.02
    assert 0.99 < high < 1


@pytest.mark.parametrize("values", [np.ones((4, 4)), np.zeros((4, 4)), np.eye(64)])
def test_contrast_of_a_flat_map_can_be_shown(values: np.ndarray) -> None:
    low, high = contrast_limits(values)
    assert low < high
    assert np.isfinite(coloured(values, (low, high))).all()


def test_colours_end_at_the_limits() -> None:
    colours = coloured(np.array([[-5.0, 0.0, 2.0, 9.0]]), (0.0, 2.0))
    assert colours[0].tolist() == [colour_table()[at].tolist() for at in (0, 0, 255, 255)]


@pytest.mark.parametrize(
    ("modes", "truth", "columns", "rows"),
    [
        (["self"], False, 4, 1),
        (["self"], True, 5, 1),
        (["source_target", "self"], True, 4, 2),
        (["source_target", "self"], False, 4, 2),
    ],
)
def test_figure_has_a_row_a_model(
    make_model: Callable[..., Model],
    section: np.ndarray,
    modes: list[str],
    truth: bool,
    columns: int,
    rows: int,
) -> None:
    figure_rows = []
    for mode in modes:
        tile = SectionAttention(section, make_model(mode=mode, key_pooling=4), device="cpu").at(40, 40)
        pixels = [tile.pixel(40, 40), tile.pixel(35, 45)]
        figure_rows.append(FigureRow(f"a model {mode}", mode, tile, pixels))
    labels = np.ones(section.shape, np.uint8) if truth else None
    picture = attention_figure(section, figure_rows, labels)
    assert picture.width == columns * (PANEL + GAP) + GAP
    assert round(picture.height / (PANEL + 60)) == rows
    pixels = np.asarray(picture)
    for row in range(rows):
        middle = round((row + 0.5) * (picture.height - LEGEND) / rows)
        for column in range(columns):
            left = GAP + column * (PANEL + GAP)
            panel = pixels[middle - 100 : middle + 100, left + 20 : left + PANEL - 20]
            empty = row == 1 and column == 0 and not truth
            assert (panel == 255).all() == empty


def test_map_is_shown_in_its_places(make_model: Callable[..., Model], section: np.ndarray) -> None:
    tile = SectionAttention(section, make_model(key_pooling=8), device="cpu").at(40, 40)
    pixel = tile.pixel(40, 40)
    picture = np.asarray(attention_figure(section, [FigureRow("m", "self", tile, [pixel])]))
    left, top, zoom = GAP + 2 * (PANEL + GAP), 26, PANEL // 32
    expected = coloured(pixel.map, contrast_limits(pixel.map))
    shown = picture[top + 5 : top + PANEL : zoom, left + 5 : left + PANEL : zoom]
    differ = (shown != expected).any(axis=2)
    assert differ.mean() < 0.03  # the mark of the pixel

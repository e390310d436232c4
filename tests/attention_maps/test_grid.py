from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.attention_maps.grid import TileFrame, TileGrid
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.segmentation.tiles import Tile, starts

SAME = TileGrid((75, 90), (75, 90), 32, 0.25)
RESCALED = TileGrid((75, 90), (150, 135), 32, 0.25)
COARSE = TileGrid((75, 90), (38, 30), 32, 0.0)
NARROW = TileGrid((20, 90), (20, 90), 32, 0.25)
GRIDS = pytest.mark.parametrize("grid", [SAME, RESCALED, COARSE, NARROW])


def every_pixel(grid: TileGrid) -> list[tuple[int, int]]:
    return [(y, x) for y in range(0, grid.shape[0], 3) for x in range(0, grid.shape[1], 3)]


@GRIDS
def test_nearest_tile_is_of_the_segmentation_s_grid_and_nearest(grid: TileGrid) -> None:
    axes = [starts(length, 32, grid.overlap, slice(0, length)) for length in grid.model_shape]
    for y, x in every_pixel(grid):
        tile = grid.nearest(y, x).tile
        at = (np.array([y, x]) + 0.5) * np.divide(grid.model_shape, grid.shape)
        for start, allowed, position in zip((tile.y, tile.x), axes, at, strict=True):
            assert start in allowed
            distance = abs(start + 16 - position)
            assert distance == pytest.approx(min(abs(each + 16 - position) for each in allowed))


@GRIDS
@pytest.mark.parametrize("choose", ["nearest", "around"])
def test_tile_shows_the_pixel_it_was_chosen_for(grid: TileGrid, choose: str) -> None:
    for y, x in every_pixel(grid):
        frame = getattr(grid, choose)(y, x)
        assert frame.shows(y, x)
        row, column = frame.pixel(y, x)
        assert 0 <= row < 32
        assert 0 <= column < 32


def test_pixel_on_the_border_of_touching_tiles_is_in_the_later_one() -> None:
    grid = TileGrid((128, 128), (64, 64), 32, 0.0)
    assert grid.nearest(63, 0).tile == Tile(0, 0)
    assert grid.nearest(64, 0).tile == Tile(32, 0)
    odd = TileGrid((33, 33), (96, 96), 32, 0.0)  # the middle of pixel 16 is the border of 32 at 48
    for y in range(33):
        assert odd.nearest(y, 0).shows(y, 0)


def test_recentred_tile_has_the_pixel_in_its_middle() -> None:
    frame = SAME.around(40, 45)
    assert frame.tile == Tile(24, 29)
    assert frame.pixel(40, 45) == (16, 16)


def test_recentred_tile_stays_in_the_section() -> None:
    assert SAME.around(0, 0).tile == Tile(0, 0)
    assert SAME.around(74, 89).tile == Tile(75 - 32, 90 - 32)


def test_narrow_section_lies_in_the_middle_of_its_tile() -> None:
    frame = NARROW.nearest(10, 40)
    assert frame.tile.y == -6
    assert frame == NARROW.nearest(0, 40)
    assert frame.region[0] == slice(0, 20)
    assert NARROW.around(3, 40).tile.y == -6


def test_mirrored_border_is_cut_away() -> None:
    frame = NARROW.nearest(10, 40)
    rows = np.repeat(np.arange(32)[:, None], 32, axis=1)
    shown = frame.to_section(rows)
    assert shown.shape == (20, 32)
    assert shown[:, 0].tolist() == list(range(6, 26))


def test_outline_includes_the_border_and_fits_whole_pixels() -> None:
    frame = NARROW.nearest(10, 0)
    first, last = frame.outline[0], frame.outline[2]
    assert first[0] == -6.5
    assert (last - first).tolist() == [32, 32]


def test_outline_of_a_rescaled_section_is_in_its_own_pixels() -> None:
    frame = TileFrame(Tile(32, 0), 32, (64, 64), (128, 128))
    assert frame.outline.tolist() == [[15.5, -0.5], [15.5, 15.5], [31.5, 15.5], [31.5, -0.5]]
    assert frame.region == (slice(16, 32), slice(0, 16))


def test_places_keep_their_true_resolution() -> None:
    frame = TileFrame(Tile(0, 0), 32, (32, 32), (32, 32))
    places = np.arange(16.0).reshape(4, 4)
    assert np.array_equal(frame.to_section(places, 8), np.kron(places, np.ones((8, 8))))


def test_places_that_do_not_fill_the_tile_are_as_large_as_the_network_s() -> None:
    frame = TileFrame(Tile(0, 0), 32, (32, 32), (32, 32))
    shown = frame.to_section(np.arange(9.0).reshape(3, 3), 12)
    assert shown[0].tolist() == [0.0] * 12 + [1.0] * 12 + [2.0] * 8
    assert frame.centres(12)[0, :, 1].tolist() == [5.5, 17.5, 27.5]


def test_centre_of_a_place_is_in_that_place() -> None:
    frame = RESCALED.nearest(40, 45)
    places = np.arange(64.0).reshape(8, 8)
    shown = frame.to_section(places, 4)
    rows, columns = frame.region
    for place, (y, x) in zip(places.ravel(), frame.centres(4).reshape(-1, 2), strict=True):
        y, x = round(float(y)), round(float(x))
        if frame.shows(y, x):
            near = shown[
                max(0, y - rows.start - 1) : y - rows.start + 2,
                max(0, x - columns.start - 1) : x - columns.start + 2,
            ]
            assert place in near


@pytest.mark.parametrize("pixel", [(-1, 0), (0, -1), (75, 0), (0, 90), (10_000, 10_000)])
@pytest.mark.parametrize("choose", ["nearest", "around"])
def test_pixel_outside_of_the_image_is_refused(pixel: tuple[int, int], choose: str) -> None:
    with pytest.raises(InputError, match=r"outside of the image: its rows go from 0 to 74 .* columns .* 89"):
        getattr(SAME, choose)(*pixel)


def test_pixel_of_the_border_of_a_small_image_is_refused() -> None:
    with pytest.raises(InputError, match="outside of the image"):
        NARROW.nearest(10, 40).pixel(-3, 40)


def test_pixel_of_another_tile_is_refused() -> None:
    with pytest.raises(InputError, match="outside of the tile, which has the rows"):
        SAME.nearest(5, 5).pixel(70, 80)


def test_tiles_lie_on_the_tissue_as_if_there_were_no_border() -> None:
    tissue = (slice(20, 95), slice(7, 97))
    bordered = TileGrid((130, 110), (130, 110), 32, 0.25, tissue)
    for y, x in every_pixel(SAME):
        for choose in ("nearest", "around"):
            plain = getattr(SAME, choose)(y, x).tile
            assert getattr(bordered, choose)(y + 20, x + 7).tile == Tile(plain.y + 20, plain.x + 7)
    with pytest.raises(InputError, match="no tissue at the pixel"):
        bordered.nearest(10, 50)

"""Where the tiles of a section lie, and which of them an attention map comes from.

Two grids of pixels meet here: that of the section as it came, in which everything is shown,
and that of the model's pixel size, on which the network works. No torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.segmentation.tiles import Tile, starts


@dataclass(frozen=True)
class TileFrame:
    """A tile, and the part of the section that it shows.

    Attributes
    ----------
    tile : Tile
        Its upper left corner, on the grid of the model's pixel size.
    size : int
        Its side in pixels of that grid.
    shape, model_shape : tuple of int
        (Y, X) of the section as it came, and at the model's pixel size.
    """

    tile: Tile
    size: int
    shape: tuple[int, int]
    model_shape: tuple[int, int]

    @property
    def region(self) -> tuple[slice, slice]:
        """The rows and columns of the section in the tile, without its mirrored border."""
        rows, columns = self._inside()
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    @property
    def outline(self) -> np.ndarray:
        """The four corners (4, 2), y and x in pixels of the section, border included.

        A pixel's centre lies at whole numbers, so that the section begins at -0.5.
        """
        ratio = np.divide(self.shape, self.model_shape)
        first = np.array([self.tile.y, self.tile.x]) * ratio - 0.5
        last = first + self.size * ratio
        return np.array([first, (first[0], last[1]), last, (last[0], first[1])])

    def shows(self, y: int, x: int) -> bool:
        """Whether a pixel of the section is in the tile."""
        return all(part.start <= at < part.stop for part, at in zip(self.region, (y, x), strict=True))

    def pixel(self, y: int, x: int) -> tuple[int, int]:
        """Return the row and column within the tile of a pixel of the section.

        Raises
        ------
        InputError
            If the pixel is outside of the tile or of the section.
        """
        check_inside(self.shape, y, x)
        if not self.shows(y, x):
            rows, columns = self.region
            raise InputError(
                f"The pixel ({y}, {x}) is outside of the tile, which has the rows {rows.start} to "
                f"{rows.stop - 1} and the columns {columns.start} to {columns.stop - 1}."
            )
        row, column = (int(each[0]) for each in self._on_model_grid(np.array([y]), np.array([x])))
        return row, column

    def to_section(self, array: np.ndarray, side: int = 1) -> np.ndarray:
        """Return what is known of a tile on the section's own pixels.

        Nothing is smoothed: each pixel takes the value of the place in which it lies.

        Parameters
        ----------
        array : ndarray
            (h, w), a value for each place of the tile.
        side : int
            Side of a place in pixels of the model; at the tile's end it may be cut off.

        Returns
        -------
        ndarray
            (Y, X) of :attr:`region`.
        """
        rows, columns = self._on_model_grid(*self._inside())
        result: np.ndarray = array[np.ix_(rows // side, columns // side)]
        return result

    def centres(self, side: int) -> np.ndarray:
        """Return y and x (h, w, 2), in pixels of the section, of the middle of each place."""
        edges = np.minimum(np.arange(0, self.size + side, side), self.size)
        middles = (edges[:-1] + edges[1:]) / 2
        axes = [
            (start + middles) * (length / on_model) - 0.5
            for start, length, on_model in zip(
                (self.tile.y, self.tile.x), self.shape, self.model_shape, strict=True
            )
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    def _inside(self) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = (np.arange(length) for length in self.shape)
        rows_in_tile, columns_in_tile = self._on_model_grid(rows, columns)
        return (
            rows[(rows_in_tile >= 0) & (rows_in_tile < self.size)],
            columns[(columns_in_tile >= 0) & (columns_in_tile < self.size)],
        )

    def _on_model_grid(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where in the tile rows and columns of the section are."""
        down, across = (
            np.floor(_scaled(at, length, on_model)).astype(np.int64)
            for at, length, on_model in zip((rows, columns), self.shape, self.model_shape, strict=True)
        )
        return down - self.tile.y, across - self.tile.x


@dataclass(frozen=True)
class TileGrid:
    """The tiles with which a model segments a section.

    Parameters
    ----------
    shape, model_shape : tuple of int
        (Y, X) of the section as it came, and at the model's pixel size.
    size : int
        Side of a tile.
    overlap : float
        Fraction of a tile that it shares with the next.
    tissue : (slice, slice), optional
        The rows and columns that have tissue, at the model's pixel size: the tiles lie as if there
        were nothing else. All of them if not given.
    """

    shape: tuple[int, int]
    model_shape: tuple[int, int]
    size: int
    overlap: float
    tissue: tuple[slice, slice] | None = None

    @property
    def _tissue(self) -> tuple[slice, slice]:
        height, width = self.model_shape
        return self.tissue or (slice(0, height), slice(0, width))

    def nearest(self, y: int, x: int) -> TileFrame:
        """Return the tile whose centre is nearest to a pixel of the section.

        Raises
        ------
        InputError
            If the pixel is outside of the section or of its tissue.
        """
        corner = []
        for at, length, tissue in zip(self._on_model_grid(y, x), self.model_shape, self._tissue, strict=True):
            grid = starts(length, self.size, self.overlap, tissue, tissue)
            # Of two as near, the later one: a pixel on the border between two tiles is in that.
            distances = [abs(start + self.size / 2 - at) for start in reversed(grid)]
            corner.append(grid[-1 - distances.index(min(distances))])
        return self._frame(corner)

    def around(self, y: int, x: int) -> TileFrame:
        """Return a tile in whose middle the pixel lies, as far as the border of the tissue allows.

        Raises
        ------
        InputError
            If the pixel is outside of the section or of its tissue.
        """
        corner = []
        for at, tissue in zip(self._on_model_grid(y, x), self._tissue, strict=True):
            room = tissue.stop - tissue.start - self.size
            middle = math.floor(at - self.size / 2) - tissue.start
            corner.append(tissue.start + (min(max(middle, 0), room) if room >= 0 else room // 2))
        return self._frame(corner)

    def _frame(self, corner: list[int]) -> TileFrame:
        return TileFrame(Tile(*corner), self.size, self.shape, self.model_shape)

    def _on_model_grid(self, y: int, x: int) -> list[float]:
        check_inside(self.shape, y, x)
        found = [
            float(_scaled(at, length, on_model))
            for at, length, on_model in zip((y, x), self.shape, self.model_shape, strict=True)
        ]
        if not all(part.start <= at < part.stop for part, at in zip(self._tissue, found, strict=True)):
            raise InputError(f"There is no tissue at the pixel ({y}, {x}): choose one within the border.")
        return found


def check_inside(shape: tuple[int, int], y: int, x: int) -> None:
    """Raise an InputError unless a pixel is in the section (Y, X)."""
    if not (0 <= y < shape[0] and 0 <= x < shape[1]):
        raise InputError(
            f"The pixel ({y}, {x}) is outside of the image: its rows go from 0 to {shape[0] - 1} and its "
            f"columns from 0 to {shape[1] - 1}."
        )


def _scaled(at: np.ndarray | int, length: int, on_model: int) -> np.ndarray | float:
    """Return where the middle of pixel ``at`` is, in pixels of the model from the section's edge."""
    return (at + 0.5) * (on_model / length)

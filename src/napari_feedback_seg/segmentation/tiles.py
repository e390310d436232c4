"""Tiles: where they lie, and how their predictions are blended.

Rows and columns are counted on the grid of the model's pixel size. A tile may begin
before the section and end after it; what it sees there is the section, mirrored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.segmentation.sections import resampling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scipy.sparse import csr_array

GAUSSIAN_SIGMA = 0.125
_BAND = 4_000_000


@dataclass(frozen=True)
class Tile:
    """The upper left corner of a tile."""

    y: int
    x: int


def starts(length: int, tile: int, overlap: float, within: slice, tissue: slice | None = None) -> list[int]:
    """Return where along one axis the tiles begin that touch ``within``.

    The grid is that of the whole axis, so that a region is predicted as it would be
    within the whole section. The last tile ends where the tissue does, and overlaps more;
    so what lies beyond the tissue moves no other tile. Only a tile that is larger than
    the tissue sees it mirrored, at both ends alike.

    Parameters
    ----------
    length, tile : int
        Size of the section and of a tile along this axis.
    overlap : float
        Fraction of a tile that it shares with the next.
    within : slice
        The region along this axis.
    tissue : slice, optional
        The part that has tissue, as if it were all there is; the whole if not given.
    """
    begin, length = (0, length) if tissue is None else (tissue.start, tissue.stop - tissue.start)
    stride = max(1, round(tile * (1 - overlap)))
    count = 1 + max(0, math.ceil((length - tile) / stride))
    last = length - tile if length > tile else (length - tile) // 2
    grid = (begin + min(index * stride, last) for index in range(count))
    return [start for start in grid if start < within.stop and start + tile > within.start]


def scaled(part: tuple[slice, slice], shape: tuple[int, int], own: tuple[int, int]) -> tuple[slice, slice]:
    """Return what a part of a section is resampled from: rows and columns of the model's grid, ``own``."""
    rows, columns = (
        each if to == of else columns_of(resampling(to, of)[each])
        for each, of, to in zip(part, shape, own, strict=True)
    )
    return rows, columns


def mirrored(start: int, stop: int, length: int) -> np.ndarray:
    """Return the rows of a section of ``length`` rows that ``start`` to ``stop`` show.

    Beyond its ends the section is mirrored without repeating the first and last row, as
    often as needed.
    """
    period = max(1, 2 * (length - 1))
    index = np.abs(np.arange(start, stop)) % period
    return np.where(index < length, index, period - index)


def gaussian_window(tile: int) -> np.ndarray:
    """Return the weight (tile, tile) of each pixel of a tile: its centre knows most."""
    offset = (np.arange(tile) - (tile - 1) / 2) / (GAUSSIAN_SIGMA * tile)
    profile = np.exp(-0.5 * offset**2)
    return np.outer(profile, profile).astype(np.float32)


class RollingBlend:
    """Sums of weighted predictions, held for the tiles of one row only.

    Parameters
    ----------
    channels, tile : int
        Of the predictions.
    rows, columns : slice
        The part of the section that is wanted.
    """

    def __init__(self, channels: int, tile: int, rows: slice, columns: slice) -> None:
        self._tile = tile
        self._rows, self._columns = rows, columns
        self._window = gaussian_window(tile)
        width = columns.stop - columns.start
        self._sums = np.zeros((channels, tile, width), np.float32)
        self._weights = np.zeros((tile, width), np.float32)
        self._top: int | None = None

    def add(self, tile: Tile, prediction: np.ndarray) -> list[np.ndarray]:
        """Add a prediction (C, tile, tile); return the rows (C, n, X) that are finished by it.

        Tiles come row by row, from above. Most finish nothing; the list is empty then.
        """
        finished = [] if self._top in (None, tile.y) else self._finish(tile.y)
        self._top = tile.y
        left, right = max(tile.x, self._columns.start), min(tile.x + self._tile, self._columns.stop)
        to = slice(left - self._columns.start, right - self._columns.start)
        of = slice(left - tile.x, right - tile.x)
        self._sums[:, :, to] += prediction[:, :, of] * self._window[:, of]
        self._weights[:, to] += self._window[:, of]
        return finished

    def rest(self) -> list[np.ndarray]:
        """Return the rows (C, n, X) that are left after the last tile."""
        assert self._top is not None
        return self._finish(self._top + self._tile)

    def _finish(self, below: int) -> list[np.ndarray]:
        assert self._top is not None
        done = below - self._top
        first = max(0, self._rows.start - self._top)
        last = min(done, self._rows.stop - self._top)
        finished = [self._sums[:, first:last] / self._weights[first:last]] if first < last else []
        for held in (self._sums, self._weights):
            held[..., : self._tile - done, :] = held[..., done:, :]
            held[..., self._tile - done :, :] = 0
        return finished


class RowResampler:
    """Resamples probabilities that arrive row by row, from above.

    Parameters
    ----------
    source, target : tuple of int
        (Y, X) of the whole section at the model's pixel size, and as it came.
    rows, columns : slice
        The part wanted, on the target's grid.

    Attributes
    ----------
    needed : tuple of slice
        The rows and columns that it is made from, on the source's grid.
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int], rows: slice, columns: slice) -> None:
        self._down = resampling(source[0], target[0])[rows]
        across = resampling(source[1], target[1])[columns]
        self.needed = columns_of(self._down), columns_of(across)
        self._across = across[:, self.needed[1]]
        self._down = self._down[:, self.needed[0]]
        ends = self._down.indptr[:-1]
        self._first = np.minimum.reduceat(self._down.indices, ends)
        self._last = np.maximum.reduceat(self._down.indices, ends)
        self._held: np.ndarray | None = None
        self._top = 0
        self._done = 0

    def add(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """Take rows (C, n, X of the source); yield those (C, m, X of the target) that are finished."""
        block = np.stack([(self._across @ channel.T).T for channel in block])
        self._held = block if self._held is None else np.concatenate([self._held, block], axis=1)
        available = self._top + self._held.shape[1]
        ready = int(np.searchsorted(self._last, available))
        band = max(1, _BAND // self._across.shape[0])
        for start in range(self._done, ready, band):
            weights = self._down[start : min(start + band, ready), self._top : available]
            yield np.stack([weights @ channel for channel in self._held])
        self._done = ready
        if ready < len(self._first):
            drop = max(0, min(int(self._first[ready]), available) - self._top)
            self._held = self._held[:, drop:].copy()
            self._top += drop
        else:
            self._held = None


def columns_of(matrix: csr_array) -> slice:
    """Return the columns of a matrix that hold anything."""
    return slice(int(matrix.indices.min()), int(matrix.indices.max()) + 1)


def tiles_within(
    shape: tuple[int, int],
    tile: int,
    overlap: float,
    within: tuple[slice, slice],
    box: tuple[slice, slice] | tuple[None, None] = (None, None),
) -> list[Tile]:
    """Return the tiles that touch a part of a section (Y, X), row by row; ``box`` has all its tissue."""
    rows, columns = (
        starts(length, tile, overlap, part, tissue)
        for length, part, tissue in zip(shape, within, box, strict=True)
    )
    return [Tile(y, x) for y in rows for x in columns]


def tiles_of(shape: tuple[int, int], tile: int, overlap: float) -> list[Tile]:
    """Return the tiles of a whole section (Y, X) at the model's pixel size."""
    return tiles_within(shape, tile, overlap, (slice(0, shape[0]), slice(0, shape[1])))


def seen_by_tiles(
    shape: tuple[int, int],
    own: tuple[int, int],
    region: tuple[slice, slice],
    tile: int,
    overlap: float,
    tissue: tuple[slice, slice] | None,
) -> tuple[slice, slice]:
    """Return what the tiles of a region show, on the model's grid."""
    box = tissue or (slice(0, shape[0]), slice(0, shape[1]))
    inner = intersection(region[0], box[0]), intersection(region[1], box[1])
    if any(each.start >= each.stop for each in inner):
        return slice(0, 1), slice(0, 1)
    needed = inner if own == shape else RowResampler(own, shape, *inner).needed
    grids = [
        starts(length, tile, overlap, part, within)
        for length, part, within in zip(own, needed, scaled(box, shape, own), strict=True)
    ]
    rows, columns = (slice(grid[0], grid[-1] + tile) for grid in grids)
    return rows, columns


def within(part: tuple[slice, slice], whole: tuple[slice, slice]) -> tuple[slice, slice]:
    """Return what a part has of a region, as rows and columns of the region."""
    rows, columns = (
        slice(max(0, one.start - own.start), max(0, one.stop - own.start))
        for one, own in zip(part, whole, strict=True)
    )
    return rows, columns


def intersection(one: slice, other: slice) -> slice:
    """Return what two slices have in common; its stop is not above its start if that is nothing."""
    return slice(max(one.start, other.start), min(one.stop, other.stop))

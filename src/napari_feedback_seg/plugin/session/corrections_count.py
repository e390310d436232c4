"""How much is corrected in a section: counted anew only where something has changed; numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.classes import UNLABELLED

if TYPE_CHECKING:
    from collections.abc import Iterator

Box = tuple[slice, slice]
"""Rows and columns."""

MOST_CELLS = 1024
"""Strokes are told apart on a grid of so many cells a side at the most; on a smaller section by the pixel."""

# What fits into the processor's cache is done at a time.
_BAND = 64  # rows
_TILE = 512  # rows and columns
_VALUES = 256


@dataclass(frozen=True)
class Count:
    """Corrected pixels, and the places in which they lie together."""

    pixels: int = 0
    strokes: int = 0


class Counter:
    """Counts pixels and strokes of each value in a section.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the section.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.counts: dict[int, Count] = {}
        self._side = -(-max(*shape, 1) // MOST_CELLS)
        self._grid = tuple(-(-length // self._side) for length in shape)
        self._occupied: dict[int, np.ndarray] = {}

    def update(self, now: np.ndarray, before: np.ndarray, box: Box) -> None:
        """Count what has changed within a box.

        Parameters
        ----------
        now, before : ndarray
            (Y, X) uint8 corrections.
        box : tuple of slice
            There is no change outside of it.
        """
        pixels = np.zeros(_VALUES, int)
        elsewhere: set[int] = set()
        for part in tiles(box, now.shape, self._side):
            if np.array_equal(now[part], before[part]):
                continue
            new, old = _histogram(now[part]), _histogram(before[part])
            pixels += new - old
            for value in np.flatnonzero(new + old).tolist():
                if value != UNLABELLED and self._occupy(value, part, now[part] == value):
                    elsewhere.add(value)
        pixels[UNLABELLED] = 0
        for value in {*elsewhere, *np.flatnonzero(pixels).tolist()}:
            count = self.counts.get(value, Count())
            strokes = self._strokes(value) if value in elsewhere else count.strokes
            self.counts[value] = Count(count.pixels + int(pixels[value]), strokes)
            if not self.counts[value].pixels:
                del self.counts[value], self._occupied[value]
        self.counts = dict(sorted(self.counts.items()))

    def _occupy(self, value: int, part: Box, mask: np.ndarray) -> bool:
        """Note in which cells of a part there is a value; return whether these are others than before."""
        side = self._side
        cells = tuple(slice(each.start // side, -(-each.stop // side)) for each in part)
        short = [-length % side for length in mask.shape]
        if any(short):
            mask = np.pad(mask, [(0, short[0]), (0, short[1])])
        blocks = mask.reshape(mask.shape[0] // side, side, mask.shape[1] // side, side)
        occupied = blocks.any(axis=(1, 3))
        grid = self._occupied.setdefault(value, np.zeros(self._grid, bool))
        if np.array_equal(grid[cells], occupied):
            return False
        grid[cells] = occupied
        return True

    def _strokes(self, value: int) -> int:
        from scipy import ndimage

        return int(ndimage.label(self._occupied[value], np.ones((3, 3), bool))[1])


def tiles(box: Box, shape: tuple[int, ...], side: int = 1) -> Iterator[Box]:
    """Yield parts that cover a box, each of whole cells of ``side`` pixels."""
    edge = -(-_TILE // side) * side
    starts = (range(part.start // side * side, part.stop, edge) for part in box)
    stops = [min(-(-part.stop // side) * side, length) for part, length in zip(box, shape, strict=True)]
    for top, left in product(*starts):
        yield slice(top, min(top + edge, stops[0])), slice(left, min(left + edge, stops[1]))


def difference(one: np.ndarray, other: np.ndarray | None) -> Box | None:
    """Return the box around all pixels (Y, X) in which two sections differ; None if they are the same.

    Parameters
    ----------
    one, other : ndarray
        The sections; ``None`` stands for one of zeros.
    """
    rows: list[np.ndarray] = []
    columns = np.zeros(one.shape[1], bool)
    for top in range(0, len(one), _BAND):
        band = one[top : top + _BAND]
        differ = band != (0 if other is None else other[top : top + _BAND])
        if differ.any():
            rows.append(top + np.flatnonzero(differ.any(axis=1)))
            columns |= differ.any(axis=0)
    if not rows:
        return None
    across = np.flatnonzero(columns)
    return slice(int(rows[0][0]), int(rows[-1][-1]) + 1), slice(int(across[0]), int(across[-1]) + 1)


def union(one: Box | None, other: Box | None) -> Box | None:
    """Return the box around two boxes; None is an empty one."""
    if one is None or other is None:
        return one or other
    rows, columns = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return rows, columns


def _histogram(values: np.ndarray) -> np.ndarray:
    return np.bincount(values.ravel(), minlength=_VALUES)

"""How much is corrected in a section: pixels and strokes of each class; numpy and scipy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.plugin.session.regions import places

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_CELLS = 1024
"""Strokes are told apart on a grid of at most so many cells a side; on a smaller section by the pixel."""

_DENSE = 5  # from every so many-th pixel on, the section is labelled rather than corrected by strokes


@dataclass(frozen=True)
class Count:
    """Corrected pixels, and the places in which they lie together."""

    pixels: int = 0
    strokes: int = 0

    def __add__(self, other: Count) -> Count:
        """Return the sum of two counts."""
        return Count(self.pixels + other.pixels, self.strokes + other.strokes)


def count(section: np.ndarray) -> dict[int, Count]:
    """Return class value to count.

    Parameters
    ----------
    section : ndarray
        (Y, X) uint8 corrections; 0 where nothing is painted.
    """
    side = -(-max(*section.shape, 1) // MOST_CELLS)
    if np.count_nonzero(section) * _DENSE > section.size:
        pixels = np.bincount(section.ravel(), minlength=256)
        cells = section[::side, ::side]
        rows, columns = np.nonzero(cells)
        values = cells[rows, columns]
    else:
        rows, columns = places(section)
        values = section[rows, columns]
        pixels = np.bincount(values, minlength=256)
        rows, columns = rows // side, columns // side
    pixels[UNLABELLED] = 0
    return {
        value: Count(int(pixels[value]), _touching(rows[values == value], columns[values == value]))
        for value in np.flatnonzero(pixels).tolist()
    }


def summed(counts: Iterable[Mapping[int, Count]]) -> dict[int, Count]:
    """Return class value to count, over several sections."""
    total: dict[int, Count] = {}
    for of_section in counts:
        for value, each in of_section.items():
            total[value] = total.get(value, Count()) + each
    return total


def _touching(rows: np.ndarray, columns: np.ndarray) -> int:
    """Return in how many places cells lie together, at an edge or a corner."""
    from scipy import ndimage

    if not rows.size:  # a dense section has pixels between the cells that are looked at
        return 1
    top, left = rows.min(), columns.min()
    grid = np.zeros((rows.max() - top + 1, columns.max() - left + 1), bool)
    grid[rows - top, columns - left] = True
    return int(ndimage.label(grid, np.ones((3, 3), bool))[1])

"""Labels on a disk, read in strips."""

from __future__ import annotations

from typing import Any

import numpy as np

_BAND = 2**24
"""Pixels that are read from a disk at once."""


class StoredLabels:
    """Labels on a disk, whose sections are read in strips: they may be larger than the memory.

    Parameters
    ----------
    array : array-like
        (Y, X) or (Z, Y, X), such as a Zarr array.
    """

    def __init__(self, array: Any) -> None:
        self._array, self.shape = array, tuple(array.shape)

    def __getitem__(self, z: int) -> StoredSection:
        return StoredSection(self._array, (z,))


class StoredSection:
    """A section of labels on a disk; a band of rows is read at once, as chunks are high.

    Parameters
    ----------
    array : array-like
        (Y, X) or (Z, Y, X).
    where : tuple of int
        The section, of a stack.
    """

    def __init__(self, array: Any, where: tuple[int, ...] = ()) -> None:
        self._array, self._where = array, where
        height, width = array.shape[-2:]
        self.shape = (int(height), int(width))
        self.dtype, self.size = np.dtype(array.dtype), int(height) * int(width)
        self._rows = max(1, _BAND // int(width))
        self._held: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        first, last = rows.start, min(rows.stop, len(self))
        if self._held is None or not self._held[0] <= first <= last <= self._held[0] + len(self._held[1]):
            band = slice(first, max(last, first + self._rows))
            self._held = first, np.asarray(self._array[(*self._where, band)])
        start, band_of_rows = self._held
        found: np.ndarray = band_of_rows[first - start : last - start]
        return found

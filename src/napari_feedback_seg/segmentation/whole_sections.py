"""The probabilities of a region, row by row, as those of whole sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_BAND = 64


class WholeSections:
    """Writes the probabilities of a region as those of whole sections; what does not come is 0.

    Parameters
    ----------
    write : callable
        Takes the next rows (C, n, X) of the section.
    shape : tuple of int
        (Y, X) of a section.
    region : tuple of slice
        The rows and columns that come.
    values : sequence of int
        The class value of each channel.
    painted : mapping of int to ndarray
        Sections by number, (Y, X) labels that a person painted, 0 for nothing. In the region
        their class is certain.
    """

    def __init__(
        self,
        write: Callable[[np.ndarray], None],
        shape: tuple[int, int],
        region: tuple[slice, slice],
        values: Sequence[int],
        painted: Mapping[int, np.ndarray],
    ) -> None:
        self._write, self._shape, self._values, self._painted = write, shape, values, painted
        self._rows, self._columns = region
        self._section = self._done = 0

    def __call__(self, rows: np.ndarray) -> None:
        """Take the next rows (C, n, X) of the region."""
        if not self._done:
            self._nothing_until(self._rows.start)
        self._put(rows)

    def end_section(self) -> None:
        """Fill the section up, and begin the next one."""
        if not self._done:
            self._nothing_until(self._rows.start)
        if self._done < self._rows.stop:
            width = self._columns.stop - self._columns.start
            for top in range(self._done, self._rows.stop, _BAND):
                shape = (len(self._values), min(_BAND, self._rows.stop - top), width)
                self._put(np.zeros(shape, np.float16))
        self._nothing_until(self._shape[0])
        self._section, self._done = self._section + 1, 0

    def _put(self, rows: np.ndarray) -> None:
        count = rows.shape[1]
        if self._section in self._painted:
            labels = self._painted[self._section][self._done : self._done + count, self._columns]
            of_class = np.equal.outer(np.asarray(self._values), labels)
            rows = np.where(labels > 0, of_class.astype(rows.dtype), rows)
        whole = np.zeros((len(rows), count, self._shape[1]), rows.dtype)
        whole[..., self._columns] = rows
        self._write(whole)
        self._done += count

    def _nothing_until(self, below: int) -> None:
        for top in range(self._done, below, _BAND):
            self._write(np.zeros((len(self._values), min(_BAND, below - top), self._shape[1]), np.float16))
        self._done = max(self._done, below)

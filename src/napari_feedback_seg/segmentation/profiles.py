"""Connected profiles of a mask, in the memory of a strip of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


class Profiles:
    """Counts the connected profiles of a mask that comes in strips, from above.

    Of what came it holds one row, and the size of each profile that reaches it.

    Parameters
    ----------
    least_pixels : int
        Smaller profiles are not counted.

    Attributes
    ----------
    count, pixels : int
        Profiles that have come to their end, and their pixels.
    """

    def __init__(self, least_pixels: int) -> None:
        self.count = self.pixels = 0
        self._least = least_pixels
        self._row: npt.NDArray[np.intp] | None = None
        self._sizes = np.zeros(1, np.int64)

    def add(self, mask: npt.NDArray[np.bool_]) -> None:
        """Take the next rows, (n, X)."""
        from scipy.ndimage import label
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        row = np.zeros(mask.shape[1], np.intp) if self._row is None else self._row
        if not (mask.any() or row.any()):
            return
        parts, count = label(mask, np.ones((3, 3)))
        # The profiles above keep their numbers, and those of the strip follow; 0 is no profile.
        above = len(self._sizes)
        sizes = np.concatenate([self._sizes, np.bincount(parts.ravel(), minlength=count + 1)[1:]])
        first, last = (np.where(each > 0, each + (above - 1), 0) for each in (parts[0], parts[-1]))
        pairs = np.concatenate(
            [np.stack(each) for each in ((row, first), (row[1:], first[:-1]), (row[:-1], first[1:]))], axis=1
        )
        pairs = pairs[:, (pairs > 0).all(axis=0)]
        touching = coo_array((np.ones(pairs.shape[1], np.int8), pairs), shape=(len(sizes), len(sizes)))
        _, whole = connected_components(touching, directed=False)
        together = np.bincount(whole, sizes).astype(np.int64)
        going_on = np.unique(whole[last[last > 0]])
        ended = np.ones(len(together), bool)
        ended[going_on] = ended[whole[0]] = False
        self._count(together[ended])
        self._row = np.where(last > 0, np.searchsorted(going_on, whole[last]) + 1, 0)
        self._sizes = np.concatenate([[0], together[going_on]])

    def close(self) -> None:
        """End the profiles that reach the last row."""
        self._count(self._sizes[1:])
        self._row, self._sizes = None, np.zeros(1, np.int64)

    def _count(self, sizes: npt.NDArray[np.int64]) -> None:
        sizes = sizes[sizes >= self._least]
        self.count += len(sizes)
        self.pixels += int(sizes.sum())

"""Which numbers stand for one object: union-find over pairs that belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def joined(count: int, pairs: npt.NDArray[np.integer]) -> npt.NDArray[np.uint32]:
    """Return the object of each of the numbers 0 to ``count``, of which 0 is none.

    Parameters
    ----------
    count : int
        The highest number.
    pairs : ndarray
        (n, 2) numbers that are one object.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count + 1, count + 1))
    _, groups = connected_components(graph, directed=False)
    return in_order(groups)


def in_order(groups: npt.NDArray[np.integer]) -> npt.NDArray[np.uint32]:
    """Return groups numbered in the order in which they come; that of number 0 stays 0."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.uint32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.uint32)
    return rank[inverse]


def pair_counts(
    one: npt.NDArray[np.integer], other: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the pairs of numbers above 0 that lie over each other, (n, 2), and the pixels of each."""
    both = (one > 0) & (other > 0)
    if not both.any():
        return np.zeros((0, 2), np.int64), np.zeros(0, np.int64)
    keys = (one[both].astype(np.int64) << 32) | other[both].astype(np.int64)
    pairs, counts = np.unique(keys, return_counts=True)
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF], axis=1), counts.astype(np.int64)

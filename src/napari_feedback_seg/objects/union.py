"""Which numbers stand for one object: union-find over pairs that belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def joined(count: int, pairs: npt.NDArray[np.integer]) -> npt.NDArray[np.uint32]:
    """Return the object of each of the numbers 0 to ``count``, where 0 is the background.

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


def compact(labels: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.integer]]:
    """Return the numbers above 0 that are there, in order, and which of them, from 1 on, each voxel has.

    The second is of 16 bits where that is enough: it is compared and counted several times.
    """
    top = int(labels.max(initial=0))
    if top > 4 * labels.size + 65536:  # too far apart for a table
        ids, places = np.unique(labels, return_inverse=True)
        local = places.reshape(labels.shape) + (0 if ids[0] == 0 else 1)
        return ids[ids > 0].astype(np.int64), local.astype(np.uint32)
    there = np.zeros(top + 1, bool)
    there[labels.ravel()] = True
    there[0] = False
    ids = np.flatnonzero(there)
    table = np.zeros(top + 1, np.uint16 if len(ids) < 65536 else np.uint32)
    table[ids] = np.arange(1, len(ids) + 1)
    return ids, table[labels]


def pair_counts(
    one: npt.NDArray[np.integer], other: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the pairs of numbers above 0 that lie over each other, (n, 2), and the pixels of each."""
    both = (one > 0) & (other > 0)
    if not both.any():
        return np.zeros((0, 2), np.int64), np.zeros(0, np.int64)
    ones, first = compact(one[both])
    others, second = compact(other[both])
    keys = first.astype(np.int64) * (len(others) + 1) + second
    if (len(ones) + 1) * (len(others) + 1) <= 4 * keys.size + 65536:
        every = np.bincount(keys)
        found = np.flatnonzero(every)
        counts = every[found]
    else:
        found, counts = np.unique(keys, return_counts=True)
    pairs = np.stack([ones[found // (len(others) + 1) - 1], others[found % (len(others) + 1) - 1]], axis=1)
    return pairs, counts.astype(np.int64)

"""Coarser levels of labels and probabilities. A block gives its part of every level by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST_TOP = 512
"""Pixels that the coarsest level is high and wide at most."""

MOST_LEVELS = 9
"""A block is a multiple of 2 ** 8 pixels high and wide."""


def levels_for(height: int, width: int) -> int:
    """Return how many levels an image of so many pixels has."""
    count = 1
    while max(height, width) > LARGEST_TOP * 2 ** (count - 1) and count < MOST_LEVELS:
        count += 1
    return count


def halved_labels(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Return labels half as high and wide: of four pixels, what most of them have.

    Of two that are equally many, the first in the order of ``values`` is taken, and 0 last.

    Parameters
    ----------
    labels : ndarray
        (Z, Y, X) uint8.
    values : sequence of int
        The values of the classes.
    """
    four = _four(labels)
    best = np.zeros(four[0].shape, np.uint8)
    most = sum((each == 0).astype(np.uint8) for each in four)
    for value in reversed(values):
        count = sum((each == value).astype(np.uint8) for each in four)
        taken = count >= np.maximum(most, 1)
        best[taken] = value
        most = np.maximum(most, count)
    return best


def halved_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities (C, Z, Y, X) uint8 half as high and wide: the mean of four pixels."""
    total = sum(each.astype(np.uint16) for each in _four(probabilities))
    return ((np.asarray(total) + 2) // 4).astype(np.uint8)


def _four(array: np.ndarray) -> list[np.ndarray]:
    """Return the four pixels of each of the next level; the last row and column stand twice if odd."""
    odd = [(0, 0)] * (array.ndim - 2) + [(0, length % 2) for length in array.shape[-2:]]
    whole = np.pad(array, odd, mode="edge")
    return [whole[..., top::2, left::2] for top in (0, 1) for left in (0, 1)]

"""Coarser levels of labels and probabilities. A block gives its part of every level by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.io.level import Grid
    from napari_feedback_seg.volumes.plan import Triple

    Halvings = Sequence[tuple[int, int]]

LARGEST_TOP = 512
"""Pixels that the coarsest level is high and wide at most."""

MOST_LEVELS = 9
"""A block is a multiple of 2 ** 8 pixels high and wide."""


def halvings_of(size: Triple, grid: Grid) -> list[tuple[int, int]]:
    """Return how often each level is halved: along z, and along y and x.

    Along z once pixels are as high as sections are thick, so that voxels become cubes and stay so. Where
    the pixel size is not known, z is kept as it is.

    Parameters
    ----------
    size : tuple of int
        (Z, Y, X) of the finest level.
    grid : Grid
        Where its pixels lie.
    """
    levels, deep = [(0, 0)], 0
    known = grid.pixel_size
    cubes = known is not None and known.z is not None
    while max(size[1:]) > LARGEST_TOP * 2 ** (len(levels) - 1) and len(levels) < MOST_LEVELS:
        at = grid.halved(len(levels) - 1, deep)
        if cubes and at.scale[1] * 1.5 > at.scale[0] and size[0] > 2**deep:
            deep += 1
        levels.append((deep, len(levels)))
    return levels


def first_section(z: int, deep: int) -> int:
    """Return the first section at or after ``z`` that a level has, which is halved along z so often."""
    return -((-z) >> deep)


def every_other(array: np.ndarray, first: int) -> np.ndarray:
    """Return every other section of ([C,] Z, Y, X), whose first one is ``first``.

    A section is taken or left out, and not mixed with its neighbour: so a block of one section gives its part
    of every level by itself.
    """
    taken: np.ndarray = array[..., first % 2 :: 2, :, :]
    return taken


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


def halved_numbers(numbers: np.ndarray) -> np.ndarray:
    """Return numbers of objects (Z, Y, X) half as high and wide: of four pixels, what most of them have.

    Of two that are equally many, the higher one is taken.
    """
    a, b, c, d = np.sort(np.stack(_four(numbers)), axis=0)
    most: np.ndarray = np.where(b == c, b, np.where(c == d, c, np.where(a == b, b, d)))
    return most


def halved_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities (C, Z, Y, X) uint8 half as high and wide: the mean of four pixels."""
    total = sum(each.astype(np.uint16) for each in _four(probabilities))
    return ((np.asarray(total) + 2) // 4).astype(np.uint8)


def _four(array: np.ndarray) -> list[np.ndarray]:
    """Return the four pixels of each of the next level; the last row and column stand twice if odd."""
    odd = [(0, 0)] * (array.ndim - 2) + [(0, length % 2) for length in array.shape[-2:]]
    whole = np.pad(array, odd, mode="edge")
    return [whole[..., top::2, left::2] for top in (0, 1) for left in (0, 1)]

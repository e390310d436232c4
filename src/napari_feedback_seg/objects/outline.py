"""Surface or perimeter of objects, and their largest diameter, from blocks that come one by one."""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_feedback_seg.objects.options import Voxel

Direction = tuple[int, int, int]


@cache
def crofton(sides: Voxel, flat: bool) -> tuple[tuple[Direction, float], ...]:
    """Return directions of lines, and how much outline one crossing of them stands for.

    Lines in direction ``d`` through all voxels have an area of ``volume / |d|`` each (a width of
    ``area / |d|`` in 2D). A surface is twice the mean over all directions of its crossings times that
    area (Crofton); a perimeter is pi / 2 times. A direction counts with the part of the sphere, or circle,
    that is nearest to it, so that voxels of unequal sides are measured rightly.
    """
    steps = [each for each in itertools.product((0, 1), (-1, 0, 1), (-1, 0, 1)) if each > (0, 0, 0)]
    if flat:
        steps = [each for each in steps if each[0] == 0]
    vectors = np.array(steps, float) * sides
    lengths = np.linalg.norm(vectors, axis=1)
    points = _circle() if flat else _sphere()
    nearest = np.abs(points @ (vectors / lengths[:, None]).T).argmax(axis=1)
    parts = np.bincount(nearest, minlength=len(steps)) / len(points)
    factor = math.pi / 2 * sides[1] * sides[2] if flat else 2 * math.prod(sides)
    return tuple(zip(steps, (factor * parts / lengths).tolist(), strict=True))


def _circle() -> npt.NDArray[np.float64]:
    angles = (np.arange(3600) + 0.5) / 3600 * math.pi
    return np.stack([np.zeros_like(angles), np.sin(angles), np.cos(angles)], axis=1)


def _sphere() -> npt.NDArray[np.float64]:
    count = 50_000
    z = 1 - (2 * np.arange(count) + 1) / count
    angle = np.arange(count) * math.pi * (3 - math.sqrt(5))
    radius = np.sqrt(1 - z**2)
    return np.stack([z, radius * np.sin(angle), radius * np.cos(angle)], axis=1)


def crossings(
    seen: npt.NDArray[np.integer], own: npt.NDArray[np.integer], sides: Voxel, *, flat: bool, count: int
) -> npt.NDArray[np.float64]:
    """Return the surface, or the perimeter, of each object of a block.

    Parameters
    ----------
    seen : ndarray
        (Z, Y, X) numbers from 1 to ``count``, of the block and one voxel around it; (1, Y, X) if ``flat``.
    own : ndarray
        The same, with 0 around the block.
    sides : (float, float, float)
        Of a voxel.
    flat : bool
        Whether there is one section, whose perimeters are wanted.
    count : int
        The highest number.
    """
    _, height, width = seen.shape
    all_seen, mine = seen.ravel(), own.ravel()
    total = np.zeros(count + 1)
    for (dz, dy, dx), weight in crofton(tuple(sides), flat):
        away = (dz * height + dy) * width + dx
        # A voxel of the block has all its neighbours in the array; what is wrapped around counts for none.
        places = np.flatnonzero(all_seen[:-away] != all_seen[away:])
        for labels in (mine[places], mine[places + away]):
            total += weight * np.bincount(labels, minlength=count + 1)
    return total


def corners(
    numbers: npt.NDArray[np.integer], places: npt.NDArray[np.int64], side: int
) -> npt.NDArray[np.bool_]:
    """Return which ends of rows may be corners of the convex hull of their object, in their section.

    Parameters
    ----------
    numbers : ndarray
        (n,) objects.
    places : ndarray
        (n, 3) section, row and column, in the order of object, section and row; one for each row.
    side : {1, -1}
        1 for the last column of a row, -1 for the first.
    """
    kept = np.arange(len(numbers))
    for _ in range(_ROUNDS):
        number, (z, y, x) = numbers[kept], places[kept].T
        together = (number[1:] == number[:-1]) & (z[1:] == z[:-1])
        down, right = np.diff(y), side * np.diff(x)
        inside = right[1:] * down[:-1] >= right[:-1] * down[1:]  # on a line with its neighbours, or behind it
        inside &= together[1:] & together[:-1]
        # Of two neighbours one is judged at a time, as the other may be what holds it.
        inside[1:] &= ~inside[:-1]
        if not inside.any():
            break
        kept = kept[np.concatenate([[True], ~inside, [True]])] if len(kept) > 2 else kept
    found = np.zeros(len(numbers), bool)
    found[kept] = True
    return found


def ferets(
    there: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    places: npt.NDArray[np.integer],
    sides: Voxel,
    *,
    flat: bool,
) -> npt.NDArray[np.float64]:
    """Return the largest distance between two voxels, edges included, of each of the objects ``there``.

    Parameters
    ----------
    there : ndarray
        (m,) objects.
    numbers, places : ndarray
        (n,) objects and (n, 3) places of voxels, the corners of each object's hull among them.
    sides : (float, float, float)
        Of a voxel.
    flat : bool
        Whether there is one section.
    """
    order = np.argsort(numbers, kind="stable")
    numbers, places = numbers[order], places[order]
    starts = np.searchsorted(numbers, there).tolist()
    stops = np.searchsorted(numbers, there, side="right").tolist()
    return np.array(
        [
            _feret(places[start:stop], np.asarray(sides), flat)
            for start, stop in zip(starts, stops, strict=True)
        ],
        float,
    )


def hull_of(places: npt.NDArray[np.integer], *, flat: bool) -> npt.NDArray[np.integer]:
    """Return the places (n, 3) that are corners of the convex hull of all."""
    from scipy.spatial import ConvexHull, QhullError

    axes = [axis for axis in ((1, 2) if flat else (0, 1, 2)) if np.ptp(places[:, axis])]
    if len(axes) < 2 or len(places) <= _MANY:
        return places
    try:
        vertices: npt.NDArray[np.int64] = ConvexHull(places[:, axes]).vertices
    except QhullError:  # all in one line or plane
        return places
    return places[vertices]


def _feret(places: np.ndarray, sides: np.ndarray, flat: bool) -> float:
    from scipy.spatial.distance import pdist

    points = hull_of(places, flat=flat) * sides
    if len(points) > 1:
        # Edges add half a voxel at either end: of two that are nearer than that, none is the farthest pair.
        apart = pdist(points)
        far = np.flatnonzero(apart >= apart.max() - 2 * np.linalg.norm(sides))
        points = points[np.unique(np.stack(np.triu_indices(len(points), 1))[:, far])]
    ends = np.concatenate([points + step * sides for step in _halves(flat)])
    return float(pdist(ends).max())


_MANY = 40
"""So few places are compared without looking for their hull."""

_ROUNDS = 8


def _halves(flat: bool) -> npt.NDArray[np.float64]:
    steps = np.concatenate([np.eye(3), -np.eye(3)]) / 2
    return steps[steps[:, 0] == 0] if flat else steps

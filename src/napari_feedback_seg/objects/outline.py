"""Surface or perimeter of objects, and their largest diameter, from sections that come one by one."""

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


class Outline:
    """Adds up the surface, or the perimeter, of each object.

    Parameters
    ----------
    count : int
        The highest number of an object.
    sides : (float, float, float)
        Of a voxel.
    flat : bool
        Whether there is one section, whose perimeters are wanted.
    """

    def __init__(self, count: int, sides: Voxel, flat: bool) -> None:
        self._flat = flat
        self._lines = crofton(tuple(sides), flat)
        self._total = np.zeros(count + 1)
        self._before: np.ndarray | None = None

    def add(self, section: np.ndarray) -> None:
        """Take the next section (Y, X)."""
        padded = np.pad(section, 1)
        if self._before is None:
            self._before = np.zeros_like(padded)
        self._between(self._before, padded)
        for step, weight in self._lines:
            if step[0] == 0:
                self._cross(padded, padded, step, weight)
        self._before = padded

    def _between(self, above: np.ndarray, below: np.ndarray) -> None:
        for step, weight in self._lines:
            if step[0] == 1:
                self._cross(above, below, step, weight)

    def _cross(self, one: np.ndarray, other: np.ndarray, step: Direction, weight: float) -> None:
        a = one[_span(-step[1]), _span(-step[2])]
        b = other[_span(step[1]), _span(step[2])]
        crossing = a != b
        for labels in (a[crossing], b[crossing]):
            self._total += weight * np.bincount(labels, minlength=len(self._total))

    def columns(self, there: np.ndarray, *, known: bool) -> dict[str, np.ndarray]:
        """Return the column of the objects whose numbers are ``there``, after the last section."""
        if not self._flat and self._before is not None:
            self._between(self._before, np.zeros_like(self._before))
            self._before = None
        found = self._total[there]
        if self._flat:
            return {"perimeter_um": found / 1e3} if known else {"perimeter_px": found}
        return {"surface_um2": found / 1e6} if known else {"surface_px": found}


def _span(step: int) -> slice:
    """Return what of an axis remains when it is moved by a step."""
    return slice(step, None) if step > 0 else slice(None, step or None)


class Extent:
    """Keeps the ends of the rows of each object, whose largest distance is its Feret diameter."""

    def __init__(self, sides: Voxel, flat: bool) -> None:
        self._sides, self._flat = np.asarray(sides, float), flat
        self._numbers: list[np.ndarray] = []
        self._places: list[np.ndarray] = []

    def add(self, z: int, section: np.ndarray) -> None:
        """Take section ``z`` (Y, X)."""
        padded = np.pad(section, ((0, 0), (1, 1)))
        change = padded[:, 1:] != padded[:, :-1]
        y, x = np.nonzero(change[:, :-1] & (section > 0))
        self._keep(z, section[y, x], y, x, first=True)
        y, x = np.nonzero(change[:, 1:] & (section > 0))
        self._keep(z, section[y, x], y, x, first=False)

    def _keep(self, z: int, numbers: np.ndarray, y: np.ndarray, x: np.ndarray, *, first: bool) -> None:
        order = np.lexsort((x if first else -x, y, numbers))
        numbers, y, x = numbers[order], y[order], x[order]
        outermost = np.ones(len(y), bool)
        outermost[1:] = (numbers[1:] != numbers[:-1]) | (y[1:] != y[:-1])
        self._numbers.append(numbers[outermost])
        places = np.stack([np.full(int(outermost.sum()), z), y[outermost], x[outermost]], axis=1)
        self._places.append(places.astype(np.int32))

    def columns(self, there: np.ndarray, *, known: bool) -> dict[str, np.ndarray]:
        """Return the column of the objects whose numbers are ``there``."""
        numbers = np.concatenate([np.zeros(0, np.int64), *self._numbers])
        places = np.concatenate([np.zeros((0, 3), np.int32), *self._places])
        order = np.argsort(numbers, kind="stable")
        numbers, places = numbers[order], places[order]
        starts = np.searchsorted(numbers, there)
        stops = np.searchsorted(numbers, there, side="right")
        ferets = [
            _feret(places[start:stop], self._sides, self._flat)
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
        ]
        return {"feret_nm" if known else "feret_px": np.array(ferets, float)}


def _feret(places: np.ndarray, sides: np.ndarray, flat: bool) -> float:
    """Return the largest distance between two ends of voxels, (n, 3)."""
    from scipy.spatial import ConvexHull, QhullError
    from scipy.spatial.distance import pdist

    points = places.astype(float)
    if len(points) > _MANY:
        axes = [axis for axis in ((1, 2) if flat else (0, 1, 2)) if np.ptp(points[:, axis])]
        try:
            points = points[ConvexHull(points[:, axes]).vertices] if len(axes) > 1 else points
        except QhullError:  # all in one line or plane
            pass
    # A voxel ends half a side from its centre.
    ends = np.concatenate([points + step for step in _halves(flat)]) * sides
    if len(ends) > _MANY * 8:
        axes = [1, 2] if flat else [0, 1, 2]
        ends = ends[ConvexHull(ends[:, axes]).vertices]
    return float(pdist(ends).max())


_MANY = 40


def _halves(flat: bool) -> npt.NDArray[np.float64]:
    steps = np.concatenate([np.eye(3), -np.eye(3)]) / 2
    return steps[steps[:, 0] == 0] if flat else steps

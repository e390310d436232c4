"""Two halves of an object: each voxel goes to the nearer of two groups of places, by ways within it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import bioimage_cpp as bic
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_feedback_seg.objects.options import Voxel

    Places = npt.NDArray[np.int64]
    """(n, 3) section, row and column."""

_POWER = 4
"""How much longer a way gets where the object is narrow: half as wide, 2 to this power times as long."""

_AT_ONCE = 2**18
"""Voxels among which ways are sought. Of a larger object several voxels are taken as one."""


@dataclass(frozen=True)
class Widths:
    """How wide an object is at each place: how far it is to its outline, in nm.

    Attributes
    ----------
    shape : tuple of int
        Of the object, (Z, Y, X).
    step : tuple of int
        So many voxels along each axis are taken as one.
    voxel : (float, float, float)
        Depth, height and width of what is taken as one, in nm.
    nm : ndarray
        (Z, Y, X), in these steps; 0 outside.
    """

    shape: tuple[int, ...]
    step: tuple[int, int, int]
    voxel: Voxel
    nm: npt.NDArray[np.float32]

    @classmethod
    def of(cls, inside: npt.NDArray[np.bool_], voxel: Voxel, beside: Sequence[tuple[bool, bool]]) -> Widths:
        """Measure an object.

        Parameters
        ----------
        inside : ndarray
            (Z, Y, X) where it is, in the box around it. The width of a single section is that within it.
        voxel : (float, float, float)
            Depth, height and width of a voxel in nm.
        beside : sequence of (bool, bool)
            Whether there is something before and after the box, along each axis. If not, the image ends
            there, and the object goes on.
        """
        flat = inside.shape[0] == 1
        pad = [(int(low), int(high)) for low, high in beside]
        pad[0] = (0, 0) if flat else pad[0]
        nm = bic.distance.distance_transform(np.pad(inside, pad), sampling=list(voxel))
        nm = nm[tuple(slice(low, low + length) for (low, _), length in zip(pad, inside.shape, strict=True))]
        step, sides, count = [1, 1, 1], list(voxel), np.count_nonzero(inside)
        while count > _AT_ONCE * np.prod(step):
            finest = int(np.argmin(sides))
            step[finest] *= 2
            sides[finest] *= 2
        for axis, each in enumerate(step):
            nm = np.maximum.reduceat(nm, np.arange(0, nm.shape[axis], each), axis=axis)
        return cls(inside.shape, (step[0], step[1], step[2]), (sides[0], sides[1], sides[2]), nm)

    def middles(self, one: Places, two: Places) -> tuple[Places, Places]:
        """Return the middles of the wide parts in which two places lie; the places if it is one part."""
        first, second = (np.array([self._climb(tuple(each[0] // self.step))]) for each in (one, two))
        if (first == second).all():
            return one, two
        step = np.array(self.step, np.int64)
        return first * step, second * step

    def _climb(self, place: tuple[int, ...]) -> tuple[int, ...]:
        while True:
            corner = [max(0, at - 2) for at in place]
            around = self.nm[tuple(slice(low, at + 3) for low, at in zip(corner, place, strict=True))]
            found = np.unravel_index(int(around.argmax()), around.shape)
            higher = tuple(int(low + at) for low, at in zip(corner, found, strict=True))
            if self.nm[higher] <= self.nm[place]:
                return place
            place = higher

    def nearer(self, one: Places, two: Places) -> npt.NDArray[np.uint8]:
        """Return to which of two groups of places each voxel is nearer: 1, 2, or 0 if to none.

        A way counts the longer, the narrower it is. So the halves meet in a neck if there is one, and else
        half way. Where it is wider than at the places, ways are no shorter, or a place in a corner would get
        the corner alone. Of a large object some voxels beside it are said to be near, too.
        """
        places = [each // self.step for each in (one, two)]
        wide = min(self.nm[tuple(each.T)].max() for each in places)
        speed = np.where(self.nm > 0, np.minimum(self.nm / wide, 1.0), 1.0).astype(np.float64) ** _POWER
        first, second = (
            bic.distance.geodesic_distance_field(self.nm > 0, each, sampling=list(self.voxel), speed=speed)
            for each in places
        )
        nearer = np.where(first < second, 1, np.where(second < first, 2, 0)).astype(np.uint8)
        for axis, each in enumerate(self.step):
            nearer = np.repeat(nearer, each, axis=axis)
        return nearer[tuple(slice(length) for length in self.shape)]

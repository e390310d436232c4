"""A resolution of a volume: its voxels, (Z, Y, X) whatever its axes are, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io.image import Sections, decoding
from napari_feedback_seg.io.sizes import PixelSize, in_nanometres, sensible

if TYPE_CHECKING:
    from collections.abc import Sequence

SPATIAL = ("z", "y", "x")


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a level lie, in the units of the file.

    Attributes
    ----------
    scale, translation : tuple of float
        Along z, y and x.
    units : tuple of (str or None)
        Of the three axes, as OME-Zarr names them.
    """

    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    units: tuple[str | None, str | None, str | None] = (None, None, None)

    @property
    def pixel_size(self) -> PixelSize | None:
        """The pixel size, if the units are lengths and it makes sense."""
        z, y, x = (in_nanometres(each, unit or "") for each, unit in zip(self.scale, self.units, strict=True))
        return sensible(y, x, z)

    def part(self, origin: Sequence[int]) -> Grid:
        """Return the grid that begins at a voxel of this one."""
        moved = (
            start + at * step for start, at, step in zip(self.translation, origin, self.scale, strict=True)
        )
        z, y, x = moved
        return replace(self, translation=(z, y, x))

    def halved(self, times: int, deep: int = 0) -> Grid:
        """Return the grid whose pixels are ``2 ** times`` as high and wide.

        Along z it has every ``2 ** deep``-th section.
        """
        (z, y, x), (at_z, at_y, at_x) = self.scale, self.translation
        by = 2**times
        off = (by - 1) / 2
        scale = (z * 2**deep, y * by, x * by)
        return replace(self, scale=scale, translation=(at_z, at_y + off * y, at_x + off * x))


class Level:
    """One resolution of a volume, read as (Z, Y, X) whatever its axes are.

    Parameters
    ----------
    path : str
        Of the array, for errors.
    array : array-like
        A Zarr array.
    axes : sequence of str
        Their names, of which z may be missing; axes other than z, y and x have the length 1.
    """

    def __init__(self, path: str, array: Any, axes: Sequence[str]) -> None:
        self.path, self.array = path, array
        self._axes = tuple(axes)
        self.shape = (self._length("z"), self._length("y"), self._length("x"))
        self.ndim = 3
        self.dtype = np.dtype(array.dtype)
        of_axis = dict(zip(self._axes, array.chunks, strict=True))
        self.chunks = (int(of_axis.get("z", 1)), int(of_axis["y"]), int(of_axis["x"]))

    def __getitem__(self, key: tuple[int | slice, slice, slice]) -> np.ndarray:
        wanted = dict(zip(SPATIAL, key, strict=True))
        index = tuple(wanted.get(axis, 0) for axis in self._axes)
        with decoding(self.path):
            found = np.asarray(self.array[index])
        left = [axis for axis in self._axes if axis in wanted and isinstance(wanted[axis], slice)]
        found = found.transpose([left.index(axis) for axis in SPATIAL if axis in left])
        deep = isinstance(wanted["z"], slice)
        return found[None] if deep and "z" not in self._axes else found

    def missing(self, block: tuple[slice, slice, slice]) -> int:
        """Return how many chunks of a part of the level are not in its store, if that is on a disk."""
        root = getattr(self.array.store, "root", None)
        if root is None:
            return 0
        of_axis = dict(zip(SPATIAL, block, strict=True))
        stored = getattr(self.array, "shards", None) or self.array.chunks
        spans = []
        for axis, side in zip(self._axes, stored, strict=True):
            part = of_axis.get(axis, slice(0, 1))
            spans.append(range(part.start // side, -(-part.stop // side)))
        folder = Path(root) / self.array.path
        encode = self.array.metadata.encode_chunk_key
        return sum(not (folder / encode(place)).exists() for place in _places(spans))

    def _length(self, axis: str) -> int:
        return int(self.array.shape[self._axes.index(axis)]) if axis in self._axes else 1


class FlatLevel:
    """The one section of a level, (Y, X)."""

    ndim = 2

    def __init__(self, level: Any) -> None:
        self._level, self.shape, self.dtype = level, level.shape[1:], level.dtype

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        found: np.ndarray = self._level[(0, *key)]
        return found


class FileLevel:
    """Sections of image files, read as a level of a volume."""

    chunks = (1, 1, 1)

    def __init__(self, files: Sequence[Sections], shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self._files, self.shape, self.dtype, self.ndim = files, shape, dtype, 3
        self._last: tuple[int, np.ndarray] | None = None

    def __getitem__(self, key: tuple[int | slice, slice, slice]) -> np.ndarray:
        z, rows, columns = key
        if isinstance(z, slice):
            return np.stack([self[each, rows, columns] for each in range(*z.indices(self.shape[0]))])
        last = self._last
        if last is None or last[0] != z:
            last = (z, self._section(z))
            self._last = last
        return last[1][rows, columns]

    def missing(self, block: tuple[slice, slice, slice]) -> int:
        """Return 0: a file that lacks a section cannot be read."""
        del block
        return 0

    def _section(self, z: int) -> np.ndarray:
        section = self._files[0][z] if len(self._files) == 1 else self._files[z][0]
        if section.shape != self.shape[1:]:
            raise InputError(f"Section {z} has the shape {section.shape}, and the first {self.shape[1:]}.")
        return section


def _places(spans: Sequence[range]) -> list[tuple[int, ...]]:
    places: list[tuple[int, ...]] = [()]
    for span in spans:
        places = [(*place, each) for place in places for each in span]
    return places

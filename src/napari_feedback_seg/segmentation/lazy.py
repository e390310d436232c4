"""Sections that are too large to be read, and images in several resolutions.

Of them only the blocks are read that are asked for, and a sample of others for the statistics. The
sample depends on nothing but the shape, so that all regions of a section are normalised alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import Sections
from napari_feedback_seg.segmentation.sections import (
    MAX_SAMPLE,
    BlankSection,
    Statistics,
    as_section,
    grey_statistics,
    normalise,
    of_values,
    rescale,
    windows_look_inverted,
)
from napari_feedback_seg.segmentation.tissue import find_border, find_constants

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_feedback_seg.segmentation.tissue import Border

LARGEST_READ = 4096 * 4096
"""A lazy section with up to so many pixels is read whole, and its statistics are exact."""

SAMPLES = 5
"""Blocks of the sample, along each axis."""

SAMPLE_SIDE = 512
_CANDIDATES = 16
_MOSTLY = 0.9


class Pyramid:
    """An image in several resolutions.

    Parameters
    ----------
    levels : sequence of array-like
        (Y, X) or (Z, Y, X) each, the finest first. This one is segmented; a coarser one tells
        where there is tissue.

    Raises
    ------
    InputError
        If there is no level, or they have unlike axes.
    """

    def __init__(self, levels: Sequence[Any]) -> None:
        self.levels = tuple(levels)
        if not self.levels or len({len(level.shape) for level in self.levels}) > 1:
            raise InputError("An image in several resolutions has levels of the same axes, the finest first.")
        self.shape = tuple(int(length) for length in self.levels[0].shape)
        self.ndim = len(self.shape)
        self.dtype = self.levels[0].dtype


@dataclass(frozen=True, eq=False)
class Plane:
    """A section of an array that is read block by block.

    Parameters
    ----------
    levels : tuple of array-like
        (Y, X) or (Z, Y, X) each, the finest first.
    z : int, optional
        The section, of a stack.
    """

    levels: tuple[Any, ...]
    z: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """The rows and columns of the finest level."""
        rows, columns = self.levels[0].shape[-2:]
        return int(rows), int(columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The data type of the grey values."""
        dtype: np.dtype[Any] = np.dtype(self.levels[0].dtype)
        return dtype

    @property
    def identity(self) -> str:
        """What tells it from another plane while this one is in use; its pixels are not read."""
        finest = self.levels[0]
        return f"{finest.name if hasattr(finest, 'dask') else id(finest)} {self.z}"

    def block(self, rows: slice, columns: slice, level: int = 0) -> np.ndarray:
        """Return the pixels of these rows and columns."""
        array = self.levels[level]
        if isinstance(array, Sections):
            return as_section(array.block(self.z or 0, rows, columns))
        if self.z is None:
            return as_section(array[rows, columns])
        # Coarser levels may have fewer sections, too.
        return as_section(array[self.z * array.shape[0] // self.levels[0].shape[0], rows, columns])


def open_section(image: Any, z: int | None = None, *, part: bool = False) -> np.ndarray | Plane:
    """Return a section: its pixels, or a plane if it is read by blocks and too large to be read whole.

    Parameters
    ----------
    image : array-like, Pyramid or Plane
        (Y, X); (Z, Y, X) or a sequence of sections if ``z`` is given.
    z : int, optional
        Which one.
    part : bool
        Whether only a part of it is wanted. Large sections of files are read by blocks then.

    Raises
    ------
    InputError
        If it is no section of grey values.
    """
    if isinstance(image, Plane):
        return image
    levels = image.levels if isinstance(image, Pyramid) else (image,)
    if part and isinstance(image, Sections) and math.prod(image.shape[1:]) > LARGEST_READ:
        return Plane(levels, z)
    if z is not None and not _has_blocks(levels[0]):
        finest, *coarser = levels
        levels = (finest[z], *(level[z * level.shape[0] // finest.shape[0]] for level in coarser))
        z = None
    plane = Plane(levels, z)
    if not _has_blocks(levels[0]):
        return as_section(levels[0])
    rows, columns = plane.shape
    if rows * columns <= LARGEST_READ:
        return plane.block(slice(0, rows), slice(0, columns))
    return plane


def _has_blocks(array: Any) -> bool:
    return hasattr(array, "chunks") and not isinstance(array, np.ndarray)


@dataclass(frozen=True, eq=False)
class Sample:
    """What is known of a section of which only a sample was read.

    Attributes
    ----------
    statistics : Statistics
        With the border, if a coarser level told it.
    constants : tuple of float
        Values of blocks without tissue, if there is no coarser level: flat parts with one of
        them are border.
    blocks : list of (pixels, outside)
        What was read, and where it is no tissue.
    """

    statistics: Statistics
    constants: tuple[float, ...]
    blocks: list[tuple[np.ndarray, npt.NDArray[np.bool_]]]

    def looks_inverted(self) -> bool:
        """Whether bright membranes on a dark ground are likelier than the reverse."""
        return windows_look_inverted(self.blocks, self.statistics)

    def resampled(self, ratio: tuple[float, float]) -> Statistics:
        """Return the statistics of the normalised sample when it is made taller and wider by a ratio."""
        values = []
        for pixels, outside in self.blocks:
            height, width = (
                max(1, round(size * each)) for size, each in zip(pixels.shape, ratio, strict=True)
            )
            found = rescale(normalise(pixels, self.statistics), (height, width))
            values.append(found[rescale(outside, (height, width)) == 0])
        return of_values(np.concatenate(values))


def take_sample(plane: Plane) -> Sample:
    """Read the sample of a section.

    Raises
    ------
    BlankSection
        If there is nothing to see in it.
    """
    border = _coarse_border(plane)
    read = []
    for top, left in _corners(plane.shape, border):
        rows, columns = slice(top, top + SAMPLE_SIDE), slice(left, left + SAMPLE_SIDE)
        read.append((top, left, plane.block(rows, columns)))
    constants = () if border is not None else find_constants([pixels for *_, pixels in read])
    blocks = []
    for top, left, pixels in read:
        outside = ~np.isfinite(pixels)
        if border is not None:
            height, width = pixels.shape
            outside |= border.mask(pixels, np.arange(top, top + height), np.arange(left, left + width))
        for value in constants:
            outside |= pixels == value
        blocks.append((pixels, outside))
    mosaic, outside = (np.concatenate(each) for each in zip(*blocks, strict=True))
    if outside.all():
        raise BlankSection("Nothing but a border was found in a sample of the section.")
    return Sample(replace(grey_statistics(mosaic, ~outside), border=border), constants, blocks)


def _coarse_border(plane: Plane) -> Border | None:
    """Return the border that the finest level that can be read whole shows."""
    for level in range(1, len(plane.levels)):
        rows, columns = (int(length) for length in plane.levels[level].shape[-2:])
        if rows * columns <= MAX_SAMPLE:
            coarse = plane.block(slice(0, rows), slice(0, columns), level)
            border = find_border(coarse)
            return None if border is None else border.enlarged(plane.shape)
    return None


def _corners(shape: tuple[int, int], border: Border | None) -> list[tuple[int, int]]:
    """Return where the blocks of the sample begin: all over the section, or all over its tissue."""
    grid = _lattice(shape, SAMPLES)
    if border is None:
        return grid
    inside = [corner for corner in _lattice(shape, _CANDIDATES) if _is_tissue(border, corner)]
    if not inside:
        return grid
    chosen = np.linspace(0, len(inside) - 1, min(len(inside), SAMPLES**2)).round().astype(int)
    return [inside[number] for number in chosen]


def _lattice(shape: tuple[int, int], count: int) -> list[tuple[int, int]]:
    rows, columns = (
        # On whole blocks, as arrays are mostly chunked by powers of two.
        np.unique(np.linspace(0, max(0, length - SAMPLE_SIDE), count).astype(int) // SAMPLE_SIDE)
        for length in shape
    )
    return [(int(row) * SAMPLE_SIDE, int(column) * SAMPLE_SIDE) for row in rows for column in columns]


def _is_tissue(border: Border, corner: tuple[int, int]) -> bool:
    places = (start + np.arange(0, SAMPLE_SIDE, SAMPLE_SIDE // 8) for start in corner)
    return border.tissue_share(*places) >= _MOSTLY

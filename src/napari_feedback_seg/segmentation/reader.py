"""What the network sees of a section: normalised tiles at the model's pixel size."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.segmentation.lazy import Plane, take_sample
from napari_feedback_seg.segmentation.sections import (
    MAX_SAMPLE,
    BlankSection,
    Statistics,
    looks_inverted,
    normalise,
    of_values,
    resampling,
    statistics,
)
from napari_feedback_seg.segmentation.tiles import columns_of, mirrored
from napari_feedback_seg.segmentation.tissue import FLAT_REACH, find_flat, mirror_into

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from scipy.sparse import csr_array

    from napari_feedback_seg.segmentation.lazy import Sample
    from napari_feedback_seg.segmentation.tiles import Tile

_BAND = 4_000_000
_NOTHING = slice(0, 1), slice(0, 1)

BLOCK = 256
"""Side of the blocks, on the model's grid, in which a reader of tiles from anywhere reads a plane."""

_MOST_BLOCKS = 16


@dataclass(frozen=True, eq=False)
class Survey:
    """What is to be known of a whole section before a part of it can be segmented.

    Attributes
    ----------
    statistics : Statistics
        Of the section as it came.
    resampled : Statistics
        Of the section at the model's pixel size.
    constants : tuple of float
        Values of flat parts without tissue, if nothing else tells where there is some.
    inverted : bool
        Whether the contrast looks inverted.
    """

    statistics: Statistics
    resampled: Statistics
    constants: tuple[float, ...] = ()
    inverted: bool = False


class TileReader:
    """Reads normalised tiles of a section, on the grid of the model's pixel size.

    The section stays as it is; only what a tile shows is converted. Of a plane, a sample is
    read, and what is to be seen of it, once.

    Parameters
    ----------
    section : ndarray or Plane
        (Y, X), integers or floats.
    shape : tuple of int
        (Y, X) of the section at the model's pixel size.
    within : tuple of slice, optional
        Rows and columns, on the grid of the model's pixel size, of all that will be asked for;
        they may reach beyond the section. The whole section if not given.
    survey : Survey, optional
        What is known of the section already. Of a section in parts, each part is read alike with it.

    Attributes
    ----------
    statistics : Statistics
        Of the section as it came.

    Raises
    ------
    BlankSection
        If there is nothing to see.
    """

    def __init__(
        self,
        section: np.ndarray | Plane,
        shape: tuple[int, int],
        within: tuple[slice, slice] | None = None,
        survey: Survey | None = None,
    ) -> None:
        self._shape, self._came = shape, section.shape
        self._matrices: tuple[csr_array, csr_array] | None = None
        if shape != section.shape:
            self._matrices = (resampling(section.shape[0], shape[0]), resampling(section.shape[1], shape[1]))
        self._sample: Sample | None = None
        self._origin = (0, 0)
        self._constants: tuple[float, ...] = () if survey is None else survey.constants
        of_section = None if survey is None else survey.statistics
        if isinstance(section, Plane):
            if of_section is None:
                self._sample = take_sample(section)
                self._constants = self._sample.constants
                of_section = self._sample.statistics
            rows, columns = self._needed(within)
            self._window = section.block(rows, columns)
            self._origin = (rows.start, columns.start)
        else:
            self._window = section
            of_section = of_section or statistics(section)
        if of_section.constant:
            raise BlankSection("The section has one grey value everywhere: there is nothing to segment.")
        self._of_section = self.statistics = of_section
        if self._constants:
            flat = find_flat(self._window, self._constants, self._origin)
            self.statistics = replace(of_section, border=flat)
        if survey is not None:
            self._resampled_statistics = survey.resampled
        else:
            self._resampled_statistics = (
                self.statistics if self._matrices is None else self._resample_for_statistics()
            )

    def survey(self) -> Survey:
        """Return what is known of the whole section, for readers of its parts."""
        resampled = replace(self._resampled_statistics, border=None)
        return Survey(self._of_section, resampled, self._constants, self.looks_inverted())

    def read(self, tile: Tile, size: int) -> np.ndarray:
        """Return a tile (size, size) float32; where there is no tissue, it shows the tissue mirrored."""
        values, outside = self._values(*self._places(tile, size))
        if self._matrices is not None:
            values = normalise(values, self._resampled_statistics)
        return values if outside is None else mirror_into(values, outside)

    def shows_tissue(self, tile: Tile, size: int) -> bool:
        """Return whether there is any tissue in a tile."""
        if self.statistics.border is None and self._window.dtype.kind != "f":
            return True
        _, outside = self._values(*self._places(tile, size))
        return outside is None or not outside.all()

    def outside(self, rows: slice, columns: slice) -> npt.NDArray[np.bool_] | None:
        """Return which pixels of a part of the section, as it came, are no tissue; None if all are some."""
        places = (np.arange(each.start, each.stop) for each in (rows, columns))
        return self.statistics.outside(self.pixels(rows, columns), *places)

    def pixels(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a part of the section as it came."""
        part = (
            slice(each.start - first, each.stop - first)
            for each, first in zip((rows, columns), self._origin, strict=True)
        )
        return self._window[tuple(part)]

    def looks_inverted(self) -> bool:
        """Whether bright membranes on a dark ground are likelier than the reverse."""
        if self._sample is not None:
            return self._sample.looks_inverted()
        return looks_inverted(self._window, self.statistics)

    def _places(self, tile: Tile, size: int) -> tuple[np.ndarray, np.ndarray]:
        return mirrored(tile.y, tile.y + size, self._shape[0]), mirrored(
            tile.x, tile.x + size, self._shape[1]
        )

    def _values(
        self, rows: np.ndarray, columns: np.ndarray
    ) -> tuple[np.ndarray, npt.NDArray[np.bool_] | None]:
        """Return the grey values on the model's grid, and what is no tissue; normalised, then resampled."""
        if self._matrices is None:
            return self._own(rows, columns)
        down, across = self._matrices[0][rows], self._matrices[1][columns]
        from_rows, from_columns = columns_of(down), columns_of(across)
        down, across = down[:, from_rows], across[:, from_columns]
        source, outside = self._own(*(np.arange(each.start, each.stop) for each in (from_rows, from_columns)))
        if outside is None:
            return (across @ (down @ source).T).T, None
        source[outside] = 0
        tissue = (across @ (down @ (~outside).astype(np.float32)).T).T
        values = (across @ (down @ source).T).T / np.maximum(tissue, 1e-3)
        return values, tissue < 0.5

    def _own(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, npt.NDArray[np.bool_] | None]:
        part = self._window[np.ix_(rows - self._origin[0], columns - self._origin[1])]
        return normalise(part, self.statistics), self.statistics.outside(part, rows, columns)

    def _resample_for_statistics(self) -> Statistics:
        # Shrinking takes noise away, so that the statistics of the section no longer fit.
        if self._sample is not None:
            height, width = (own / came for own, came in zip(self._shape, self._came, strict=True))
            return self._sample.resampled((height, width))
        step = math.ceil(math.sqrt(self._shape[0] * self._shape[1] / MAX_SAMPLE))
        rows, columns = (np.arange(0, size, step) for size in self._shape)
        band = max(1, math.ceil(_BAND * len(rows) / self._window.size))
        values = []
        for at in range(0, len(rows), band):
            found, outside = self._values(rows[at : at + band], columns)
            values.append(found.ravel() if outside is None else found[~outside])
        return of_values(np.concatenate(values))

    def _needed(self, within: tuple[slice, slice] | None) -> tuple[slice, slice]:
        """Return the rows and columns of the section as it came that are to be read."""
        if within is None:
            return slice(0, self._came[0]), slice(0, self._came[1])
        parts = []
        for axis, (each, own, came) in enumerate(zip(within, self._shape, self._came, strict=True)):
            seen = mirrored(each.start, each.stop, own)
            first, last = int(seen.min()), int(seen.max()) + 1
            if self._matrices is not None:
                source = columns_of(self._matrices[axis][first:last])
                first = min(source.start, first * came // own)
                last = max(source.stop, min(came, -(-last * came // own)))
            if self._constants:  # what is flat shows around it, too
                first, last = max(0, first - FLAT_REACH), min(came, last + FLAT_REACH)
            parts.append(slice(first, last))
        return parts[0], parts[1]


class BlockReader(TileReader):
    """Reads normalised tiles of a plane from anywhere; only the blocks that were looked at last are kept.

    Parameters
    ----------
    plane : Plane
        (Y, X), integers or floats.
    shape : tuple of int
        (Y, X) of the section at the model's pixel size.

    Raises
    ------
    BlankSection
        If there is nothing to see in a sample of it.
    """

    def __init__(self, plane: Plane, shape: tuple[int, int]) -> None:
        super().__init__(plane, shape, _NOTHING)
        self._plane, self._survey = plane, self.survey()
        self._readers: OrderedDict[tuple[int, ...], TileReader] = OrderedDict()

    def read(self, tile: Tile, size: int) -> np.ndarray:
        """Return a tile (size, size) float32; where there is no tissue, it shows the tissue mirrored."""
        return self._around((tile.y, tile.x), (tile.y + size, tile.x + size)).read(tile, size)

    def shows_tissue(self, tile: Tile, size: int) -> bool:
        """Return whether there is any tissue in a tile."""
        return self._around((tile.y, tile.x), (tile.y + size, tile.x + size)).shows_tissue(tile, size)

    def outside(self, rows: slice, columns: slice) -> npt.NDArray[np.bool_] | None:
        """Return which pixels of a part of the section, as it came, are no tissue; None if all are some."""
        ratios = [own / came for own, came in zip(self._shape, self._came, strict=True)]
        starts = [math.floor(each.start * r) for each, r in zip((rows, columns), ratios, strict=True)]
        stops = [math.ceil(each.stop * r) for each, r in zip((rows, columns), ratios, strict=True)]
        return self._around(starts, stops).outside(rows, columns)

    def pixels(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a part of the section as it came."""
        return self._plane.block(rows, columns)

    def _around(self, starts: Sequence[int], stops: Sequence[int]) -> TileReader:
        """Return the reader of the blocks that a part lies in."""
        first = [start // BLOCK * BLOCK for start in starts]
        last = [-(-stop // BLOCK) * BLOCK for stop in stops]
        key = (*first, *last)
        if key not in self._readers:
            within = slice(first[0], last[0]), slice(first[1], last[1])
            self._readers[key] = TileReader(self._plane, self._shape, within, self._survey)
            if len(self._readers) > _MOST_BLOCKS:
                self._readers.popitem(last=False)
        self._readers.move_to_end(key)
        return self._readers[key]


def section_reader(section: np.ndarray | Plane, shape: tuple[int, int]) -> TileReader:
    """Return a reader of tiles from anywhere in a section: of a plane, block by block.

    Parameters
    ----------
    section : ndarray or Plane
        (Y, X), integers or floats.
    shape : tuple of int
        (Y, X) of the section at the model's pixel size.

    Raises
    ------
    BlankSection
        If there is nothing to see.
    """
    return BlockReader(section, shape) if isinstance(section, Plane) else TileReader(section, shape)

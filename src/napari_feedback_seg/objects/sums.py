"""What is added up for each object while blocks come one by one: a few numbers for each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.objects.outline import corners, crossings, ferets, hull_of
from napari_feedback_seg.objects.union import compact, pair_counts

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_feedback_seg.objects.blocks import Shape
    from napari_feedback_seg.objects.options import Voxel

_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
_MOST_PLACES = 20_000_000
"""Ends of rows that are held before the hulls of what they belong to are taken."""


class Sums:
    """Counts, moments, boxes, outlines, grey values and the cell of each object.

    Parameters
    ----------
    count : int
        The highest number of an object.
    sides : (float, float, float)
        Of a voxel.
    flat : bool
        Whether there is one section, of two axes.
    shape : (int, int, int)
        Of all voxels.
    """

    def __init__(self, count: int, sides: Voxel, *, flat: bool, shape: Shape) -> None:
        size = count + 1
        self._sides, self._flat, self._shape = sides, flat, shape
        self._voxels = np.zeros(size, np.int64)
        self._first = np.zeros((3, size))
        self._second = np.zeros((6, size))
        self._low = np.full((3, size), np.iinfo(np.int64).max, np.int64)
        self._high = np.full((3, size), -1, np.int64)
        self._outline = np.zeros(size)
        self._grey: npt.NDArray[np.float64] | None = None
        self._homes: dict[tuple[int, int], int] | None = None
        self._numbers: list[npt.NDArray[np.int64]] = []
        self._places: list[npt.NDArray[np.int32]] = []
        self._held = 0

    def add(
        self,
        seen: npt.NDArray[np.integer],
        origin: Shape,
        grey: np.ndarray | None = None,
        cells: np.ndarray | None = None,
    ) -> None:
        """Take a block.

        Parameters
        ----------
        seen : ndarray
            (Z, Y, X) numbers of the block and of one voxel around it, 0 beyond the image; of a single section
            (1, Y, X).
        origin : (int, int, int)
            First voxel of the block.
        grey, cells : ndarray, optional
            (Z, Y, X) grey values and numbers of cells of the block itself.
        """
        ids, local = compact(seen)
        inner = (slice(None) if self._flat else slice(1, -1), slice(1, -1), slice(1, -1))
        own = np.zeros_like(local)
        own[inner] = local[inner]
        if not own.any():
            return
        count = len(ids)
        at = np.array(origin)[:, None]
        voxels = self._add_runs(own, ids, at)
        self._outline[ids] += crossings(local, own, self._sides, flat=self._flat, count=count)[1:]
        if grey is not None:
            self._grey = np.zeros(len(self._voxels)) if self._grey is None else self._grey
            there = own[inner] > 0
            self._grey[ids] += np.bincount(own[inner][there], grey[there], count + 1)[1:]
        if cells is not None:
            self._homes = {} if self._homes is None else self._homes
            pairs, counts = pair_counts(own[inner], cells)
            for (number, cell), pixels in zip(pairs.tolist(), counts.tolist(), strict=True):
                key = int(ids[number - 1]), cell
                self._homes[key] = self._homes.get(key, 0) + pixels
        self._voxels[ids] += voxels

    def _add_runs(
        self, own: npt.NDArray[np.integer], ids: npt.NDArray[np.int64], at: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Add moments, boxes and ends of rows; return the voxels of each object of the block."""
        line = own.ravel()  # 0 around the block: no run goes on in the next row
        edges = np.flatnonzero(line[1:] != line[:-1]) + 1
        starts, stops = edges[line[edges] > 0], edges[line[edges - 1] > 0]
        labels = line[starts].astype(np.int64)
        z, y, x = np.unravel_index(starts, own.shape)
        z, y, x = z - (0 if self._flat else 1), y - 1, x - 1
        length = stops - starts
        size = len(ids) + 1

        def total(values: np.ndarray) -> npt.NDArray[np.float64]:
            return np.bincount(labels, values, size)[1:].astype(np.float64)

        voxels = total(length)
        along = length * x + length * (length - 1) // 2
        squared = length * x * x + x * length * (length - 1) + (length - 1) * length * (2 * length - 1) // 6
        first = np.stack([total(length * z), total(length * y), total(along)])
        moments = (length * z * z, length * y * y, squared, length * z * y, along * z, along * y)
        for row, ((one, other), each) in enumerate(zip(_PAIRS, moments, strict=True)):
            moved = total(each) + at[one] * first[other] + at[other] * first[one]
            self._second[row, ids] += moved + at[one] * at[other] * voxels
        self._first[:, ids] += first + at * voxels
        for axis, low, high in ((0, z, z), (1, y, y), (2, x, x + length - 1)):
            lows, highs = np.full(size, np.iinfo(np.int64).max), np.full(size, -1)
            np.minimum.at(lows, labels, low)
            np.maximum.at(highs, labels, high)
            there = highs[1:] >= 0
            numbers, start = ids[there], int(at[axis, 0])
            self._low[axis, numbers] = np.minimum(self._low[axis, numbers], lows[1:][there] + start)
            self._high[axis, numbers] = np.maximum(self._high[axis, numbers], highs[1:][there] + start)
        self._add_ends(ids[labels - 1], np.stack([z, y, x], axis=1), length, at[:, 0])
        return voxels.astype(np.int64)

    def _add_ends(
        self,
        numbers: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        length: npt.NDArray[np.int64],
        at: npt.NDArray[np.int64],
    ) -> None:
        order = np.lexsort((places[:, 1], places[:, 0], numbers))  # runs of a row stay in their order
        numbers, places, length = numbers[order], places[order], length[order]
        new = np.ones(len(numbers) + 1, bool)
        new[1:-1] = (numbers[1:] != numbers[:-1]) | (places[1:, :2] != places[:-1, :2]).any(axis=1)
        last = places.copy()
        last[:, 2] += length - 1
        for ends, which, side in ((places, new[:-1], -1), (last, new[1:], 1)):
            owners, each = numbers[which], ends[which]
            kept = corners(owners, each, side)
            self._numbers.append(owners[kept])
            self._places.append((each[kept] + at).astype(np.int32))
            self._held += int(kept.sum())
        if self._held > _MOST_PLACES:
            self._take_hulls()

    def _take_hulls(self) -> None:
        """Keep of all places those that are corners of the hull of their object so far."""
        numbers, places = np.concatenate(self._numbers), np.concatenate(self._places)
        order = np.argsort(numbers, kind="stable")
        numbers, places = numbers[order], places[order]
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        kept = [hull_of(each, flat=self._flat) for each in np.split(places, cuts)]
        owners = numbers[np.concatenate([[0], cuts])]
        self._numbers = [np.repeat(owners, [len(each) for each in kept])]
        self._places = [np.concatenate(kept)]
        self._held = len(self._places[0])

    def columns(self, *, known: bool) -> dict[str, np.ndarray]:
        """Return the columns of all objects, those of units with these if the voxel is ``known``."""
        there = np.flatnonzero(self._voxels)
        voxels = self._voxels[there]
        columns: dict[str, np.ndarray] = {"object": there}
        cell = math.prod(self._sides[1:]) if self._flat else math.prod(self._sides)
        size = voxels * cell
        if self._flat:
            columns["area_um2" if known else "area_px"] = size / 1e6 if known else voxels
            columns["diameter_nm" if known else "diameter_px"] = 2 * np.sqrt(size / math.pi)
        else:
            columns["volume_um3" if known else "volume_px"] = size / 1e9 if known else voxels
            columns["diameter_nm" if known else "diameter_px"] = np.cbrt(6 * size / math.pi)
        columns["voxels"] = voxels
        columns |= self._axes(there)
        mean = self._first[:, there] / voxels
        axes = [(axis, "zyx"[axis]) for axis in ((1, 2) if self._flat else (0, 1, 2))]
        for axis, name in axes:
            columns[f"centroid_{name}"] = mean[axis]
        border = np.zeros(len(there), bool)
        for axis, name in axes:
            low, high = self._low[axis, there], self._high[axis, there]
            columns[f"{name}_from"], columns[f"{name}_to"] = low, high
            border |= (low == 0) | (high == self._shape[axis] - 1)
        columns["border"] = border.astype(np.int64)
        if self._grey is not None:
            columns["mean_grey"] = self._grey[there] / voxels
        outline = self._outline[there]
        if self._flat:
            columns |= {"perimeter_um": outline / 1e3} if known else {"perimeter_px": outline}
        else:
            columns |= {"surface_um2": outline / 1e6} if known else {"surface_px": outline}
        numbers = np.concatenate([np.zeros(0, np.int64), *self._numbers])
        places = np.concatenate([np.zeros((0, 3), np.int32), *self._places])
        columns["feret_nm" if known else "feret_px"] = ferets(
            there, numbers, places, self._sides, flat=self._flat
        )
        return columns

    def homes(self) -> npt.NDArray[np.int64]:
        """Return the cell that most of each object lies in, 0 for none."""
        size = len(self._voxels)
        homes: npt.NDArray[np.int64] = np.zeros(size, np.int64)
        most = np.zeros(size, np.int64)
        for (number, cell), pixels in (self._homes or {}).items():
            if pixels > most[number]:
                most[number], homes[number] = pixels, cell
        found: npt.NDArray[np.int64] = homes[np.flatnonzero(self._voxels)]
        return found

    def _axes(self, there: np.ndarray) -> dict[str, np.ndarray]:
        """Return elongation and the direction of the longest axis."""
        voxels, first = self._voxels[there], self._first[:, there]
        axes = (1, 2) if self._flat else (0, 1, 2)
        spread = np.empty((len(there), len(axes), len(axes)))
        for row, one in enumerate(axes):
            for column, other in enumerate(axes):
                moment = self._second[_PAIRS.index((min(one, other), max(one, other))), there]
                moment = moment / voxels - first[one] * first[other] / voxels**2
                # A voxel has an extent of its own: 1/12 of its side squared.
                area = self._sides[one] * self._sides[other]
                spread[:, row, column] = (moment + (one == other) / 12) * area
        values, vectors = np.linalg.eigh(spread)
        elongation = np.sqrt(values[:, -1] / np.maximum(values[:, 0], 1e-12))
        longest = vectors[:, :, -1]
        if self._flat:
            angle = np.degrees(np.arctan2(-longest[:, 0], longest[:, 1])) % 180
            return {"elongation": elongation, "orientation_deg": angle}
        longest = longest * np.where(longest[:, :1] < 0, -1, 1)
        return {"elongation": elongation} | {
            f"axis_{name}": longest[:, axis] for axis, name in enumerate("zyx")
        }

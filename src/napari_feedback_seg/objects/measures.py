"""Measures of objects, section by section: what is held is a few numbers for each object."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.objects.blocks import BlockDone
from napari_feedback_seg.objects.edits import box_of
from napari_feedback_seg.objects.outline import Extent, Outline
from napari_feedback_seg.objects.table import Table
from napari_feedback_seg.objects.union import pair_counts

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import numpy.typing as npt

    from napari_feedback_seg.objects.options import Voxel

    Floats = npt.NDArray[np.float64]

REACH_NM = 500.0
"""Distances to a class are looked for up to here."""


def measure_objects(
    labels: Any,
    voxel: Voxel | None = None,
    *,
    grey: Any = None,
    cells: Any = None,
    near: Mapping[str, Any] | None = None,
    count: int | None = None,
    reach_nm: float = REACH_NM,
) -> Generator[BlockDone, None, Table]:
    """Measure objects.

    Parameters
    ----------
    labels : array-like
        (Y, X) or (Z, Y, X), the number of the object at each voxel, 0 for none. A lazy stack is read section
        by section.
    voxel : (float, float, float), optional
        Depth, height and width of a voxel in nm. Lengths are in pixels if not given.
    grey : array-like, optional
        The image, of the same shape.
    cells : array-like, optional
        Numbers of cells, of the same shape.
    near : mapping of str to array-like, optional
        Where classes are, bool, of the same shape: the distance to each is measured.
    count : int, optional
        The highest number, if known.
    reach_nm : float
        Distances are looked for up to here, in nm; in pixels where these have no size.

    Yields
    ------
    BlockDone
        After each section.

    Returns
    -------
    Table
        A row for each object, in the order of their numbers. The columns are described in
        :data:`~napari_feedback_seg.objects.table.TEXTS`.
    """
    flat = labels.ndim == 2
    stack, greys, houses = (_deep(each) for each in (labels, grey, cells))
    depth = stack.shape[0]
    if count is None:
        count = max((int(np.asarray(stack[z]).max(initial=0)) for z in range(depth)), default=0)
    sides = voxel or (1.0, 1.0, 1.0)
    sums, outline, extent = _Sums(count), Outline(count, sides, flat), Extent(sides, flat)
    homes = _Homes()
    distances = {name: np.full(count + 1, np.inf) for name in near or {}}
    for z in range(depth):
        section = np.asarray(stack[z])
        sums.add(z, section, None if greys is None else np.asarray(greys[z]))
        outline.add(section)
        extent.add(z, section)
        if houses is not None:
            homes.add(section, np.asarray(houses[z]))
        yield BlockDone(z + 1, depth)
    for name, mask in (near or {}).items():
        _measure_distance(distances[name], stack, _deep(mask), sides, reach_nm)
        yield BlockDone(depth, depth)
    there = np.flatnonzero(sums.voxels)
    columns: dict[str, np.ndarray] = {"object": there}
    columns |= sums.columns(there, sides, flat, known=voxel is not None, depth=depth)
    columns |= outline.columns(there, known=voxel is not None)
    columns |= extent.columns(there, known=voxel is not None)
    if houses is not None:
        columns["cell"] = homes.of(there, count)
    for name, found in distances.items():
        unit = "nm" if voxel else "px"
        columns[f"distance_{name}_{unit}"] = np.where(np.isfinite(found), found, np.nan)[there]
    return Table(columns)


def measure_again(
    table: Table,
    labels: Any,
    numbers: Sequence[int],
    voxel: Voxel | None = None,
    *,
    near: Mapping[str, Any] | None = None,
    reach_nm: float = REACH_NM,
    **others: Any,
) -> Table:
    """Measure some objects again, after an edit; those that are there no more lose their row.

    Parameters
    ----------
    table : Table
        Of :func:`measure_objects`.
    labels : ndarray
        (Y, X) or (Z, Y, X) numbers of objects, as they are now.
    numbers : sequence of int
        The objects that have changed.
    voxel, near, reach_nm, **others
        As for :func:`measure_objects`.
    """
    stack = _deep(labels)
    there = [number for number in numbers if any((stack[z] == number).any() for z in range(len(stack)))]
    columns = {name: column[~np.isin(table["object"], numbers)] for name, column in table.columns.items()}
    if there:
        boxes = [box_of(stack, number) for number in there]
        sides = voxel or (1.0, 1.0, 1.0)
        around = [math.ceil(reach_nm / side) if near else 0 for side in sides]
        box = tuple(
            slice(
                max(0, min(each[axis].start for each in boxes) - around[axis]),
                max(each[axis].stop for each in boxes) + around[axis],
            )
            for axis in range(3)
        )
        here = stack[box]
        part = np.where(np.isin(here, there), here, 0)

        def cut(array: Any) -> Any:
            return None if array is None else _deep(array)[box].reshape(flat(part).shape)

        def flat(array: Any) -> Any:
            return array[0] if labels.ndim == 2 else array

        steps = measure_objects(
            flat(part),
            voxel,
            near={name: cut(mask) for name, mask in (near or {}).items()},
            reach_nm=reach_nm,
            **{name: cut(each) for name, each in others.items()},
        )
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                found = _moved(stop.value, box, stack.shape)
                break
        for name in columns:
            new = found.columns.get(name, np.full(len(found), np.nan))
            columns[name] = np.concatenate([columns[name], new])
        order = np.argsort(columns["object"], kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
    return Table(columns)


def _moved(table: Table, box: tuple[slice, ...], shape: tuple[int, ...]) -> Table:
    """Return measures of a part as those of the whole."""
    columns = dict(table.columns)
    border = np.zeros(len(table), bool)
    for axis, name in enumerate("zyx"):
        for column in (f"centroid_{name}", f"{name}_from", f"{name}_to"):
            if column in columns:
                columns[column] = columns[column] + box[axis].start
        if f"{name}_from" in columns:
            border |= (columns[f"{name}_from"] == 0) | (columns[f"{name}_to"] == shape[axis] - 1)
    return Table({**columns, "border": border.astype(np.int64)})


class _Sums:
    """Counts, moments, boxes and grey values of each object."""

    def __init__(self, count: int) -> None:
        self.size = count + 1
        self.voxels = np.zeros(self.size, np.int64)
        self.first = np.zeros((3, self.size))
        self.second = np.zeros((3, 3, self.size))
        self.grey = np.zeros(self.size)
        self.has_grey = False
        self.low = np.full((3, self.size), np.iinfo(np.int64).max, np.int64)
        self.high = np.full((3, self.size), -1, np.int64)
        self.shape = (0, 0)

    def add(self, z: int, section: np.ndarray, grey: np.ndarray | None) -> None:
        self.shape = section.shape
        y, x = np.nonzero(section)
        numbers = section[y, x]
        counts = np.bincount(numbers, minlength=self.size)
        self.voxels += counts
        places = (np.full(len(y), z), y, x)
        there = np.flatnonzero(counts)
        for axis in (1, 2):
            # Moments about the middle of the section: small numbers, which add up without loss.
            np.minimum.at(self.low[axis], numbers, places[axis])
            np.maximum.at(self.high[axis], numbers, places[axis])
        self.low[0, there] = np.minimum(self.low[0, there], z)
        self.high[0, there] = z
        sums = [counts * float(z), *(np.bincount(numbers, each, self.size) for each in (y, x))]
        for axis in range(3):
            self.first[axis] += sums[axis]
        self.second[0, 0] += counts * float(z) ** 2
        for one, other, each in ((1, 1, y * y), (2, 2, x * x), (1, 2, y * x)):
            self.second[one, other] += np.bincount(numbers, each, self.size)
        self.second[0, 1] += z * sums[1]
        self.second[0, 2] += z * sums[2]
        if grey is not None:
            self.has_grey = True
            self.grey += np.bincount(numbers, grey[y, x], self.size)

    def columns(
        self, there: np.ndarray, sides: Voxel, flat: bool, *, known: bool, depth: int
    ) -> dict[str, np.ndarray]:
        voxels = self.voxels[there]
        columns: dict[str, np.ndarray] = {}
        cell = math.prod(sides[1:]) if flat else math.prod(sides)
        size = voxels * cell
        if flat:
            columns["area_um2" if known else "area_px"] = size / 1e6 if known else voxels
            columns["diameter_nm" if known else "diameter_px"] = 2 * np.sqrt(size / math.pi)
        else:
            columns["volume_um3" if known else "volume_px"] = size / 1e9 if known else voxels
            columns["diameter_nm" if known else "diameter_px"] = np.cbrt(6 * size / math.pi)
        columns["voxels"] = voxels
        columns |= self._axes(there, sides, flat)
        mean = self.first[:, there] / voxels
        axes = "yx" if flat else "zyx"
        for name in axes:
            columns[f"centroid_{name}"] = mean["zyx".index(name)]
        for name in axes:
            columns[f"{name}_from"] = self.low["zyx".index(name), there]
            columns[f"{name}_to"] = self.high["zyx".index(name), there]
        ends = ((1, self.shape[0]), (2, self.shape[1]), *([] if flat else [(0, depth)]))
        border = np.zeros(len(there), bool)
        for axis, length in ends:
            border |= (self.low[axis, there] == 0) | (self.high[axis, there] == length - 1)
        columns["border"] = border.astype(np.int64)
        if self.has_grey:
            columns["mean_grey"] = self.grey[there] / voxels
        return columns

    def _axes(self, there: np.ndarray, sides: Voxel, flat: bool) -> dict[str, np.ndarray]:
        """Return elongation and the direction of the longest axis."""
        voxels, first = self.voxels[there], self.first[:, there]
        axes = (1, 2) if flat else (0, 1, 2)
        spread = np.empty((len(there), len(axes), len(axes)))
        for row, one in enumerate(axes):
            for column, other in enumerate(axes):
                low, high = min(one, other), max(one, other)
                moment = self.second[low, high, there] / voxels - first[low] * first[high] / voxels**2
                # A voxel has an extent of its own: 1/12 of its side squared.
                spread[:, row, column] = (moment + (one == other) / 12) * sides[one] * sides[other]
        values, vectors = np.linalg.eigh(spread)
        elongation = np.sqrt(values[:, -1] / np.maximum(values[:, 0], 1e-12))
        longest = vectors[:, :, -1]
        if flat:
            angle = np.degrees(np.arctan2(-longest[:, 0], longest[:, 1])) % 180
            return {"elongation": elongation, "orientation_deg": angle}
        longest = longest * np.where(longest[:, :1] < 0, -1, 1)
        return {"elongation": elongation} | {
            f"axis_{name}": longest[:, axis] for axis, name in enumerate("zyx")
        }


class _Homes:
    """In which cell most of an object lies."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int], int] = {}

    def add(self, section: np.ndarray, cells: np.ndarray) -> None:
        pairs, counts = pair_counts(section, cells)
        for (number, cell), pixels in zip(pairs.tolist(), counts.tolist(), strict=True):
            self._counts[number, cell] = self._counts.get((number, cell), 0) + pixels

    def of(self, there: np.ndarray, count: int) -> np.ndarray:
        homes: npt.NDArray[np.int64] = np.zeros(count + 1, np.int64)
        most = np.zeros(count + 1, np.int64)
        for (number, cell), pixels in self._counts.items():
            if pixels > most[number]:
                most[number], homes[number] = pixels, cell
        found: npt.NDArray[np.int64] = homes[there]
        return found


def _measure_distance(found: Floats, stack: Any, mask: Any, sides: Voxel, reach: float) -> None:
    """Note the shortest distance of each object to where a class is, within reach."""
    import bioimage_cpp as bic

    depth = stack.shape[0]
    margin = math.ceil(reach / sides[0])
    step = max(16, margin)
    for start in range(0, depth, step):
        low, high = max(0, start - margin), min(depth, start + step + margin)
        there = np.stack([np.asarray(mask[z]) for z in range(low, high)]).astype(bool)
        if not there.any():
            continue
        distance = bic.distance.distance_transform(~there, sampling=list(sides))
        for z in range(start, min(depth, start + step)):
            section = np.asarray(stack[z])
            objects = section > 0
            far = distance[z - low][objects]
            np.minimum.at(found, section[objects], np.where(far <= reach, far, np.inf))


def measure_cells(objects: Table, cells: Table) -> Table:
    """Return the table of cells with what lies in each: how many objects, and which part of it they fill.

    Parameters
    ----------
    objects : Table
        Of :func:`measure_objects` with cells.
    cells : Table
        Of :func:`measure_objects` of the cells.
    """
    homes, numbers = objects["cell"], cells["object"]
    size = int(max(homes.max(initial=0), numbers.max(initial=0))) + 1
    inside = np.bincount(homes, minlength=size)[numbers]
    filled = np.bincount(homes, objects["voxels"], size)[numbers] / cells["voxels"]
    columns = {("cell" if name == "object" else name): column for name, column in cells.columns.items()}
    return Table({**columns, "count": inside, "fraction": filled})


def measure_image(
    objects: Table, shape: tuple[int, ...], voxel: Voxel | None, tissue: int | None = None
) -> Table:
    """Return the table of the image: how many objects, which part of it they fill, how dense they lie.

    Parameters
    ----------
    objects : Table
        Of :func:`measure_objects`.
    shape : tuple of int
        Of the labels.
    voxel : (float, float, float), optional
        Depth, height and width of a voxel in nm.
    tissue : int, optional
        Voxels that are tissue; all if not given.
    """
    flat = len(shape) == 2
    voxels = math.prod(shape) if tissue is None else tissue
    unit = 1.0
    if voxel is not None:
        unit = math.prod(voxel[1:]) / 1e6 if flat else math.prod(voxel) / 1e9
    name = ("area_um2" if flat else "volume_um3") if voxel else ("area_px" if flat else "volume_px")
    per = name.split("_")[1]
    whole = voxels * unit
    count = len(objects)
    return Table(
        {
            "count": np.array([count]),
            name: np.array([whole]),
            "fraction": np.array([objects["voxels"].sum() / voxels if voxels else np.nan]),
            f"density_per_{per}": np.array([count / whole if whole else np.nan]),
        }
    )


def _deep(array: Any) -> Any:
    """Return an array as a stack, whose first axis is the section; a lazy one stays lazy."""
    return array[None] if array is not None and array.ndim == 2 else array

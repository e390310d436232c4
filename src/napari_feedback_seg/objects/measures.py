"""Measures of objects, block by block: what is held is a block, and a few numbers for each object."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.generators import finish
from napari_feedback_seg.objects.blocks import BlockDone, blocks_of
from napari_feedback_seg.objects.edits import box_of
from napari_feedback_seg.objects.sums import Sums
from napari_feedback_seg.objects.table import Table

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from napari_feedback_seg.objects.blocks import Shape
    from napari_feedback_seg.objects.options import Voxel

    Floats = npt.NDArray[np.float64]

REACH_NM = 500.0
"""Distances to a class are looked for up to here."""

BLOCK = (8, 1024, 1024)
"""Voxels that are read at once at most."""


def measure_objects(
    labels: Any,
    voxel: Voxel | None = None,
    *,
    grey: Any = None,
    cells: Any = None,
    near: Mapping[str, Any] | None = None,
    count: int | None = None,
    reach_nm: float = REACH_NM,
    size: Shape = BLOCK,
) -> Generator[BlockDone, None, Table]:
    """Measure objects.

    Parameters
    ----------
    labels : array-like
        (Y, X) or (Z, Y, X), the number of the object at each voxel, 0 for none; like all that follow, it is
        read in blocks, and may be lazy.
    voxel : (float, float, float), optional
        Depth, height and width of a voxel in nm. Lengths are in pixels if not given.
    grey : array-like, optional
        The image, of the same shape.
    cells : array-like, optional
        Numbers of cells, of the same shape.
    near : mapping of str to array-like, optional
        Where classes are, bool or uint8 from 128 on, of the same shape: the distance to each is measured.
    count : int, optional
        The highest number, if known.
    reach_nm : float
        Distances are looked for up to here, in nm; in pixels where these have no size.
    size : (int, int, int)
        Voxels that are read at once at most.

    Yields
    ------
    BlockDone
        After each block.

    Returns
    -------
    Table
        A row for each object, in the order of their numbers. The columns are described in
        :data:`~napari_feedback_seg.objects.table.TEXTS`.
    """
    flat = labels.ndim == 2
    shape = (1, *labels.shape) if flat else tuple(labels.shape)
    blocks = blocks_of(shape, size, (0 if flat else 1, 1, 1))
    total = len(blocks)
    if count is None:
        count = max((int(_part(labels, block.own).max(initial=0)) for block in blocks), default=0)
    sides = voxel or (1.0, 1.0, 1.0)
    sums = Sums(count, sides, flat=flat, shape=shape)
    for done, block in enumerate(blocks, start=1):
        seen = _part(labels, block.seen)
        around = [
            (own.start - seen.start == 0, seen.stop - own.stop == 0)
            for own, seen in zip(block.own, block.seen, strict=True)
        ]
        around[0] = (False, False) if flat else around[0]
        origin = tuple(each.start for each in block.own)
        sums.add(
            np.pad(seen, np.array(around, int)),
            (origin[0], origin[1], origin[2]),
            None if grey is None else _part(grey, block.own),
            None if cells is None else _part(cells, block.own),
        )
        yield BlockDone(done, total)
    columns = sums.columns(known=voxel is not None)
    if cells is not None:
        columns["cell"] = sums.homes()
    for name, mask in (near or {}).items():
        far = np.full(count + 1, np.inf)
        for _ in _measure_distance(far, labels, mask, sides, reach_nm):
            yield BlockDone(total, total)
        unit = "nm" if voxel else "px"
        far = far[columns["object"]]
        columns[f"distance_{name}_{unit}"] = np.where(np.isfinite(far), far, np.nan)
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
            return None if array is None else _part(array, box).reshape(flat(part).shape)

        def flat(array: Any) -> Any:
            return array[0] if labels.ndim == 2 else array

        steps = measure_objects(
            flat(part),
            voxel,
            near={name: cut(mask) for name, mask in (near or {}).items()},
            reach_nm=reach_nm,
            **{name: cut(each) for name, each in others.items()},
        )
        found = _moved(finish(steps), box, stack.shape)
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


def _measure_distance(found: Floats, labels: Any, mask: Any, sides: Voxel, reach: float) -> Iterator[None]:
    """Note the shortest distance of each object to where a class is, within reach, block by block."""
    import bioimage_cpp as bic

    flat = labels.ndim == 2
    margin = tuple(0 if flat and not axis else math.ceil(reach / sides[axis]) for axis in range(3))
    shape = (1, *labels.shape) if flat else labels.shape
    for block in blocks_of(shape, (64, 384, 384), (margin[0], margin[1], margin[2])):
        numbers = _part(labels, block.own)
        if numbers.any():
            there = _part(mask, block.seen)
            there = there if there.dtype == bool else there > 127
            if there.any():
                distance = bic.distance.distance_transform(~there, sampling=list(sides))[block.inner]
                objects = numbers > 0
                far = distance[objects]
                np.minimum.at(found, numbers[objects], np.where(far <= reach, far, np.inf))
        yield


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


def count_segmented(
    parts: Iterable[np.ndarray], value: int | None = None, *, soft: bool = False
) -> Generator[BlockDone, None, int | None]:
    """Count the voxels that are segmented, and not labelled 0.

    Parameters
    ----------
    parts : iterable of ndarray
        Labels (..., Y, X), or probabilities (C, ..., Y, X), part by part.
    value : int, optional
        Of the class that objects are made of.
    soft : bool
        Whether they are probabilities.

    Yields
    ------
    BlockDone
        After each part.

    Returns
    -------
    int or None
        None for all: where nothing but the class is labelled, as in a mask, 0 is what is around it.
    """
    found, mask = 0, True
    for part in parts:
        there = part.any(axis=0) if soft else part != UNLABELLED
        found += int(np.count_nonzero(there))
        mask = mask and not soft and value is not None and not (there & (part != value)).any()
        yield BlockDone(1, 1)
    return None if mask else found


def parts_of(labels: Any) -> Iterator[np.ndarray]:
    """Yield (Z, Y, X) parts of labels, which may be lazy."""
    shape = (1, *labels.shape) if labels.ndim == 2 else tuple(labels.shape)
    for block in blocks_of(shape, BLOCK, (0, 0, 0)):
        yield _part(labels, block.own)


def measure_image(
    objects: Table, shape: tuple[int, ...], voxel: Voxel | None, segmented: int | None = None
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
    segmented : int, optional
        Voxels that are segmented, as :func:`count_segmented` returns them: others count in no measure.
        All if not given.
    """
    flat = len(shape) == 2
    voxels = math.prod(shape) if segmented is None else segmented
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
            "segmented": np.array([voxels / math.prod(shape)]),
            "fraction": np.array([objects["voxels"].sum() / voxels if voxels else np.nan]),
            f"density_per_{per}": np.array([count / whole if whole else np.nan]),
        }
    )


def _part(array: Any, place: tuple[slice, ...]) -> np.ndarray:
    """Return a part (Z, Y, X) of an array of two or three axes."""
    return np.asarray(array[place]) if array.ndim == 3 else np.asarray(array[place[1:]])[None]


def _deep(array: Any) -> Any:
    """Return an array as a stack, whose first axis is the section; a lazy one stays lazy."""
    return array[None] if array is not None and array.ndim == 2 else array

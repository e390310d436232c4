"""Edits that put numbered objects right: each knows places and no numbers, so that it can be done again.

After the segmentation is repeated the objects have other numbers, but are at the same places.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import bioimage_cpp as bic
import numpy as np
from skimage.draw import line as pixels_of_line

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.objects.halves import Widths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from napari_feedback_seg.objects.options import Voxel

Place = tuple[int, int, int]
"""Section, row and column."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Split:
    """Cut an object in two between two places on it: in a neck between them, or else half way."""

    one: Place
    other: Place


@dataclass(frozen=True)
class Cut:
    """Cut an object along a line across its profile; in other sections where both sides are equally near.

    Attributes
    ----------
    line : tuple of Place
        The corners of the line, all in one section.
    """

    line: tuple[Place, ...]


@dataclass(frozen=True)
class Merge:
    """Make one object of those at two places."""

    one: Place
    other: Place


@dataclass(frozen=True)
class Delete:
    """Delete the object at a place."""

    at: Place


@dataclass(frozen=True)
class Paint:
    """Give painted voxels to an object, or take them away.

    Attributes
    ----------
    voxels : bytes
        As :func:`pack` gives them.
    to : Place or None
        Where the object is; None: they become a new object.
    erase : bool
        They become no object.
    """

    voxels: bytes
    to: Place | None = None
    erase: bool = False


Edit = Split | Cut | Merge | Delete | Paint


@dataclass(frozen=True)
class Change:
    """What an edit has changed, to be taken back.

    Attributes
    ----------
    box : tuple of slice
        Where.
    changed : ndarray
        The voxels of the box, packed to bits.
    before : ndarray
        The numbers that the changed voxels had; one if it was the same everywhere.
    numbers : tuple of int
        Objects that have changed, are new or are gone.
    count : int
        The highest number before.
    """

    box: Box
    changed: npt.NDArray[np.uint8]
    before: npt.NDArray[np.uint32]
    numbers: tuple[int, ...]
    count: int


def apply(labels: Any, edit: Edit, voxel: Voxel, count: int) -> Change:
    """Do an edit.

    Parameters
    ----------
    labels : ndarray
        (Z, Y, X) numbers of objects, which are changed in place.
    edit : Edit
        What to do.
    voxel : (float, float, float)
        Depth, height and width of a voxel in nm.
    count : int
        The highest number; a new object gets the next one.

    Raises
    ------
    InputError
        If there is no such object, or the line does not cut it. Nothing is changed then.
    """
    if isinstance(edit, Paint):
        return _paint(labels, edit, count)
    if isinstance(edit, Cut):
        return _cut(labels, edit, voxel, count)
    if isinstance(edit, Split):
        number, other = number_at(labels, edit.one), number_at(labels, edit.other)
        if number != other:
            raise InputError("The two places are on two objects. To split an object, click two places on it.")
        box = box_of(labels, number)
        inside = labels[box] == number
        corner = [each.start for each in box]
        one, two = (np.array([place]) - corner for place in (edit.one, edit.other))
        widths = _widths(inside, voxel, box, labels.shape)
        parts = widths.nearer(*widths.middles(one, two))
        return _share(labels, number, box, np.where(inside, parts, 0), count)
    if isinstance(edit, Merge):
        keep, gone = number_at(labels, edit.one), number_at(labels, edit.other)
        if keep == gone:
            raise InputError("The two places are on one object already. Click two objects to merge them.")
        keep, gone = min(keep, gone), max(keep, gone)
        box = box_of(labels, gone)
        return _write(labels, box, labels[box] == gone, keep, (keep, gone), count)
    number = number_at(labels, edit.at)
    box = box_of(labels, number)
    return _write(labels, box, labels[box] == number, 0, (number,), count)


def take_back(labels: Any, change: Change) -> None:
    """Undo a change; what was changed after it has been undone before."""
    part = labels[change.box]
    size = part.size
    where = np.unpackbits(change.changed, count=size).astype(bool).reshape(part.shape)
    part[where] = change.before if len(change.before) > 1 else change.before[0]
    labels[change.box] = part


def number_at(labels: Any, place: Place) -> int:
    """Return the number of the object at a place.

    Raises
    ------
    InputError
        If no object is there.
    """
    inside = all(0 <= at < length for at, length in zip(place, labels.shape, strict=True))
    number = int(labels[place]) if inside else 0
    if not number:
        raise InputError(
            f"There is no object at section {place[0]}, row {place[1]}, column {place[2]}. "
            "Click on an object."
        )
    return number


def box_of(labels: Any, number: int) -> Box:
    """Return the box around an object that is there."""
    found: list[slice] = []
    sections = [z for z in range(labels.shape[0]) if (labels[z] == number).any()]
    low, high = sections[0], sections[-1] + 1
    flat = np.zeros(labels.shape[1:], bool)
    for z in sections:
        flat |= np.asarray(labels[z]) == number
    found.append(slice(low, high))
    for axis in (1, 0):
        there = np.flatnonzero(flat.any(axis=axis))
        found.append(slice(int(there[0]), int(there[-1]) + 1))
    return found[0], found[1], found[2]


def _cut(labels: Any, edit: Cut, voxel: Voxel, count: int) -> Change:
    z = edit.line[0][0]
    rows, columns = _rasterised(edit.line, labels.shape)
    under = np.asarray(labels[z])[rows, columns]
    if not under.any():
        raise InputError("The line crosses no object. Draw it across the object, from outside to outside.")
    numbers, pixels = np.unique(under[under > 0], return_counts=True)
    number = int(numbers[pixels.argmax()])
    box = box_of(labels, number)
    inside = labels[box] == number
    barrier = np.zeros(labels.shape[1:], bool)
    for down, across in ((0, 0), (1, 0), (0, 1)):  # so that no corner lets through
        barrier[
            np.minimum(rows + down, len(barrier) - 1), np.minimum(columns + across, barrier.shape[1] - 1)
        ] = True
    section = z - box[0].start
    sides = bic.segmentation.label(inside[section] & ~barrier[box[1:]], connectivity=1)
    sizes = np.bincount(sides.ravel().astype(np.int64))
    sizes[0] = 0
    if (sizes > 0).sum() < 2:
        raise InputError("The line does not cut the object. Draw it across, from outside to outside.")
    largest = np.argsort(-sizes)[:2]
    one, two = (np.insert(np.argwhere(sides == side), 0, section, axis=1) for side in largest)
    parts = _widths(inside, voxel, box, labels.shape).nearer(one, two)
    for part, side in enumerate(largest, start=1):
        parts[section][sides == side] = part
    return _share(labels, number, box, np.where(inside, parts, 0), count)


def _share(labels: Any, number: int, box: Box, parts: npt.NDArray[np.uint8], count: int) -> Change:
    """Make two objects of the parts 1 and 2 of one; the larger part keeps the number."""
    sizes = np.bincount(parts.ravel(), minlength=3)
    if not sizes[1] or not sizes[2]:
        raise InputError("The two places are the same, or nearly so. Click two places further apart.")
    smaller = 1 if sizes[1] < sizes[2] else 2
    return _write(labels, box, parts == smaller, count + 1, (number, count + 1), count)


def _widths(inside: npt.NDArray[np.bool_], voxel: Voxel, box: Box, shape: tuple[int, ...]) -> Widths:
    beside = [(each.start > 0, each.stop < length) for each, length in zip(box, shape, strict=True)]
    return Widths.of(inside, voxel, beside)


def _paint(labels: Any, edit: Paint, count: int) -> Change:
    places = unpack(edit.voxels)
    places = places[(places < labels.shape).all(axis=1)]
    if not len(places):
        raise InputError("What was painted lies beside the objects.")
    number = 0 if edit.erase else count + 1 if edit.to is None else number_at(labels, edit.to)
    low, high = places.min(axis=0), places.max(axis=0) + 1
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    where = np.zeros(tuple(high - low), bool)
    where[tuple((places - low).T)] = True
    where &= labels[box] != number
    others = np.unique(labels[box][where])
    return _write(labels, box, where, number, (number, *others.tolist()), count)


def _write(
    labels: Any,
    box: Box,
    where: npt.NDArray[np.bool_],
    number: int,
    numbers: tuple[int, ...],
    count: int,
) -> Change:
    part = labels[box]
    before = np.asarray(part[where], np.uint32)
    if len(before) and (before == before[0]).all():
        before = before[:1].copy()
    part[where] = number
    labels[box] = part
    return Change(box, np.packbits(where), before, tuple(sorted(set(numbers) - {0})), count)


def _rasterised(line: Sequence[Place], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    corners = [(y, x) for _, y, x in line]
    if len(corners) < 2:
        raise InputError("The line is one point. Draw it across the object, from outside to outside.")
    rows, columns = [], []
    for (top, left), (bottom, right) in pairwise(corners):
        y, x = pixels_of_line(top, left, bottom, right)
        rows.append(y)
        columns.append(x)
    y, x = np.concatenate(rows), np.concatenate(columns)
    within = (y >= 0) & (x >= 0) & (y < shape[1]) & (x < shape[2])
    return y[within], x[within]


# --- as text


def pack(places: npt.NDArray[np.integer]) -> bytes:
    """Return voxels (n, 3) as bytes."""
    return zlib.compress(np.ascontiguousarray(places, "<i4").tobytes())


def unpack(voxels: bytes) -> npt.NDArray[np.int64]:
    """Return the voxels (n, 3) of :func:`pack`."""
    return np.frombuffer(zlib.decompress(voxels), "<i4").reshape(-1, 3).astype(np.int64)


_KINDS: Mapping[str, type] = {"split": Split, "cut": Cut, "merge": Merge, "delete": Delete, "paint": Paint}


def to_json(edit: Edit) -> dict[str, Any]:
    """Return an edit as JSON can hold it."""
    kind = next(name for name, each in _KINDS.items() if isinstance(edit, each))
    found: dict[str, Any] = {"kind": kind, **vars(edit)}
    if isinstance(edit, Paint):
        found["voxels"] = base64.b64encode(edit.voxels).decode("ascii")
    return found


def from_json(record: Mapping[str, Any]) -> Edit:
    """Return the edit that :func:`to_json` gave.

    Raises
    ------
    ValueError
        If the record is not that of an edit.
    """
    try:
        kind = str(record["kind"])
        if kind == "cut":
            return Cut(tuple(map(_place, record["line"])))
        if kind == "delete":
            return Delete(_place(record["at"]))
        if kind == "paint":
            to = record.get("to")
            voxels = base64.b64decode(record["voxels"])
            unpack(voxels)
            return Paint(voxels, None if to is None else _place(to), bool(record.get("erase")))
        edit: Edit = _KINDS[kind](_place(record["one"]), _place(record["other"]))
        return edit
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"This is no edit: {record!r:.80}") from error


def _place(value: Sequence[int]) -> Place:
    z, y, x = (int(each) for each in value)
    return z, y, x

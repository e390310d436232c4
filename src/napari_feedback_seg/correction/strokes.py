"""Strokes: what a person painted, dealt into single strokes. No torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

BLOCK = 128
"""Side in pixels of the blocks that cut what is larger, as dense labels are."""

SectionKey = tuple[str, int]
"""Name of an image, and number of a section in it."""


@dataclass(frozen=True, eq=False)
class Stroke:
    """What was painted without lifting the brush, as far as its pixels tell.

    Attributes
    ----------
    section : tuple
        Name of the image, and number of the section in it.
    value : int
        The class.
    pixels : ndarray
        (N, 2) int32, rows and columns on the image's grid, in an order as if at random, which does not
        change with what else is painted.
    """

    section: SectionKey
    value: int
    pixels: npt.NDArray[np.int32]

    @cached_property
    def key(self) -> str:
        """What tells it from other strokes; the same for a stroke that was not touched."""
        digest = hashlib.blake2b(repr(self.section).encode(), digest_size=12)
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()

    @cached_property
    def centre(self) -> tuple[int, int]:
        """The pixel of the stroke that is nearest to its middle; the topmost, then leftmost, of several."""
        way = np.square(self.pixels - self.pixels.mean(axis=0)).sum(axis=1).round(6)
        rows, columns = self.pixels.T
        row, column = self.pixels[np.lexsort((columns, rows, way))[0]]
        return int(row), int(column)

    def lies_on(self, z: int, row: int, column: int) -> bool:
        """Return whether it lies on a pixel of a section."""
        return self.section[1] == z and bool((self.pixels == (row, column)).all(axis=1).any())


def digest_of_labels(labels: npt.NDArray[np.uint8]) -> str:
    """Return what tells what is painted on a section (Y, X) from anything else."""
    return hashlib.blake2b(np.ascontiguousarray(labels).data, digest_size=12).hexdigest()


def painted_digest(
    sections: Iterable[tuple[int, str]],
    muted: Collection[tuple[int, int, int]] = (),
    muted_classes: Collection[int] = (),
) -> str:
    """Return what tells what was painted on an image, and learnt from, from anything else.

    Parameters
    ----------
    sections : iterable of tuple
        Number and :func:`digest_of_labels` of each section that is painted on.
    muted, muted_classes : collection
        What was not learnt from, see :func:`not_muted`.
    """
    about = sorted(sections), sorted(map(tuple, muted)), sorted(muted_classes)
    return hashlib.blake2b(repr(about).encode(), digest_size=12).hexdigest()


def classes_of(owners: npt.NDArray[np.int32], strokes: Sequence[Stroke]) -> npt.NDArray[np.uint8]:
    """Return the class of the stroke that each pixel belongs to: its place among strokes, from 1 on, or 0."""
    classes: npt.NDArray[np.uint8] = np.array([0, *(each.value for each in strokes)], np.uint8)[owners]
    return classes


def not_muted(
    strokes: Iterable[Stroke], muted: Collection[tuple[int, int, int]], muted_classes: Collection[int]
) -> list[Stroke]:
    """Return the strokes that are learnt from.

    Parameters
    ----------
    strokes : iterable of Stroke
        All of them.
    muted : collection
        Section, row and column of a pixel of each that is muted.
    muted_classes : collection of int
        Classes that are muted.
    """
    return [
        each
        for each in strokes
        if each.value not in muted_classes and not any(each.lies_on(*place) for place in muted)
    ]


def find_strokes(labels: npt.NDArray[np.uint8], section: SectionKey = ("", 0)) -> list[Stroke]:
    """Return the strokes of a section: pixels of one class that touch, in blocks where they are large.

    Parameters
    ----------
    labels : ndarray
        (Y, X) class values, 0 where nothing is painted.
    section : tuple
        Name of the image, and number of the section.
    """
    from scipy import ndimage

    rows, columns = np.nonzero(labels)
    if rows.size == 0:
        return []
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    strokes = []
    for value in np.unique(labels[rows, columns]):
        parts, _ = ndimage.label(labels[box] == value, np.ones((3, 3)))
        of_class = np.flatnonzero(labels[rows, columns] == value)
        places = np.stack([rows[of_class], columns[of_class]], axis=1).astype(np.int32)
        numbers = parts[places[:, 0] - box[0].start, places[:, 1] - box[1].start].astype(np.int64)
        sizes = [max(part.stop - part.start for part in each) for each in ndimage.find_objects(parts)]
        blocks = places // BLOCK * (np.array([0, *sizes]) > BLOCK)[numbers, None]
        keys = (numbers * (labels.shape[0] // BLOCK + 1) + blocks[:, 0]) * (labels.shape[1] // BLOCK + 1)
        keys += blocks[:, 1]
        order = np.lexsort((_scattered(places), keys))
        ends = np.flatnonzero(np.diff(keys[order])) + 1
        strokes += [Stroke(section, int(value), places[part]) for part in np.split(order, ends)]
    return strokes


def _scattered(places: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    """Return a number (N,) for each pixel, from its place alone, as if at random: SplitMix64's last steps."""
    number = places[:, 0].astype(np.uint64) << np.uint64(32) | places[:, 1].astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        number = (number ^ (number >> np.uint64(shift))) * np.uint64(factor)
    return number ^ (number >> np.uint64(31))


@dataclass(frozen=True, eq=False)
class Settled:
    """What strokes had put right around themselves, on a section, when a model learnt them.

    Attributes
    ----------
    owners : sparse array
        (Y, X) int32, the number of the stroke that a pixel belongs to, from 1 on; its own pixels are
        among them. 0 elsewhere.
    values : ndarray
        (N,) uint8, the class of each stroke.
    """

    owners: Any
    values: npt.NDArray[np.uint8]

    def still(
        self, labels: npt.NDArray[np.uint8], strokes: Iterable[Stroke]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """Return what of it is still right.

        That is what belonged to a stroke of which something is still painted there, and is reached from
        it. Paint of another class is a wall.

        Parameters
        ----------
        labels : ndarray
            (Y, X) class values of what is painted now.
        strokes : iterable of Stroke
            Those of it that count: one that is muted keeps nothing right.

        Returns
        -------
        owners : ndarray
            (Y, X) the stroke that a pixel belongs to, 0 elsewhere.
        right : ndarray
            (Y, X) class values, 0 elsewhere and where something is painted.
        """
        from scipy import ndimage

        owners = self.owners.toarray()
        painted = np.zeros_like(labels)
        for stroke in strokes:
            painted[tuple(stroke.pixels.T)] = stroke.value
        still = np.zeros_like(owners)
        boxes = ndimage.find_objects(owners)
        for number, (box, value) in enumerate(zip(boxes, self.values, strict=False), 1):
            if box is None:
                continue
            free = (labels[box] == 0) | (labels[box] == value)
            own = (owners[box] == number) & free
            parts, _ = ndimage.label((owners[box] > 0) & free, np.ones((3, 3)))
            touched = np.unique(parts[own & (painted[box] == value)])
            still[box][own & np.isin(parts, touched)] = number
        right = np.concatenate([np.zeros(1, np.uint8), self.values])[still]
        right[labels > 0] = 0
        return still, right

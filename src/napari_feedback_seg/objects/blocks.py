"""A volume block by block: objects of each, those that cross a face or a section joined by union-find.

Only blocks, the planes between them and a few numbers for each object are held; labels go to an array that
may lie in a file.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.objects.union import pair_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import numpy.typing as npt

    Numbers = npt.NDArray[np.uint32]
    Over = tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]

BLOCK = (64, 512, 512)
"""Voxels of a block at most, along each axis."""

FLAT_BLOCK = (1, 2048, 2048)
"""Voxels of a block at most, where sections are looked at one by one."""

SAME = 0.5
"""Two objects at a face are one if they share this much of the smaller one's part of it."""

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class BlockDone:
    """A step is done.

    Attributes
    ----------
    done, total : int
        Steps done, and steps in all.
    """

    done: int
    total: int


@dataclass(frozen=True)
class Block:
    """A block of a volume and the margin around it that is looked at, too.

    Attributes
    ----------
    own, seen : tuple of slice
        Where the block is, and where block and margin are.
    """

    own: tuple[slice, slice, slice]
    seen: tuple[slice, slice, slice]

    @property
    def inner(self) -> tuple[slice, ...]:
        """Where the block is in what is seen."""
        return tuple(
            slice(own.start - seen.start, own.stop - seen.start)
            for own, seen in zip(self.own, self.seen, strict=True)
        )


def blocks_of(shape: Shape, size: Shape, margin: Shape) -> list[Block]:
    """Return the blocks of a volume, in order: they begin at multiples of ``size``."""
    counts = (range(math.ceil(length / most)) for length, most in zip(shape, size, strict=True))
    return [block_at(index, shape, size, margin) for index in itertools.product(*counts)]


def block_at(index: tuple[int, ...], shape: Shape, size: Shape, margin: Shape) -> Block:
    """Return the block at a place among the blocks."""
    own, seen = [], []
    for number, length, most, around in zip(index, shape, size, margin, strict=True):
        start, stop = number * most, min((number + 1) * most, length)
        own.append(slice(start, stop))
        seen.append(slice(max(0, start - around), min(length, stop + around)))
    return Block((own[0], own[1], own[2]), (seen[0], seen[1], seen[2]))


def beyond(block: Block, labels: Numbers) -> dict[int, Numbers]:
    """Return what a block says of the first plane beyond its end, along each axis that goes on.

    There it meets the block that owns the plane; as both label the same voxels, what overlaps is one object.

    Parameters
    ----------
    block : Block
        The block.
    labels : ndarray
        (Z, Y, X) objects of all that is seen of it.
    """
    inner = block.inner
    planes = {}
    for axis in range(3):
        if inner[axis].stop < labels.shape[axis]:
            where: list[Any] = list(inner)
            where[axis] = inner[axis].stop
            planes[axis] = labels[tuple(where)]
    return planes


def first_plane(labels: Any, axis: int) -> Numbers:
    """Return the first plane of the labels of a block along an axis."""
    return np.asarray(labels[tuple(0 if each == axis else slice(None) for each in range(3))])


def one_object(one: Numbers, other: Numbers) -> npt.NDArray[np.int64]:
    """Return the pairs of numbers (n, 2) that are one object, of two labellings of one plane."""
    pairs, counts = pair_counts(one, other)
    if not len(pairs):
        return pairs
    sizes = []
    for labels, column in ((one, 0), (other, 1)):
        values, pixels = np.unique(labels[labels > 0], return_counts=True)
        sizes.append(pixels[np.searchsorted(values, pairs[:, column])])
    return pairs[counts >= SAME * np.minimum(*sizes)]


@dataclass(frozen=True)
class Labelled:
    """What blocks say, before it is decided what is one object.

    Attributes
    ----------
    sizes : ndarray
        Voxels of each number.
    pairs : ndarray
        (n, 2) numbers that are one object over a face.
    """

    sizes: npt.NDArray[np.int64]
    pairs: npt.NDArray[np.int64]


def label_blocks(
    evidence: Any,
    out: Any,
    label: Callable[[np.ndarray], Numbers],
    blocks: list[Block],
) -> Generator[int, None, Labelled]:
    """Label a volume block by block; yield the number of blocks done.

    Parameters
    ----------
    evidence : array-like
        (Z, Y, X); read in blocks.
    out : array-like
        (Z, Y, X) uint32; written in blocks, with a number for each object of each block.
    label : callable
        Returns the objects of a block.
    blocks : list of Block
        As :func:`blocks_of` gives them.
    """
    count = 0
    sizes = [np.zeros(1, np.int64)]
    pairs = [np.zeros((0, 2), np.int64)]
    planes: dict[tuple[int, tuple[int, ...]], Numbers] = {}
    for done, block in enumerate(blocks, start=1):
        labels = label(np.asarray(evidence[block.seen]))
        # What lies in the margin alone belongs to a neighbour; it keeps a number while faces are compared.
        own, highest = labels[block.inner], int(labels.max(initial=0))
        starts = tuple(each.start for each in block.own)
        for axis, plane in beyond(block, labels).items():
            corner = (*starts[:axis], block.own[axis].stop, *starts[axis + 1 :])
            planes[axis, corner] = _shifted(plane, count)
        for axis in range(3):
            there = planes.pop((axis, starts), None)
            if there is not None:
                pairs.append(one_object(there, _shifted(first_plane(own, axis), count)))
        out[block.own] = _shifted(own, count)
        sizes.append(np.bincount(own.ravel().astype(np.int64), minlength=highest + 1)[1:])
        count += highest
        yield done
    return Labelled(np.concatenate(sizes), np.concatenate(pairs))


def sections_over_each_other(labels: Any, gap: int, tiles: list[Block]) -> Iterator[Over]:
    """Yield what of a section and the ``gap`` + 1 after it lies over each other.

    How far the two are apart, the pairs of numbers (n, 2), and their pixels (n,).
    """
    depth = labels.shape[0]
    for z in range(depth):
        for step in range(1, min(gap + 1, depth - 1 - z) + 1):
            for tile in tiles:
                rows, columns = tile.own[1:]
                pairs, counts = pair_counts(
                    np.asarray(labels[z, rows, columns]), np.asarray(labels[z + step, rows, columns])
                )
                if len(pairs):
                    yield step, pairs, counts


def _shifted(labels: Numbers, by: int) -> Numbers:
    return labels + np.where(labels > 0, np.uint32(by), np.uint32(0)) if by else labels

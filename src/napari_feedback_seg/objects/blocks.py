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

BLOCK = (64, 512, 512)
"""Voxels of a block at most, along each axis."""

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
    """Return the blocks of a volume, in order."""
    axes = []
    for length, most, around in zip(shape, size, margin, strict=True):
        count = max(1, math.ceil(length / most))
        edges = [round(number * length / count) for number in range(count + 1)]
        axes.append(
            [
                (slice(start, stop), slice(max(0, start - around), min(length, stop + around)))
                for start, stop in itertools.pairwise(edges)
            ]
        )
    return [Block((z[0], y[0], x[0]), (z[1], y[1], x[1])) for z, y, x in itertools.product(*axes)]


class Faces:
    """The planes that blocks share: what each says of the first plane beyond its own end.

    There it meets the block that owns the plane; as both label the same voxels, what overlaps is one object.
    """

    def __init__(self) -> None:
        self._beyond: dict[tuple[int, tuple[int, ...]], Numbers] = {}
        self._pairs: list[npt.NDArray[np.int64]] = []

    def add(self, block: Block, labels: Numbers, before: int) -> None:
        """Take the labels of what is seen, those of the block itself numbered from ``before`` + 1 on."""
        starts = tuple(each.start for each in block.own)
        for axis in range(3):
            own, inner = block.own[axis], block.inner
            where: list[Any] = list(inner)
            if inner[axis].stop < labels.shape[axis]:
                where[axis] = inner[axis].stop
                corner = (*starts[:axis], own.stop, *starts[axis + 1 :])
                self._beyond[axis, corner] = _shifted(labels[tuple(where)], before)
            there = self._beyond.pop((axis, starts), None)
            if there is not None:
                where[axis] = inner[axis].start
                self._meet(there, _shifted(labels[tuple(where)], before))

    def _meet(self, one: Numbers, other: Numbers) -> None:
        pairs, counts = pair_counts(one, other)
        if not len(pairs):
            return
        sizes = []
        for labels, column in ((one, 0), (other, 1)):
            values, pixels = np.unique(labels[labels > 0], return_counts=True)
            sizes.append(pixels[np.searchsorted(values, pairs[:, column])])
        self._pairs.append(pairs[counts >= SAME * np.minimum(*sizes)])

    def pairs(self) -> npt.NDArray[np.int64]:
        """Return the pairs of numbers that are one object, (n, 2)."""
        return np.concatenate([np.zeros((0, 2), np.int64), *self._pairs])


def label_blocks(
    evidence: Any,
    out: Any,
    label: Callable[[np.ndarray], Numbers],
    blocks: list[Block],
) -> Generator[int, None, tuple[int, npt.NDArray[np.int64]]]:
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

    Returns
    -------
    tuple
        The highest number, and the pairs of numbers that are one object, (n, 2).
    """
    count, faces = 0, Faces()
    for done, block in enumerate(blocks, start=1):
        labels = label(np.asarray(evidence[block.seen]))
        # What lies in the margin alone belongs to a neighbour; it keeps a number while faces are compared.
        faces.add(block, labels, count)
        out[block.own] = _shifted(labels[block.inner], count)
        count += int(labels.max(initial=0))
        yield done
    return count, faces.pairs()


def sections_over_each_other(
    labels: Any, gap: int, tiles: list[Block]
) -> Iterator[tuple[int, int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield what of two sections lies over each other: both sections, the pairs of numbers, their pixels.

    Of a section and the ``gap`` + 1 after it.
    """
    depth = labels.shape[0]
    for z in range(depth):
        for beyond in range(z + 1, min(z + gap + 2, depth)):
            for tile in tiles:
                rows, columns = tile.own[1:]
                pairs, counts = pair_counts(
                    np.asarray(labels[z, rows, columns]), np.asarray(labels[beyond, rows, columns])
                )
                if len(pairs):
                    yield z, beyond, pairs, counts


def _shifted(labels: Numbers, by: int) -> Numbers:
    return np.where(labels > 0, labels + np.uint32(by), 0).astype(np.uint32)

"""From a class to its objects: block by block, joined over the faces or from section to section."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.generators import forward
from napari_feedback_seg.objects.blocks import (
    BLOCK,
    FLAT_BLOCK,
    BlockDone,
    blocks_of,
    label_blocks,
    sections_over_each_other,
)
from napari_feedback_seg.objects.instances import instances
from napari_feedback_seg.objects.options import Through, least_voxels
from napari_feedback_seg.objects.union import in_order, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    import numpy.typing as npt

    from napari_feedback_seg.objects.blocks import Labelled, Numbers, Over, Shape
    from napari_feedback_seg.objects.options import ObjectOptions, Voxel

    Decide = Callable[["Overlaps"], npt.NDArray[np.int64]]

MARGIN_NM = 150.0
"""How far beyond a block is looked."""

LINK = 0.5
"""Profiles of neighbouring sections are one object if they share this much of the smaller one."""

THICK = 3.0
"""From this many times the side of a pixel on, sections are too far apart for distances in 3D."""


@dataclass(frozen=True)
class Overlaps:
    """What lies over each other in neighbouring sections.

    Attributes
    ----------
    pairs : ndarray
        (n, 2) numbers of profiles.
    counts : ndarray
        (n,) pixels that they share.
    steps : ndarray
        (n,) sections from one to the other.
    sizes : ndarray
        Pixels of each profile, by its number.
    """

    pairs: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def find_objects(
    evidence: Any,
    options: ObjectOptions,
    voxel: Voxel,
    *,
    out: Any = None,
    size: Shape | None = None,
) -> Generator[BlockDone, None, tuple[Any, int]]:
    """Find the objects of a class, and number them.

    Parameters
    ----------
    evidence : array-like
        (Z, Y, X) or (Y, X), read in blocks: bool, whether a voxel is of the class; or how probable that is,
        as float from 0 to 1, or as uint8 from 0 to 255.
    options : ObjectOptions
        How.
    voxel : (float, float, float)
        Depth, height and width of a voxel in nm.
    out : array-like, optional
        uint32 of the shape of ``evidence``, such as a file in memory's place; an array if not given.
    size : (int, int, int)
        Voxels of a block at most, along each axis.

    Yields
    ------
    BlockDone
        After each step.

    Returns
    -------
    tuple
        ``out``, numbered from 1 on in the order of the voxels, and the number of objects.

    Raises
    ------
    InputError
        If the shape is not that of a section or a stack.
    """
    return (yield from number(evidence, method_for(options, voxel, evidence.shape, size), out))


@dataclass(frozen=True)
class Method:
    """How objects are made of blocks.

    Attributes
    ----------
    label : callable
        Returns the objects of a block, of all that is seen of it.
    size, margin : (int, int, int)
        Voxels of a block at most, and around it.
    least : int
        Smaller objects are left out, in voxels.
    gap : int
        How many sections may be missing between two that lie over each other.
    decide : callable or None
        Returns the pairs that are one object, of what lies over each other in neighbouring sections.
    """

    label: Callable[[np.ndarray], Numbers]
    size: Shape
    margin: Shape
    least: int
    gap: int
    decide: Decide | None


def method_for(
    options: ObjectOptions, voxel: Voxel, shape: tuple[int, ...], size: Shape | None = None
) -> Method:
    """Return how the objects of a class are made; see :func:`find_objects`."""
    through = way_through(options.through, voxel, shape)
    flat = through is not Through.VOLUME
    size = size or (FLAT_BLOCK if flat else BLOCK)
    single = len(shape) == 2 or shape[0] == 1
    return Method(
        label=partial(instances, options=options, voxel=voxel),
        size=(1, *size[1:]) if flat else size,
        margin=_margin(options, voxel, flat),
        least=least_voxels(options.least_nm, voxel, flat=through is Through.NONE or single),
        gap=options.gap,
        decide=_over_half if through is Through.OVERLAP else None,
    )


def number(evidence: Any, method: Method, out: Any = None) -> Generator[BlockDone, None, tuple[Any, int]]:
    """Give numbers to what is found in blocks, joined over faces and over sections.

    Parameters
    ----------
    evidence, out
        As for :func:`find_objects`.
    method : Method
        How.
    """
    if evidence.ndim not in (2, 3):
        raise InputError(f"A section has two axes, a stack three, and this has the shape {evidence.shape}.")
    if out is None:
        out = np.zeros(evidence.shape, np.uint32)
    deep, labels = _deep(evidence), _deep(out)
    blocks = blocks_of(labels.shape, method.size, method.margin)
    total = len(blocks) * 2
    for_blocks = label_blocks(deep, labels, method.label, blocks)
    found = yield from forward(for_blocks, lambda done: BlockDone(done, total))
    over = None
    if method.decide is not None and labels.shape[0] > 1:
        tiles = [each for each in blocks if each.own[0].start == 0]
        over = list(sections_over_each_other(labels, method.gap, tiles))
    table, count = final_numbers(found, over, method)
    for done, block in enumerate(blocks, start=len(blocks) + 1):
        labels[block.own] = table[labels[block.own]]
        yield BlockDone(done, total)
    return out, count


def final_numbers(
    found: Labelled, over: Iterable[Over] | None, method: Method
) -> tuple[npt.NDArray[np.uint32], int]:
    """Return the object of each number that was given in blocks, and how many objects there are.

    Parameters
    ----------
    found : Labelled
        What blocks say.
    over : iterable of tuple, optional
        What of two sections lies over each other: how far they are apart, the pairs of numbers, their pixels.
    method : Method
        How.
    """
    table = joined(len(found.sizes) - 1, found.pairs)
    if over is not None and method.decide is not None:
        pairs = method.decide(_overlaps(over, table, found.sizes))
        table = joined(int(table.max(initial=0)), pairs)[table]
    sizes = np.zeros(int(table.max(initial=0)) + 1, np.int64)
    np.add.at(sizes, table, found.sizes)
    sizes[0] = 0
    kept = sizes >= max(1, method.least)
    return in_order(np.where(kept, np.arange(len(kept)), 0))[table], int(kept.sum())


def way_through(through: Through, voxel: Voxel, shape: tuple[int, ...]) -> Through:
    """Return how objects go through a stack of this shape, AUTO decided."""
    if len(shape) == 2 or shape[0] == 1:
        return Through.NONE
    if through is not Through.AUTO:
        return through
    return Through.OVERLAP if voxel[0] > THICK * min(voxel[1:]) else Through.VOLUME


def _overlaps(over: Iterable[Over], table: Numbers, voxels: npt.NDArray[np.int64]) -> Overlaps:
    """Return what lies over each other, in numbers of ``table``."""
    sizes = np.zeros(int(table.max(initial=0)) + 1, np.int64)
    np.add.at(sizes, table, voxels)
    keys, pixels = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    for step, pairs, counts in over:
        keys.append(np.column_stack([table[pairs], np.full(len(pairs), step)]).astype(np.int64))
        pixels.append(counts)
    found, places = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    shared = np.zeros(len(found), np.int64)
    np.add.at(shared, places.ravel(), np.concatenate(pixels))
    return Overlaps(found[:, :2], shared, found[:, 2], sizes)


def _over_half(overlaps: Overlaps) -> npt.NDArray[np.int64]:
    """Return the profiles that share half of the smaller one; over a gap only where one ends before it."""
    share = overlaps.counts / np.minimum(*overlaps.sizes[overlaps.pairs].T)
    return without_detours(overlaps, share >= LINK)


def without_detours(overlaps: Overlaps, linked: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the linked pairs; those over missing sections only where no nearer one continues either."""
    kept = []
    above = np.zeros(len(overlaps.sizes), bool)
    below = np.zeros(len(overlaps.sizes), bool)
    for step in range(1, int(overlaps.steps.max(initial=0)) + 1):
        pairs = overlaps.pairs[linked & (overlaps.steps == step)]
        pairs = pairs[~below[pairs[:, 0]] & ~above[pairs[:, 1]]] if step > 1 else pairs
        below[pairs[:, 0]] = above[pairs[:, 1]] = True
        kept.append(pairs)
    return np.concatenate([np.zeros((0, 2), np.int64), *kept])


def _margin(options: ObjectOptions, voxel: Voxel, flat: bool) -> Shape:
    reach = max(MARGIN_NM, options.holes_nm, 4 * options.smooth_nm, options.close_nm, options.open_nm)
    depth, height, width = (int(np.ceil(reach / side)) for side in voxel)
    return (0 if flat else depth, height, width)


def _deep(array: Any) -> Any:
    """Return an array as a stack, whose first axis is the section."""
    return array[None] if array.ndim == 2 else array

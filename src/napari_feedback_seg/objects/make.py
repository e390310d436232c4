"""From a class to its objects: block by block, joined over the faces or from section to section."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.objects.blocks import (
    BLOCK,
    BlockDone,
    blocks_of,
    label_blocks,
    sections_over_each_other,
)
from napari_feedback_seg.objects.instances import instances
from napari_feedback_seg.objects.options import Through, least_voxels
from napari_feedback_seg.objects.union import in_order, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy.typing as npt

    from napari_feedback_seg.objects.blocks import Block, Numbers, Shape
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
    size: Shape = BLOCK,
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
    through = way_through(options.through, voxel, evidence.shape)
    flat = through is not Through.VOLUME
    margin = _margin(options, voxel, flat)
    label = partial(instances, options=options, voxel=voxel)
    decide = _over_half if through is Through.OVERLAP else None
    least = least_voxels(options.least_nm, voxel, flat=through is Through.NONE or len(_deep(evidence)) == 1)
    return (
        yield from number(
            evidence,
            label,
            (1, *size[1:]) if flat else size,
            margin,
            least=least,
            gap=options.gap,
            decide=decide,
            out=out,
        )
    )


def number(
    evidence: Any,
    label: Callable[[np.ndarray], Numbers],
    size: Shape,
    margin: Shape,
    *,
    least: int,
    gap: int,
    decide: Decide | None,
    out: Any = None,
) -> Generator[BlockDone, None, tuple[Any, int]]:
    """Give numbers to what ``label`` finds in blocks, joined over faces and, with ``decide``, over sections.

    Parameters
    ----------
    evidence, out
        As for :func:`find_objects`.
    label : callable
        Returns the objects of a block.
    size, margin : (int, int, int)
        Voxels of a block at most, and around it.
    least : int
        Smaller objects are left out.
    gap : int
        How many sections may be missing between two that lie over each other.
    decide : callable, optional
        Returns the pairs that are one object, of what lies over each other.
    """
    if evidence.ndim not in (2, 3):
        raise InputError(f"A section has two axes, a stack three, and this has the shape {evidence.shape}.")
    if out is None:
        out = np.zeros(evidence.shape, np.uint32)
    deep, labels = _deep(evidence), _deep(out)
    blocks = blocks_of(labels.shape, size, margin)
    total = len(blocks) * 2
    count, pairs = 0, np.zeros((0, 2), np.int64)
    for_blocks = label_blocks(deep, labels, label, blocks)
    while True:
        try:
            yield BlockDone(next(for_blocks), total)
        except StopIteration as stop:
            count, pairs = stop.value
            break
    if decide is not None and labels.shape[0] > 1:
        table = joined(count, pairs)
        overlaps = _overlaps(labels, table, gap, [each for each in blocks if each.own[0].start == 0])
        pairs = decide(overlaps)
        table = joined(int(table.max(initial=0)), pairs)[table]
    else:
        table = joined(count, pairs)
    sizes = np.zeros(int(table.max(initial=0)) + 1, np.int64)
    for block in blocks:
        sizes += np.bincount(table[labels[block.own]].ravel(), minlength=len(sizes))
    sizes[0] = 0
    kept = sizes >= max(1, least)
    table = in_order(np.where(kept, np.arange(len(kept)), 0))[table]
    for done, block in enumerate(blocks, start=len(blocks) + 1):
        labels[block.own] = table[labels[block.own]]
        yield BlockDone(done, total)
    return out, int(kept.sum())


def way_through(through: Through, voxel: Voxel, shape: tuple[int, ...]) -> Through:
    """Return how objects go through a stack of this shape, AUTO decided."""
    if len(shape) == 2 or shape[0] == 1:
        return Through.NONE
    if through is not Through.AUTO:
        return through
    return Through.OVERLAP if voxel[0] > THICK * min(voxel[1:]) else Through.VOLUME


def _overlaps(labels: Any, table: Numbers, gap: int, tiles: list[Block]) -> Overlaps:
    """Return what lies over each other, in numbers of ``table``."""
    sizes = np.zeros(int(table.max(initial=0)) + 1, np.int64)
    for z in range(labels.shape[0]):
        sizes += np.bincount(table[labels[z]].ravel(), minlength=len(sizes))
    found: dict[tuple[int, int, int], int] = {}
    for z, beyond, pairs, counts in sections_over_each_other(labels, gap, tiles):
        for (a, b), pixels in zip(table[pairs].tolist(), counts.tolist(), strict=True):
            found[a, b, beyond - z] = found.get((a, b, beyond - z), 0) + pixels
    keys = np.array(list(found), np.int64).reshape(-1, 3)
    return Overlaps(keys[:, :2], np.array(list(found.values()), np.int64), keys[:, 2], sizes)


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

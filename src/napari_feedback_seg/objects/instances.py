"""The objects of one block: clean up, and cut where objects touch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bioimage_cpp as bic
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_feedback_seg.objects.options import ObjectOptions, Voxel

    Mask = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float32]
    Numbers = npt.NDArray[np.uint32]


def instances(evidence: np.ndarray, options: ObjectOptions, voxel: Voxel) -> Numbers:
    """Return the objects of a block, numbered from 1.

    Parameters
    ----------
    evidence : ndarray
        (Z, Y, X), of which a block of one section is looked at in 2D: bool, whether a voxel is of the class;
        or how probable that is, as float from 0 to 1, or as uint8 from 0 to 255.
    options : ObjectOptions
        How.
    voxel : (float, float, float)
        Depth, height and width of a voxel in nm.
    """
    flat = len(evidence) == 1
    block, sides = (evidence[0], voxel[1:]) if flat else (evidence, voxel)
    inside, probability = clean(block, options, sides)
    found = split(inside, probability, options, sides) if options.split else _label(inside)
    return found[None] if flat else found


def clean(evidence: np.ndarray, options: ObjectOptions, sides: Sequence[float]) -> tuple[Mask, Floats | None]:
    """Return where the class is after the clean-up, and its probability there if that is known.

    Parameters
    ----------
    evidence : ndarray
        (Y, X) or (Z, Y, X) as for :func:`instances`.
    sides : sequence of float
        Sides of a voxel in nm, one for each axis.
    """
    probability: Floats | None = None
    if evidence.dtype == bool:
        inside = evidence
    else:
        probability = evidence.astype(np.float32)
        if evidence.dtype == np.uint8:
            probability /= 255
    if options.smooth_nm:
        sigma = [options.smooth_nm / side for side in sides]
        smoothed = ndimage.gaussian_filter(
            inside.astype(np.float32) if probability is None else probability, sigma, mode="nearest"
        )
        inside = smoothed >= options.threshold if probability is not None else smoothed >= 0.5
    elif probability is not None:
        inside = probability >= options.threshold
    if options.holes_nm:
        inside = _fill(inside, options.holes_nm, sides)
    if options.close_nm:
        inside = _shrunk(_grown(inside, options.close_nm / 2, sides), options.close_nm / 2, sides)
    if options.open_nm:
        inside = _grown(_shrunk(inside, options.open_nm / 2, sides), options.open_nm / 2, sides)
    return inside, probability


def split(
    inside: Mask, probability: Floats | None, options: ObjectOptions, sides: Sequence[float]
) -> Numbers:
    """Return connected objects, cut at necks.

    The basins of the distance to the outline, times the probability, are joined where the pass between two
    is higher than ``options.split`` of the lower peak, and where a part is no larger than a speck.
    """
    if not inside.any():
        return np.zeros(inside.shape, np.uint32)
    height = np.asarray(bic.distance.distance_transform(inside, sampling=list(sides)), np.float32)
    if probability is not None:
        height *= np.clip(probability, 0.25, 1)
    return basins_of(height, inside, _label(peaks_of(height, inside)), options.split, options.least_nm / 4)


def basins_of(
    height: Floats, inside: Mask, seeds: Numbers, ratio: float, least: float = 0.0, wide: float = np.inf
) -> Numbers:
    """Return the basins around seeds, numbered from 1, of which some are joined.

    Two are joined where the pass between them is higher than ``ratio`` of the lower peak, or than ``wide``,
    or where a peak is lower than ``least``; over the highest passes first.
    """
    basins = bic.segmentation.watershed(-height, seeds, mask=inside)
    count = int(basins.max())
    peak = np.zeros(count + 1, np.float32)
    flat, heights = basins.ravel(), height.ravel()
    np.maximum.at(peak, flat[flat > 0], heights[flat > 0])
    pairs, saddles = _passes(basins, height)
    parents = _join(pairs, saddles, peak, ratio, least, wide)
    numbered: Numbers = _renumbered(parents)[basins]
    return numbered


def peaks_of(height: Floats, inside: Mask) -> Mask:
    """Return where no neighbour over a side is higher."""
    peaks = inside.copy()
    for axis in range(height.ndim):
        one: list[Any] = [slice(None)] * height.ndim
        two = list(one)
        one[axis], two[axis] = slice(None, -1), slice(1, None)
        low, high = tuple(one), tuple(two)
        peaks[low] &= height[low] >= height[high]
        peaks[high] &= height[high] >= height[low]
    return peaks


def _passes(basins: Numbers, height: Floats) -> tuple[np.ndarray, Floats]:
    """Return the pairs of basins that touch, and the highest pass between each, the highest first."""
    lows, highs, values = [], [], []
    for axis in range(basins.ndim):
        one: list[Any] = [slice(None)] * basins.ndim
        two = list(one)
        one[axis], two[axis] = slice(None, -1), slice(1, None)
        a, b = basins[tuple(one)], basins[tuple(two)]
        touching = (a != b) & (a > 0) & (b > 0)
        a, b = a[touching], b[touching]
        lows.append(np.minimum(a, b))
        highs.append(np.maximum(a, b))
        values.append(np.minimum(height[tuple(one)][touching], height[tuple(two)][touching]))
    pairs = np.stack([np.concatenate(lows), np.concatenate(highs)], axis=1)
    passes = np.concatenate(values)
    order = np.argsort(-passes, kind="stable")
    pairs, passes = pairs[order], passes[order]
    _, first = np.unique(pairs, axis=0, return_index=True)
    first.sort()
    return pairs[first], passes[first]


def _join(
    pairs: np.ndarray, saddles: Floats, peak: Floats, ratio: float, least: float, wide: float
) -> npt.NDArray[np.uint32]:
    """Return for each basin the one that stands for all that it is joined with."""
    parents = np.arange(len(peak), dtype=np.uint32)

    def root(basin: int) -> int:
        while parents[basin] != basin:
            parents[basin] = parents[parents[basin]]
            basin = int(parents[basin])
        return basin

    for (a, b), saddle in zip(pairs.tolist(), saddles.tolist(), strict=True):
        a, b = root(a), root(b)
        if a == b:
            continue
        lower, higher = (a, b) if peak[a] < peak[b] else (b, a)
        if saddle >= min(ratio * peak[lower], wide) or peak[lower] < least:
            parents[lower] = higher
    while True:
        above = parents[parents]
        if np.array_equal(above, parents):
            return parents
        parents = above


def _renumbered(parents: npt.NDArray[np.uint32]) -> Numbers:
    """Return a table that gives each basin a number from 1 on, the same to those that are joined."""
    _, numbers = np.unique(parents, return_inverse=True)
    return numbers.astype(np.uint32)


def _label(mask: Mask) -> Numbers:
    found: Numbers = bic.segmentation.label(np.ascontiguousarray(mask), connectivity=1).astype(np.uint32)
    return found


def _grown(mask: Mask, radius: float, sides: Sequence[float]) -> Mask:
    if not mask.any() or mask.all():
        return mask
    near: Mask = bic.distance.distance_transform(~mask, sampling=list(sides)) <= radius
    return near


def _shrunk(mask: Mask, radius: float, sides: Sequence[float]) -> Mask:
    if not mask.any() or mask.all():
        return mask
    deep: Mask = bic.distance.distance_transform(mask, sampling=list(sides)) > radius
    return deep


def _fill(mask: Mask, diameter: float, sides: Sequence[float]) -> Mask:
    """Fill the holes of each section that are no larger than a disc of this diameter."""
    most = 0.7853981634 * diameter**2 / (sides[-1] * sides[-2])
    filled = mask.copy()
    for section in filled.reshape(-1, *mask.shape[-2:]):
        holes = bic.segmentation.label(~section, connectivity=1)
        sizes = np.bincount(holes.ravel().astype(np.int64))  # older numpy counts no uint64
        small = sizes <= most
        small[0] = False
        border = np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]])
        small[border] = False
        section |= small[holes]
    return filled

"""Corrections: sparse labels of sections, checked, counted, and grouped into regions.

Neither torch nor monai is needed here, so that a window may count while a person paints.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.errors import InputError, TrainingError
from napari_feedback_seg.segmentation.lazy import open_section
from napari_feedback_seg.segmentation.sections import image_shape

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.segmentation.lazy import Plane

CELL = 8
"""Side in pixels of the cells in which strokes that lie near each other are one region."""

BLOCK = 192
"""Side in pixels of the blocks that cut a region where much is labelled without a gap."""

MOST_PLACES = 1_000_000
"""Pixels of a section to choose patches by; of dense labels on a large one, every n-th row and column."""

ENOUGH_REGIONS = 12
"""With this many regions or more, one part is held out. With fewer, each third is held out in turn."""

TURNS = 3

MOST_HELD_OUT = 8
"""Regions held out at the most: each is looked at again and again."""

RegionKey = tuple[int, int]
"""Position of a section, and number of a region in it."""

LEAST_PIXELS = 20
"""Fewer corrected pixels than these teach nothing."""


@dataclass(frozen=True)
class CorrectedSection:
    """A section of which a person has labelled some pixels, or all.

    Attributes
    ----------
    image : ndarray or Plane
        (Y, X) grey values. Of a plane, no more is read than what is learnt from and looked at.
    labels : ndarray
        (Y, X) uint8 class values; 0 is unlabelled.
    index : int
        Number of the section in its stack.
    pixel_size_nm : float, tuple of float or None
        Side of a pixel in nm, or height and width; the model's own if None.
    source : str
        Name of the image.
    settled : ndarray or None
        (Y, X) uint8 class values of what strokes had put right around themselves when the model
        learnt them, 0 elsewhere; see :func:`~napari_feedback_seg.correction.strokes.Settled`.
    """

    image: npt.NDArray[np.generic] | Plane
    labels: npt.NDArray[np.uint8]
    index: int = 0
    pixel_size_nm: float | tuple[float, float] | None = None
    source: str = ""
    settled: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Region:
    """Strokes of one section that lie near each other, or a block of dense labels.

    Attributes
    ----------
    section : int
        Position in the list of corrected sections.
    places : dict
        Class value to the (N, 2) rows and columns of its pixels, on the image's grid.
    """

    section: int
    places: dict[int, npt.NDArray[np.int32]]

    @property
    def size(self) -> int:
        """Number of pixels."""
        return sum(len(each) for each in self.places.values())


def corrected_sections(
    image: Any,
    corrections: Any,
    classes: Sequence[LabelClass],
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    source: str = "",
) -> list[CorrectedSection]:
    """Return the sections that have corrections; the others are not read.

    Parameters
    ----------
    image : array-like
        (Y, X) or (Z, Y, X), numpy or lazy.
    corrections : array-like
        Of the same shape; class values, 0 where nothing is said.
    classes : sequence of LabelClass
        The classes that there are.
    pixel_size_nm : float or tuple of float, optional
        Side of a pixel in nm, or height and width.
    source : str
        Name of the image.

    Raises
    ------
    InputError
        If the image cannot be used, or the corrections differ in shape or have values of no class.
    """
    shape = image_shape(image)
    found = tuple(getattr(corrections, "shape", None) or np.shape(corrections))
    if found != shape:
        raise InputError(
            f"The corrections have the shape {found} and the image has {shape}: paint on a layer of the "
            "image's own shape."
        )
    if len(shape) == 2:
        corrections = [corrections]
    sections = []
    for z in range(len(corrections)):
        labels = _class_values(corrections[z], classes)
        if labels.any():
            section = open_section(image, z if len(shape) == 3 else None, part=True)
            sections.append(CorrectedSection(section, labels, z, pixel_size_nm, source))
    return sections


def check_corrections(sections: Sequence[CorrectedSection]) -> None:
    """Raise a TrainingError, with what to do, if there is nothing to learn from."""
    pixels = sum(int(np.count_nonzero(each.labels)) for each in sections)
    if pixels == 0:
        raise TrainingError("Nothing is corrected yet: paint over what is wrong, then fine-tune.")
    if pixels < LEAST_PIXELS:
        raise TrainingError(
            f"Only {pixels} {'pixel is' if pixels == 1 else 'pixels are'} corrected: paint a few strokes, "
            f"{LEAST_PIXELS} pixels at the least."
        )


def count_pixels(sections: Sequence[CorrectedSection]) -> dict[int, int]:
    """Return the number of corrected pixels of each class value that there is."""
    total = sum((np.bincount(each.labels.ravel(), minlength=256) for each in sections), np.zeros(256, int))
    return {int(value): int(total[value]) for value in np.flatnonzero(total) if value != UNLABELLED}


def region_map(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Return the region (from 1) of each cell of a section, 0 where nothing is labelled.

    Strokes with less than a cell between them are one region. A region that is larger than
    a block, as dense labels are, is cut into blocks.

    Parameters
    ----------
    labels : ndarray
        (Y, X); 0 is unlabelled.

    Returns
    -------
    ndarray
        (Y / 8, X / 8), rounded up.
    """
    from scipy import ndimage

    occupied = _cells(labels)
    near = ndimage.binary_dilation(occupied, np.ones((3, 3), bool))
    components, count = ndimage.label(near, np.ones((3, 3), int))
    result = np.where(occupied, components, 0).astype(np.int32)
    side = BLOCK // CELL
    for number, box in enumerate(ndimage.find_objects(result), start=1):
        if box is None or max(each.stop - each.start for each in box) <= side:
            continue
        own = result[box] == number
        rows, columns = np.nonzero(own)
        blocks = rows // side * own.shape[1] + columns // side
        numbers = np.unique(blocks, return_inverse=True)[1]
        result[box][own] = np.where(numbers == 0, number, count + numbers)
        count += int(numbers.max())
    return result


def find_regions(
    sections: Sequence[CorrectedSection], maps: Sequence[npt.NDArray[np.int32]]
) -> dict[RegionKey, Region]:
    """Return the regions by position of their section and number in its ``region_map``."""
    found: dict[RegionKey, Region] = {}
    for position, (section, cells) in enumerate(zip(sections, maps, strict=True)):
        step = math.ceil(math.sqrt(np.count_nonzero(section.labels) / MOST_PLACES))
        rows, columns = (axis * step for axis in np.nonzero(section.labels[::step, ::step]))
        numbers = cells[rows // CELL, columns // CELL]
        values = section.labels[rows, columns]
        places = np.stack([rows, columns], axis=1).astype(np.int32)
        order = np.argsort(numbers, kind="stable")
        numbers, values, places = numbers[order], values[order], places[order]
        starts = np.flatnonzero(np.diff(numbers, prepend=0))
        for start, stop in zip(starts, [*starts[1:], len(numbers)], strict=True):
            of_class = values[start:stop]
            own = places[start:stop]
            by_class = {int(value): own[of_class == value] for value in np.unique(of_class)}
            found[position, int(numbers[start])] = Region(position, by_class)
    return found


def hold_out(
    regions: Mapping[RegionKey, Collection[int]], share: float, seed: int
) -> list[frozenset[RegionKey]]:
    """Return the parts of the regions to hold out, one after the other.

    Of many regions one part, of about ``share`` of them. Of few, each third in turn, which
    of two or three regions is each in turn. Of one, or if ``share`` is 0, none. Each class
    is spread over the parts as evenly as may be.

    Parameters
    ----------
    regions : mapping
        Each region to the class values in it.
    share : float
        Share to hold out.
    seed : int
        Of the choice.
    """
    if share == 0 or len(regions) < 2:
        return []
    keys = sorted(regions)
    np.random.default_rng((seed, 0)).shuffle(keys)
    held_out: Counter[int] = Counter()
    parts: list[frozenset[RegionKey]] = []
    if len(regions) < ENOUGH_REGIONS:
        sizes = [len(each) for each in np.array_split(np.arange(len(keys)), min(TURNS, len(keys)))]
    else:
        sizes = [min(MOST_HELD_OUT, max(1, round(share * len(keys))))]
    for size in sizes:
        part: list[RegionKey] = []
        in_part: Counter[int] = Counter()
        for _ in range(size):
            key = min(keys, key=lambda each: _order(regions[each], in_part, held_out))
            keys.remove(key)
            part.append(key)
            in_part.update(list(regions[key]))
        held_out.update(in_part)
        parts.append(frozenset(part))
    return parts


def _order(values: Collection[int], in_part: Counter[int], held_out: Counter[int]) -> tuple[int, int]:
    """Return what is smaller for a region whose classes were held out less."""
    return min(in_part[value] for value in values), min(held_out[value] for value in values)


def _cells(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    shape = tuple(-(-length // CELL) for length in labels.shape)
    occupied = np.zeros(shape, bool)
    rows, columns = np.nonzero(labels)
    occupied[rows // CELL, columns // CELL] = True
    return occupied


def _class_values(corrections: Any, classes: Sequence[LabelClass]) -> npt.NDArray[np.uint8]:
    labels = np.asarray(corrections)
    if labels.dtype.kind not in "biuf":
        raise InputError(f"The corrections hold no class values but the data type {labels.dtype}.")
    values = np.unique(
        np.concatenate([np.unique(labels[top : top + 512]) for top in range(0, len(labels), 512)])
    )
    allowed = [UNLABELLED, *(each.value for each in classes)]
    odd = values[~np.isin(values, allowed)]
    if odd.size:
        known = ", ".join(f"{each.value} {each.name}" for each in classes)
        raise InputError(
            f"The corrections hold values that are no class ({', '.join(f'{v:g}' for v in odd[:5])}). The "
            f"classes are {known}; 0 is unlabelled. Paint with these, or add the class first."
        )
    return labels.astype(np.uint8)

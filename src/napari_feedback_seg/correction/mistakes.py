"""Puts right the rest of the mistake that a stroke lies in.

For whole images a share of what strokes teach is taken, see
:mod:`napari_feedback_seg.correction.fitting`. Around a stroke more is taken, as much as the stroke itself
needs. What becomes of the stroke's class by that is the rest of the same mistake, if it touches the stroke
and was of the same class as what was painted over.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_feedback_seg.correction.strokes import BLOCK
from napari_feedback_seg.segmentation.tiles import intersection, within

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_feedback_seg.correction.adaptation import Adaptation
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.correction.seen import Seen
    from napari_feedback_seg.correction.strokes import Stroke
    from napari_feedback_seg.networks.residual import Residual

REACH = 64
"""No more than so many pixels around a stroke, of the model's size, are put right."""

SMOOTH = 2.0
"""Standard deviation in pixels, of the model's size, by which the outline of a mistake is smoothed."""

HALF_MEMBRANE = 9.0
"""Half of the greatest thickness of a membrane, in pixels of the model's size.

A stroke of membrane puts nothing right where the result would be thicker. Chosen from 4, 6, 9
and 12 on FlyEM, SNEMI and validation sections of ssTEM."""

RIGHT = 0.9
"""How much of a stroke has to become right. That tells how much of the solution the stroke needs."""

FEW, MANY, VERY_MANY = 3, 15, 50
BEYOND, MOST = 1.5, 2.0
"""With few strokes of a class this times what a stroke needs is taken, and at most twice the solution.

With many it is what the stroke needs, and at most the solution; with very many no more than for the whole
image: the rest of a mistake has a stroke of its own then. On images that the network knows it is at most
the solution, as there is more to lose. Chosen on CDeep3M, FlyEM, SNEMI and validation sections of ssTEM,
see "Around a stroke" in ``docs/benchmarks/strokes.md``."""

_MOST_TILES = 16

_Slices = tuple[slice, slice]
Floats = npt.NDArray[np.float32]


def put_right(
    seen: Seen,
    section: CorrectedSection,
    strokes: Sequence[Stroke],
    adaptation: Adaptation,
    region: _Slices | None = None,
) -> Generator[None, None, npt.NDArray[np.int32]]:
    """Return which strokes put something right around themselves, and where; yield after each stroke.

    Parameters
    ----------
    seen : Seen
        What the network has seen, with the statistics of the adaptation.
    section : CorrectedSection
        The section. What is painted on it with another class ends a mistake.
    strokes : sequence of Stroke
        Those on this section that are not muted. A class that was not learnt puts nothing right.
    adaptation : Adaptation
        What was learnt.
    region : tuple of slice, optional
        Rows and columns; the whole section if not given.

    Returns
    -------
    ndarray
        (Y, X) of the region, the place of a stroke among ``strokes``, from 1 on; 0 where nothing is put
        right, and where something is painted.
    """
    rows, columns = region or tuple(slice(0, length) for length in section.image.shape)
    result = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.int32)
    if adaptation.residual is None or not strokes:
        return result
    nearest = np.full(result.shape, np.inf, np.float32)
    place = _Place(seen, section, adaptation.residual.times(1 / adaptation.share))
    few = [
        (number, each)
        for number, each in enumerate(strokes, 1)
        if 0 < adaptation.of_class.get(each.value, 0) < VERY_MANY
    ]
    for number, stroke in sorted(few, key=lambda each: (each[1].pixels[0] // BLOCK).tolist()):
        box = place.around(stroke)
        of_image = place.of_image(box)
        inside = intersection(of_image[0], rows), intersection(of_image[1], columns)
        if all(each.start < each.stop for each in inside) and not section.labels[inside].all():
            away = place.as_came(place.mistake(stroke, box, adaptation), box, inside)
            found, at = section.labels[inside] == 0, within(inside, (rows, columns))
            outside = seen.outside(section, inside)
            found = found if outside is None else found & ~outside
            found &= away < nearest[at]
            result[at][found], nearest[at][found] = number, away[found]
        yield
    return result


def shares_that_say(logits: Floats, change: Floats, channel: int) -> tuple[Floats, Floats]:
    """Return the least and the greatest share of a change with which a class is the likeliest.

    Parameters
    ----------
    logits, change : ndarray
        (C, ...), what is said, and what is to be added to it.
    channel : int
        The class.

    Returns
    -------
    least, greatest : ndarray
        (...), infinite where there is no bound; where no share says it, ``least`` is above ``greatest``.
    """
    behind, gained = logits - logits[channel], change[channel] - change
    with np.errstate(divide="ignore", invalid="ignore"):
        share = behind / gained
    least = np.where(gained > 0, share, np.where((gained == 0) & (behind > 0), np.inf, -np.inf))
    greatest = np.where(gained < 0, share, np.inf)
    return least.max(axis=0), greatest.min(axis=0)


def _taken(needed: float, value: int, adaptation: Adaptation) -> float:
    """Return how much of the solution is taken around a stroke of a class that needs so much of it."""
    strokes, share = adaptation.of_class[value], adaptation.share
    beyond = np.interp(strokes, (FEW, MANY), (BEYOND, 1))
    most = np.interp(strokes, (FEW, MANY, VERY_MANY), (MOST, 1, share))
    limit = 1.0 if adaptation.known else MOST
    return float(min(max(beyond * needed, share), most, limit))


def _thick(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return what of a mask is too thick for a membrane, and its rim."""
    from scipy import ndimage

    middle = ndimage.distance_transform_edt(mask) > HALF_MEMBRANE
    away = ndimage.distance_transform_edt(~middle) if middle.any() else np.full(mask.shape, np.inf)
    thick: npt.NDArray[np.bool_] = away <= HALF_MEMBRANE
    return thick


class _Place:
    """A section as a network sees it, and the change that strokes teach.

    Rows and columns are those of the model's pixel size.
    """

    def __init__(self, seen: Seen, section: CorrectedSection, residual: Residual) -> None:
        self._seen, self._section = seen, section
        self._classes = [each.value for each in seen.model.card.classes]
        self._shape = seen.shape(section)
        self._scale = np.array(self._shape) / np.array(section.image.shape)
        self._look_at = lru_cache(_MOST_TILES)(lambda tile: seen.look_at(section, tile, residual))

    def around(self, stroke: Stroke) -> _Slices:
        """Return the part of the section that is looked at for a stroke."""
        places = self._places(stroke)
        rows, columns = (
            slice(max(0, int(low) - REACH), min(length, int(high) + REACH + 1))
            for low, high, length in zip(places.min(axis=0), places.max(axis=0), self._shape, strict=True)
        )
        return rows, columns

    def of_image(self, box: _Slices) -> _Slices:
        """Return the rows and columns of the image, as it came, that show a part of the section."""
        rows, columns = (
            slice(int(each.start / scale), min(length, int(np.ceil(each.stop / scale))))
            for each, scale, length in zip(box, self._scale, self._section.image.shape, strict=True)
        )
        return rows, columns

    def as_came(self, values: Floats, box: _Slices, region: _Slices) -> Floats:
        """Return values of a part of the section on the image's grid, of a region of the image."""
        rows, columns = (
            np.clip(((np.arange(each.start, each.stop) + 0.5) * scale).astype(int) - own.start, 0, length - 1)
            for each, scale, own, length in zip(region, self._scale, box, values.shape, strict=True)
        )
        result: Floats = values[np.ix_(rows, columns)]
        return result

    def mistake(self, stroke: Stroke, box: _Slices, adaptation: Adaptation) -> Floats:
        """Return how far from a stroke the mistake is that it lies in, of a part of the section.

        Infinite beside the mistake.
        """
        from scipy import ndimage

        logits, change, tissue = self._look(box)
        channel = self._classes.index(stroke.value)
        painted = np.zeros(tissue.shape, bool)
        places = self._places(stroke) - (box[0].start, box[1].start)
        painted[places[:, 0], places[:, 1]] = True
        said = logits.argmax(axis=0)
        wrong = painted & tissue & (said != channel)
        found = np.full(tissue.shape, np.inf, np.float32)
        if not wrong.any():
            return found
        least, greatest = shares_that_say(logits, change, channel)
        needed = float(np.quantile(least[painted & tissue], RIGHT, method="lower"))
        taken = _taken(needed, stroke.value, adaptation)
        alike = ((least <= taken) & (taken <= greatest)).astype(np.float32)
        alike = ndimage.gaussian_filter(alike, SMOOTH) > 0.5
        alike &= tissue & ~self._painted_otherwise(stroke, box)
        if self._seen.model.card.classes[channel].name == "membrane":
            alike &= ~_thick(alike | painted)
        for was in np.unique(said[wrong]):
            seeds = wrong & (said == was)
            away = ndimage.distance_transform_edt(~seeds)
            parts, _ = ndimage.label((alike & (said == was) & (away <= REACH)) | seeds)
            mistake = np.isin(parts, np.unique(parts[seeds]))
            found[mistake] = away[mistake]
        return found

    def _painted_otherwise(self, stroke: Stroke, box: _Slices) -> npt.NDArray[np.bool_]:
        """Return where something else is painted than the class of a stroke."""
        image, labels = self.of_image(box), self._section.labels
        rows, columns = np.nonzero((labels[image] > 0) & (labels[image] != stroke.value))
        found = np.stack([rows + image[0].start, columns + image[1].start], axis=1)
        found = self._on_grid(found) - (box[0].start, box[1].start)
        size = box[0].stop - box[0].start, box[1].stop - box[1].start
        found = found[((found >= 0) & (found < size)).all(axis=1)]
        result = np.zeros(size, bool)
        result[found[:, 0], found[:, 1]] = True
        if (self._scale > 1).any():  # a pixel of the image is several of the grid
            rows, columns = (
                np.minimum(((np.arange(each.start, each.stop) + 0.5) / scale).astype(int), length - 1)
                for each, scale, length in zip(box, self._scale, labels.shape, strict=True)
            )
            at = labels[np.ix_(rows, columns)]
            result |= (at > 0) & (at != stroke.value)
        return result

    def _places(self, stroke: Stroke) -> npt.NDArray[np.int64]:
        return self._on_grid(stroke.pixels)

    def _on_grid(self, places: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return rows and columns of the image at the model's pixel size."""
        found = ((places + 0.5) * self._scale).astype(np.int64)
        result: npt.NDArray[np.int64] = np.minimum(found, np.array(self._shape) - 1)
        return result

    def _look(self, box: _Slices) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """Return logits and change (C, h, w) of a part of the section, and where there is tissue."""
        size = box[0].stop - box[0].start, box[1].stop - box[1].start
        logits, change = np.zeros((2, len(self._classes), *size), np.float32)
        tissue = np.zeros(size, bool)
        for tile, rows, columns in self._seen.tiles_of(self._section, box):
            seen = self._look_at(tile)
            if seen is None:
                continue
            of_box, of_tile = (
                np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
                for top, left in ((box[0].start, box[1].start), (tile.y, tile.x))
            )
            for whole, part in zip((logits, change), seen, strict=True):
                whole[:, *of_box] = part[:, *of_tile]
            tissue[of_box] = True
        return logits, change, tissue

"""Specks: what a network takes for mitochondria, and what is too small to be any."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import bioimage_cpp as bic  # loads faster than scipy
import numpy as np

if TYPE_CHECKING:
    from napari_feedback_seg.models.model import ModelCard

SPECK_UM2 = 0.01
"""Mitochondria with a smaller area are none. See ``benchmarks/specks.py``."""

LONGEST_NM = 300.0
"""What is longer is no speck: so no more than this has to be seen around a place."""

_BAND = 64

Cut = tuple[tuple[bool, bool], tuple[bool, bool]]
NOT_CUT: Cut = ((False, False), (False, False))


def speck_channel(card: ModelCard) -> int | None:
    """Return the channel of the class that has specks; None if the model does not know mitochondria."""
    names = [each.name for each in card.classes]
    return names.index("mitochondria") if "mitochondria" in names and len(names) > 1 else None


def with_surroundings(
    region: tuple[slice, slice], shape: tuple[int, int], sides_nm: tuple[float, float]
) -> tuple[slice, slice]:
    """Return the part of a section (Y, X) that tells which places of a region are specks."""
    rows, columns = (
        slice(max(0, each.start - margin), min(length, each.stop + margin))
        for each, length, side in zip(region, shape, sides_nm, strict=True)
        for margin in [math.ceil(LONGEST_NM / side)]
    )
    return rows, columns


class SpeckRemover:
    """Relabels specks of labels whose rows are filled from top to bottom, soon after they are.

    Parameters
    ----------
    labels : ndarray
        (Y, X) class values; they are changed in place.
    value : int
        The class that has specks.
    sides_nm : tuple of float
        Height and width of a pixel in nm.
    cut : tuple of tuple of bool
        As for :func:`remove_specks`.
    """

    def __init__(
        self, labels: np.ndarray, value: int, sides_nm: tuple[float, float], cut: Cut = NOT_CUT
    ) -> None:
        self._labels, self._value, self._sides, self._cut = labels, value, sides_nm, cut
        self._kept = math.ceil(LONGEST_NM / sides_nm[0]) + 1
        self._top = 0
        self._instead = np.zeros((0, labels.shape[1]), labels.dtype)

    def add(self, instead: np.ndarray) -> None:
        """Take the class values (n, X) that specks of the next rows get, which are filled."""
        self._instead = np.concatenate([self._instead, instead])
        done = len(self._instead) - self._kept
        if done >= _BAND:
            self._remove(goes_on=True)
            # a speck that goes on below is seen whole next time
            self._top, self._instead = self._top + done, self._instead[done:].copy()

    def finish(self) -> None:
        """Relabel the specks that are left, all rows being filled."""
        self._remove(goes_on=False)

    def _remove(self, goes_on: bool) -> None:
        labels = self._labels[self._top : self._top + len(self._instead)]
        (above, below), beside = self._cut
        cut = (above or self._top > 0, below or goes_on), beside
        remove_specks(labels, self._instead, self._value, self._sides, cut)


def remove_specks(
    labels: np.ndarray,
    instead: np.ndarray,
    value: int,
    sides_nm: tuple[float, float],
    cut: Cut = NOT_CUT,
    *,
    smallest_um2: float = SPECK_UM2,
) -> None:
    """Relabel the specks of a class: connected places that are small, and shorter than 0.3 µm.

    Parameters
    ----------
    labels : ndarray
        (Y, X) class values; they are changed in place.
    instead : ndarray
        (Y, X) class values that specks get.
    value : int
        The class.
    sides_nm : tuple of float
        Height and width of a pixel in nm.
    cut : tuple of tuple of bool
        Whether the section goes on above and below, left and right: what touches that edge is left.
    smallest_um2 : float
        Area from which a place is no speck.
    """
    numbers = bic.segmentation.label(labels == value, connectivity=1).view(np.int64)
    pixels = np.bincount(numbers.ravel())
    specks = pixels * math.prod(sides_nm) < smallest_um2 * 1e6
    maybe_long = specks & (pixels * max(sides_nm) >= LONGEST_NM)
    maybe_long[0] = False
    places = np.nonzero(maybe_long[numbers])
    which = numbers[places]
    for place, side in zip(places, sides_nm, strict=True):
        first, last = np.full(len(pixels), place.max(initial=0)), np.zeros(len(pixels), np.intp)
        np.minimum.at(first, which, place)
        np.maximum.at(last, which, place)
        specks[maybe_long] &= ((last - first + 1) * side < LONGEST_NM)[maybe_long]
    for edges, cuts in zip((numbers, numbers.T), cut, strict=True):
        for edge, is_cut in zip((0, -1), cuts, strict=True):
            if is_cut:
                specks[edges[edge]] = False
    specks[0] = False
    where = specks[numbers]
    labels[where] = instead[where]

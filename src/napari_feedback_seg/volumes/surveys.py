"""What is known of each section: computed once, and kept in the output for every process."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import replacing
from napari_feedback_seg.segmentation.lazy import open_section
from napari_feedback_seg.segmentation.reader import Survey, TileReader
from napari_feedback_seg.segmentation.sections import BlankSection, Statistics
from napari_feedback_seg.segmentation.tissue import Border

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_NOTHING = (slice(0, 1), slice(0, 1))


def take_survey(image: Any, z: int, shape: tuple[int, int]) -> Survey | str:
    """Return what is to be known of a section; of one with nothing to see, the sentence that says so.

    Parameters
    ----------
    image : array-like or Pyramid
        (Z, Y, X).
    z : int
        Which section.
    shape : tuple of int
        (Y, X) that it has at the model's pixel size.
    """
    try:
        return TileReader(open_section(image, z), shape, _NOTHING).survey()
    except BlankSection as blank:
        return str(blank)


def is_damage(error: InputError) -> bool:
    """Return whether data that were read are damaged; others may be read later, as from a server."""
    return not isinstance(error.__cause__, OSError)


class Readable:
    """A level of a Zarr in which damaged chunks read as missing ones do.

    Parameters
    ----------
    level : Level
        (Z, Y, X).
    """

    def __init__(self, level: Any) -> None:
        self._level = level
        self.shape, self.ndim, self.dtype, self.chunks = level.shape, level.ndim, level.dtype, level.chunks

    def __getitem__(self, key: tuple[int, slice, slice]) -> np.ndarray:
        z, *sides = key
        down, across = (each.indices(length)[:2] for each, length in zip(sides, self.shape[1:], strict=True))
        found = np.zeros((down[1] - down[0], across[1] - across[0]), self.dtype)
        for rows in _chunks(*down, self.chunks[1]):
            for columns in _chunks(*across, self.chunks[2]):
                place = (
                    slice(rows.start - down[0], rows.stop - down[0]),
                    slice(columns.start - across[0], columns.stop - across[0]),
                )
                try:
                    found[place] = self._level[z, rows, columns]
                except InputError as error:
                    if not is_damage(error):
                        raise
        return found


def _chunks(start: int, stop: int, side: int) -> Iterator[slice]:
    """Yield the parts of a span that lie in one chunk each."""
    for first in range(start - start % side, stop, side):
        yield slice(max(start, first), min(stop, first + side))


@dataclass(frozen=True)
class Surveys:
    """The surveys of the sections of a volume, in a folder.

    Parameters
    ----------
    folder : Path
        Where they lie, a file a section.
    take : callable
        Returns the survey of a section, or why it has none.
    take_readable : callable
        Returns the same of what can be read of a section that is damaged in part.
    slab, count : int
        So many sections share their grey values; sections in all.
    """

    folder: Path
    take: Callable[[int], Survey | str]
    take_readable: Callable[[int], Survey | str]
    slab: int
    count: int

    def of(self, z: int) -> Survey | str:
        """Return the survey of a section, which is taken if it is not there yet.

        It depends on the volume alone, so that of two processes that take it at once, either may win.
        """
        own = self._own(z)
        if self.slab == 1 or isinstance(own, str):
            return own
        first = z - z % self.slab
        middle = self._own((first + min(first + self.slab, self.count)) // 2)
        if isinstance(middle, str):
            return own
        return replace(
            own,
            statistics=_with_greys(own.statistics, middle.statistics),
            resampled=_with_greys(own.resampled, middle.resampled),
        )

    def _own(self, z: int) -> Survey | str:
        path = self.folder / f"section-{z}.npz"
        if not path.exists():
            try:
                found = self.take(z)
            except InputError as error:
                found = self.take_readable(z) if is_damage(error) else ""
                if isinstance(found, str):
                    raise
                return found  # not kept: once the data are mended, all of it counts
            with replacing(path, overwrite=True) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **_to_arrays(found))
        with np.load(path, allow_pickle=False) as arrays:
            return _from_arrays(dict(arrays))


def _with_greys(own: Statistics, other: Statistics) -> Statistics:
    return replace(own, low=other.low, high=other.high, mean=other.mean, std=other.std)


def _to_arrays(survey: Survey | str) -> dict[str, Any]:
    if isinstance(survey, str):
        return {"about": json.dumps({"blank": survey})}
    own, at_model = survey.statistics, survey.resampled
    about: dict[str, Any] = {
        "greys": [own.low, own.high, own.mean, own.std],
        "resampled": [at_model.low, at_model.high, at_model.mean, at_model.std],
        "box": own.box and [[each.start, each.stop] for each in own.box],
        "constants": survey.constants,
        "inverted": survey.inverted,
    }
    if own.border is None:
        return {"about": json.dumps(about)}
    about |= {"values": own.border.values, "step": own.border.step, "origin": own.border.origin}
    return {"about": json.dumps(about), "cells": own.border.cells}


def _from_arrays(arrays: dict[str, Any]) -> Survey | str:
    about = json.loads(str(arrays["about"]))
    if "blank" in about:
        return str(about["blank"])
    border = None
    if "cells" in arrays:
        border = Border(arrays["cells"], tuple(about["values"]), tuple(about["step"]), tuple(about["origin"]))
    box = about["box"] and tuple(slice(*each) for each in about["box"])
    return Survey(
        replace(Statistics(*about["greys"]), border=border, box=box),
        Statistics(*about["resampled"]),
        tuple(about["constants"]),
        about["inverted"],
    )

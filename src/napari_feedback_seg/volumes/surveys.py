"""What is known of each section: computed once, and kept in the output for every process."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.io import replacing
from napari_feedback_seg.segmentation.lazy import open_section
from napari_feedback_seg.segmentation.reader import Survey, TileReader
from napari_feedback_seg.segmentation.sections import BlankSection, Statistics
from napari_feedback_seg.segmentation.tissue import Border

if TYPE_CHECKING:
    from collections.abc import Callable
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


@dataclass(frozen=True)
class Surveys:
    """The surveys of the sections of a volume, in a folder.

    Parameters
    ----------
    folder : Path
        Where they lie, a file a section.
    take : callable
        Returns the survey of a section, or why it has none.
    slab, count : int
        So many sections share their grey values; sections in all.
    """

    folder: Path
    take: Callable[[int], Survey | str]
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
            found = self.take(z)
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

"""How objects and cells are made from a segmentation; the forms of the dock show these."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

NOMINAL_NM = 5.0
"""What a pixel is taken for where its size is unknown."""

Voxel = tuple[float, float, float]
"""Depth, height and width of a voxel in nm."""


class Through(Enum):
    """How objects go through the sections of a stack."""

    AUTO = "auto"
    VOLUME = "volume"
    OVERLAP = "overlap"
    NONE = "none"


@dataclass(frozen=True)
class ObjectOptions:
    """How the objects of a class are made.

    Lengths are in nm. Where the pixel size is unknown, a pixel counts as 5 nm.

    Parameters
    ----------
    through : Through
        How objects go through a stack. Volume: in 3D, for sections as thin as pixels. Overlap: profiles of
        neighbouring sections that lie over each other, for thick sections. Auto chooses by the voxel size.
    split : float
        Cut an object at a neck whose width is less than this fraction of the narrower part's. 0 cuts nothing.
    least_nm : float
        Objects with a smaller diameter (of a ball, or a disc, of the same size) are specks and are left out.
    gap : int
        How many sections in a row may be missing or blank within an object.
    holes_nm : float
        Clean up first: fill holes up to this diameter, in each section.
    smooth_nm : float
        Clean up first: smooth the outline, with a Gaussian of this width.
    close_nm : float
        Clean up first: close cracks up to this width.
    open_nm : float
        Clean up first: cut off threads and specks up to this width.
    threshold : float
        Probability from which on a pixel belongs to the class.

    Raises
    ------
    ValueError
        If a value makes no sense.
    """

    through: Annotated[
        Through,
        {
            "label": "&Through z",
            "choices": [
                ("auto", Through.AUTO),
                ("in 3D", Through.VOLUME),
                ("by overlap", Through.OVERLAP),
                ("sections apart", Through.NONE),
            ],
        },
    ] = Through.AUTO
    split: Annotated[float, {"label": "S&plit at necks", "min": 0.0, "max": 0.95, "step": 0.05}] = 0.5
    least_nm: Annotated[float, {"label": "&Least diameter, nm", "min": 0.0, "max": 1e5, "step": 10}] = 80.0
    gap: Annotated[int, {"label": "Missing sections", "min": 0, "max": 3}] = 1
    holes_nm: Annotated[float, {"label": "Fill holes up to, nm", "min": 0.0, "max": 1e4, "step": 10}] = 0.0
    smooth_nm: Annotated[float, {"label": "Smooth, nm", "min": 0.0, "max": 200, "step": 5}] = 0.0
    close_nm: Annotated[float, {"label": "Close cracks, nm", "min": 0.0, "max": 500, "step": 5}] = 0.0
    open_nm: Annotated[float, {"label": "Cut threads, nm", "min": 0.0, "max": 500, "step": 5}] = 0.0
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.split < 1:
            raise ValueError(f"Splitting takes a fraction from 0 to below 1, like 0.5, not {self.split}.")
        if not 0 < self.threshold < 1:
            raise ValueError(f"The threshold is a probability between 0 and 1, not {self.threshold}.")
        if self.gap < 0:
            raise ValueError(f"Sections that may be missing are counted from 0 on, not {self.gap}.")
        for name in ("least_nm", "holes_nm", "smooth_nm", "close_nm", "open_nm"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"A length in nm is a number from 0 on, not {getattr(self, name)} ({name}).")


@dataclass(frozen=True)
class CellOptions:
    """How cells are made from membranes.

    Parameters
    ----------
    through : Through
        Overlap (auto): cells of neighbouring sections that lie over each other are one. None: each section
        has cells of its own.
    bias : float
        Below 0.5 fewer cells, which are joined over weak membranes; above 0.5 more.
    least_nm : float
        Cells with a smaller diameter are given to their neighbours.
    gap : int
        How many sections in a row may be missing or blank within a cell.

    Raises
    ------
    ValueError
        If a value makes no sense.
    """

    through: Through = Through.AUTO
    bias: Annotated[float, {"label": "Ma&ny or few", "min": 0.05, "max": 0.95, "step": 0.05}] = 0.5
    least_nm: Annotated[float, {"label": "L&east diameter, nm", "min": 0.0, "max": 1e5, "step": 10}] = 60.0
    gap: Annotated[int, {"label": "Missing sections", "min": 0, "max": 3}] = 1

    def __post_init__(self) -> None:
        if not 0 < self.bias < 1:
            raise ValueError(f"The bias is a fraction between 0 and 1, like 0.5, not {self.bias}.")
        if self.gap < 0 or not 0 <= self.least_nm < float("inf"):
            raise ValueError("Sections that may be missing, and the least diameter, are numbers from 0 on.")


def voxel_of(pixel_size_nm: tuple[float, float] | None, spacing_nm: float | None) -> Voxel:
    """Return depth, height and width of a voxel in nm, nominal where they are unknown."""
    height, width = pixel_size_nm or (NOMINAL_NM, NOMINAL_NM)
    return (spacing_nm or min(height, width), height, width)


def least_voxels(least_nm: float, voxel: Voxel, flat: bool) -> int:
    """Return the voxels of the smallest object; of the smallest profile if ``flat``."""
    depth, height, width = voxel
    if flat:
        return max(1, round(0.7853981634 * least_nm**2 / (height * width)))
    return max(1, round(0.5235987756 * least_nm**3 / (depth * height * width)))

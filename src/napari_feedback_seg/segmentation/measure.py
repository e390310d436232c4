"""Measure a segmentation: areas of the classes, number and size of the profiles."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.classes import EM_CLASSES, MOST_VALUES, LabelClass
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.generators import finish
from napari_feedback_seg.io import replacing
from napari_feedback_seg.segmentation.prediction import pixel_sides
from napari_feedback_seg.segmentation.profiles import Profiles
from napari_feedback_seg.segmentation.stored import StoredSection

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Sequence

PHASES = ("membrane", "cytoplasm")
"""Classes that run through the whole section; of all others the profiles are counted."""

LEAST_UM2 = 0.003
LEAST_PIXELS = 150
"""Smaller profiles are specks rather than organelles.

On the validation sections of the public data set (12-14) the default model gives 63
mitochondria and 30 synapses from this size on, 80 and 49 of any size; people drew 59 and 24.
In pixels, where their size is unknown: about the same at 4.6 nm.
"""


_STRIP, _STRIPS = 2**20, 32
"""Pixels of a strip at most, and strips of a section at least."""


@dataclass(frozen=True)
class Row:
    """One class in one section, or in all of them.

    Attributes
    ----------
    section : int or None
        Index of the section, from 0; None for all sections together.
    name : str
        Of the class.
    pixels : int
        Its pixels.
    segmented : int
        Pixels of all classes. Those labelled 0, not segmented, are left out.
    profiles : int or None
        Number of its profiles: pixels of one section that touch, at an edge or a corner.
        None for a class that is not counted.
    profile_pixels : int
        Pixels of these profiles.
    least_pixels : int
        Smaller profiles are not counted.
    pixel_um2 : float or None
        Area of a pixel.
    """

    section: int | None
    name: str
    pixels: int
    segmented: int
    profiles: int | None
    profile_pixels: int
    least_pixels: int
    pixel_um2: float | None

    @property
    def percent(self) -> float | None:
        """Share of the segmented pixels."""
        return 100 * self.pixels / self.segmented if self.segmented else None

    @property
    def um2(self) -> float | None:
        """Area in square micrometres."""
        return None if self.pixel_um2 is None else self.pixels * self.pixel_um2

    @property
    def mean_pixels(self) -> float | None:
        """Mean size of a profile in pixels."""
        return self.profile_pixels / self.profiles if self.profiles else None

    @property
    def mean_um2(self) -> float | None:
        """Mean size of a profile in square micrometres."""
        mean = self.mean_pixels
        return None if mean is None or self.pixel_um2 is None else mean * self.pixel_um2

    def values(self) -> tuple[Any, ...]:
        """Return what stands under each of :data:`COLUMNS`; None where there is nothing to say."""
        return (
            "all" if self.section is None else self.section,
            self.name,
            self.pixels,
            self.percent,
            self.um2,
            self.profiles,
            self.mean_pixels,
            self.mean_um2,
            None if self.profiles is None else self.least_pixels,
        )


COLUMNS = (
    "section",
    "class",
    "pixels",
    "area_percent",
    "area_um2",
    "profiles",
    "mean_profile_px",
    "mean_profile_um2",
    "least_profile_px",
)
"""The columns of the table. A section is counted from 0; ``all`` is all sections together."""


@dataclass(frozen=True)
class Measures:
    """The table: all sections together first, then, of a stack, each section.

    A section of which nothing is segmented is left out.
    """

    rows: tuple[Row, ...]

    def to_text(self, delimiter: str = "\t", decimal: str = ".") -> str:
        """Return the table with a line of headings, to paste into a spreadsheet.

        A spreadsheet reads numbers by the ``decimal`` sign of its language, and takes others amiss.
        """
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows:
            writer.writerow(_plain(value, decimal) for value in row.values())
        return text.getvalue()

    def write_csv(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the table as a CSV file.

        Raises
        ------
        OutputError
            If the file is there already or cannot be written.
        """
        with replacing(path, overwrite) as temporary:
            temporary.write_text(self.to_text(","), encoding="utf-8", newline="\n")


@dataclass(frozen=True)
class SectionMeasured:
    """A section has been measured.

    Attributes
    ----------
    done, total : int
        Sections measured so far, and sections in all.
    """

    done: int
    total: int


def measure(
    labels: Any,
    classes: Sequence[LabelClass],
    pixel_size_nm: float | tuple[float, float] | None = None,
    least: float | None = None,
) -> Generator[SectionMeasured, None, Measures]:
    """Measure labels, section by section; yield an event for each.

    A stack is a pile of sections: an organelle that runs through five of them has five
    profiles.

    Parameters
    ----------
    labels : array-like
        (Y, X) or (Z, Y, X), integers. A lazy stack is read section by section.
    classes : sequence of LabelClass
        What the labels mean. Other labels are left out, as 0 is.
    pixel_size_nm : float or (float, float), optional
        Side of a pixel in nm, or its height and width.
    least : float, optional
        Least size of a profile that counts: in square micrometres where the pixel size is
        known, in pixels elsewhere. :data:`LEAST_UM2` or :data:`LEAST_PIXELS` if not given.

    Returns
    -------
    Measures
        The table.

    Raises
    ------
    InputError
        If nothing is segmented, or these are no labels of classes.
    ValueError
        If a size makes no sense.
    """
    shape = tuple(labels.shape)
    if len(shape) not in (2, 3):
        raise InputError(f"Labels have two axes (Y, X), or three (Z, Y, X), and not the shape {shape}.")
    stack = len(shape) == 3
    count = shape[0] if stack else 1
    meter = Meter(classes, pixel_size_nm, least)
    for z in range(count):
        meter.add(z, labels[z] if stack else labels)
        yield SectionMeasured(z + 1, count)
    return meter.result(stack)


def measure_labels(
    labels: Any,
    pixel_size_nm: float | tuple[float, float] | None = None,
    *,
    classes: Sequence[LabelClass] = EM_CLASSES,
    least: float | None = None,
) -> Measures:
    """Measure the area of each class, and count its profiles.

    >>> for row in measure_labels(labels, pixel_size_nm=5).rows:
    ...     print(row.section, row.name, row.percent, row.um2, row.profiles)

    Parameters
    ----------
    labels, pixel_size_nm, least
        As for :func:`measure`.
    classes : sequence of LabelClass
        What the labels mean. Another value is a class, too, such as ``label 5``.

    Raises
    ------
    InputError
        If nothing is segmented, or these are no labels of classes.
    ValueError
        If a size makes no sense.
    """
    if not hasattr(labels, "shape"):
        raise InputError(
            "Labels are an array (Y, X) or (Z, Y, X). Read a file first, for example with tifffile.imread, "
            "or use the command line: feedback-seg measure."
        )
    values: set[int] = set()
    for section in labels if len(labels.shape) == 3 else (labels,):
        values.update(np.unique(section).tolist())
        if len(values) > MOST_VALUES:
            raise InputError(
                f"These are no labels of classes: there are {len(values)} values, as in an image or numbered "
                "objects. Give labels."
            )
    others = sorted(each for each in values - {each.value for each in classes} if 0 < each < 256)
    nameless = (LabelClass(value, f"label {value}", "#ffffff") for value in others)
    return finish(measure(labels, (*classes, *nameless), pixel_size_nm, least))


class Meter:
    """Measures a section at a time.

    Parameters
    ----------
    classes, pixel_size_nm, least
        As for :func:`measure`.

    Attributes
    ----------
    pixel_um2 : float or None
        Area of a pixel.
    least_pixels : int
        Smaller profiles are not counted.

    Raises
    ------
    ValueError
        If a size makes no sense.
    """

    def __init__(
        self,
        classes: Sequence[LabelClass],
        pixel_size_nm: float | tuple[float, float] | None = None,
        least: float | None = None,
    ) -> None:
        self.pixel_um2 = pixel_area_um2(pixel_size_nm)
        if least is None:
            least = LEAST_UM2 if self.pixel_um2 else LEAST_PIXELS
        if not 0 <= least < math.inf:
            raise ValueError(f"A least size is a number from 0 on, not {least}.")
        self.least_pixels = max(1, math.ceil(least / (self.pixel_um2 or 1) - 1e-6))
        self._classes = tuple(classes)
        self._sections: list[list[Row]] = []

    def add(self, z: int, section: Any) -> None:
        """Measure section ``z``, (Y, X).

        Raises
        ------
        InputError
            If its values are not integers.
        """
        labels = section if isinstance(section, StoredSection) else np.asarray(section)
        if labels.dtype.kind not in "ui":
            raise InputError(f"Labels are whole numbers, and these are {labels.dtype}.")
        pixels = [0] * len(self._classes)
        profiles = [None if each.name in PHASES else Profiles(self.least_pixels) for each in self._classes]
        rows = max(1, min(_STRIP, labels.size // _STRIPS) // max(1, labels.shape[1]))
        for top in range(0, len(labels), rows):
            strip = np.asarray(labels[top : top + rows])
            for index, (each, found) in enumerate(zip(self._classes, profiles, strict=True)):
                mask = strip == each.value
                pixels[index] += int(np.count_nonzero(mask))
                if found is not None:
                    found.add(mask)
        if any(pixels):
            self._sections.append(
                [
                    self._row(z, each, count, sum(pixels), found)
                    for each, count, found in zip(self._classes, pixels, profiles, strict=True)
                ]
            )

    def result(self, stack: bool) -> Measures:
        """Return the table; of a stack, with the sections one by one.

        Raises
        ------
        InputError
            If nothing is segmented.
        """
        if not self._sections:
            raise InputError("There is nothing to measure: no pixel is segmented. Segment the image first.")
        together = [_together(rows) for rows in zip(*self._sections, strict=True)]
        return Measures((*together, *(row for rows in self._sections for row in rows if stack)))

    def _row(self, z: int, each: LabelClass, pixels: int, segmented: int, profiles: Profiles | None) -> Row:
        if profiles is not None:
            profiles.close()
        return Row(
            section=z,
            name=each.name,
            pixels=pixels,
            segmented=segmented,
            profiles=None if profiles is None else profiles.count,
            profile_pixels=0 if profiles is None else profiles.pixels,
            least_pixels=self.least_pixels,
            pixel_um2=self.pixel_um2,
        )


def pixel_area_um2(pixel_size_nm: float | tuple[float, float] | None) -> float | None:
    """Return the area of a pixel of this size, or of this height and width.

    Raises
    ------
    ValueError
        If it is not a size: not positive, or not finite.
    """
    if pixel_size_nm is None:
        return None
    height, width = pixel_sides(pixel_size_nm)
    if not (0 < height < math.inf and 0 < width < math.inf):
        raise ValueError(f"A pixel size is a number of nanometres above 0, not {pixel_size_nm}.")
    return height * width / 1e6


def _together(rows: tuple[Row, ...]) -> Row:
    """Return one class in all sections."""
    profiles = [row.profiles for row in rows if row.profiles is not None]
    return replace(
        rows[0],
        section=None,
        pixels=sum(row.pixels for row in rows),
        segmented=sum(row.segmented for row in rows),
        profiles=sum(profiles) if profiles else None,
        profile_pixels=sum(row.profile_pixels for row in rows),
    )


def _plain(value: Any, decimal: str) -> Any:
    """Return a number with six digits, and nothing for None."""
    if isinstance(value, float):
        return f"{value:.6g}".replace(".", decimal)
    return "" if value is None else value

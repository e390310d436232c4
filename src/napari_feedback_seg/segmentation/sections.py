"""A section before the network sees it: checked, normalised, rescaled."""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import Sections
from napari_feedback_seg.segmentation.tissue import find_bars, find_border, with_bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from scipy.sparse import csr_array

    from napari_feedback_seg.segmentation.tissue import Bar, Border

CLIP_PERCENTILES = (0.1, 99.9)
MAX_SAMPLE = 4_000_000
INVERTED_SKEWNESS = 0.15
_LEAST_PIXELS_FOR_CONTRAST = 256 * 256
_LEAST_STD = 1e-300
_WINDOW = 512
_NEIGHBOURHOOD = 31
_LEAST_TISSUE = 0.001


class BlankSection(InputError):
    """There is nothing to see in the section."""


@dataclass(frozen=True)
class Statistics:
    """The grey values of the tissue of a whole section, in four numbers, and where it has none.

    Attributes
    ----------
    low, high : float
        The 0.1 and 99.9 percentiles of the tissue.
    mean, std : float
        Of the tissue, clipped to ``low`` and ``high``.
    border : Border, optional
        Where there is no tissue.
    bars : tuple of Bar
        What was burnt in; it counts in none of the above.
    box : tuple of slice, optional
        The rows and columns that have any tissue, if known.
    """

    low: float
    high: float
    mean: float
    std: float
    border: Border | None = None
    bars: tuple[Bar, ...] = ()
    box: tuple[slice, slice] | None = None

    @property
    def constant(self) -> bool:
        """Whether the section has one grey value, up to a pixel in a thousand."""
        return self.std == 0

    def outside(
        self, part: np.ndarray, rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.bool_] | None:
        """Return which pixels are no tissue: border, bar or no numbers; None if all are some.

        Parameters
        ----------
        part : ndarray
            (n, m) of the section.
        rows, columns : ndarray
            (n,) and (m,), where in the section it is.
        """
        found = None if self.border is None else self.border.mask(part, rows, columns)
        if part.dtype.kind == "f":
            finite = np.isfinite(part)
            if not finite.all():
                found = ~finite if found is None else found | ~finite
        if any(bar.apart for bar in self.bars):
            found = self.burnt_in(part) if found is None else found | self.burnt_in(part)
        return found if found is not None and found.any() else None

    def burnt_in(self, pixels: np.ndarray) -> npt.NDArray[np.bool_]:
        """Return which pixels are of a bar whose grey value no tissue has."""
        return np.isin(pixels, [bar.value for bar in self.bars if bar.apart])


def as_section(array: Any) -> np.ndarray:
    """Return ``array`` as one grey section (Y, X) of its own dtype.

    Raises
    ------
    InputError
        If it has not two axes, no pixels, or pixels that are not grey values.
    """
    section = np.asarray(array)
    if section.ndim != 2:
        raise InputError(f"A section has two axes (Y, X), and this one has the shape {section.shape}.")
    if section.size == 0:
        raise InputError(f"The section has no pixels: its shape is {section.shape}.")
    check_dtype(section.dtype)
    return section


def image_shape(image: Any) -> tuple[int, ...]:
    """Return (Y, X) or (Z, Y, X), the shape of an image that can be segmented.

    Raises
    ------
    InputError
        If it is no grey section and no stack of them.
    """
    if isinstance(image, (str, bytes, os.PathLike)):
        raise InputError(
            f"'{os.fsdecode(image)}' is a name and not an image. Read the file first, for example with "
            "tifffile.imread, or use the command line: feedback-seg segment."
        )
    shape = tuple(getattr(image, "shape", ()))
    if not hasattr(image, "shape") and hasattr(image, "__len__") and len(image):
        shape = (len(image), *np.shape(image[0]))
    if 0 in shape or not shape:
        raise InputError(f"The image has no pixels: its shape is {shape}.")
    # Sections of a file are grey, however narrow: its tags say so.
    if len(shape) == 3 and shape[-1] in (3, 4) and not isinstance(image, Sections):
        raise InputError(
            f"This looks like a colour image: its last axis has {shape[-1]} values for each pixel. "
            "Convert it to grey values first."
        )
    if len(shape) == 3 and shape[-1] == 1 and shape[1] > 1 and not isinstance(image, Sections):
        raise InputError(
            f"The last axis of the image has one value: its shape is {shape}. Leave it out: image[..., 0]."
        )
    if len(shape) not in (2, 3):
        raise InputError(
            f"An image has two axes (Y, X), or three (Z, Y, X), and this one has {len(shape)}: its shape is "
            f"{shape}. Choose one channel and one time point."
        )
    if hasattr(image, "dtype"):
        try:
            dtype = np.dtype(image.dtype)
        except TypeError as error:
            raise InputError(
                f"The image has the data type {image.dtype}, which numpy lacks. Give a numpy array."
            ) from error
        check_dtype(dtype)
    return shape


def check_dtype(dtype: np.dtype[Any]) -> None:
    """Raise an InputError if pixels of this dtype are no grey values."""
    if dtype.kind == "b":
        raise InputError(
            "The image holds only true and false, as a mask does. Give the grey values that were recorded."
        )
    if dtype.kind == "c":
        raise InputError("The image holds complex numbers. Give its magnitude, numpy.abs(image).")
    if dtype.kind not in "uif":
        raise InputError(f"The image holds no grey values but the data type {dtype}.")


def statistics(section: np.ndarray) -> Statistics:
    """Return the statistics that normalise a section.

    Borders, burnt-in bars and pixels that are not finite are left out. Of a section with more
    than 4 million pixels, every n-th row and column is taken.

    Parameters
    ----------
    section : ndarray
        (Y, X), integers or floats.

    Raises
    ------
    BlankSection
        If no pixel is finite.
    InputError
        If the values are too large, or too close together, to compute with.
    """
    step = math.ceil(math.sqrt(section.size / MAX_SAMPLE))
    border = find_border(section, step)
    grid = section[::step, ::step]
    rows, columns = (np.arange(0, length, step) for length in section.shape)
    tissue = np.isfinite(grid)
    if border is not None:
        within = tissue & ~border.mask(grid, rows, columns)
        if np.count_nonzero(within) > _LEAST_TISSUE * grid.size:
            tissue = within
        else:  # nothing would be left
            border = None
    down, across = (_extent(tissue.any(axis=1 - axis), step, section.shape[axis]) for axis in range(2))
    found = grey_statistics(grid, tissue)
    return replace(found, border=with_bars(border, grid, found.bars, step), box=(down, across))


def _extent(found: npt.NDArray[np.bool_], step: int, length: int) -> slice:
    """Return the pixels from the first to the last that was found, of every n-th along an axis."""
    places = np.flatnonzero(found)
    if not places.size:
        return slice(0, length)
    return slice(max(0, (int(places[0]) - 1) * step + 1), min(length, (int(places[-1]) + 1) * step))


def grey_statistics(grid: np.ndarray, tissue: npt.NDArray[np.bool_]) -> Statistics:
    """Return the statistics of the pixels of a sample (Y, X) that are tissue, and of what is burnt in."""
    bars = find_bars(grid, tissue)
    for bar in bars:
        tissue = tissue & ~bar.mask(grid)
    return replace(of_values(grid[tissue]), bars=bars)


def of_values(values: np.ndarray) -> Statistics:
    """Return the statistics of grey values (N,) that are finite and of tissue.

    Raises
    ------
    BlankSection
        If there are none.
    InputError
        If they are too large, or too close together, to compute with.
    """
    sample = values.astype(np.float64)
    if sample.size == 0:
        raise BlankSection("The section holds no numbers: its pixels are NaN or infinite.")
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = (float(value) for value in np.percentile(sample, CLIP_PERCENTILES))
        if high - low == 0:
            return Statistics(low, high, low, 0.0)
        np.clip(sample, low, high, out=sample)
        sample -= low
        sample /= high - low  # the squares of tiny values would be 0
        mean, std = (low + (high - low) * float(sample.mean()), (high - low) * float(sample.std()))
    if not math.isfinite(std):
        raise InputError(f"The grey values are too large to compute with: from {low:g} to {high:g}.")
    if std < _LEAST_STD:
        raise InputError(f"The grey values are too small to compute with: from {low:g} to {high:g}.")
    return Statistics(low, high, mean, std)


def normalise(section: np.ndarray, of: Statistics | None = None) -> np.ndarray:
    """Return grey values with mean 0 and standard deviation 1, outliers clipped.

    Parameters
    ----------
    section : ndarray
        (Y, X), integers or floats: a section or a part of one.
    of : Statistics, optional
        The statistics of the whole section; those of ``section`` if not given.

    Returns
    -------
    ndarray
        (Y, X) float32. A constant section becomes zeros, and so do pixels that are
        NaN or infinite.
    """
    of = statistics(section) if of is None else of
    if of.constant:
        return np.zeros(section.shape, np.float32)
    exact = section.dtype.itemsize <= 2 or (section.dtype == np.float32 and 1e-30 < of.std < 1e30)
    with np.errstate(invalid="ignore"):  # damaged files hold NaN that signal
        values = section.astype(np.float32 if exact else np.float64)
    if section.dtype.kind == "f":
        values[~np.isfinite(values)] = of.mean
    np.clip(values, of.low, of.high, out=values)
    np.subtract(values, of.mean, out=values)
    np.divide(values, of.std, out=values)
    return values.astype(np.float32, copy=False)


def resampling(source: int, target: int) -> csr_array:
    """Return the matrix (target, source) that resamples one axis linearly.

    Both grids span the same extent. Shrinking averages over the pixels that a target
    pixel covers, with a triangle of twice its width, so that fine texture does not
    alias. Every row sums to 1.
    """
    from scipy.sparse import csr_array

    ratio = source / target
    reach = max(1.0, ratio)
    centres = (np.arange(target) + 0.5) * ratio - 0.5
    offsets = np.arange(math.ceil(2 * reach) + 1)
    columns = np.ceil(centres - reach).astype(np.int64)[:, None] + offsets
    weights = np.maximum(0.0, 1 - np.abs(columns - centres[:, None]) / reach)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.broadcast_to(np.arange(target)[:, None], columns.shape)
    used = weights > 0
    entries = (weights[used].astype(np.float32), (rows[used], np.clip(columns, 0, source - 1)[used]))
    return csr_array(entries, shape=(target, source))


def rescale(section: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a section resampled to ``shape``, anti-aliased where it shrinks.

    Parameters
    ----------
    section : ndarray
        (Y, X), finite.
    shape : tuple of int
        (Y, X) of the result.

    Returns
    -------
    ndarray
        (Y, X) float32.
    """
    down, across = (resampling(old, new) for old, new in zip(section.shape, shape, strict=True))
    result: np.ndarray = (across @ (down @ section.astype(np.float32)).T).T
    return np.ascontiguousarray(result)


def looks_inverted(section: np.ndarray, of: Statistics) -> bool:
    """Whether bright membranes on a dark ground are likelier than the reverse.

    Nine windows of a large section are looked at, see :func:`windows_look_inverted`; a section
    below 256 x 256 pixels is given the benefit of the doubt.
    """
    if section.size < _LEAST_PIXELS_FOR_CONTRAST:
        return False
    starts = [sorted({0, max(0, size - _WINDOW) // 2, max(0, size - _WINDOW)}) for size in section.shape]
    windows = []
    for top, left in itertools.product(*starts):
        part = section[top : top + _WINDOW, left : left + _WINDOW]
        places = (start + np.arange(size) for start, size in zip((top, left), part.shape, strict=True))
        windows.append((part, of.outside(part, *places)))
    return windows_look_inverted(windows, of)


def windows_look_inverted(
    windows: Sequence[tuple[np.ndarray, npt.NDArray[np.bool_] | None]], of: Statistics
) -> bool:
    """Whether bright membranes on a dark ground are likelier than the reverse.

    Stained membranes and organelles are thin and dark in a brighter cytoplasm, so that
    grey values, measured against their neighbourhood, have a long tail to the dark
    side: a skewness of -0.2 to -0.4 in the ssTEM sections.

    Parameters
    ----------
    windows : sequence of (pixels, outside)
        Parts (Y, X) of a section, and where they are no tissue; None for nowhere.
    of : Statistics
        Of the section.
    """
    if of.constant:
        return False
    moments = np.zeros(3)
    pixels = 0
    for part, outside in windows:
        left_out = np.zeros(part.shape, bool) if outside is None else outside.copy()
        for bar in of.bars:
            left_out |= bar.mask(part)
        window = normalise(part, of)
        window[left_out] = 0
        contrast = (window - _mean_around(window, _NEIGHBOURHOOD))[~left_out]
        squared = contrast * contrast
        moments += [contrast.sum(), squared.sum(), (squared * contrast).sum()]
        pixels += contrast.size
    if not pixels:
        return False
    mean, square, cube = moments / pixels
    spread = math.sqrt(max(0.0, square - mean**2))
    return bool(spread > 0 and (cube - 3 * mean * square + 2 * mean**3) / spread**3 > INVERTED_SKEWNESS)


def _mean_around(section: np.ndarray, side: int) -> np.ndarray:
    """Return the mean (Y, X) float64 of the square around each pixel; at its edges the section is mirrored.

    As scipy's uniform_filter, whose import takes longer than a tile does.
    """
    sums = np.pad(section, (side // 2 + 1, side // 2), mode="symmetric").cumsum(axis=0, dtype=np.float64)
    sums = (sums[side:] - sums[:-side]).cumsum(axis=1)
    mean: np.ndarray = (sums[:, side:] - sums[:, :-side]) / side**2
    return mean

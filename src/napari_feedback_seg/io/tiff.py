"""Open a TIFF file: plain, of ImageJ, or OME."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io.image import EMImage, Flavour, Sections, cut_off
from napari_feedback_seg.io.tiff_pixel_size import tiff_pixel_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_feedback_seg.io.sizes import PixelSize

MOST_CHANNELS = 4
"""A file with more channels holds sections: ImageJ files written from Python often say so."""


def open_tiff(path: Path, *, labels: bool = False) -> EMImage:
    """Open a TIFF file, as :func:`~napari_feedback_seg.io.open_image` does.

    Of an OME data set of several files it is this file that is read.

    Raises
    ------
    InputError
        If it is cut off, in colour, or has more axes than (Z, Y, X).
    """
    with _opened(path) as tiff:
        _check_chain(tiff, path)
        series = tiff.series[0]
        full = series.shape
        _check_axes(path, series, labels=labels)
        layers = (math.prod(full[:-2]), full[-2], full[-1])
        dtype = np.dtype(series.dtype)
        offset = series.dataoffset
        read: Callable[[int], np.ndarray]
        if offset is None:
            offsets = _check_pages(path, list(series.pages), layers)
            read = partial(_read_page, path, offsets)
        else:  # sections lie behind each other, uncompressed, sometimes of one page only
            if offset + math.prod(layers) * dtype.itemsize > tiff.filehandle.size:
                raise cut_off(path)
            read = partial(_read_contiguous, path, layers, dtype.newbyteorder(tiff.byteorder), offset)
        size = tiff_pixel_size(tiff, tiff.pages.first)
        messages: tuple[str, ...] = ()
        if series.keyframe.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            _check_invertible(path, dtype)
            read = partial(_read_inverted, read)
            messages = (*messages, f"'{path.name}' stores white as 0; it was inverted, so that 0 is black.")
        if "C" in series.axes:
            messages = (*messages, f"The {full[0]} channels of '{path.name}' are taken as sections.")
        if len(tiff.series) > 1:
            messages = (
                *messages,
                f"'{path.name}' holds {len(tiff.series)} images of different kinds; the first is taken.",
            )
        flavour: Flavour = "ome" if tiff.is_ome else "imagej" if tiff.is_imagej else "plain"
    sections = Sections(path, layers, dtype, read)
    return EMImage(path, full, dtype, size, flavour, sections, messages)


def read_tiff_pixel_size(path: Path) -> PixelSize | None:
    """Return the pixel size that a TIFF file says, from its first page."""
    with _opened(path) as tiff:
        return tiff_pixel_size(tiff, tiff.pages.first)


def _opened(path: Path) -> tifffile.TiffFile:
    # Else the first image of an OME data set of several files is given, whichever of them is opened.
    return tifffile.TiffFile(path, _multifile=False)


def _read_contiguous(
    path: Path, layers: tuple[int, int, int], dtype: np.dtype[Any], offset: int, z: int
) -> np.ndarray:
    count = layers[1] * layers[2]
    section = np.fromfile(path, dtype, count, offset=offset + z * count * dtype.itemsize)
    return section.astype(dtype.newbyteorder("="), copy=False)


def _read_page(path: Path, offsets: Sequence[int], z: int) -> np.ndarray:
    with _opened(path) as tiff:
        tiff.filehandle.seek(offsets[z])
        return np.asarray(tifffile.TiffPage(tiff, z).asarray())


def _read_inverted(read: Callable[[int], np.ndarray], z: int) -> np.ndarray:
    inverted: np.ndarray = np.invert(read(z))  # the largest value minus it; negative ones cannot overflow
    return inverted


def _check_invertible(path: Path, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "uib":
        raise InputError(
            f"'{path}' stores white as its smallest value, and its pixels are no integers. Save it with "
            "black as the smallest value (photometric MINISBLACK)."
        )


def _check_chain(tiff: tifffile.TiffFile, path: Path) -> None:
    """Make sure that no page is missing at the end: tifffile stops there without an error."""
    position = tiff.pages.next_page_offset
    if position is not None:
        tiff.filehandle.seek(position)
        end = tiff.filehandle.read(tiff.tiff.offsetsize)
        if len(end) < tiff.tiff.offsetsize or any(end):
            raise cut_off(path)


def _check_axes(path: Path, series: tifffile.TiffPageSeries, *, labels: bool) -> None:
    axes, shape = series.axes, series.shape
    if 0 in shape:
        raise InputError(f"'{path}' has no pixels: its shape is {shape}.")
    indexed = labels and series.keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE
    if "S" in axes or (not indexed and _is_coloured(series.keyframe)):
        raise InputError(
            f"'{path}' is a colour image. Convert it to grey values first, for example in Fiji with "
            "Image > Type > 8-bit."
        )
    channels = shape[axes.index("C")] if "C" in axes else 1
    if axes[-2:] != "YX" or len(axes) > 3 or 1 < channels <= MOST_CHANNELS:
        named = ", ".join(f"{axis} {length}" for axis, length in zip(axes, shape, strict=True))
        raise InputError(
            f"'{path}' has the axes {named}, and not (Y, X) or (Z, Y, X). Save one channel and one time "
            "point; if the channels are sections, say so in Fiji with Image > Properties."
        )


def _is_coloured(page: tifffile.TiffPage) -> bool:
    palette = page.colormap
    if page.photometric != tifffile.PHOTOMETRIC.PALETTE or palette is None:
        return page.photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.PALETTE)
    # With an even ramp from black to white, the indices are grey values. Some write only
    # the highest 8 of its 16 bits.
    return bool(np.abs(palette - np.linspace(0, 65535, palette.shape[-1])).max() >= 256)


def _check_pages(path: Path, pages: list[Any], shape: tuple[int, int, int]) -> list[int]:
    """Return where the pages begin; what else is known of them would grow with their number."""
    if len(pages) != shape[0] or any(page is None for page in pages):
        raise InputError(
            f"'{path}' is incomplete: it has {shape[0]} sections, and not all of them are there."
        )
    for page in pages:
        if math.prod(page.shape) != shape[1] * shape[2]:
            raise InputError(f"The pages of '{path}' are no sections. Save it again as a plain TIFF stack.")
        ends = (start + size for start, size in zip(page.dataoffsets, page.databytecounts, strict=True))
        if max(ends, default=0) > page.parent.filehandle.size:
            raise cut_off(path)
    return [page.offset for page in pages]

"""Open a TIFF file: plain, of ImageJ, or OME."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io.image import EMImage, Flavour, Sections, cut_off

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LARGEST_PIXEL_NM = 1000
MOST_CHANNELS = 4
"""A file with more channels holds sections: ImageJ files written from Python often say so."""

_NANOMETRES = {
    "pm": 1e-3,
    **dict.fromkeys(("å", "angstrom"), 0.1),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1.0),
    **dict.fromkeys(("um", "micron", "microns", "micrometer", "micrometers", "micrometre"), 1e3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e6),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e7),
    **dict.fromkeys(("inch", "in"), 25.4e6),
    **dict.fromkeys(("m", "meter", "metre"), 1e9),
}
_TIFF_UNITS = {2: "inch", 3: "cm"}


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
        size, messages = _pixel_size(tiff, path)
        spacing = _spacing(tiff) if len(full) > 2 else None
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
    return EMImage(path, full, dtype, size, spacing, flavour, sections, messages)


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


def _pixel_size(tiff: tifffile.TiffFile, path: Path) -> tuple[float | None, tuple[str, ...]]:
    """Return the side of a pixel in nm, or None, and what there is to say about it."""
    sizes = _ome_sizes(tiff.ome_metadata) if tiff.is_ome and tiff.ome_metadata else _tag_sizes(tiff)
    if not all(size is not None and 0 < size < LARGEST_PIXEL_NM for size in sizes):
        return None, ()
    x, y = sizes
    assert x is not None
    assert y is not None
    if abs(x - y) <= 0.01 * x:
        return float(f"{x:.6g}"), ()
    mean = float(f"{math.sqrt(x * y):.6g}")
    message = f"'{path.name}' has pixels of {x:.4g} x {y:.4g} nm; {mean:.4g} nm is taken for both."
    return mean, (message,)


def _spacing(tiff: tifffile.TiffFile) -> float | None:
    """Return the distance of the sections in nm, or None."""
    if tiff.is_ome and tiff.ome_metadata:
        pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")
        length, unit = _ome_length(pixels, "Z") if pixels is not None else (math.nan, "")
    else:
        metadata = tiff.imagej_metadata or {}
        length, unit = float(metadata.get("spacing", math.nan)), str(metadata.get("unit", ""))
    spacing = _in_nanometres(length, unit)
    return float(f"{spacing:.6g}") if spacing and 0 < spacing < math.inf else None


def _ome_length(pixels: ElementTree.Element, axis: str) -> tuple[float, str]:
    length = float(pixels.get(f"PhysicalSize{axis}", "nan"))
    return length, pixels.get(f"PhysicalSize{axis}Unit", "µm")


def _ome_sizes(xml: str) -> tuple[float | None, float | None]:
    pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    if pixels is None:
        return None, None
    x, y = (_in_nanometres(*_ome_length(pixels, axis)) for axis in "XY")
    return x, y


def _tag_sizes(tiff: tifffile.TiffFile) -> tuple[float | None, float | None]:
    tags = tiff.pages.first.tags
    unit = str((tiff.imagej_metadata or {}).get("unit", ""))
    if unit in ("", "pixel"):
        unit = _TIFF_UNITS.get(int(tags.valueof("ResolutionUnit", 1)), "")
    sizes = []
    for name in ("XResolution", "YResolution"):
        pixels, units = tags.valueof(name, (0, 1))
        sizes.append(_in_nanometres(units / pixels, unit) if pixels else None)
    return sizes[0], sizes[1]


def _in_nanometres(length: float, unit: str) -> float | None:
    plain = unit.strip().casefold().replace("\\u00b5", "u").replace("μ", "u")
    return length * _NANOMETRES[plain] if plain in _NANOMETRES and math.isfinite(length) else None

"""Open a TIFF file: plain, of ImageJ, or OME."""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io.image import (
    EMImage,
    Flavour,
    OtherImageError,
    Sections,
    cut_off,
    read_contiguous,
    read_contiguous_block,
)
from napari_feedback_seg.io.sidecar import sidecar_pixel_size
from napari_feedback_seg.io.tiff_pixel_size import tiff_pixel_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_feedback_seg.io.sizes import PixelSize

MOST_CHANNELS = 4
"""A file with more channels holds sections: ImageJ files written from Python often say so."""

_BY_LOOKS = ("generic", "shaped", "uniform")
"""Where nothing but their size and kind says which pages belong together."""
_JPEG = (6, 7, 33007, 34892)


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
        series, messages = _image_of(tiff, path)
        page = series.keyframe
        axes, full = _without_single_axes(series)
        planar = axes == "SYX" and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        if planar:  # so tifffile writes an array of three or four sections
            messages += (f"The {full[0]} planes of colour of '{path.name}' are taken as sections.",)
        else:
            _check_axes(path, page, axes, full, labels=labels)
        layers = (math.prod(full[:-2]), full[-2], full[-1])
        dtype = np.dtype(series.dtype)
        read, read_block = _reader(tiff, series, path, layers)
        size = tiff_pixel_size(tiff, _main_page(tiff)) or sidecar_pixel_size(path)
        # Without the tag tifffile says MINISWHITE, which the file does not.
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and "PhotometricInterpretation" in page.tags:
            _check_invertible(path, dtype)
            read, read_block = partial(_read_inverted, read), partial(_read_inverted, read_block)
            messages += (f"'{path.name}' stores white as 0; it was inverted, so that 0 is black.",)
        if "C" in axes:
            messages += (f"The {full[0]} channels of '{path.name}' are taken as sections.",)
        flavour: Flavour = "ome" if tiff.is_ome else "imagej" if tiff.is_imagej else "plain"
    sections = Sections(path, layers, dtype, read, read_block)
    return EMImage(path, full, dtype, size, flavour, sections, messages)


def read_tiff_pixel_size(path: Path) -> PixelSize | None:
    """Return the pixel size that a TIFF file says on its first page, or the file beside it."""
    with _opened(path) as tiff:
        return tiff_pixel_size(tiff, _main_page(tiff)) or sidecar_pixel_size(path)


def _opened(path: Path) -> tifffile.TiffFile:
    # Else the first image of an OME data set of several files is given, whichever of them is opened.
    return tifffile.TiffFile(path, _multifile=False)


def _main_page(tiff: tifffile.TiffFile) -> tifffile.TiffPage:
    """Return the first page that is no thumbnail."""
    for page in tiff.pages:
        if isinstance(page, tifffile.TiffPage) and not _beside(page):
            return page
    return tiff.pages.first


def _beside(page: tifffile.TiffPage) -> bool:
    """Return whether a page is not the image itself but a smaller copy or a mask."""
    return page.is_reduced or page.is_mask


def _image_of(tiff: tifffile.TiffFile, path: Path) -> tuple[tifffile.TiffPageSeries, tuple[str, ...]]:
    """Return the pages that are the image, and what there is to say about the others.

    Raises
    ------
    InputError
        If there is a page of another size or kind among them: the sections would not be where they were.
    """
    try:
        found = list(tiff.series)
    except RuntimeError:  # tifffile took the pages to be like the first
        with _opened(path) as again:
            pages = list(again.pages)
        odd = [page.index for page in pages if page.shape != pages[0].shape]
        if not odd:
            raise
        raise _odd_page(path, odd[0]) from None
    full = [each for each in found if not _beside(each.keyframe)] or found
    if not full:
        raise InputError(f"'{path}' holds no image, only the frame of a TIFF file. Save or copy it again.")
    first, *others = full
    taken = _numbers(first)
    # tifffile takes pages of half the size for a coarser level, also those that are sections.
    between = (
        sorted(set(range(taken[0], taken[-1])) - set(taken)) if first.kind in _BY_LOOKS and taken else []
    )
    odd = [number for number in between if not _beside(tiff.pages[number].aspage())]
    if odd:
        raise _odd_page(path, odd[0])
    if not others:
        return first, ()
    extra = sorted(number for each in others for number in _numbers(each))
    without = f", without page {extra[0]} (counted from 0)" if extra else ""
    return first, (
        f"'{path.name}' holds {len(full)} images of different kinds; the first is taken{without}.",
    )


def _numbers(series: tifffile.TiffPageSeries) -> list[int]:
    """Return the numbers of the pages that follow each other in the file."""
    return [page.index for page in series.pages if page is not None and len(page.treeindex) == 1]


def _odd_page(path: Path, index: int) -> InputError:
    return InputError(
        f"Page {index} of '{path}' (counted from 0) is of another size or kind than the others. Remove it, "
        "or save all sections in one size."
    )


def _without_single_axes(series: tifffile.TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """Return the axes and the shape without a last axis of one sample, and without more than one before Y."""
    axes, shape = series.axes, series.shape
    while len(axes) > 2 and axes[-1] not in "YX" and shape[-1] == 1:
        axes, shape = axes[:-1], shape[:-1]
    kept = [number for number, length in enumerate(shape) if length > 1 or number >= len(shape) - 2]
    if len(shape) > 3 and len(kept) <= 3:
        axes, shape = "".join(axes[number] for number in kept), tuple(shape[number] for number in kept)
    return axes, shape


def _reader(
    tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path, layers: tuple[int, int, int]
) -> tuple[Callable[[int], np.ndarray], Callable[[int, slice, slice], np.ndarray]]:
    """Return what reads section z, and what reads rows and columns of it."""
    page, dtype, offset = series.keyframe, np.dtype(series.dtype), series.dataoffset
    if offset is not None:  # sections lie behind each other, uncompressed, sometimes of one page only
        if offset + math.prod(layers) * dtype.itemsize > tiff.filehandle.size:
            raise cut_off(path)
        of_file = path, layers, dtype.newbyteorder(tiff.byteorder), offset
        return partial(read_contiguous, *of_file), partial(read_contiguous_block, *of_file)
    planes, depth = page.shaped[:2]
    if layers[0] > 1 and planes * depth == layers[0] and len(series.pages) == 1:
        _check_ends(path, page)
        return partial(_read_plane, path, page.offset), partial(_read_plane, path, page.offset)
    offsets = _check_pages(path, list(series.pages), layers)
    return partial(_read_page, path, offsets), partial(_read_page_block, path, offsets)


def _read_page(path: Path, offsets: Sequence[int], z: int) -> np.ndarray:
    with _opened(path) as tiff:
        tiff.filehandle.seek(offsets[z])
        return np.asarray(tifffile.TiffPage(tiff, z).asarray())


def _read_page_block(path: Path, offsets: Sequence[int], z: int, rows: slice, columns: slice) -> np.ndarray:
    return _read_plane(path, offsets[z], 0, rows, columns)


def _read_plane(
    path: Path, offset: int, z: int, rows: slice = slice(None), columns: slice = slice(None)
) -> np.ndarray:
    """Read a part of a section of a page, which may hold several: colours apart, or a volume in tiles."""
    with _opened(path) as tiff:
        tiff.filehandle.seek(offset)
        page = tifffile.TiffPage(tiff, 0)
        planes, _, height, width = page.shaped[:4]
        (first, below, _), (start, beyond, _) = rows.indices(height), columns.indices(width)
        part = np.full((below - first, beyond - start), page.nodata, page.dtype)
        # Segments are in the order of planes, then of depth, then of rows and columns.
        thickness = 1 if planes > 1 else page.tiledepth
        slab, inside = divmod(z, thickness)
        high, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
        down, across = -(-height // high), -(-width // wide)
        for row, column in product(
            range(first // high, -(-below // high)), range(start // wide, -(-beyond // wide))
        ):
            index = (slab * down + row) * across + column
            tiff.filehandle.seek(page.dataoffsets[index])
            data = tiff.filehandle.read(page.databytecounts[index]) or None
            tables = {"jpegtables": page.jpegtables} if page.compression in _JPEG else {}
            segment, (_, _, top, left, _), shape = page.decode(data, index, **tables)
            if segment is None:
                continue
            at = max(top, first), max(left, start)
            to = part[at[0] - first : top + shape[1] - first, at[1] - start : left + shape[2] - start]
            of = segment.reshape(shape)[inside, at[0] - top :, at[1] - left :, 0]
            to[...] = of[: to.shape[0], : to.shape[1]]
        return part


def _read_inverted(read: Callable[..., np.ndarray], *which: Any) -> np.ndarray:
    inverted: np.ndarray = np.invert(
        read(*which)
    )  # the largest value minus it; negative ones cannot overflow
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


def _check_axes(
    path: Path, page: tifffile.TiffPage, axes: str, shape: tuple[int, ...], *, labels: bool
) -> None:
    if 0 in shape:
        raise InputError(f"'{path}' has no pixels: its shape is {shape}.")
    indexed = labels and page.photometric == tifffile.PHOTOMETRIC.PALETTE
    if "S" in axes or (not indexed and _is_coloured(page)):
        raise OtherImageError(
            f"'{path}' is a colour image. Convert it to grey values first, for example in Fiji with "
            "Image > Type > 8-bit."
        )
    channels = shape[axes.index("C")] if "C" in axes else 1
    if axes[-2:] != "YX" or len(axes) > 3 or 1 < channels <= MOST_CHANNELS:
        named = ", ".join(f"{axis} {length}" for axis, length in zip(axes, shape, strict=True))
        raise OtherImageError(
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
    first = pages[0]
    for index, page in enumerate(pages):
        if math.prod(page.shape) != shape[1] * shape[2]:
            raise InputError(f"The pages of '{path}' are no sections. Save it again as a plain TIFF stack.")
        # tifffile takes the pages to be like the first, and looks at a few of them only.
        own = page.aspage() if isinstance(page, tifffile.TiffFrame) and not page.is_virtual else page
        if (own.shape, own.dtype) != (first.shape, first.dtype):
            raise _odd_page(path, index)
        _check_ends(path, page)
    return [page.offset for page in pages]


def _check_ends(path: Path, page: tifffile.TiffPage | tifffile.TiffFrame) -> None:
    """Make sure that the data of a page end before the file does."""
    starts, sizes = page.dataoffsets, page.databytecounts
    ends = (start + size for start, size in zip(starts, sizes, strict=False))
    if len(starts) != len(sizes) or max(ends, default=0) > page.parent.filehandle.size:
        raise cut_off(path)

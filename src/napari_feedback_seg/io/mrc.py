"""Open an MRC file, as IMOD and SerialEM write it."""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.io.image import (
    EMImage,
    OtherImageError,
    Sections,
    cut_off,
    library,
    read_contiguous,
    read_contiguous_block,
    three_axes,
)
from napari_feedback_seg.io.sizes import PixelSize, in_nanometres, sensible

if TYPE_CHECKING:
    from pathlib import Path

MRC_SUFFIXES = (".mrc", ".mrcs", ".rec", ".st", ".ali", ".map")

_HEADER_BYTES = 1024
_IMOD_STAMP = 1146047817
_SIGNED = 1


def is_mrc(path: Path, start: bytes) -> bool:
    """Return whether a file is an MRC file; old ones of IMOD are known by their name only."""
    return start[208:211] == b"MAP" or (path.suffix.lower() in MRC_SUFFIXES and len(start) > 211)


def open_mrc(path: Path) -> EMImage:
    """Open an MRC file of whole numbers or floats, as :func:`~napari_feedback_seg.io.open_image` does.

    Raises
    ------
    InputError
        If it is damaged, cut off, or no section and no stack of them.
    """
    reader = library("mrcfile", path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what permissive reading passes over
        with reader.open(path, permissive=True, header_only=True) as file:
            header = file.header
            shape = tuple(reader.utils.data_shape_from_header(header))
            dtype = np.dtype(reader.utils.data_dtype_from_header(header))
            size = _pixel_size(file)
            offset = _HEADER_BYTES + int(header.nsymbt)
            unsigned = _unsigned(header)
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) > 3 or dtype.kind == "c":
        raise OtherImageError(
            f"'{path}' is no grey section and no stack of them: its shape is {shape}, {dtype}."
        )
    if min(shape) < 1:
        raise OtherImageError(f"'{path}' has no pixels: its shape is {shape}.")
    layers = three_axes(shape)
    if dtype == np.int8 and unsigned:
        dtype = np.dtype(np.uint8)
    if offset + math.prod(layers) * dtype.itemsize > path.stat().st_size:
        raise cut_off(path)
    read, read_block = (
        partial(each, path, layers, dtype, offset) for each in (read_contiguous, read_contiguous_block)
    )
    native = dtype.newbyteorder("=")
    return EMImage(path, shape, native, size, "mrc", Sections(path, layers, native, read, read_block))


def _unsigned(header: np.recarray) -> bool:
    """Return whether bytes are 0 to 255, as IMOD notes it; the standard says -128 to 127."""
    stamp, flags = np.frombuffer(header.extra2.tobytes(), header.nx.dtype, 2, offset=40)
    if stamp == _IMOD_STAMP:
        return not flags & _SIGNED
    return bool(header.dmin >= 0 and header.dmax > 127)


def _pixel_size(file: Any) -> PixelSize | None:
    sides = {axis: in_nanometres(float(file.voxel_size[axis]), "angstrom") for axis in "zyx"}
    # What has never been given a size says 1 Angstrom.
    return None if set(sides.values()) == {0.1} else sensible(**sides)

"""Open an image file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from PIL import JpegImagePlugin, PngImagePlugin

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io.dm import DM_SUFFIXES, is_dm, open_dm
from napari_feedback_seg.io.hdf5 import HDF5_SUFFIXES, hdf5_keys, open_hdf5, split_key
from napari_feedback_seg.io.image import EMImage, Flavour, OtherImageError, Sections, decoding, unreadable
from napari_feedback_seg.io.mrc import MRC_SUFFIXES, is_mrc, open_mrc
from napari_feedback_seg.io.sidecar import sidecar_pixel_size
from napari_feedback_seg.io.tiff import open_tiff, read_tiff_pixel_size

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from napari_feedback_seg.io.sizes import PixelSize

IMAGE_SUFFIXES = (
    *(".tif", ".tiff", ".png", ".jpg", ".jpeg"),
    *MRC_SUFFIXES,
    *DM_SUFFIXES,
    *HDF5_SUFFIXES,
)
"""What the names of images end with, in lower case; a file is known by its content."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_START = 1024  # the header of an MRC file


def open_image(path: str | os.PathLike[str], *, labels: bool = False) -> EMImage:
    """Open a file of grey values: TIFF, PNG, JPEG, MRC, DM3, DM4 or HDF5; or the finest level of a Zarr.

    Parameters
    ----------
    path : path-like
        The file, known by its content and not by its name. A data set of an HDF5 file that holds several is
        named behind a colon, ``file.h5:/raw``.
    labels : bool
        Whether it holds labels: of a file with a colour table they are the indices.

    Raises
    ------
    InputError
        If the file is missing, no image, damaged, in colour, or has more axes than
        (Z, Y, X). The sentence names the file.
    """
    from napari_feedback_seg.io.volume import is_volume, volume_image  # which open files by this function

    if is_volume(path):
        return volume_image(path)
    path, key = split_key(Path(path))
    start = _start(path)
    if not start:
        raise InputError(f"'{path}' is empty: it has 0 bytes. Save or copy it again.")
    with decoding(path):
        if start[:4] in _TIFF:
            return open_tiff(path, labels=labels)
        if start[:8] == b"\x89PNG\r\n\x1a\n":
            return _open_picture(path, "png", labels=labels)
        if start[:3] == b"\xff\xd8\xff":
            return _open_picture(path, "jpeg")
        if start[:8] == _HDF5:
            return open_hdf5(path, key)
        if is_dm(start):
            return open_dm(path)
        if is_mrc(path, start):
            return open_mrc(path)
    raise OtherImageError(f"'{path}' is no TIFF, PNG, JPEG, MRC, DM or HDF5 image. Save the image as a TIFF.")


def open_images(path: str | os.PathLike[str]) -> list[EMImage]:
    """Open all images of a file: each data set of an HDF5 that is one, or the one that is named.

    Raises
    ------
    InputError
        As :func:`open_image` does.
    """
    file, key = split_key(Path(path))
    keys = hdf5_keys(file) if key is None and file.is_file() and _start(file)[:8] == _HDF5 else []
    return [open_image(f"{file}:{each}") for each in keys] if len(keys) > 1 else [open_image(path)]


def _start(path: Path) -> bytes:
    """Return the first bytes of a file, which tell what it is."""
    try:
        with path.open("rb") as file:
            return file.read(_START)
    except OSError as error:
        if os.path.isdir(path):  # which Windows calls denied
            raise InputError(f"'{path}' is a folder. Name an image file.") from error
        raise unreadable(path, error) from error


def pixel_size(path: str | os.PathLike[str]) -> PixelSize | None:
    """Return the pixel size that an image file says, reading no more of it than its header.

    >>> size = pixel_size("section.tif")
    >>> size.y, size.x, size.z  # in nm; z is the distance of the sections, or None
    (8.0, 8.0, 40.0)

    Parameters
    ----------
    path : path-like
        The file, such as ``layer.source.path`` of napari.

    Returns
    -------
    PixelSize or None
        None if the file says none that makes sense, or cannot be read at all.
    """
    try:
        file, _ = split_key(Path(path))
        if _start(file)[:4] not in _TIFF:
            return open_image(path).pixel_size
        with decoding(file):
            return read_tiff_pixel_size(file)
    except InputError:
        return None


def images_in(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the images of a folder, s2 before s10; not hidden files, such as those that macOS leaves."""
    files = (each for each in folder.iterdir() if not each.name.startswith(".") and not each.is_dir())
    return sorted((each for each in files if each.suffix.lower() in suffixes), key=_as_a_person_sorts)


def _as_a_person_sorts(path: Path) -> tuple[list[str | int], str]:
    parts = re.split("([0-9]+)", path.name)
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], path.name


def read_pages(path: str | os.PathLike[str]) -> Iterator[np.ndarray]:
    """Yield the pages (Y, X) of a TIFF file that this package wrote, one after the other.

    Raises
    ------
    InputError
        If the file is missing or damaged. The sentence names it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file '{path}'.")
    with decoding(path), tifffile.TiffFile(path) as tiff:
        for page in tiff.pages:
            yield page.asarray()


def _open_picture(path: Path, flavour: Flavour, *, labels: bool = False) -> EMImage:
    with _picture(path) as picture:
        modes = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", *(("P",) if labels else ()))
        if picture.mode not in modes:
            raise OtherImageError(
                f"'{path}' is a colour image ({picture.mode}). Convert it to grey values first, "
                "for example in Fiji with Image > Type > 8-bit."
            )
        shape = (picture.height, picture.width)
        dtype = np.dtype(
            {"1": "bool", "L": "uint8", "P": "uint8", "I": "int32", "F": "float32"}.get(
                picture.mode, "uint16"
            )
        )
    return EMImage(
        path,
        shape,
        dtype,
        sidecar_pixel_size(path),
        flavour,
        Sections(path, (1, *shape), dtype, lambda z: _decode(path)),
    )


def _picture(path: Path) -> PngImagePlugin.PngImageFile | JpegImagePlugin.JpegImageFile:
    # Image.open refuses large pictures as "decompression bombs"; a section may be large.
    with path.open("rb") as file:
        png = file.read(1) == b"\x89"
    return PngImagePlugin.PngImageFile(path) if png else JpegImagePlugin.JpegImageFile(path)


def _decode(path: Path) -> np.ndarray:
    with _picture(path) as picture:
        return np.asarray(picture)

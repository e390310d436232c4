"""Open a file of Gatan's DigitalMicrograph, DM3 or DM4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.io.image import EMImage, OtherImageError, Sections, library, three_axes
from napari_feedback_seg.io.sizes import in_nanometres, sensible

if TYPE_CHECKING:
    from pathlib import Path

DM_SUFFIXES = (".dm3", ".dm4")


def is_dm(start: bytes) -> bool:
    """Return whether a file is of DigitalMicrograph: its version, and whether it is little endian."""
    for version, order in ((3, start[8:12]), (4, start[12:16])):
        if start[:4] == version.to_bytes(4, "big") and order in (b"\0\0\0\0", b"\0\0\0\1"):
            return True
    return False


def open_dm(path: Path) -> EMImage:
    """Open a DM3 or DM4 file, as :func:`~napari_feedback_seg.io.open_image` does.

    Raises
    ------
    InputError
        If it is damaged, or has no grey section and no stack of them.
    """
    images = _images(path)
    grey = [number for number, each in enumerate(images) if _is_grey(each)]
    if not grey:
        raise OtherImageError(f"'{path}' has no grey section and no stack of them. Save the image as a TIFF.")
    number = grey[0]
    data, axes = images[number]["data"], images[number]["axes"]
    shape = tuple(int(length) for length in data.shape)
    sides = {each["name"]: in_nanometres(each["scale"], str(each["units"])) for each in axes}
    messages: tuple[str, ...] = ()
    if len(grey) > 1:
        messages = (f"'{path.name}' holds {len(grey)} images; the first is taken.",)

    def read(z: int, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        section = _images(path)[number]["data"][(*((z,) if len(shape) == 3 else ()), rows, columns)]
        return np.asarray(section.compute(scheduler="synchronous"))

    dtype = np.dtype(data.dtype).newbyteorder("=")
    sections = Sections(path, three_axes(shape), dtype, read, read)
    return EMImage(path, shape, dtype, sensible(**sides), "dm", sections, messages)


def _images(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = library("rsciio.digitalmicrograph", path).file_reader(str(path), lazy=True)
    return found


def _is_grey(image: dict[str, Any]) -> bool:
    names = tuple(each["name"] for each in image["axes"])
    return names in (("y", "x"), ("z", "y", "x")) and image["data"].dtype.kind in "uif"

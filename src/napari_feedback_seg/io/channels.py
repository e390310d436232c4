"""A TIFF of class probabilities: a channel for each class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import tifffile

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io.image import decoding
from napari_feedback_seg.io.tiff import read_tiff_pixel_size

if TYPE_CHECKING:
    import os

    import numpy as np

    from napari_feedback_seg.io.sizes import PixelSize


@dataclass(frozen=True)
class ChannelImage:
    """A file of probabilities that has been opened, its pixels still unread.

    Attributes
    ----------
    path : Path
        The file.
    names : tuple of str
        Names of the classes, the channels.
    shape : tuple of int
        (Y, X), or (Z, Y, X) for a stack; without the channels.
    pixel_size : PixelSize or None
        Sides of a pixel and distance of the sections, if the file says them.
    """

    path: Path
    names: tuple[str, ...]
    shape: tuple[int, ...]
    pixel_size: PixelSize | None

    def section(self, z: int) -> np.ndarray:
        """Return the probabilities (C, Y, X) of section ``z``."""
        count = len(self.names)
        with decoding(self.path):
            found: np.ndarray = tifffile.imread(self.path, key=range(z * count, (z + 1) * count))
        return found.reshape(count, *self.shape[-2:])


def open_channels(path: str | os.PathLike[str]) -> ChannelImage | None:
    """Open a TIFF of class probabilities, (C, Y, X) or (Z, C, Y, X); None if it is something else.

    Raises
    ------
    InputError
        If the file is missing.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    if not path.is_file():
        raise InputError(f"There is no file '{path}'.")
    with decoding(path), tifffile.TiffFile(path) as tiff:
        if not tiff.series:  # damaged, as who opens it next will say
            return None
        series = tiff.series[0]
        axes = series.axes
        lengths = dict(zip(axes, series.shape, strict=True))
        if series.dtype.kind != "f" or axes not in ("CYX", "ZCYX"):
            return None
        names = _names(tiff, lengths["C"])
    shape = tuple(lengths[axis] for axis in axes if axis != "C")
    return ChannelImage(path, names, shape, read_tiff_pixel_size(path))


def _names(tiff: tifffile.TiffFile, count: int) -> tuple[str, ...]:
    found: list[str] = []
    if tiff.is_ome and tiff.ome_metadata:
        root = ElementTree.fromstring(tiff.ome_metadata)
        found = [each.get("Name", "") for each in root.iter() if each.tag.endswith("}Channel")]
    elif tiff.imagej_metadata:
        labels = tiff.imagej_metadata.get("Labels", [])
        found = [labels] if isinstance(labels, str) else list(labels)
    return tuple(found[:count]) if len(found) >= count else tuple(map(str, range(1, count + 1)))

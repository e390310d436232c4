"""Write labels and probabilities, a section at a time."""

from __future__ import annotations

import math
import tempfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_feedback_seg.classes import EM_CLASSES, LabelClass
from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.io.atomic import replacing
from napari_feedback_seg.io.image import decoding

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

_BIG = 2**32 - 2**25
_STRIP_BYTES = 2**20
_SOFTWARE = "napari-feedback-seg: "


@contextmanager
def label_writer(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    spacing_nm: float | None = None,
    flavour: str = "imagej",
    overwrite: bool = False,
    made_by: str = "",
    classes: Sequence[LabelClass] = EM_CLASSES,
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a label TIFF section by section.

    >>> with label_writer("labels.tif", (20, 512, 512), pixel_size_nm=4.6) as write:
    ...     for labels in sections:
    ...         write(labels)

    Parameters
    ----------
    path : path-like
        The TIFF file; it appears when the last section is written.
    shape : tuple of int
        (Y, X), or (Z, Y, X).
    pixel_size_nm : float or (float, float), optional
        Side of a pixel in nm, or its height and width.
    spacing_nm : float, optional
        Distance of the sections in nm.
    flavour : str
        ``ome`` for an OME-TIFF; anything else, and less than 4 GB, for one of ImageJ.
    overwrite : bool
        Whether a file that is there may be replaced.
    made_by : str
        What made the labels, in ASCII; :func:`made_by_in` reads it again.
    classes : sequence of LabelClass
        Their colours become ImageJ's lookup table.

    Yields
    ------
    callable
        Takes the next section (Y, X) uint8.

    Raises
    ------
    OutputError
        If the file is there already or cannot be written, a full disk included.
    """
    colours = np.zeros((3, 256), np.uint8)
    for each in classes:
        colours[:, each.value] = each.rgb
    axes = "ZYX"[-len(shape) :]
    pages = _Pages(
        Path(path), shape, axes, np.dtype("<u1"), pixel_size_nm, spacing_nm, flavour, made_by=made_by
    )
    with pages.open(overwrite, {"LUTs": [colours], "Ranges": (0.0, 255.0)}) as write:
        yield write


@contextmanager
def number_writer(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    largest: int,
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    spacing_nm: float | None = None,
    overwrite: bool = False,
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write numbered objects as a TIFF, section by section: 16 bit, or 32 bit where more than 65,535.

    Parameters
    ----------
    path, shape, pixel_size_nm, spacing_nm, overwrite
        As for :func:`label_writer`.
    largest : int
        The largest number.

    Yields
    ------
    callable
        Takes the next section (Y, X).

    Raises
    ------
    OutputError
        If the file is there already or cannot be written, a full disk included.
    """
    wide = largest > np.iinfo(np.uint16).max
    dtype = np.dtype("<u4" if wide else "<u2")
    flavour = "ome" if wide else "imagej"  # ImageJ takes whole numbers of 32 bits for decimals
    pages = _Pages(Path(path), shape, "ZYX"[-len(shape) :], dtype, pixel_size_nm, spacing_nm, flavour)
    with pages.open(overwrite, {"Ranges": (0.0, float(max(1, largest)))}) as write:
        yield write


@contextmanager
def probability_writer(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    names: Sequence[str],
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    spacing_nm: float | None = None,
    flavour: str = "imagej",
    overwrite: bool = False,
    made_by: str = "",
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write class probabilities as a float32 TIFF, section by section or some rows at a time.

    What has come of a section waits, compressed, in a temporary file beside the TIFF.

    Parameters
    ----------
    path, pixel_size_nm, spacing_nm, flavour, overwrite, made_by
        As for :func:`label_writer`.
    shape : tuple of int
        Of the image: (Y, X), or (Z, Y, X). The file has (C, Y, X) or (Z, C, Y, X).
    names : sequence of str
        Names of the classes, the channels of the file.

    Yields
    ------
    callable
        Takes the probabilities (C, n, X) of the next rows of a section, any float type;
        after the last row of one section comes the first of the next.

    Raises
    ------
    OutputError
        If the file is there already or cannot be written, a full disk included.
    """
    *stack, height, width = shape
    full = (*stack, len(names), height, width)
    axes, dtype = "ZCYX"[-len(full) :], np.dtype("<f4")
    pages = _Pages(Path(path), full, axes, dtype, pixel_size_nm, spacing_nm, flavour, names, made_by)
    labels = list(names) * math.prod(stack)
    with pages.open(overwrite, {"Labels": labels, "Ranges": (0.0, 1.0) * len(names)}) as write:
        yield write


def made_by_in(path: str | os.PathLike[str]) -> str:
    """Return what a TIFF that was written here notes of what made it; empty if it notes nothing."""
    try:
        with decoding(Path(path)), tifffile.TiffFile(path) as tiff:
            software = str(tiff.pages.first.software)
    except (OSError, InputError):  # missing, another kind of file, or a damaged one
        return ""
    return software.removeprefix(_SOFTWARE) if software.startswith(_SOFTWARE) else ""


class _Strips:
    """Rows of the pages of one section, compressed strip by strip into temporary files as they come."""

    def __init__(self, dtype: np.dtype[Any], height: int, rows: int, folder: Path) -> None:
        self._dtype, self._height, self._rows, self._folder = dtype, height, rows, folder
        self._files: list[IO[bytes]] = []
        self._lengths: list[list[int]] = []
        self._held: np.ndarray | None = None
        self._done = 0

    def add(self, part: np.ndarray) -> bool:
        """Take the next rows (P, n, X) of all pages; return whether they are complete."""
        if not self._files:
            self._lengths = [[] for _ in part]
            self._files = [tempfile.TemporaryFile(dir=self._folder) for _ in part]
        if self._held is not None:
            part = np.concatenate([self._held, part], axis=1)
        last = bool(self._done + part.shape[1] >= self._height)
        whole = part.shape[1] if last else part.shape[1] // self._rows * self._rows
        for page, file, lengths in zip(part, self._files, self._lengths, strict=True):
            for start in range(0, whole, self._rows):
                strip = page[start : min(start + self._rows, whole)].astype(self._dtype)
                lengths.append(file.write(zlib.compress(strip.tobytes())))
        self._held = part[:, whole:].copy()
        self._done += whole
        return last

    def pages(self) -> Iterator[Iterator[bytes]]:
        """Yield the compressed strips of each page."""
        for file, lengths in zip(self._files, self._lengths, strict=True):
            file.seek(0)
            yield (file.read(length) for length in lengths)

    def close(self) -> None:
        """Forget all of it."""
        for file in self._files:
            file.close()


@dataclass
class _Pages:
    """A TIFF to be written page by page."""

    path: Path
    shape: tuple[int, ...]
    axes: str
    dtype: np.dtype[Any]
    pixel_size_nm: float | tuple[float, float] | None
    spacing_nm: float | None
    flavour: str
    names: Sequence[str] = ()
    made_by: str = ""

    @contextmanager
    def open(self, overwrite: bool, imagej: dict[str, Any]) -> Iterator[Callable[[np.ndarray], None]]:
        """Yield the function that writes the next rows of a section, (n, X) or (C, n, X)."""
        count, written = math.prod(self.shape[:-2]), 0
        section: _Strips | None = None
        # ImageJ itself reads no BigTIFF; its Bio-Formats, like others, knows OME.
        big = math.prod(self.shape) * self.dtype.itemsize > _BIG
        ome = big or self.flavour == "ome"
        description = self._ome() if ome else self._imagej()
        tags = () if ome else tifffile.imagej_metadata_tag(imagej, "<")
        rows = max(1, _STRIP_BYTES // (self.shape[-1] * self.dtype.itemsize))
        options: dict[str, Any] = {
            "shape": self.shape[-2:],
            "dtype": self.dtype,
            "rowsperstrip": rows,
            # ImageJ reads all pages of a compressed stack one by one, as they are written here.
            "compression": "zlib",
            "photometric": "minisblack",
            "metadata": None,
        }
        if self.pixel_size_nm:
            height, width = self._sides()
            options["resolution"] = (1 / width, 1 / height)
            options["resolutionunit"] = "NONE"

        with (
            replacing(self.path, overwrite) as temporary,
            tifffile.TiffWriter(temporary, bigtiff=big, byteorder="<") as tiff,
        ):

            def write(part: np.ndarray) -> None:
                nonlocal written, section
                section = section or _Strips(self.dtype, self.shape[-2], rows, self.path.parent)
                if not section.add(part.reshape(-1, *part.shape[-2:])):
                    return
                for page in section.pages():
                    first = not written
                    tiff.write(
                        page,
                        description=description if first else None,
                        extratags=tags if first else (),
                        software=f"{_SOFTWARE}{self.made_by}" if first and self.made_by else None,
                        **options,
                    )
                    written += 1
                section.close()
                section = None

            try:
                yield write
            finally:
                if section:
                    section.close()
            if written != count:
                raise OutputError(f"'{self.path}' was not written: {written} of its {count} pages came.")

    def _sides(self) -> tuple[float, float]:
        size = self.pixel_size_nm or 1.0
        return size if isinstance(size, tuple) else (size, size)

    def _imagej(self) -> str:
        unit: dict[str, Any] = {"unit": "nm"} if self.pixel_size_nm else {}
        if self.pixel_size_nm and self.spacing_nm and "Z" in self.axes:
            unit["spacing"] = self.spacing_nm
        return tifffile.imagej_description(self.shape, self.axes, mode="grayscale", **unit)

    def _ome(self) -> bytes:
        # Names may hold bytes that are no text.
        metadata: dict[str, Any] = {"Name": self.path.stem.encode(errors="replace").decode()}
        if self.pixel_size_nm:
            for axis, side in zip("YX", self._sides(), strict=True):
                metadata[f"PhysicalSize{axis}"] = side
                metadata[f"PhysicalSize{axis}Unit"] = "nm"
        if self.spacing_nm and "Z" in self.axes:
            metadata |= {"PhysicalSizeZ": self.spacing_nm, "PhysicalSizeZUnit": "nm"}
        if self.names:
            metadata["Channel"] = {"Name": list(self.names)}
        xml = tifffile.OmeXml()
        stored = (math.prod(self.shape[:-2]), 1, 1, self.shape[-2], self.shape[-1], 1)
        xml.addimage(self.dtype, self.shape, stored, axes=self.axes, **metadata)
        return xml.tostring(declaration=True).encode()

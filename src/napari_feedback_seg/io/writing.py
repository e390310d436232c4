"""Write labels and probabilities, a section at a time, and only whole files."""

from __future__ import annotations

import errno
import itertools
import math
import os
import re
import secrets
import shutil
import sys
import time
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_feedback_seg.classes import EM_CLASSES, LabelClass
from napari_feedback_seg.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_BIG = 2**32 - 2**25
_STRIP_BYTES = 2**20
_WINDOWS = os.name == "nt"  # elsewhere a file can be replaced while somebody reads it
_PATIENCE = 30  # tenths of a second


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Make sure, before any work is done, that a file may be written.

    Raises
    ------
    OutputError
        If it is there and may not be replaced, if it is a folder or a device, or if its
        folder cannot be written to.
    """
    path = Path(path)
    if os.path.isdir(path):  # unlike Path's, the functions of os.path never raise
        raise OutputError(f"'{path}' is a folder. Name a file to write to.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OutputError(f"'{path}' is no file but a device, a pipe or a socket. Name a file to write to.")
    if os.path.lexists(path) and not overwrite:  # a link that leads nowhere is there, too
        raise OutputError(f"'{path}' is there already. Choose another name, or overwrite it (--overwrite).")
    parents = _target(path).absolute().parents
    folder = next((parent for parent in parents if parent.exists()), parents[0])
    if not folder.is_dir():
        raise OutputError(f"'{path}' cannot be written: '{folder}' is a file and not a folder.")
    if not _may_write(folder):
        raise OutputError(f"'{path}' cannot be written: you may not write to the folder '{folder}'.")


def is_device(name: str) -> bool:
    """Return whether Windows takes a name for a device, and so makes no file of it."""
    return re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name, re.IGNORECASE) is not None


def file_keys(path: str | os.PathLike[str]) -> set[object]:
    """Return what two paths have in common if they lead to one file, whatever they read like."""
    place = os.path.normcase(os.path.realpath(path))
    keys: set[object] = {place.casefold() if sys.platform == "darwin" else place}
    try:
        stat = os.stat(path)
    except OSError:
        return keys
    return keys | ({(stat.st_dev, stat.st_ino)} if stat.st_ino else set())


@contextmanager
def replacing(
    path: str | os.PathLike[str], overwrite: bool = False, *, beside: bool = True
) -> Iterator[Path]:
    """Write a file under a temporary name, and move it to its own when it is complete.

    Folders are made where need be. A symbolic link stays, and the file that it leads to is
    written. If anything is raised, Ctrl-C included, the temporary
    file is removed and what was there before stays.

    Parameters
    ----------
    path : path-like
        The file to write.
    overwrite : bool
        Whether one that is there may be replaced.
    beside : bool
        Whether the file gets another name where a program holds the one that is there, as on Windows:
        for what a person is to find, and not for what is looked for by its name.

    Yields
    ------
    Path
        The temporary name, in the same folder.

    Raises
    ------
    OutputError
        If the file is there already or cannot be written, a full disk included.
    """
    path = Path(path)
    check_output(path, overwrite)
    target = _target(path)
    temporary = target.with_name(_temporary_name())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        check_output(path, overwrite)
        _move(temporary, target, beside)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):  # what went wrong before is what counts
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a folder under a temporary name, and give it its own when it is complete.

    If anything is raised, Ctrl-C included, the folder is removed with what is in it; only if it is
    complete, and another program keeps it from its name, it stays, and the error says where.

    Parameters
    ----------
    path : path-like
        The folder, which is not there yet.

    Yields
    ------
    Path
        The temporary name, beside it.

    Raises
    ------
    OutputError
        If something of this name is there already, or it cannot be written.
    """
    path = Path(path)
    _check_new(path)
    temporary = path.with_name(_temporary_name())
    complete = False
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _check_new(path)
        complete = _WINDOWS
        _patiently(os.rename, temporary, path)
    except OSError as error:
        if complete:  # a virus scanner or a cloud drive is at what was just written
            raise OutputError(
                f"'{path}' is complete, but another program holds something in it: it is called "
                f"'{temporary}' until you rename it."
            ) from error
        raise _unwritable(path, error) from error
    finally:
        if not complete:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def label_writer(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    spacing_nm: float | None = None,
    flavour: str = "imagej",
    overwrite: bool = False,
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
    pages = _Pages(Path(path), shape, axes, np.dtype("<u1"), pixel_size_nm, spacing_nm, flavour)
    with pages.open(overwrite, {"LUTs": [colours], "Ranges": (0.0, 255.0)}) as write:
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
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write class probabilities as a float32 TIFF, section by section.

    Parameters
    ----------
    path, pixel_size_nm, spacing_nm, flavour, overwrite
        As for :func:`label_writer`.
    shape : tuple of int
        Of the image: (Y, X), or (Z, Y, X). The file has (C, Y, X) or (Z, C, Y, X).
    names : sequence of str
        Names of the classes, the channels of the file.

    Yields
    ------
    callable
        Takes the probabilities (C, Y, X) of the next section, any float type.

    Raises
    ------
    OutputError
        If the file is there already or cannot be written, a full disk included.
    """
    *stack, height, width = shape
    full = (*stack, len(names), height, width)
    axes, dtype = "ZCYX"[-len(full) :], np.dtype("<f4")
    pages = _Pages(Path(path), full, axes, dtype, pixel_size_nm, spacing_nm, flavour, names)
    labels = list(names) * math.prod(stack)
    with pages.open(overwrite, {"Labels": labels, "Ranges": (0.0, 1.0) * len(names)}) as write:
        yield write


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

    @contextmanager
    def open(self, overwrite: bool, imagej: dict[str, Any]) -> Iterator[Callable[[np.ndarray], None]]:
        """Yield the function that writes the next section, (Y, X) or (C, Y, X)."""
        count, written = math.prod(self.shape[:-2]), 0
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

            def write(section: np.ndarray) -> None:
                nonlocal written
                for page in section.reshape(-1, *self.shape[-2:]):
                    first = not written
                    tiff.write(
                        self._strips(page, rows),
                        description=description if first else None,
                        extratags=tags if first else (),
                        **options,
                    )
                    written += 1

            yield write
            if written != count:
                raise OutputError(f"'{self.path}' was not written: {written} of its {count} pages came.")

    def _sides(self) -> tuple[float, float]:
        size = self.pixel_size_nm or 1.0
        return size if isinstance(size, tuple) else (size, size)

    def _strips(self, page: np.ndarray, rows: int) -> Iterator[bytes]:
        for start in range(0, len(page), rows):
            yield zlib.compress(page[start : start + rows].astype(self.dtype).tobytes())

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


def _move(temporary: Path, target: Path, beside_it: bool) -> None:
    """Give a finished file its name, or, if wanted, one beside what another program holds."""
    try:
        _patiently(os.replace, temporary, target)
        return
    except PermissionError:
        if not (beside_it and _WINDOWS and target.exists()):
            raise
    names = (target.with_stem(f"{target.stem}-{number}") for number in itertools.count(1))
    beside = next(each for each in names if not os.path.lexists(each))
    os.rename(temporary, beside)
    raise OutputError(
        f"'{target}' is open in another program and could not be replaced. The new file is '{beside}'."
    )


def _patiently(move: Callable[[Path, Path], None], source: Path, target: Path) -> None:
    for _ in range(_PATIENCE if _WINDOWS else 0):
        try:
            move(source, target)
        except PermissionError:  # a viewer has it open, or a virus scanner
            time.sleep(0.1)
        else:
            return
    move(source, target)


def _temporary_name() -> str:
    """Return a name that is hardly longer than any: on Windows paths may have 259 characters."""
    return f".{secrets.token_hex(4)}.part"


def _may_write(folder: Path) -> bool:
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    if not _WINDOWS:
        return True
    probe = folder / _temporary_name()  # Windows says yes of every folder
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def _check_new(path: Path) -> None:
    if os.path.lexists(path):
        raise OutputError(f"'{path}' is there already. Choose another name.")


def _target(path: Path) -> Path:
    """Return where a symbolic link leads; any other path as it is."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


def _unwritable(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutputError(f"'{path}' was not written: the disk is full. Free some space and run it again.")
    return OutputError(f"'{path}' cannot be written: {error.strerror or error}.")

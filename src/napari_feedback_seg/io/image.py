"""An image file that has been opened, and what to say when it cannot be."""

from __future__ import annotations

import importlib
import lzma
import struct
import threading
import traceback
import zlib
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload
from xml.etree import ElementTree

import numpy as np
import tifffile

from napari_feedback_seg.errors import DISCONNECTED, InputError, in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_feedback_seg.io.sizes import PixelSize

Flavour = Literal["imagej", "ome", "plain", "png", "jpeg", "mrc", "dm", "hdf5", "zarr"]

_OF_DATA = (
    OSError,
    EOFError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tifffile.TiffFileError,
    ElementTree.ParseError,
)
_LIBRARIES = (
    "PIL",
    "box",
    "dask",
    "fsspec",
    "h5py",
    "imagecodecs",
    "mrcfile",
    "numcodecs",
    "rsciio",
    "tifffile",
    "zarr",
)
_DISTRIBUTIONS = {
    "rsciio": "rosettasciio",
    **dict.fromkeys(("distributed", "zarr"), "'napari-feedback-seg[volumes]'"),
}


class OtherImageError(InputError):
    """An image, but no grey section and no stack of them."""


@contextmanager
def decoding(path: Path | str) -> Iterator[None]:
    """Turn what the reading libraries raise at a file into a sentence that names it.

    At damaged data they raise almost anything. The same from our own code is a bug, and stays what it is.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"'{path}' does not fit into the memory. Close other programs, or cut the image into parts."
        ) from error
    except _OF_DATA as error:
        raise unreadable(path, error) from error
    except Exception as error:
        modules = {
            frame.f_globals.get("__name__", "").split(".")[0]
            for frame, _ in traceback.walk_tb(error.__traceback__)
        }
        if modules.isdisjoint(_LIBRARIES):
            raise
        raise unreadable(path, error) from error


@dataclass(frozen=True)
class EMImage:
    """An image file that has been opened, its pixels still unread.

    Attributes
    ----------
    path : Path
        The file.
    shape : tuple of int
        (Y, X), or (Z, Y, X) for a stack.
    dtype : numpy.dtype
        Of the pixels.
    pixel_size : PixelSize or None
        Sides of a pixel and distance of the sections, if the file says them.
    flavour : {"imagej", "ome", "plain", "png", "jpeg", "mrc", "dm", "hdf5", "zarr"}
        Kind of file; the first three are TIFF.
    sections : Sections
        ``sections[z]`` reads section z (Y, X); a single image is a stack of one.
    messages : tuple of str
        Sentences that the user should read.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pixel_size: PixelSize | None
    flavour: Flavour
    sections: Sections
    messages: tuple[str, ...] = ()

    @property
    def pixel_size_nm(self) -> tuple[float, float] | None:
        """Height and width of a pixel in nm, if the file says them."""
        return (self.pixel_size.y, self.pixel_size.x) if self.pixel_size else None

    @property
    def spacing_nm(self) -> float | None:
        """Distance of the sections of a stack in nm, if the file says it."""
        return self.pixel_size.z if self.pixel_size and len(self.shape) == 3 else None


class Sections(Sequence[np.ndarray]):
    """Reads a section when asked for it; the file is closed in between.

    Parameters
    ----------
    path : Path
        The file, for errors.
    shape : tuple of int
        (Z, Y, X).
    dtype : numpy.dtype
        Of the pixels.
    read : callable
        Returns the pixels of section z.
    read_block : callable, optional
        Returns the pixels of these rows and columns of section z, reading little more of the file.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        read: Callable[[int], np.ndarray],
        read_block: Callable[[int, slice, slice], np.ndarray] | None = None,
    ) -> None:
        self.path = path
        self.shape = shape
        self.dtype = dtype
        self._read = read
        self._read_block = read_block
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[z] for z in range(*index.indices(len(self)))]
        z = range(len(self))[index]
        with decoding(self.path), self._lock:
            section = self._read(z)
        if section.size != self.shape[1] * self.shape[2]:
            raise cut_off(self.path)
        return section.reshape(self.shape[1:])

    def block(self, z: int, rows: slice, columns: slice) -> np.ndarray:
        """Return the pixels of these rows and columns of section z; of most files little more is read."""
        if self._read_block is None:
            return self[z][rows, columns]
        wanted = []
        for each, length in zip((rows, columns), self.shape[1:], strict=True):
            start, stop, _ = each.indices(length)
            wanted.append(slice(start, max(start, stop)))
        with decoding(self.path), self._lock:
            block = self._read_block(range(len(self))[z], *wanted)
        if block.shape != tuple(each.stop - each.start for each in wanted):
            raise cut_off(self.path)
        return block


def three_axes(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return (Z, Y, X) of the shape of a section or a stack."""
    return (shape[0] if len(shape) == 3 else 1), shape[-2], shape[-1]


def read_contiguous(
    path: Path, shape: tuple[int, int, int], dtype: np.dtype[Any], offset: int, z: int
) -> np.ndarray:
    """Return section z of sections that lie behind each other in a file, uncompressed.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        (Z, Y, X).
    dtype : numpy.dtype
        Of the pixels as they are stored, byte order included.
    offset : int
        Where the first section begins, in bytes.
    z : int
        Index of the section.

    Returns
    -------
    ndarray
        The pixels in one row, in the byte order of this computer; too few if the file ends before.
    """
    count = shape[1] * shape[2]
    section = np.fromfile(path, dtype, count, offset=offset + z * count * dtype.itemsize)
    return section.astype(dtype.newbyteorder("="), copy=False)


def read_contiguous_block(
    path: Path,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    offset: int,
    z: int,
    rows: slice,
    columns: slice,
) -> np.ndarray:
    """Return rows and columns of section z of sections that lie behind each other in a file, uncompressed.

    The parameters are those of :func:`read_contiguous`. Only the pages of the file that hold them are read.
    """
    block = np.memmap(path, dtype, "r", offset, shape)[z, rows, columns]
    return np.array(block, dtype.newbyteorder("="))


def library(name: str, path: Path) -> Any:
    """Return a library that reads files of a kind, which not every installation has.

    Raises
    ------
    InputError
        If it is not installed; the sentence names the line that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        top = name.split(".")[0]
        raise InputError(
            f"To read '{path}', another library is needed: pip install {_DISTRIBUTIONS.get(top, top)}"
        ) from error


def cut_off(path: Path) -> InputError:
    """Return the error for a file whose end is missing."""
    return InputError(f"'{path}' is cut off: a part of its data is missing. Copy or save it again.")


def unreadable(path: Path | str, error: BaseException) -> InputError:
    """Return the error for a file at which a decoder failed, or that can no longer be read."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"There is no file '{path}'.")
    if isinstance(error, OSError) and error.errno in DISCONNECTED:
        return InputError(f"'{path}' cannot be read. {in_words(error)}")
    if isinstance(error, OSError) and error.errno is not None:
        return InputError(f"'{path}' cannot be read: {error.strerror}.")
    if "imagecodecs" in str(error):
        return InputError(
            f"'{path}' is compressed in a way that cannot be read here. Install imagecodecs "
            "(pip install imagecodecs), or save it uncompressed."
        )
    return InputError(f"'{path}' is damaged or no image ({error}). Copy or save it again.")

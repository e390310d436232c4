"""Open an image of an HDF5 file, which may hold many."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io.image import EMImage, OtherImageError, Sections, decoding, library, three_axes
from napari_feedback_seg.io.sizes import PixelSize, in_nanometres, sensible

if TYPE_CHECKING:
    from collections.abc import Sequence

HDF5_SUFFIXES = (".h5", ".hdf5")

_LEAST = 16
"""Rows and columns of what is taken for an image by itself: tables have fewer columns."""
_MOST_NAMED = 8


def split_key(path: Path) -> tuple[Path, str | None]:
    """Return the file and the data set of ``file.h5:/raw``; None for a file alone."""
    found = re.fullmatch(r"(.+\.(?:h5|hdf5)):(.+)", str(path), re.IGNORECASE | re.DOTALL)
    return (Path(found[1]), found[2]) if found else (path, None)


def hdf5_keys(path: Path) -> list[str]:
    """Return the names of the data sets that are sections or stacks of them."""
    with decoding(path), _opened(path) as file:
        return _keys(file)


def open_hdf5(path: Path, key: str | None) -> EMImage:
    """Open a data set of an HDF5 file, as :func:`~napari_feedback_seg.io.open_image` does.

    Parameters
    ----------
    path : Path
        The file.
    key : str or None
        Name of the data set; None for the only image of the file.

    Raises
    ------
    InputError
        If there is no such data set, or none was named and there are several; their names are listed.
    """
    with _opened(path) as file:
        keys = _keys(file)
        if key is None:
            if not keys:
                raise OtherImageError(f"'{path}' holds no image: no grey section and no stack of them.")
            if len(keys) > 1:
                raise InputError(f"'{path}' holds {_listed(keys)}. Name one of them: {path.name}:{keys[0]}")
            key = keys[0]
        data = file.get(key)
        if not hasattr(data, "dtype"):
            there = f"It holds {_listed(keys)}." if keys else "It holds no image at all."
            raise InputError(f"'{path}' has no data set '{key}'. {there}")
        if data.dtype.kind not in "uif" or not _is_stack(data.shape):
            raise OtherImageError(
                f"'{key}' in '{path}' is no grey section and no stack of them: its shape is {data.shape}, "
                f"{data.dtype}. Choose a data set with the axes (Y, X) or (Z, Y, X)."
            )
        axes = _axes(data.shape)
        shape = tuple(data.shape[axis] for axis in axes)
        dtype = data.dtype.newbyteorder("=")
        size = _pixel_size(data, axes)
        data_ndim = len(data.shape)
    layers = three_axes(shape)

    def read(z: int, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        with _opened(path) as file:
            wanted: list[int | slice] = [0] * data_ndim
            for axis, part in zip(axes[-2:], (rows, columns), strict=True):
                wanted[axis] = part
            if len(axes) == 3:
                wanted[axes[0]] = z
            return np.asarray(file[key][tuple(wanted)], dtype)

    name = Path(f"{path}:{key}")
    return EMImage(name, shape, dtype, size, "hdf5", Sections(name, layers, dtype, read, read))


def _opened(path: Path) -> Any:
    # Network drives often cannot lock, and to read there is no need to.
    return library("h5py", path).File(path, "r", locking=False)


def _keys(file: Any) -> list[str]:
    found: list[str] = []

    def note(name: str, each: Any) -> None:
        if hasattr(each, "dtype") and each.dtype.kind in "uif" and _is_stack(each.shape):
            rows, columns = (each.shape[axis] for axis in _axes(each.shape)[-2:])
            if min(rows, columns) >= _LEAST:
                found.append(f"/{name}")

    file.visititems(note)
    return found


def _axes(shape: Sequence[int]) -> list[int]:
    """Return which axes are (Y, X) or (Z, Y, X): axes of one are left out where there are too many."""
    axes = list(range(len(shape)))
    while len(axes) > 2 and shape[axes[-1]] == 1:
        axes.pop()
    return axes if len(axes) <= 3 else [axis for axis in axes if shape[axis] > 1 or axis in axes[-2:]]


def _is_stack(shape: Sequence[int] | None) -> bool:
    return shape is not None and 0 not in shape and 2 <= len(_axes(shape)) <= 3


def _pixel_size(data: Any, axes: Sequence[int]) -> PixelSize | None:
    """Read the attributes that Fiji and ilastik (in µm), and CREMI and funlib (in nm), give a data set."""
    for name, unit in (("element_size_um", "um"), ("resolution", "nm"), ("voxel_size", "nm")):
        numbers = np.asarray(data.attrs.get(name, ())).ravel().tolist()
        if len(numbers) in (2, 3):
            *z, y, x = (in_nanometres(number, unit) for number in numbers)
            return sensible(y, x, z[0] if z and len(axes) == 3 else None)
    return None


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
    named = ", ".join(keys[:_MOST_NAMED])
    return f"the image {named}" if len(keys) == 1 else f"{len(keys)} images: {named}{more}"

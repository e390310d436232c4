"""Volumes that are read block by block: OME-Zarr, plain Zarr arrays, and stacks of image files."""

from __future__ import annotations

import math
import os
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io.image import EMImage, Sections, decoding, library
from napari_feedback_seg.io.level import SPATIAL, FileLevel, Grid, Level
from napari_feedback_seg.io.reading import images_in, open_image
from napari_feedback_seg.io.sizes import in_nanometres

if TYPE_CHECKING:
    from collections.abc import Sequence

_TCZYX = ("t", "c", *SPATIAL)


@dataclass(frozen=True)
class Volume:
    """A volume that has been opened, its pixels still unread.

    Attributes
    ----------
    path : str
        The store, file, folder or URL.
    levels : tuple of Level
        (Z, Y, X) each, the finest first.
    grids : tuple of Grid
        Where their pixels lie.
    flat : bool
        Whether it has no axis z.
    version : {"0.4", "0.5"}
        Of OME-Zarr that suits it.
    messages : tuple of str
        Sentences that the user should read.
    of_array : bool
        Whether it is no OME-Zarr: a single array, or image files.
    """

    path: str
    levels: tuple[Any, ...]
    grids: tuple[Grid, ...]
    flat: bool = False
    version: str = "0.5"
    messages: tuple[str, ...] = ()
    of_array: bool = False

    def nearest_level(self, pixel_size_nm: float) -> int:
        """Return the level whose pixels are nearest to this size; the finest if it is not known."""
        sizes = [grid.pixel_size for grid in self.grids]
        away = [
            math.inf if size is None else abs(math.log(math.sqrt(size.y * size.x) / pixel_size_nm))
            for size in sizes
        ]
        return away.index(min(away))

    def with_pixel_size(self, sides_nm: Sequence[float]) -> Volume:
        """Return the volume with another pixel size in nm, of (y, x) or (z, y, x) of the finest level."""
        first = self.grids[0]
        known = in_nanometres(first.scale[0], first.units[0] or "")
        z = sides_nm[0] if len(sides_nm) == 3 else known
        sides = (sides_nm[-2] if z is None else z, *sides_nm[-2:])
        grids = []
        for grid in self.grids:
            ratios = [own / of for own, of in zip(grid.scale, first.scale, strict=True)]
            scale = [side * ratio for side, ratio in zip(sides, ratios, strict=True)]
            moved = [
                at / step * new for at, step, new in zip(grid.translation, grid.scale, scale, strict=True)
            ]
            grids.append(Grid((scale[0], scale[1], scale[2]), (moved[0], moved[1], moved[2]), _NANOMETRES))
        messages = self.messages
        if z is None and self.levels[0].shape[0] > 1:
            messages += (
                "The volume does not say how far its sections are apart: they were written as far apart as "
                "its rows. If it is another distance, give it (--pixel-size 40x4x4).",
            )
        return replace(self, grids=tuple(grids), messages=messages)


_NANOMETRES = ("nanometer", "nanometer", "nanometer")


def is_volume(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is that of a Zarr store, by its name or by what is in it."""
    text = os.fspath(path)
    if _is_url(text) or re.search(r"\.(ome\.)?(zarr|n5)(/|\\|$)", text):
        return True
    return any(os.path.exists(os.path.join(text, each)) for each in ("zarr.json", ".zgroup", ".zarray"))


def open_volume(path: str | os.PathLike[str]) -> Volume:
    """Open an OME-Zarr, a Zarr array, an image file, or a folder of images that are sections.

    Parameters
    ----------
    path : path-like
        A store on a disk, or a URL that fsspec knows (with what it needs installed). A part of a
        store is named behind it: ``volume.zarr/raw``.

    Raises
    ------
    InputError
        If there is no such volume, or it cannot be used as it is. The sentence says why.
    """
    text = os.fspath(path)
    return _open_zarr(text) if is_volume(text) else _open_files(Path(text))


def volume_image(path: str | os.PathLike[str]) -> EMImage:
    """Open the finest level of a Zarr as an image whose sections are read one by one.

    Raises
    ------
    InputError
        As :func:`open_volume` does.
    """
    volume = open_volume(path)
    level, size = volume.levels[0], volume.grids[0].pixel_size
    rows, columns = (slice(0, length) for length in level.shape[1:])
    name = Path(path)
    sections = Sections(
        name,
        level.shape,
        level.dtype,
        lambda z: level[z, rows, columns],
        lambda z, rows, columns: level[z, rows, columns],
    )
    shape = level.shape[1:] if volume.flat else level.shape
    return EMImage(name, shape, level.dtype, size, "zarr", sections, volume.messages)


def _open_files(path: Path) -> Volume:
    paths = images_in(path) if path.is_dir() else [path]
    if not paths:
        raise InputError(f"'{path}' holds no image: no TIFF, PNG, JPEG, MRC, DM or HDF5 file.")
    images = [open_image(each) for each in paths]
    first = images[0]
    for each in images[1:]:
        if each.shape != first.shape or len(each.sections) > 1 or each.dtype != first.dtype:
            raise InputError(
                f"'{each.path}' has the shape {each.shape}, {each.dtype}, and '{first.path}' {first.shape}, "
                f"{first.dtype}: a folder is a stack if its images are sections of one kind."
            )
    shape = (len(images) if len(images) > 1 else len(first.sections), first.shape[-2], first.shape[-1])
    size = first.pixel_size
    spacing = None if size is None else size.z
    units = _NANOMETRES if size else (None, None, None)
    scale = (spacing or size.y, size.y, size.x) if size else (1.0, 1.0, 1.0)
    sections = [each.sections for each in images if isinstance(each.sections, Sections)]
    level = FileLevel(sections, shape, first.dtype)
    messages = tuple(dict.fromkeys(said for each in images for said in each.messages))
    flat = len(images) == 1 and len(first.shape) == 2
    return Volume(str(path), (level,), (Grid(scale, units=units),), flat, messages=messages, of_array=True)


def _open_zarr(text: str) -> Volume:
    with decoding(text):
        zarr = _zarr(text)
        node = _node(zarr, text)
        if isinstance(node, zarr.Array):
            return _plain(text, node)
        version, multiscales = _multiscales(node.attrs)
        if multiscales is None and node.attrs.get("bioformats2raw.layout") and "0" in node:
            if "1" in node:
                raise InputError(f"'{text}' holds several images. Name one of them: {text}/0")
            return _open_zarr(f"{text}/0")
        if multiscales is None:
            with warnings.catch_warnings():  # of files in it that are not Zarr's, such as locks
                warnings.simplefilter("ignore", UserWarning)
                names = [name for name, _ in node.arrays()] or [name for name, _ in node.groups()]
            raise InputError(
                f"'{text}' is no OME-Zarr image: it has no multiscales metadata. "
                + (f"Name one of its parts: {text}/{sorted(names)[0]}" if names else "It is empty.")
            )
        return _of_multiscales(text, node, version, multiscales)


def _plain(text: str, array: Any) -> Volume:
    count = len(array.shape)
    names = [each or "" for each in (getattr(array.metadata, "dimension_names", None) or ())]
    axes = tuple(names) if {"y", "x"} <= set(names) else _TCZYX[-count:] if 2 <= count <= 5 else ()
    level = _level(text, array, axes)
    version = "0.4" if array.metadata.zarr_format == 2 else "0.5"
    return Volume(text, (level,), (Grid(),), "z" not in axes, version, of_array=True)


def _of_multiscales(text: str, group: Any, version: str, multiscales: dict[str, Any]) -> Volume:
    axes = [each if isinstance(each, str) else each.get("name", "") for each in multiscales.get("axes") or ()]
    units = {
        each.get("name"): each.get("unit") for each in multiscales.get("axes") or () if isinstance(each, dict)
    }
    levels, grids = [], []
    for dataset in multiscales.get("datasets") or ():
        name = dataset.get("path", "")
        if name not in group:
            raise InputError(
                f"'{text}' is not complete: its array '{name}' is missing. Copy or write it again."
            )
        array = group[name]
        names = axes or _TCZYX[-len(array.shape) :]
        levels.append(_level(f"{text}/{name}", array, names))
        scale, translation = np.ones(len(names)), np.zeros(len(names))
        for transform in (
            *(dataset.get("coordinateTransformations") or ()),
            *(multiscales.get("coordinateTransformations") or ()),
        ):
            if len(transform.get("scale", ())) == len(names):
                scale, translation = scale * transform["scale"], translation * transform["scale"]
            if len(transform.get("translation", ())) == len(names):
                translation = translation + transform["translation"]
        of_axis = [units.get(axis) for axis in SPATIAL]
        grids.append(
            Grid(
                _triple(scale, names, 1.0),
                _triple(translation, names, 0.0),
                (of_axis[0], of_axis[1], of_axis[2]),
            )
        )
    if not levels:
        raise InputError(f"'{text}' has no image: its multiscales metadata lists no array.")
    said = _about_units(grids[0])
    return Volume(text, tuple(levels), tuple(grids), "z" not in (axes or _TCZYX), version, said)


def _triple(values: np.ndarray, names: Sequence[str], other: float) -> tuple[float, float, float]:
    z, y, x = (float(values[names.index(axis)]) if axis in names else other for axis in SPATIAL)
    return z, y, x


def _about_units(grid: Grid) -> tuple[str, ...]:
    if grid.pixel_size is not None:
        return ()
    unit = grid.units[1]
    if unit is None:
        return ("The volume does not say in which unit its pixels are measured.",)
    return (f"The pixels of the volume are {grid.scale[1]:g} {unit} high: no size of electron microscopy.",)


def _level(text: str, array: Any, axes: Sequence[str]) -> Level:
    shape = tuple(array.shape)
    if len(axes) != len(shape) or not {"y", "x"} <= set(axes):
        raise InputError(
            f"'{text}' has the shape {shape} and the axes {', '.join(axes) or 'unknown'}: it needs y and x."
        )
    for axis, length in zip(axes, shape, strict=True):
        if length == 0:
            raise InputError(f"'{text}' has no pixels: its shape is {shape}.")
        if axis not in SPATIAL and length > 1:
            what = {"c": f"{length} channels", "t": f"{length} time points"}.get(
                axis, f"an axis '{axis}' of {length}"
            )
            raise InputError(
                f"'{text}' has {what}, and one is segmented at a time. Save the one that you need as a "
                "volume of its own."
            )
    return Level(text, array, axes)


def _multiscales(attributes: Any) -> tuple[str, dict[str, Any] | None]:
    ome = attributes.get("ome")
    version, found = ("0.5", ome.get("multiscales")) if isinstance(ome, dict) else ("0.4", None)
    found = found or attributes.get("multiscales")
    if not isinstance(found, list) or not found or not isinstance(found[0], dict):
        return version, None
    return version, found[0]


def _node(zarr: Any, text: str) -> Any:
    if not _is_url(text):
        path = Path(text)
        if not path.exists():
            raise InputError(f"There is no '{text}'.")
        if _is_n5(path):
            raise InputError(
                f"'{text}' is N5, which cannot be read here. Open it in Fiji (File > Import > "
                "HDF5/N5/Zarr/OME-NGFF), and save it as OME-Zarr (File > Save As)."
            )
    try:
        return zarr.open(text, mode="r")
    except FileNotFoundError as error:
        raise InputError(
            f"'{text}' is no Zarr: it holds no zarr.json, .zgroup or .zarray. Name the folder that does."
        ) from error
    except ImportError as error:
        raise InputError(f"To read '{text}', another library is needed: {error}") from error


def _is_n5(path: Path) -> bool:
    has_zarr = any((path / each).exists() for each in ("zarr.json", ".zgroup", ".zarray"))
    return not has_zarr and ((path / "attributes.json").exists() or path.suffix == ".n5")


def _is_url(text: str) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]+://", text) is not None


def _zarr(text: str) -> Any:
    return library("zarr", Path(text))

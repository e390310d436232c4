"""The labels of a volume on a disk: an OME-Zarr, and in it what has been done."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from napari_feedback_seg.errors import OutputError
from napari_feedback_seg.io import new_folder
from napari_feedback_seg.io.atomic import unwritable
from napari_feedback_seg.io.image import library
from napari_feedback_seg.volumes.ome import image_label, labels_attributes, multiscales, with_version
from napari_feedback_seg.volumes.plan import Plan
from napari_feedback_seg.volumes.pyramid import halved_labels, halved_probabilities, levels_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.io.level import Grid
    from napari_feedback_seg.volumes.plan import Block

NAME = "feedback-seg"
"""Of the labels among the labels of an OME-Zarr, and of what we note in its attributes."""

PROGRESS, PROBABILITIES = "progress", "probabilities"
LARGEST_CHUNK = 512
_LOCK = ".feedback-seg.lock"


@dataclass(frozen=True)
class Description:
    """What is written beside the labels.

    Attributes
    ----------
    grid : Grid
        Where the pixels of the finest level lie.
    classes : tuple of LabelClass
        In the order of the model.
    version : {"0.4", "0.5"}
        Of OME-Zarr.
    flat : bool
        Whether there is no axis z.
    into : bool
        Whether the labels lie in the store of their image.
    """

    grid: Grid
    classes: tuple[LabelClass, ...]
    version: str
    flat: bool
    into: bool


class Output:
    """The labels of a volume, block by block.

    A block is done when all chunks of its labels are in the store. They are written after
    everything else that belongs to it, each under a temporary name first. Zarr stores no shard in
    which all is 0: a block without any label is noted beside.

    Parameters
    ----------
    path : Path
        The OME-Zarr.

    Raises
    ------
    OutputError
        If it holds no labels that this version began.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.folder = self.path / "labels" / NAME
        self._zarr = library("zarr", self.path)
        noted = _noted(self._zarr, self.folder)
        if noted is None:
            raise OutputError(f"'{self.path}' holds no labels that were begun by feedback-seg.")
        self.plan = Plan.from_json(noted.get("plan"))
        self._values = [int(value) for value in noted["values"]]
        self._flat = bool(noted["flat"])
        count = levels_for(*self.plan.size[1:])
        self._labels = [self._open(str(level)) for level in range(count)]
        self._probabilities = (
            [self._open(f"{PROBABILITIES}/{level}") for level in range(count)]
            if self.plan.probabilities
            else []
        )

    @property
    def progress(self) -> Path:
        """The folder of what is noted on the way."""
        return self.folder / PROGRESS

    @property
    def levels(self) -> list[Any]:
        """The labels as Zarr arrays, the finest first."""
        return list(self._labels)

    def is_done(self, block: Block) -> bool:
        """Return whether a block is in the store."""
        if self._blank(block).exists():
            return True
        array = self._labels[0]
        encode = array.metadata.encode_chunk_key
        sides = array.shards or array.chunks
        spans = [
            range(part.start // side, -(-part.stop // side))
            for part, side in zip(self._place(block, 0), sides, strict=True)
        ]
        chunks = [()]  # type: list[tuple[int, ...]]
        for span in spans:
            chunks = [(*chunk, number) for chunk in chunks for number in span]
        folder = self.folder / "0"
        return all((folder / encode(chunk)).exists() for chunk in chunks)

    def write(self, block: Block, labels: np.ndarray, probabilities: np.ndarray | None = None) -> None:
        """Write a block.

        Parameters
        ----------
        block : Block
            Which one.
        labels : ndarray
            (Z, Y, X) uint8.
        probabilities : ndarray, optional
            (C, Z, Y, X) uint8, 255 for what is certain.

        Raises
        ------
        OutputError
            If it cannot be written, a full disk included.
        """
        levels = [labels]
        for _ in self._labels[1:]:
            levels.append(halved_labels(levels[-1], self._values))
        try:
            for level, array in enumerate(self._probabilities):
                assert probabilities is not None
                if level:
                    probabilities = halved_probabilities(probabilities)
                array[(slice(None), *self._place(block, level))] = self._shaped(probabilities)
            for level in reversed(range(len(levels))):
                self._labels[level][self._place(block, level)] = self._shaped(levels[level])
            if not labels.any():
                self._blank(block).touch()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _blank(self, block: Block) -> Path:
        return self.progress / ("block-" + "-".join(map(str, block.index)) + ".blank")

    def _shaped(self, array: np.ndarray) -> np.ndarray:
        return array[..., 0, :, :] if self._flat else array

    def _place(self, block: Block, level: int) -> tuple[slice, ...]:
        """Return where a block lies in a level of the output."""
        z, y, x = self.plan.start
        by = 2**level
        rows, columns = (
            slice((part.start - start) // by, -(-(part.stop - start) // by))
            for part, start in ((block.rows, y), (block.columns, x))
        )
        sections = slice(block.z.start - z, block.z.stop - z)
        return (rows, columns) if self._flat else (sections, rows, columns)

    def _open(self, name: str) -> Any:
        return self._zarr.open_array(
            str(self.folder / name), mode="r+", config={"write_empty_chunks": name == "0"}
        )


def prepare(
    path: str | os.PathLike[str], plan: Plan, description: Description, *, overwrite: bool = False
) -> Output:
    """Return the output of a plan: a new one, or the one that was begun with the same plan.

    Raises
    ------
    OutputError
        If something else is there, or it was begun with another plan, or cannot be written.
    """
    path = Path(path)
    zarr = library("zarr", path)
    folder = path / "labels" / NAME
    _check_place(path, description.into)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with FileLock(path / _LOCK):  # another process waits, and finds it made
            if overwrite and folder.exists():
                shutil.rmtree(folder)
            if _noted(zarr, folder) is None:
                _create(zarr, path, plan, description)
    except OSError as error:
        raise unwritable(path, error) from error
    output = Output(path)
    plan.check_same(output.plan, str(path))
    return output


def _check_place(path: Path, into: bool) -> None:
    if path.is_file():
        raise OutputError(f"'{path}' is a file. Name a folder, like volume-labels.zarr.")
    if path.exists() and not into and any(path.iterdir()) and not (path / _LOCK).exists():
        raise OutputError(
            f"'{path}' is there already, and nothing in it was begun by feedback-seg. Choose another name."
        )
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"'{path}' cannot be written: you may not write to '{there}'.")


def _noted(zarr: Any, folder: Path) -> dict[str, Any] | None:
    """Return what was noted when labels were begun; None if there are none of ours."""
    try:
        noted = zarr.open_group(str(folder), mode="r").attrs.get(NAME)
    except (FileNotFoundError, ValueError):
        return None
    return noted if isinstance(noted, dict) else None


def _create(zarr: Any, path: Path, plan: Plan, description: Description) -> None:
    version = description.version
    zarr_format = 2 if version == "0.4" else 3
    root = zarr.open_group(str(path), mode="a", zarr_format=zarr_format)
    if not description.into:
        root.attrs.update(with_version({}, version))
    labels = root.require_group("labels")
    names = ("y", "x") if description.flat else ("z", "y", "x")
    count = levels_for(*plan.size[1:])
    with new_folder(path / "labels" / NAME) as folder:
        group = zarr.open_group(str(folder), mode="w", zarr_format=zarr_format)
        group.create_group(PROGRESS)
        for level in range(count):
            _create_array(group, str(level), plan, description, level, names)
        if plan.probabilities:
            inner = group.create_group(PROBABILITIES)
            for level in range(count):
                _create_array(inner, str(level), plan, description, level, ("c", *names))
            about = multiscales(PROBABILITIES, description.grid, ("c", *names), count, version)
            inner.attrs.put(with_version(about, version))
        about = multiscales(NAME, description.grid, names, count, version)
        about |= image_label(description.classes, version, description.into)
        note = {
            "plan": plan.to_json(),
            "values": [each.value for each in description.classes],
            "classes": [each.name for each in description.classes],
            "flat": description.flat,
        }
        group.attrs.put(with_version(about, version) | {NAME: note})
    labels.attrs.put(labels_attributes(dict(labels.attrs), NAME, version))


def _create_array(
    group: Any, name: str, plan: Plan, description: Description, level: int, axes: Sequence[str]
) -> None:
    by = 2**level
    depth, height, width = plan.block
    z, y, x = plan.size
    lengths = {"c": len(description.classes), "z": z, "y": -(-y // by), "x": -(-x // by)}
    sides = {"c": len(description.classes), "z": depth, "y": height // by, "x": width // by}
    inner = {"c": 1, "z": depth, "y": _chunk(height // by), "x": _chunk(width // by)}
    shard = tuple(sides[axis] for axis in axes)
    chunk = tuple(inner[axis] for axis in axes)
    more: dict[str, Any] = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    if description.version == "0.5":
        more = {"dimension_names": list(axes), "shards": None if shard == chunk else shard}
    group.create_array(
        name,
        shape=tuple(lengths[axis] for axis in axes),
        chunks=chunk,
        dtype="uint8",
        fill_value=0,
        config={"write_empty_chunks": True},
        **more,
    )


def _chunk(side: int) -> int:
    """Return the largest part of a block's side that divides it and is at most 512."""
    return next(part for part in range(min(side, LARGEST_CHUNK), 0, -1) if side % part == 0)

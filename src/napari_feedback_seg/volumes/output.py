"""The labels of a volume on a disk: an OME-Zarr, and in it what has been done."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from napari_feedback_seg.errors import OutputError
from napari_feedback_seg.io import new_folder
from napari_feedback_seg.io.atomic import unwritable
from napari_feedback_seg.io.image import library
from napari_feedback_seg.volumes.levels import Levels, create_level
from napari_feedback_seg.volumes.ome import image_label, labels_attributes, multiscales, with_version
from napari_feedback_seg.volumes.plan import Plan
from napari_feedback_seg.volumes.pyramid import halved_labels, halved_probabilities, halvings_of

if TYPE_CHECKING:
    import numpy as np

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.io.level import Grid
    from napari_feedback_seg.volumes.plan import Block

NAME = "feedback-seg"
"""Of the labels among the labels of an OME-Zarr, and of what we note in its attributes."""

PROGRESS, PROBABILITIES = "progress", "probabilities"
LOCK = ".feedback-seg.lock"
"""In each store that we began."""


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
        self.plan = Plan.from_json(noted.get("plan") if "halvings" in noted else None)
        self._values = [int(value) for value in noted["values"]]
        flat, halvings = bool(noted["flat"]), [(int(deep), int(wide)) for deep, wide in noted["halvings"]]
        self._labels = Levels(self._zarr, self.folder, halvings, flat=flat)
        self._probabilities = (
            Levels(self._zarr, self.folder / PROBABILITIES, halvings, flat=flat)
            if self.plan.probabilities
            else None
        )

    @property
    def progress(self) -> Path:
        """The folder of what is noted on the way."""
        return self.folder / PROGRESS

    @property
    def levels(self) -> list[Any]:
        """The labels as Zarr arrays, the finest first."""
        return list(self._labels.arrays)

    def is_done(self, block: Block) -> bool:
        """Return whether a block is in the store."""
        return self._blank(block).exists() or self._labels.stored(self._place(block))

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
        place = self._place(block)
        try:
            if self._probabilities is not None:
                assert probabilities is not None
                self._probabilities.write(place, probabilities, halved_probabilities)
            self._labels.write(place, labels, partial(halved_labels, values=self._values))
            if not labels.any():
                self._blank(block).touch()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _blank(self, block: Block) -> Path:
        return self.progress / ("block-" + "-".join(map(str, block.index)) + ".blank")

    def _place(self, block: Block) -> tuple[slice, slice, slice]:
        """Return where a block lies in the output."""
        z, y, x = self.plan.start
        sections, rows, columns = (
            slice(part.start - start, part.stop - start)
            for part, start in ((block.z, z), (block.rows, y), (block.columns, x))
        )
        return sections, rows, columns


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
    check_place(path, description.into)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with FileLock(path / LOCK):  # another process waits, and finds it made
            if overwrite and folder.exists():
                shutil.rmtree(folder)
            if _noted(zarr, folder) is None:
                _create(zarr, path, plan, description)
    except OSError as error:
        raise unwritable(path, error) from error
    output = Output(path)
    plan.check_same(output.plan, str(path))
    return output


def check_place(path: Path, into: bool) -> None:
    """Make sure that labels may be written to a store.

    Raises
    ------
    OutputError
        If something else is there, or it cannot be written to.
    """
    if path.is_file():
        raise OutputError(f"'{path}' is a file. Name a folder, like volume-labels.zarr.")
    if path.exists() and not into and any(path.iterdir()) and not (path / LOCK).exists():
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
    halvings = halvings_of(plan.size, description.grid)
    with new_folder(path / "labels" / NAME) as folder:
        group = zarr.open_group(str(folder), mode="w", zarr_format=zarr_format)
        group.create_group(PROGRESS)
        for level, each in enumerate(halvings):
            create_level(group, str(level), plan.size, plan.block, each, names, version=version)
        if plan.probabilities:
            inner = group.create_group(PROBABILITIES)
            axes, channels = ("c", *names), len(description.classes)
            for level, each in enumerate(halvings):
                create_level(
                    inner, str(level), plan.size, plan.block, each, axes, version=version, channels=channels
                )
            about = multiscales(PROBABILITIES, description.grid, axes, halvings, version)
            inner.attrs.put(with_version(about, version))
        about = multiscales(NAME, description.grid, names, halvings, version)
        about |= image_label(description.classes, version, description.into)
        note = {
            "plan": plan.to_json(),
            "values": [each.value for each in description.classes],
            "classes": [each.name for each in description.classes],
            "flat": description.flat,
            "halvings": [list(each) for each in halvings],
        }
        group.attrs.put(with_version(about, version) | {NAME: note})
    labels.attrs.put(labels_attributes(dict(labels.attrs), NAME, version))

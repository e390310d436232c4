"""Objects of a volume on a disk: what is made, how, and the OME-Zarr that their numbers go to.

It is done in three steps over the same blocks. *label*: each block numbers its own objects. *meet*: which of
them are one with those of its neighbours. *write*: each block gets the final numbers. What a step knows of a
block lies in a file in the output, so that any process may go on.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from napari_feedback_seg.errors import OutputError
from napari_feedback_seg.io import new_folder, replacing
from napari_feedback_seg.io.atomic import unwritable
from napari_feedback_seg.io.image import library
from napari_feedback_seg.objects.blocks import Labelled
from napari_feedback_seg.objects.cells import cell_method
from napari_feedback_seg.objects.make import final_numbers, method_for
from napari_feedback_seg.objects.options import CellOptions, ObjectOptions, Through
from napari_feedback_seg.volumes.levels import Levels, create_level
from napari_feedback_seg.volumes.ome import labels_attributes, multiscales, with_version
from napari_feedback_seg.volumes.output import LOCK, NAME, check_place
from napari_feedback_seg.volumes.plan import InBlocks, Triple
from napari_feedback_seg.volumes.pyramid import halved_numbers, halvings_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_feedback_seg.io.level import Grid
    from napari_feedback_seg.objects.blocks import Over
    from napari_feedback_seg.objects.make import Method
    from napari_feedback_seg.objects.options import Voxel
    from napari_feedback_seg.volumes.plan import Block

STEPS = ("label", "meet", "write")
_PROGRESS, _RAW = "progress", "numbers"


@dataclass(frozen=True)
class NumbersPlan(InBlocks):
    """What objects of a volume are made, and how.

    Attributes
    ----------
    source : str
        The labels.
    start, stop, block : tuple of int
        The first voxel, the one behind the last, and (Z, Y, X) of a block.
    name : str
        Of the class, or ``cells``.
    value : int
        Label value of the class; 0 for cells.
    soft : bool
        Whether they are made from probabilities.
    options : ObjectOptions or CellOptions
        How.
    voxel : (float, float, float)
        Depth, height and width of a voxel in nm.
    """

    source: str
    start: Triple
    stop: Triple
    block: Triple
    name: str
    value: int
    soft: bool
    options: ObjectOptions | CellOptions
    voxel: Voxel

    @property
    def method(self) -> Method:
        """How objects are made of blocks."""
        whole = self.method_for_whole
        return replace(whole, size=self.block)

    @property
    def method_for_whole(self) -> Method:
        """How they are made, with blocks of the size that suits them."""
        if isinstance(self.options, CellOptions):
            return cell_method(self.options, self.voxel, self.size)
        return method_for(self.options, self.voxel, self.size)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as a JSON object."""
        found = asdict(self) | {"kind": type(self.options).__name__}
        found["options"] = {
            name: each.value if isinstance(each, Enum) else each for name, each in found["options"].items()
        }
        return {name: list(each) if isinstance(each, tuple) else each for name, each in found.items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> NumbersPlan:
        """Return the plan that a JSON object describes.

        Raises
        ------
        OutputError
            If this version does not know it.
        """
        values: dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in data.items()
        }
        try:
            kind = {"CellOptions": CellOptions, "ObjectOptions": ObjectOptions}[values.pop("kind")]
            options = values["options"]
            values["options"] = kind(**{**options, "through": Through(options["through"])})
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise OutputError(
                "The output was begun by another version of napari-feedback-seg. Choose another output, or "
                "replace it (--overwrite)."
            ) from error


class NumbersOutput:
    """Numbers of objects in an OME-Zarr, block by block.

    Parameters
    ----------
    path : Path
        The OME-Zarr.
    name : str
        Of the labels in it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.folder = path, path / "labels" / name
        zarr = library("zarr", path)
        noted = zarr.open_group(str(self.folder), mode="r").attrs[NAME]
        self.plan = NumbersPlan.from_json(noted["plan"])
        self._flat = bool(noted["flat"])
        halvings = [(int(deep), int(wide)) for deep, wide in noted["halvings"]]
        self.levels = Levels(zarr, self.folder, halvings, flat=self._flat)
        self._zarr = zarr

    @property
    def progress(self) -> Path:
        """The folder of what is noted on the way."""
        return self.folder / _PROGRESS

    @cached_property
    def raw(self) -> Any:
        """The numbers that blocks gave by themselves, a Zarr array (Z, Y, X) uint32."""
        return self._zarr.open_array(str(self.progress / _RAW), mode="r+")

    def step(self, name: str) -> Step:
        """Return a step, as what says of which blocks it is done."""
        return Step(self, name)

    def is_done(self, step: str, block: Block) -> bool:
        """Return whether a step is done with a block."""
        if step == "write":
            return self.note("blank", block).exists() or self.levels.stored(_place(block))
        return self.has_table or self.note(step, block).exists()

    def note(self, what: str, block: Block) -> Path:
        """Return where something is noted of a block."""
        return self.progress / f"{what}-{'-'.join(map(str, block.index))}.npz"

    def save(self, what: str, block: Block, **arrays: np.ndarray) -> None:
        """Note something of a block."""
        with replacing(self.note(what, block), overwrite=True) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    def load(self, what: str, block: Block) -> dict[str, np.ndarray]:
        """Return what was noted of a block."""
        with np.load(self.note(what, block), allow_pickle=False) as arrays:
            return dict(arrays)

    @property
    def has_table(self) -> bool:
        """Whether it is decided what is one object."""
        return (self.progress / "table.npy").exists()

    def decide(self) -> None:
        """Decide what is one object, of what all blocks say; note it. One process does, and others wait."""
        with FileLock(self.progress / "decide.lock"):
            if not self.has_table:
                self._decide()

    def _decide(self) -> None:
        counts, sizes = [0], [np.zeros(1, np.int64)]
        for block in self.plan.blocks():
            own = self.load("label", block)["sizes"]
            counts.append(len(own))
            sizes.append(own)
        before = np.cumsum(counts)
        found = Labelled(np.concatenate(sizes), self._pairs(before))
        method = self.plan.method
        over = None if method.decide is None or self.plan.size[0] == 1 else self._over(before)
        table, count = final_numbers(found, over, method)
        for name, array in (("count", np.array(count)), ("before", before), ("table", table)):
            with replacing(self.progress / f"{name}.npy", overwrite=True) as to, to.open("wb") as file:
                np.save(file, array)

    def _pairs(self, before: np.ndarray) -> np.ndarray:
        pairs = [np.zeros((0, 2), np.int64)]
        for number, block in enumerate(self.plan.blocks()):
            met = self.load("meet", block)
            for axis in range(3):
                if f"face{axis}" in met:
                    other = number - self._apart(axis)
                    pairs.append(met[f"face{axis}"] + np.array([before[other], before[number]]))
        return np.concatenate(pairs)

    def _over(self, before: np.ndarray) -> Iterator[Over]:
        for number, block in enumerate(self.plan.blocks()):
            met = self.load("meet", block)
            for step in range(1, self.plan.method.gap + 2):
                if f"over{step}" in met:
                    *pairs, counts = met[f"over{step}"].T
                    other = number + step * self._apart(0)
                    first = np.array([before[number], before[other]])
                    yield step, np.stack(pairs, axis=1) + first, counts

    def _apart(self, axis: int) -> int:
        """Return how many blocks further the next one along an axis comes."""
        return int(np.prod(self.plan.blocks_along[axis + 1 :], dtype=int))

    def final(self, block: Block) -> np.ndarray:
        """Return the final number of each number that a block gave."""
        z, y, x = block.index
        _, down, across = self.plan.blocks_along
        number = (z * down + y) * across + x
        first, last = np.load(self.progress / "before.npy", mmap_mode="r")[number : number + 2]
        table = np.load(self.progress / "table.npy", mmap_mode="r")
        return np.concatenate([np.zeros(1, np.uint32), table[first + 1 : last + 1]])

    def write(self, block: Block, numbers: np.ndarray) -> None:
        """Write the final numbers (Z, Y, X) of a block.

        Raises
        ------
        OutputError
            If they cannot be written, a full disk included.
        """
        try:
            self.levels.write(_place(block), numbers, halved_numbers)
            if not numbers.any():  # Zarr stores no shard in which all is 0
                self.note("blank", block).touch()
        except OSError as error:
            raise unwritable(self.path, error) from error

    @property
    def count(self) -> int:
        """How many objects there are, once that is decided."""
        return int(np.load(self.progress / "count.npy"))

    def tidy(self) -> None:
        """Remove what was needed on the way."""
        shutil.rmtree(self.progress / _RAW, ignore_errors=True)
        for step in ("label", "meet"):
            for path in self.progress.glob(f"{step}-*"):
                path.unlink(missing_ok=True)

    def numbers(self) -> Numbers:
        """Return the final numbers, read in blocks."""
        return Numbers(self.levels.arrays[0], self.plan.size, self._flat)


class Numbers:
    """Numbers of objects on a disk, (Z, Y, X) or (Y, X), read in parts."""

    def __init__(self, array: Any, size: Triple, flat: bool) -> None:
        self._array, self._flat = array, flat
        self.shape: tuple[int, ...] = size[1:] if flat else size
        self.ndim = len(self.shape)

    def __getitem__(self, place: Any) -> np.ndarray:
        return np.asarray(self._array[place])


@dataclass(frozen=True)
class Step:
    """A step of the work, for all blocks.

    Attributes
    ----------
    output : NumbersOutput
        The output.
    name : str
        Of :data:`STEPS`.
    """

    output: NumbersOutput
    name: str

    @property
    def plan(self) -> NumbersPlan:
        """The blocks."""
        return self.output.plan

    def is_done(self, block: Block) -> bool:
        """Return whether a block is done."""
        return self.output.is_done(self.name, block)


def prepare_numbers(
    path: Path, plan: NumbersPlan, grid: Grid, *, flat: bool, version: str, overwrite: bool = False
) -> NumbersOutput:
    """Make the output of a plan, or find the one that was begun with the same plan.

    Raises
    ------
    OutputError
        If something else is there, or it was begun with another plan, or cannot be written.
    """
    zarr = library("zarr", path)
    folder = path / "labels" / plan.name
    check_place(path, into=False)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with FileLock(path / LOCK):  # another process waits, and finds it made
            if overwrite and folder.exists():
                shutil.rmtree(folder)
            if not folder.exists():
                _create(zarr, path, plan, grid, flat=flat, version=version)
    except OSError as error:
        raise unwritable(path, error) from error
    output = NumbersOutput(path, plan.name)
    begun, wanted = output.plan.to_json(), plan.to_json()
    for name, value in wanted.items():
        if begun[name] != value:
            raise OutputError(
                f"The {plan.name} in '{path}' were begun with other settings ({name}: {begun[name]}, and now "
                f"{value}). Choose another output, or begin anew (--overwrite)."
            )
    return output


def _create(zarr: Any, path: Path, plan: NumbersPlan, grid: Grid, *, flat: bool, version: str) -> None:
    zarr_format = 2 if version == "0.4" else 3
    root = zarr.open_group(str(path), mode="a", zarr_format=zarr_format)
    root.attrs.update(with_version({}, version) | dict(root.attrs))  # it may be the store of the image
    labels = root.require_group("labels")
    axes = "yx" if flat else "zyx"
    halvings = halvings_of(plan.size, grid)

    def create(group: Any, name: str, each: tuple[int, int], axes: str) -> None:
        create_level(group, name, plan.size, plan.block, each, axes, version=version, dtype="uint32")

    with new_folder(path / "labels" / plan.name) as folder:
        group = zarr.open_group(str(folder), mode="w", zarr_format=zarr_format)
        create(group.create_group(_PROGRESS), _RAW, (0, 0), "zyx")
        for level, each in enumerate(halvings):
            create(group, str(level), each, axes)
        about = multiscales(plan.name, grid, axes, halvings, version)
        about |= {"image-label": {"version": version} if version == "0.4" else {}}
        note = {"plan": plan.to_json(), "flat": flat, "halvings": [list(each) for each in halvings]}
        group.attrs.put(with_version(about, version) | {NAME: note})
    labels.attrs.put(labels_attributes(dict(labels.attrs), plan.name, version))


def _place(block: Block) -> tuple[slice, slice, slice]:
    return block.z, block.rows, block.columns

"""What of a volume is segmented, how, and in which blocks: it lies in the output for all workers."""

from __future__ import annotations

import itertools
import math
import os
import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.segmentation.prediction import SegmentOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNIT = 256
"""A block is a multiple of this high and wide, so that it holds whole pixels of every level."""

LARGEST_SIDE = 4096
"""Pixels that a block is high and wide at most, unless another is asked for."""

LARGEST_DEPTH = 4
"""Sections of a block at most, of a volume whose chunks are that deep."""

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Block:
    """A part of a volume that is segmented at once.

    Attributes
    ----------
    index : tuple of int
        Its place among the blocks, along z, y and x.
    z, rows, columns : slice
        Its voxels, in the volume.
    """

    index: Triple
    z: slice
    rows: slice
    columns: slice

    def __str__(self) -> str:
        return ",".join(f"{each.start}:{each.stop}" for each in (self.z, self.rows, self.columns))


class InBlocks:
    """What is done in blocks, which lie side by side."""

    start: Triple
    stop: Triple
    block: Triple

    @property
    def size(self) -> Triple:
        """(Z, Y, X) of what is segmented."""
        z, y, x = (stop - start for start, stop in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def blocks_along(self) -> Triple:
        """How many blocks there are along z, y and x."""
        z, y, x = (-(-length // side) for length, side in zip(self.size, self.block, strict=True))
        return z, y, x

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return math.prod(self.blocks_along)

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks, section by section."""
        for z, y, x in itertools.product(*map(range, self.blocks_along)):
            yield self.at((z, y, x))

    def at(self, index: Triple) -> Block:
        """Return the block at a place."""
        z, rows, columns = (
            slice(start + number * side, min(start + (number + 1) * side, stop))
            for number, side, start, stop in zip(index, self.block, self.start, self.stop, strict=True)
        )
        return Block(index, z, rows, columns)


@dataclass(frozen=True)
class Plan(InBlocks):
    """What is segmented, and how. Two runs with equal plans give equal labels.

    Attributes
    ----------
    source : str
        Name of the volume, without the folder that it lies in: that may be moved.
    shape : tuple of int
        (Z, Y, X) of the level of the volume.
    dtype : str
        Of its pixels.
    level : int
        Which one it is.
    start, stop : tuple of int
        The first voxel (z, y, x), and the one behind the last.
    block : tuple of int
        (Z, Y, X) of a block.
    model, digest : str
        Name of the model, and SHA-256 of its architecture and weights.
    pixel_size_nm : tuple of float or None
        Height and width of a pixel; None takes pixels as they are.
    overlap : float
        Of the tiles.
    flips : bool
        Whether flips and turns are averaged.
    remove_specks : bool
        Whether mitochondria that are too small to be any get another class.
    precision : {"bf16", "fp16", "fp32"}
        What the network computes in.
    probabilities : bool
        Whether these are written, too.
    slab : int
        So many sections share the grey values that their middle one is normalised by.
    """

    source: str
    shape: Triple
    dtype: str
    level: int
    start: Triple
    stop: Triple
    block: Triple
    model: str
    digest: str
    pixel_size_nm: tuple[float, float] | None
    overlap: float
    flips: bool
    remove_specks: bool
    precision: str
    probabilities: bool
    slab: int

    def options(self, device: str, block: Block | None = None) -> SegmentOptions:
        """Return how a block is segmented on a device."""
        return SegmentOptions(
            device=device,
            overlap=self.overlap,
            pixel_size_nm=self.pixel_size_nm,
            region=None if block is None else (block.rows, block.columns),
            flips=self.flips,
            remove_specks=self.remove_specks,
            precision=self.precision,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the plan as a JSON object."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, data: Any) -> Plan:
        """Return the plan that a JSON object describes.

        Raises
        ------
        OutputError
            If this version does not know such a plan.
        """
        names = {each.name for each in fields(cls)}
        if not isinstance(data, dict) or set(data) != names:
            raise OutputError(
                "The output was begun by another version of napari-feedback-seg. Choose another output, or "
                "replace it (--overwrite)."
            )
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return cls(**values)

    def check_same(self, begun: Plan, name: str) -> None:
        """Raise an OutputError if an output was begun with another plan; the sentence says what differs."""
        for each in fields(self):
            own, other = getattr(self, each.name), getattr(begun, each.name)
            if each.name == "block" or own == other:
                continue
            if each.name == "digest":
                said = f"with the model '{begun.model}', and the model '{self.model}' has other weights"
            elif each.name == "source":
                said = f"from the volume '{other}', and this one is '{own}'"
            elif each.name in ("shape", "dtype"):
                said = f"from a volume with the {each.name} {other}, and it is {own} now"
            else:
                what = _WORDS.get(each.name, each.name.replace("_", " "))
                said = f"with the {what} {_value(other)}, and now it is {_value(own)}"
            raise OutputError(
                f"'{name}' was begun {said}. Take the same again, choose another output, or begin anew: "
                "delete it, or --overwrite."
            )


_WORDS = {"pixel_size_nm": "pixel size", "start": "region from", "stop": "region to"}


def _value(value: object) -> str:
    if value is None:
        return "none"
    return " x ".join(f"{each:g}" for each in value) if isinstance(value, tuple) else str(value)


def name_of(source: str) -> str:
    """Return the name of a volume, with the part of the store: ``em.zarr/raw``."""
    whole = source if "://" in source else os.path.abspath(source)
    parts = re.split(r"[/\\]+", whole.rstrip("/\\"))
    store = next((at for at, part in enumerate(parts) if part.endswith(".zarr")), len(parts) - 1)
    return "/".join(parts[store:])


def block_shape(size: Triple, chunk_depth: int, wanted: Sequence[int] | None = None) -> Triple:
    """Return the shape of the blocks of a volume.

    A large one has fewer tiles that are predicted twice, because they touch two blocks.

    Parameters
    ----------
    size : tuple of int
        (Z, Y, X) of what is segmented.
    chunk_depth : int
        Sections in a chunk of the volume, which cannot be read one by one.
    wanted : sequence of int, optional
        (Z, Y, X) that a person asked for.

    Raises
    ------
    InputError
        If that is no multiple of 256 pixels high and wide.
    """
    if wanted is None:
        wanted = (min(chunk_depth, LARGEST_DEPTH), LARGEST_SIDE, LARGEST_SIDE)
    depth, height, width = wanted
    if depth < 1 or height < UNIT or width < UNIT or height % UNIT or width % UNIT:
        raise InputError(
            f"A block is at least one section deep, and a multiple of {UNIT} pixels high and wide, like "
            f"1,1024,1024: not {depth},{height},{width}."
        )
    z, y, x = size
    return min(depth, z), min(height, _round_up(y)), min(width, _round_up(x))


def _round_up(length: int) -> int:
    return -(-length // UNIT) * UNIT


def whole_region(shape: Triple, region: Sequence[slice | None] | None) -> tuple[Triple, Triple]:
    """Return the first voxel of a region (z, y, x) of a volume, and the one behind the last.

    Raises
    ------
    InputError
        If it reaches beyond the volume, or holds no voxel.
    """
    start, stop = [], []
    for each, length, name in zip(region or (None,) * 3, shape, ("sections", "rows", "columns"), strict=True):
        first, last = (
            (0, length) if each is None else (each.start or 0, length if each.stop is None else each.stop)
        )
        if not 0 <= first < last <= length:
            raise InputError(
                f"The region reaches from {first} to {last}, and the volume has the {name} 0 to {length - 1}."
            )
        start.append(first)
        stop.append(last)
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])

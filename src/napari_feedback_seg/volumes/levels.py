"""The levels of an array in a store, the finest first; they are written block by block."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.volumes.pyramid import every_other, first_section

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np

    from napari_feedback_seg.volumes.plan import Triple
    from napari_feedback_seg.volumes.pyramid import Halvings

    Place = tuple[slice, slice, slice]

LARGEST_CHUNK = 512
"""Pixels of a chunk at most, each way."""

DEEPEST_CHUNK = 32
"""Sections of a chunk at most."""


class Levels:
    """The levels of an array in a store.

    Parameters
    ----------
    zarr : module
        Zarr.
    folder : Path
        Of the arrays ``0``, ``1``, ...
    halvings : sequence of (int, int)
        How often each is halved along z, and along y and x.
    flat : bool
        Whether there is no axis z.

    Attributes
    ----------
    arrays : list
        Zarr arrays.
    """

    def __init__(self, zarr: Any, folder: Path, halvings: Halvings, *, flat: bool) -> None:
        self._folder, self._halvings, self._flat = folder, halvings, flat
        self.arrays = [
            zarr.open_array(
                str(folder / str(level)),
                mode="r+",
                config={"write_empty_chunks": level == 0},  # those of the finest say what is done
            )
            for level in range(len(halvings))
        ]

    def stored(self, place: Place) -> bool:
        """Return whether all chunks of the finest level at a place are in the store."""
        array = self.arrays[0]
        encode = array.metadata.encode_chunk_key
        sides = array.shards or array.chunks
        wanted = place[1:] if self._flat else place
        spans = [
            range(part.start // side, -(-part.stop // side))
            for part, side in zip(wanted, sides[-len(wanted) :], strict=True)
        ]
        every = [range(1)] * (len(sides) - len(wanted))
        folder = self._folder / "0"
        return all((folder / encode(chunk)).exists() for chunk in itertools.product(*every, *spans))

    def write(self, place: Place, finest: np.ndarray, halved: Callable[[np.ndarray], np.ndarray]) -> None:
        """Write a block to all levels, to the finest one last.

        Parameters
        ----------
        place : tuple of slice
            Sections, rows and columns of the finest level; it begins at whole pixels of every level.
        finest : ndarray
            ([C,] Z, Y, X).
        halved : callable
            Returns sections half as high and wide.
        """
        each, before, parts = finest, 0, []
        for level, (deep, _) in enumerate(self._halvings):
            if level:
                each = halved(each)
                if deep > before:
                    each = every_other(each, first_section(place[0].start, before))
                before = deep
            if not each.shape[-3]:
                break
            parts.append(each)
        for level, part in reversed(list(enumerate(parts))):
            where = self._place(place, level)
            leading = (slice(None),) * (finest.ndim - 3)
            self.arrays[level][(*leading, *where)] = part[..., 0, :, :] if self._flat else part

    def _place(self, place: Place, level: int) -> tuple[slice, ...]:
        deep, wide = self._halvings[level]
        z, *sides = place
        rows, columns = (slice(each.start >> wide, -(-each.stop // 2**wide)) for each in sides)
        sections = slice(first_section(z.start, deep), first_section(z.stop, deep))
        return (rows, columns) if self._flat else (sections, rows, columns)


def create_level(
    group: Any,
    name: str,
    size: Triple,
    block: Triple,
    halvings: tuple[int, int],
    axes: Sequence[str],
    *,
    version: str,
    dtype: str = "uint8",
    channels: int = 0,
) -> None:
    """Make an array for a level, whose shards, or chunks of 0.4, are parts of blocks.

    Parameters
    ----------
    group : Group
        Where.
    name : str
        Its name.
    size, block : tuple of int
        (Z, Y, X) of the finest level, and of a block of it.
    halvings : (int, int)
        How often it is halved along z, and along y and x.
    axes : sequence of str
        Of ``c``, ``z``, ``y`` and ``x``.
    version : {"0.4", "0.5"}
        Of OME-Zarr.
    dtype : str
        Of its values.
    channels : int
        Of an axis ``c``.
    """
    deep, wide = halvings
    by = 2**wide
    depth, height, width = block
    z, y, x = size
    depth = depth >> deep if depth % 2**deep == 0 else 1
    lengths = {"c": channels, "z": first_section(z, deep), "y": -(-y // by), "x": -(-x // by)}
    sides = {"c": channels, "z": depth, "y": height // by, "x": width // by}
    inner = {
        "c": 1,
        "z": _chunk(depth, DEEPEST_CHUNK),
        "y": _chunk(height // by, LARGEST_CHUNK),
        "x": _chunk(width // by, LARGEST_CHUNK),
    }
    shard = tuple(sides[axis] for axis in axes)
    chunk = tuple(inner[axis] for axis in axes)
    more: dict[str, Any] = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    if version == "0.5":
        more = {"dimension_names": list(axes), "shards": None if shard == chunk else shard}
    group.create_array(
        name,
        shape=tuple(lengths[axis] for axis in axes),
        chunks=chunk,
        dtype=dtype,
        fill_value=0,
        config={"write_empty_chunks": True},
        **more,
    )


def _chunk(side: int, largest: int) -> int:
    """Return the largest part of a block's side that divides it and is no larger than this."""
    return next(part for part in range(min(side, largest), 0, -1) if side % part == 0)

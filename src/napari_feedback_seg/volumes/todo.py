"""Which blocks are still to be done."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io.image import library
from napari_feedback_seg.volumes.events import BlockDone, BlockFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from napari_feedback_seg.volumes.plan import Block, InBlocks


class HasDone(Protocol):
    """Blocks, and which of them are done."""

    @property
    def plan(self) -> InBlocks:
        """The blocks."""

    def is_done(self, block: Block) -> bool:
        """Return whether a block is done."""


TRIES = 2
"""So many times a block is tried before it counts as failed."""

_PATIENCE = 2.0
"""Seconds between two looks at blocks that other processes are at."""


def needs_workers(source: str, workers: int | None, scheduler: str | None) -> bool:
    """Return whether other processes do the work, and not this one.

    Raises
    ------
    ValueError
        If there are to be no workers.
    InputError
        If dask is not installed.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"There is at least one worker, not {workers}.")
    if workers is None and scheduler is None:
        return False
    library("distributed", Path(source))
    return True


class Blocks:
    """The blocks of an output that are not done yet; a byte for each of them is all that is held.

    Parameters
    ----------
    output : HasDone
        What says which are done.

    Attributes
    ----------
    done, total : int
        Blocks that are done, and blocks in all.
    """

    def __init__(self, output: HasDone) -> None:
        self._output, self._plan = output, output.plan
        self.total = self._plan.count
        self._over = bytearray(output.is_done(block) for block in self._plan.blocks())
        self.done = sum(self._over)
        self._waiting: deque[Block] = deque()

    @property
    def waiting(self) -> bool:
        """Whether other processes were at blocks when they were last looked at."""
        return bool(self._waiting)

    def left(self, first: Callable[[], Iterable[Block]] | None = None) -> Iterator[Block]:
        """Yield blocks until none is left: those in ``first``, then in their order.

        Those that another process is at come last, and again and again until they are done.
        """
        for block in self._plan.blocks():
            while (wanted := self._first(first)) is not None:
                yield wanted
            if not self._over[self._number(block)]:
                yield block
        while self._waiting:
            found = [self._waiting.popleft() for _ in range(len(self._waiting))]
            for block in found:
                if self._output.is_done(block):
                    self.finished(block)
                else:
                    yield block
            if self._waiting:
                time.sleep(_PATIENCE)

    def finished(self, block: Block) -> None:
        """Note that a block is done."""
        self._over[self._number(block)] = 1
        self.done += 1

    def failed(self, block: Block) -> None:
        """Note that a block is not to come again."""
        self._over[self._number(block)] = 1

    def elsewhere(self, block: Block) -> None:
        """Note that another process is at a block."""
        self._over[self._number(block)] = 1
        self._waiting.append(block)

    def _first(self, first: Callable[[], Iterable[Block]] | None) -> Block | None:
        if first is None:
            return None
        return next((block for block in first() if not self._over[self._number(block)]), None)

    def _number(self, block: Block) -> int:
        (_, down, across), (z, y, x) = self._plan.blocks_along, block.index
        return (z * down + y) * across + x


def do_here(
    blocks: Blocks,
    do: Callable[[Block], Generator[Any, None, tuple[str, ...] | None]],
    first: Callable[[], Iterable[Block]] | None = None,
) -> Generator[Any, None, list[Block]]:
    """Do what is left in this process; yield what ``do`` yields, and an event for each block.

    Parameters
    ----------
    blocks : Blocks
        What is left.
    do : callable
        Does a block; returns sentences to be said, or None if another process is at it.
    first : callable, optional
        As for :meth:`Blocks.left`.

    Returns
    -------
    list of Block
        Those that failed.
    """
    failed = []
    for block in blocks.left(first):
        for attempt in range(TRIES):
            try:
                said = yield from do(block)
            except InputError as error:
                if attempt + 1 == TRIES:
                    failed.append(block)
                    yield BlockFailed(block, error)
                    blocks.failed(block)
                continue
            if said is None:
                blocks.elsewhere(block)
            else:
                blocks.finished(block)
                yield BlockDone(block, blocks.done, blocks.total, said)
            break
    return failed

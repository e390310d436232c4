from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

from napari_feedback_seg.volumes.plan import Block, InBlocks
from napari_feedback_seg.volumes.todo import Blocks

if TYPE_CHECKING:
    from napari_feedback_seg.volumes.plan import Triple


class Many(InBlocks):
    """A hundred thousand blocks, none of which is done."""

    start: Triple = (0, 0, 0)
    stop: Triple = (50, 50 * 256, 40 * 256)
    block: Triple = (1, 256, 256)

    @property
    def plan(self) -> InBlocks:
        return self

    def is_done(self, block: Block) -> bool:
        return block.index < (0, 0, 3)


def test_a_byte_for_each_block_is_held():
    tracemalloc.start()
    try:
        blocks = Blocks(Many())
        left = blocks.left()
        first = next(left)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (blocks.done, blocks.total, first.index) == (3, 100_000, (0, 0, 3))
    assert peak < 400_000

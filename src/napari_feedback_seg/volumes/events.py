"""What the segmentation of a volume reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_feedback_seg.volumes.plan import Block


@dataclass(frozen=True)
class VolumeOpened:
    """The work begins.

    Attributes
    ----------
    done, total : int
        Blocks that were done before, and blocks in all.
    messages : tuple of str
        Sentences that the user should read.
    """

    done: int
    total: int
    messages: tuple[str, ...]


@dataclass(frozen=True)
class BlockDone:
    """A block is in the store.

    Attributes
    ----------
    block : Block
        Which one.
    done, total : int
        Blocks done so far, by whomever, and blocks in all.
    messages : tuple of str
        Sentences that the user should read.
    """

    block: Block
    done: int
    total: int
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockFailed:
    """A block could not be segmented, twice; the others follow.

    Attributes
    ----------
    block : Block
        Which one.
    error : Exception
        What is wrong with it.
    """

    block: Block
    error: Exception


@dataclass(frozen=True)
class VolumeDone:
    """There is nothing left to do.

    Attributes
    ----------
    seconds : float
        How long it took.
    done, total : int
        Blocks that are in the store, and blocks in all.
    failed : tuple of Block
        Those that could not be segmented.
    device : str
        What it was computed on.
    """

    seconds: float
    done: int
    total: int
    failed: tuple[Block, ...]
    device: str

"""What a segmentation reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_feedback_seg.segmentation.prediction import Prediction


@dataclass(frozen=True)
class TileDone:
    """A tile of a section has been predicted.

    Attributes
    ----------
    done, total : int
        Tiles predicted so far, and tiles in all, of this section.
    section : int
        Index of the section in its stack; 0 for a single section.
    """

    done: int
    total: int
    section: int = 0


@dataclass(frozen=True)
class SectionDone:
    """A section of a stack is finished.

    Attributes
    ----------
    section : int
        Index of the section in its stack.
    prediction : Prediction
        What the network says about it.
    """

    section: int
    prediction: Prediction

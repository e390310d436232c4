"""What is said of strokes: the steps of a fit, an answer, and the reasons for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_feedback_seg.correction.strokes import Stroke
    from napari_feedback_seg.segmentation.prediction import Prediction


@dataclass(frozen=True)
class FitProgress:
    """A step of :meth:`InstantAnswers.fit` is done, and the answer may be asked for anew.

    Attributes
    ----------
    what : str
        ``"looking"`` while tiles with strokes go through the network, ``"fitting"`` after it.
    done, total : int
        Tiles.
    changed : bool
        Whether the answer is another than before this step.
    """

    what: str
    done: int
    total: int
    changed: bool


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says with the strokes.

    Attributes
    ----------
    prediction : Prediction
        Of the region, with what was painted.
    before : ndarray
        (Y, X) uint8 labels, what the model says of the region without strokes.
    changed : dict
        Class value to the number of pixels that have become of this class.
    """

    prediction: Prediction
    before: npt.NDArray[np.uint8]
    changed: dict[int, int]


@dataclass(frozen=True)
class Reason:
    """A stroke that moved the answer at a place.

    Attributes
    ----------
    stroke : Stroke
        The stroke.
    moved : float
        By how much it moved the class that is said now, against that which was said before (or
        the next likely), in logits. Below 0 if it speaks against it.
    """

    stroke: Stroke
    moved: float

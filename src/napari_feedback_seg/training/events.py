"""What a training reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StepDone:
    """A training has taken one optimiser step.

    Attributes
    ----------
    epoch, step, steps : int
        Epoch and step, both counted from 1, and steps an epoch.
    loss : float
        Loss of the step's batch.
    """

    epoch: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True)
class EpochDone:
    """A training has finished an epoch, and its checkpoint is written.

    Attributes
    ----------
    epoch, epochs : int
        The epoch, counted from 1, and epochs in all.
    loss : float
        Mean loss of the epoch.
    scores : dict
        ``iou`` per class name and ``mean_iou`` on the validation sections.
    best : bool
        Whether no earlier epoch has validated better.
    seconds_left : float
        Estimate of the time that the other epochs will take.
    """

    epoch: int
    epochs: int
    loss: float
    scores: dict[str, Any]
    best: bool
    seconds_left: float

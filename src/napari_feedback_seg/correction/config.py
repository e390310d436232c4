"""What a fine-tune is asked to do, frozen, and written to the card of its model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from napari_feedback_seg.classes import LabelClass  # noqa: TC001  # forms read the types of the fields
from napari_feedback_seg.errors import TrainingError


@dataclass(frozen=True)
class FinetuneConfig:
    """A fine-tune of a model on corrections; the defaults need no touching.

    What a type is annotated with is how a form shows it.

    Parameters
    ----------
    steps : int
        Optimiser steps with some corrections held out; a third as many follow with all of them. With
        few corrections each third is held out once, which takes about twice as many in all.
    learning_rate : float
        AdamW's; it rises for a tenth of the steps and falls to 0 along a cosine.
    weight_decay : float
        AdamW's.
    rehearsal : float
        Weight of keeping what the model said of pixels that it was sure of and that were left
        alone, against a weight of 1 for corrections that are all of mistakes; 0 for none. They are
        as one to nine by default because a model is wrong in about a tenth of the places: learnt
        alike, what is rare would count as common. Where many corrected pixels were right before,
        as in dense labels, it is less: so much that mistakes are as rare among what is learnt.
    confidence : float
        Probability from which the model counts as sure.
    share : float
        How far to go from the model that was towards what was learnt, 0 to 1. Half-way, most of what
        was learnt and most of what was known are there; for dense labels all the way may be better.
    batch, patch : int
        Patches a step, and side of a patch in pixels of the model.
    hold_out : float
        Share of the regions with corrections that are held out; 0 holds nothing out.
    checks : int
        How often the held-out corrections are looked at; the best look counts.
    seed : int
        Of patches, augmentation and of what is held out.
    precision : {"auto", "bf16", "fp32"}
        As in training.
    new_classes : tuple of LabelClass
        Classes that the model does not have yet.

    Raises
    ------
    TrainingError
        If a value cannot be trained with.
    """

    steps: Annotated[int, {"label": "&Steps", "min": 1, "max": 100_000}] = 60
    learning_rate: Annotated[
        float, {"label": "&Learning rate", "min": 0.00001, "max": 1.0, "step": 0.00005}
    ] = 5e-4
    weight_decay: float = 0.01
    rehearsal: Annotated[float, {"label": "Re&hearsal", "min": 0.0, "max": 1000.0, "step": 1.0}] = 9.0
    confidence: float = 0.7
    share: float = 0.5
    batch: int = 8
    patch: int = 128
    hold_out: float = 0.25
    checks: int = 4
    seed: int = 0
    precision: str = "auto"
    new_classes: tuple[LabelClass, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("patch", 16), ("checks", 1)):
            if getattr(self, name) < least:
                raise TrainingError(f"{name} is at least {least}, not {getattr(self, name)}.")
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf):
            raise TrainingError("The learning rate is above 0, the weight decay at least 0.")
        if not 0 <= self.rehearsal < math.inf:
            raise TrainingError(f"The strength of the rehearsal is at least 0, not {self.rehearsal}.")
        if not (0 < self.confidence < 1 and 0 <= self.hold_out < 1):
            raise TrainingError("The confidence lies between 0 and 1, the held-out share from 0 to below 1.")
        if not 0 < self.share <= 1:
            raise TrainingError(f"The share lies above 0 and up to 1, not {self.share}.")
        if self.precision not in ("auto", "bf16", "fp32"):
            raise TrainingError(f"The precision is auto, bf16 or fp32, not {self.precision!r}.")
        if self.seed < 0:
            raise TrainingError(f"The seed is 0 or more, not {self.seed}.")

    @property
    def last_steps(self) -> int:
        """Steps of the short last pass with all corrections."""
        return -(-self.steps // 3)

    def to_json(self) -> dict[str, Any]:
        """Return the config as a JSON object."""
        return {**asdict(self), "new_classes": [each.to_json() for each in self.new_classes]}

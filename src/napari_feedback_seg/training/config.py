"""What a training is asked to do, frozen, and written to the card of its model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from napari_feedback_seg.errors import TrainingError
from napari_feedback_seg.networks.spec import NetworkSpec

DEFAULT_SPEC = NetworkSpec(
    width=16, key_pooling=16, query_channels=8, norm_per_round=True, detach_first_round=False
)
"""The network of the default model."""


@dataclass(frozen=True)
class TrainConfig:
    """A training of one network on one fold; the defaults are the recipe of the default model.

    Parameters
    ----------
    spec : NetworkSpec
        The network.
    epochs, patches, batch, tile : int
        Epochs, patches an epoch, patches a step, and side of a patch in pixels.
    learning_rate, weight_decay : float
        The optimiser's; AdamW's rate follows one cycle, up for 15 % of the steps and down for the rest.
    ema : float
        Decay per step of the exponential moving average of the weights, which is the
        model that is validated and saved.
    rare : float
        Share of the patches centred on a class drawn evenly; see ``Patches``.
    class_weights : tuple of float
        Weights of the classes in the cross-entropy; empty for all alike.
    dice, first_round : float
        Weights of the soft Dice loss and of the loss on round 1; see ``SegmentationLoss``.
    seed : int
        Of weights, patches and augmentation.
    precision : {"auto", "bf16", "fp32"}
        ``bf16`` computes convolutions in bfloat16 by autocast; ``auto`` takes it where the
        processor has it.
    crops : {"random", "grid"}
        ``random`` takes augmented patches from anywhere; ``grid``, the paper's, the crops of
        ``tile`` pixels that lie side by side, as they are (``rare`` has no say then).
    optimiser : {"adamw", "adam"}
        ``adam`` keeps the learning rate as it is.
    staining : {"mild", "strong"}
        How far augmentation goes: ``strong`` is for a model that is to know other labs; see ``Patches``.
    validation_tiles : int
        At most so many tiles of each set, spread evenly, choose the best epoch; 0 is all.
    choose : {"best", "last"}
        Which epoch is the model: the best on the validation sections, or the last. The last is the better
        choice where few tiles of many sets validate, as their scores jump from epoch to epoch.

    Raises
    ------
    TrainingError
        If a value cannot be trained with.
    """

    spec: NetworkSpec = DEFAULT_SPEC
    epochs: int = 80
    patches: int = 192
    batch: int = 4
    tile: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    ema: float = 0.99
    rare: float = 0.4
    class_weights: tuple[float, ...] = ()
    dice: float = 1.0
    first_round: float = 0.4
    seed: int = 0
    precision: str = "auto"
    crops: str = "random"
    optimiser: str = "adamw"
    staining: str = "mild"
    validation_tiles: int = 0
    choose: str = "best"

    def __post_init__(self) -> None:
        for name in ("epochs", "patches", "batch", "tile"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is at least 1, not {getattr(self, name)}.")
        if self.tile % self.spec.multiple:
            raise TrainingError(f"The tile is a multiple of {self.spec.multiple} pixels, not {self.tile}.")
        if self.batch > self.patches:
            raise TrainingError(
                f"An epoch of {self.patches} patches is smaller than a batch of {self.batch}."
            )
        if self.precision not in ("auto", "bf16", "fp32"):
            raise TrainingError(f"The precision is auto, bf16 or fp32, not {self.precision!r}.")
        if self.crops not in ("random", "grid"):
            raise TrainingError(f"The crops are random or grid, not {self.crops!r}.")
        if self.optimiser not in ("adamw", "adam"):
            raise TrainingError(f"The optimiser is adamw or adam, not {self.optimiser!r}.")
        if self.staining not in ("mild", "strong"):
            raise TrainingError(f"The staining is mild or strong, not {self.staining!r}.")
        if self.choose not in ("best", "last"):
            raise TrainingError(f"The epoch to choose is best or last, not {self.choose!r}.")
        if self.validation_tiles < 0:
            raise TrainingError(f"validation_tiles is at least 0, not {self.validation_tiles}.")
        if self.class_weights and len(self.class_weights) != self.spec.classes:
            raise TrainingError(
                f"{self.spec.classes} classes need as many weights, not {len(self.class_weights)}."
            )
        if self.seed < 0:
            raise TrainingError(f"The seed is 0 or more, not {self.seed}.")
        if self.batch == 1 and self.tile == self.spec.multiple:
            raise TrainingError(
                f"A tile of {self.tile} pixels is one pixel at the bottom of the network, too little for "
                "batch norm of a single patch. Take a larger tile or batch."
            )
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf):
            raise TrainingError("The learning rate is above 0, the weight decay at least 0.")
        if not all(0 <= each < math.inf for each in (self.dice, self.first_round)):
            raise TrainingError("The weights of the losses are at least 0.")
        if not (0 <= self.ema < 1 and 0 <= self.rare <= 1):
            raise TrainingError("The EMA is from 0 to below 1, rare from 0 to 1.")

    @property
    def steps(self) -> int:
        """Optimiser steps an epoch."""
        return self.patches // self.batch

    def to_json(self) -> dict[str, Any]:
        """Return the config as a JSON object."""
        return {**asdict(self), "spec": self.spec.to_json(), "class_weights": list(self.class_weights)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainConfig:
        """Return the config that a JSON object describes."""
        spec = NetworkSpec.from_json(data["spec"])
        return cls(**{**data, "spec": spec, "class_weights": tuple(data["class_weights"])})

"""The optimisation of a network on patches of corrections."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_feedback_seg.segmentation.device import autocast
from napari_feedback_seg.training.loop import channels_last
from napari_feedback_seg.training.losses import SegmentationLoss, exactly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_feedback_seg.correction.config import FinetuneConfig
    from napari_feedback_seg.correction.patches import TrainingPatches
    from napari_feedback_seg.models.model import ModelCard

_WARM_UP = 0.1
_FIRST_ROUND = 0.4


class NotFiniteError(Exception):
    """The loss is no number any more."""


class Optimisation:
    """Trains a copy of a network step by step; its state can be saved and restored.

    Batch norm keeps its running statistics, as in use: a handful of patches would wreck them.
    Its scales and shifts are learnt like everything else.

    Parameters
    ----------
    network : nn.Module
        The network to start from; it is copied.
    patches : TrainingPatches
        The patches.
    config : FinetuneConfig
        Weight decay and precision.
    steps : int
        Steps of the whole optimisation.
    rate : float
        Highest learning rate.
    rehearsal : float
        Weight of keeping what the model said, against 1 for the corrections.
    first_round : float
        Weight of the loss on round 1.
    device : torch.device
        Where to compute.
    """

    def __init__(
        self,
        network: nn.Module,
        patches: TrainingPatches,
        config: FinetuneConfig,
        *,
        steps: int,
        rate: float,
        rehearsal: float,
        first_round: float,
        device: torch.device,
    ) -> None:
        self.steps = steps
        self.done = 0
        self.network = channels_last(copy.deepcopy(network).to(device)).eval()
        for parameter in self.network.parameters():
            parameter.requires_grad_(True)
        self._optimiser = torch.optim.AdamW(self.network.parameters(), rate, weight_decay=config.weight_decay)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, self._rate)
        self._patches, self._config, self.device = patches, config, device
        self._rehearsal, self._first_round = rehearsal, first_round
        alike = (1.0,) * patches.classes
        self._loss = SegmentationLoss(alike, dice=0.0, first_round=first_round).to(device)

    def step(self) -> float:
        """Take a step; return the loss of its batch.

        Raises
        ------
        NotFiniteError
            If the loss or its gradient is no number.
        """
        images, corrected, kept = (each.to(self.device) for each in self._patches.batch(self.done))
        with autocast(self.device, self._config.precision):
            rounds = self.network(images.contiguous(memory_format=torch.channels_last))
        loss = self.total(rounds, corrected, kept)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        value = loss.item()
        if not (math.isfinite(value) and math.isfinite(norm.item())):
            raise NotFiniteError
        self._optimiser.step()
        self._schedule.step()
        self.done += 1
        return value

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on."""
        parts: dict[str, Any] = {
            "network": self.network,
            "optimiser": self._optimiser,
            "schedule": self._schedule,
        }
        return {"done": self.done, **{name: part.state_dict() for name, part in parts.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.done = state["done"]
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the network's state, on the CPU."""
        return {name: each.detach().cpu().clone() for name, each in self.network.state_dict().items()}

    def total(self, rounds: tuple[Tensor, ...], corrected: Tensor, kept: Tensor) -> Tensor:
        """Return the loss on corrected pixels and the one on those to be kept, by their weights."""
        parts, weights = [], []
        if bool((corrected >= 0).any()):
            parts.append(self._loss(rounds, exactly(corrected, rounds[-1].shape[1])))
            weights.append(1.0)
        if self._rehearsal and bool(kept.any()):
            loss = _soft_cross_entropy(rounds[-1], kept)
            if self._first_round and len(rounds) > 1:
                loss = loss + self._first_round * _soft_cross_entropy(rounds[0], kept)
            parts.append(loss)
            weights.append(self._rehearsal)
        if not parts:
            return rounds[-1].sum() * 0.0
        weighted = [weight / sum(weights) * part for weight, part in zip(weights, parts, strict=True)]
        return torch.stack(weighted).sum()

    def _rate(self, step: int) -> float:
        if self.steps <= 1:
            return 1.0
        rising = (step + 1) / max(1.0, self.steps * _WARM_UP)
        return min(rising, 0.5 * (1 + math.cos(math.pi * step / self.steps)))


def first_round_weight(card: ModelCard) -> float:
    """Return the weight of the loss on round 1, as in the training of a model."""
    weight = card.recipe.get("first_round")
    if isinstance(weight, (int, float)):
        return float(weight)
    return 0.0 if card.spec.detach_first_round else _FIRST_ROUND


def mixed(begin: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return the weights that lie between two networks: ``share`` of the way from ``begin`` to ``end``."""
    return {
        name: torch.lerp(each, end[name], share) if each.is_floating_point() else each
        for name, each in begin.items()
    }


def _soft_cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the cross-entropy with probabilities (B, C, H, W), over pixels where there are any.

    A pixel counts less the more there are of its class, between each pixel and each class alike.
    """
    likeliest = functional.one_hot(wanted.argmax(dim=1), wanted.shape[1]) * wanted.any(
        dim=1, keepdim=True
    ).movedim(1, -1)
    counts = likeliest.sum(dim=(0, 1, 2))
    weights = (likeliest * counts.clamp(min=1).rsqrt()).sum(dim=-1)
    entropy = -(wanted * logits.float().log_softmax(dim=1)).sum(dim=1)
    mean: Tensor = (entropy * weights).sum() / weights.sum()
    return mean

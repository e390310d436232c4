"""The loss of a batch: softmax cross-entropy and soft Dice, on labelled pixels only."""

from __future__ import annotations

import torch
from monai.losses import MaskedDiceLoss
from torch import Tensor, nn
from torch.nn import functional

TEMPERATURE = 3.0
"""By which both outputs are softened before the one teaches the other."""


class SegmentationLoss(nn.Module):
    """Cross-entropy plus soft Dice, over the rounds.

    Parameters
    ----------
    class_weights : sequence of float
        Weight of each class in the cross-entropy.
    dice : float
        Weight of the soft Dice loss, which counts a rare class as much as a frequent one.
    first_round : float
        Weight of the same loss on the output of round 1; 0 is the paper's training.
    distillation : float
        Weight of what the last round teaches round 1: the Kullback-Leibler divergence of
        their softened probabilities. The teacher learns nothing from it.

    References
    ----------
    Zhang et al.: Be Your Own Teacher, 2019, for self-distillation. Hinton, Vinyals, Dean:
    Distilling the Knowledge in a Neural Network, 2015, for the softening.
    """

    def __init__(
        self,
        class_weights: tuple[float, ...],
        dice: float = 1.0,
        first_round: float = 0.0,
        distillation: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", torch.tensor(class_weights))
        self.class_weights: Tensor
        self.dice = dice
        self.first_round = first_round
        self.distillation = distillation
        self._dice_loss = MaskedDiceLoss(softmax=True, batch=True)

    def forward(self, rounds: tuple[Tensor, ...], target: Tensor) -> Tensor:
        """Return the loss of logits (B, classes, H, W) of each round.

        Parameters
        ----------
        rounds : tuple of Tensor
            Logits of each round; the last is the answer.
        target : Tensor
            (B, H, W) channel of the true class, -1 where unlabelled.
        """
        loss = self._one(rounds[-1], target)
        if self.first_round and len(rounds) > 1:
            loss = loss + self.first_round * self._one(rounds[0], target)
        if self.distillation and len(rounds) > 1:
            loss = loss + self.distillation * _divergence(rounds[0], rounds[-1].detach(), target)
        return loss

    def _one(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = logits.float()
        loss = functional.cross_entropy(logits, target, self.class_weights, ignore_index=-1)
        if self.dice:
            mask = (target >= 0).unsqueeze(1)
            one_hot = functional.one_hot(target.clamp(min=0), logits.shape[1]).movedim(-1, 1)
            loss = loss + self.dice * self._dice_loss(logits, one_hot.to(logits.dtype), mask.to(logits.dtype))
        return loss


def _divergence(pupil: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    """Return how far the pupil's softened probabilities are from the teacher's, on labelled pixels.

    The square of the temperature keeps its gradient as large as that of the cross-entropy.
    """
    taken, given = ((logits.float() / TEMPERATURE).log_softmax(dim=1) for logits in (pupil, teacher))
    divergence = functional.kl_div(taken, given, reduction="none", log_target=True).sum(dim=1)
    return TEMPERATURE**2 * divergence[target >= 0].mean()

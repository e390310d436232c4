"""The loss of a batch: softmax cross-entropy and soft Dice, on labelled pixels only."""

from __future__ import annotations

import torch
from monai.losses import MaskedDiceLoss
from torch import Tensor, nn
from torch.nn import functional


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
    """

    def __init__(self, class_weights: tuple[float, ...], dice: float = 1.0, first_round: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("class_weights", torch.tensor(class_weights))
        self.class_weights: Tensor
        self.dice = dice
        self.first_round = first_round
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
        return loss

    def _one(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = logits.float()
        loss = functional.cross_entropy(logits, target, self.class_weights, ignore_index=-1)
        if self.dice:
            mask = (target >= 0).unsqueeze(1)
            one_hot = functional.one_hot(target.clamp(min=0), logits.shape[1]).movedim(-1, 1)
            loss = loss + self.dice * self._dice_loss(logits, one_hot.to(logits.dtype), mask.to(logits.dtype))
        return loss

"""The loss of a batch: cross-entropy and soft Dice, where a pixel's label may leave several classes open."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn


class SegmentationLoss(nn.Module):
    """Cross-entropy plus soft Dice, over the rounds.

    The cross-entropy of a pixel is ``-log`` of the summed probability of the classes that it can be,
    those counting less that are less likely. The soft Dice of a class is over the pixels of which it is
    known whether they are of that class.

    Parameters
    ----------
    class_weights : sequence of float
        Weight of each class in the cross-entropy; a pixel that can be several has their mean.
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
        self._dice_loss = DiceLoss(batch=True)

    def forward(self, rounds: tuple[Tensor, ...], beliefs: Tensor) -> Tensor:
        """Return the loss of logits (B, classes, H, W) of each round.

        Parameters
        ----------
        rounds : tuple of Tensor
            Logits of each round; the last is the answer.
        beliefs : Tensor
            (B, classes, H, W) bool or float, 0 to 1: the classes that a pixel can be, as
            :attr:`~napari_feedback_seg.datasets.dataset.Dataset.beliefs` has them; none where it is
            unlabelled.
        """
        loss = self._one(rounds[-1], beliefs)
        if self.first_round and len(rounds) > 1:
            loss = loss + self.first_round * self._one(rounds[0], beliefs)
        return loss

    def _one(self, logits: Tensor, beliefs: Tensor) -> Tensor:
        logits, beliefs = logits.float(), beliefs.float()
        likely = beliefs == 1
        count = likely.sum(dim=1, keepdim=True)
        labelled = count[:, 0] > 0
        # A pixel without a label takes part with a loss of 0, so that no gradient is NaN.
        allowed = beliefs.masked_fill(~labelled[:, None], 1)
        loss = logits.logsumexp(1) - (logits + allowed.log()).logsumexp(1)
        weights = (likely * self.class_weights[:, None, None]).sum(1) / count[:, 0].clamp(min=1)
        total = (loss * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
        if self.dice:
            truth = likely & (count == 1)
            known = labelled[:, None] & (truth | (beliefs == 0))
            total = total + self.dice * self._dice_loss(logits.softmax(1) * known, truth.to(logits.dtype))
        return total


def exactly(channels: Tensor, classes: int) -> Tensor:
    """Return the classes (B, classes, H, W) that channels (B, H, W) allow: the one, or none for -1."""
    return channels[:, None] == torch.arange(classes, device=channels.device)[:, None, None]

"""The two recurrent networks that the paper compares its own with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_feedback_seg.networks.unet import ConvBlock, ConvUnit, UNet

if TYPE_CHECKING:
    from napari_feedback_seg.networks.spec import NetworkSpec

STEPS = 2
"""How often a recurrent convolution takes its own output in."""


class RecurrentUnit(ConvUnit):
    """Convolution, batch norm and ReLU of the input, then twice of the input plus the last result.

    The convolution is one. In training each of the three steps is normalised by its own
    statistics. One set of batch norm keeps a mix of them, which is right for none of the
    steps after training, and scores fall as the steps grow apart; three sets keep each.
    """

    def forward(self, feature_map: Tensor, round_index: int = 0) -> Tensor:
        """Return the map (B, ``out``, H, W) of the last step; ``round_index`` is 0."""
        result = super().forward(feature_map, 0)
        for step in range(1, STEPS + 1):
            result = super().forward(feature_map + result, step)
        return result


class RecurrentBlock(ConvBlock):
    """A 1 x 1 convolution to the block's channels, then two recurrent units."""

    def __init__(self, channels: int, out: int, norms: tuple[int, int] = (1, 1)) -> None:
        super().__init__(out, out, norms, RecurrentUnit)
        self.widen = nn.Conv2d(channels, out, 1)

    def forward(self, feature_map: Tensor, round_index: int = 0) -> Tensor:
        """Return the map (B, ``out``, H, W)."""
        return super().forward(self.widen(feature_map), round_index)


def recurrent_unet(spec: NetworkSpec) -> UNet:
    """Return RU-Net: a U-Net whose every convolution unit is a recurrent one.

    ``norm_per_round`` gives each step of a unit a set of batch norm of its own.

    References
    ----------
    Alom et al.: Recurrent residual U-Net for medical image segmentation, 2019; here
    without the residuals.
    """
    norms = STEPS + 1 if spec.norm_per_round else 1
    return UNet(spec.in_channels, spec.classes, spec.width, spec.depth, norms, (norms, norms), RecurrentBlock)


class ConvLSTM(nn.Module):
    """A convLSTM with 3 x 3 convolutions, as many channels in as out, and no peepholes.

    References
    ----------
    Shi et al.: Convolutional LSTM Network, 2015.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 * channels, 4 * channels, 3, padding=1)

    def forward(self, feature_map: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next hidden state and cell state, all of them (B, C, H, W)."""
        gates = self.gates(torch.cat([feature_map, hidden], dim=1))
        take, keep, show, new = gates.chunk(4, dim=1)
        cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
        return show.sigmoid() * cell.tanh(), cell


class FeedbackUNet(UNet):
    """Feedback U-Net: round 2 looks at the probabilities of round 1, and remembers the image.

    A convLSTM stands in the place of the U-Net's first block. Round 1 gives it the image
    and empty states, round 2 the class probabilities of round 1 and the states that the
    image left; each comes through a 1 x 1 convolution of its own. ``detach_first_round``
    stops the gradient at the probabilities, never at the states, through which the
    weights of the image learn. ``norm_per_round`` is that of all other blocks.

    References
    ----------
    Shibuya, Hotta: Feedback U-Net for Cell Image Segmentation, 2020.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(
            spec.in_channels, spec.classes, spec.width, spec.depth, 2 if spec.norm_per_round else 1
        )
        del self.first
        self.spec = spec
        self.from_image = nn.Conv2d(spec.in_channels, spec.width, 1)
        self.from_probabilities = nn.Conv2d(spec.classes, spec.width, 1)
        self.lstm = ConvLSTM(spec.width)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (B, classes, H, W) of round 1 and of round 2."""
        seen = self.from_image(image)
        hidden, cell = self.lstm(seen, torch.zeros_like(seen), torch.zeros_like(seen))
        first = self.classifier(self.body(hidden, 0))
        probabilities = first.softmax(dim=1)
        if self.spec.detach_first_round:
            probabilities = probabilities.detach()
        hidden, _ = self.lstm(self.from_probabilities(probabilities), hidden, cell)
        return first, self.classifier(self.body(hidden, 1))

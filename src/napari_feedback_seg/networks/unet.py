"""The U-Net that every network of the family runs once or twice."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvUnit(nn.Module):
    """3 x 3 convolution, batch norm, ReLU; with one batch norm per round if asked."""

    def __init__(self, channels: int, out: int, norms: int = 1) -> None:
        super().__init__()
        self.conv: nn.Module = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(out) for _ in range(norms))

    def forward(self, feature_map: Tensor, round_index: int = 0) -> Tensor:
        """Return the map (B, ``out``, H, W) of round ``round_index``."""
        norm = self.norms[min(round_index, len(self.norms) - 1)]
        result: Tensor = functional.relu(norm(self.conv(feature_map)), inplace=True)
        return result


class ConvBlock(nn.Module):
    """Two convolution units, each with its number of batch-norm sets."""

    def __init__(
        self, channels: int, out: int, norms: tuple[int, int] = (1, 1), unit: type[ConvUnit] = ConvUnit
    ) -> None:
        super().__init__()
        self.first = unit(channels, out, norms[0])
        self.second = unit(out, out, norms[1])

    def forward(self, feature_map: Tensor, round_index: int = 0) -> Tensor:
        """Return the map (B, ``out``, H, W) of round ``round_index``."""
        result: Tensor = self.second(self.first(feature_map, round_index), round_index)
        return result


class UNet(nn.Module):
    """U-Net: double convolutions, max-pool down, transposed convolution up, skips.

    Parameters
    ----------
    in_channels, classes, width, depth : int
        As in :class:`~napari_feedback_seg.networks.spec.NetworkSpec`.
    norms : int
        Sets of batch-norm layers: 1, or one per round.
    first_norms : tuple of int
        The same for the two convolutions of the first block, of which a second round
        may use none.
    block : type
        What each level is made of.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        width: int,
        depth: int,
        norms: int = 1,
        first_norms: tuple[int, int] = (1, 1),
        block: type[ConvBlock] = ConvBlock,
    ) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(depth + 1)]
        self.first = block(in_channels, width, first_norms)
        self.down = nn.ModuleList(block(above, below, (norms, norms)) for above, below in pairwise(channels))
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, above, 2, 2) for above, below in pairwise(channels))
        self.merge = nn.ModuleList(block(2 * above, above, (norms, norms)) for above in channels[:-1])
        self.classifier = nn.Conv2d(width, classes, 1)

    def body(self, first_map: Tensor, round_index: int = 0) -> Tensor:
        """Return the output-side map (B, width, H, W) for a map after the first block."""
        skips = [first_map]
        for block in self.down:
            skips.append(block(functional.max_pool2d(skips[-1], 2), round_index))
        feature_map = skips.pop()
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            feature_map = merge(torch.cat([skips.pop(), up(feature_map)], dim=1), round_index)
        return feature_map

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (B, classes, H, W) of the one round, as a tuple of one."""
        return (self.classifier(self.body(self.first(image))),)

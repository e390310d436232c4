"""A residual head: the logits of a network get ``W f + b``, of the maps ``f`` inside it.

The network itself stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from napari_feedback_seg.correction.feature_maps import inner_maps

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_feedback_seg.correction.feature_maps import TileMaps


@dataclass(frozen=True, eq=False)
class Residual:
    """What is added to the logits.

    Attributes
    ----------
    weight : Tensor
        (C, F) float32.
    bias : Tensor
        (C,) float32.
    """

    weight: Tensor
    bias: Tensor

    def of_maps(self, maps: Collection[Tensor], size: tuple[int, int]) -> Tensor:
        """Return the change (B, C, H, W) for maps (B, channels, H / n, W / n).

        A map is weighted first and upsampled then, which is the same and takes less.
        """
        some = next(iter(maps))
        bias = self.bias.to(some.device)[None, :, None, None]
        total = bias.expand(some.shape[0], -1, *size).contiguous()
        weights = self.weight.split([each.shape[1] for each in maps], dim=1)
        for weight, feature_map in zip(weights, maps, strict=True):
            change = functional.conv2d(feature_map.float(), weight[:, :, None, None].to(feature_map.device))
            if change.shape[-2:] != size:
                change = functional.interpolate(change, size, mode="bilinear", align_corners=False)
            total = total + change
        return total


class AdaptedNetwork(nn.Module):
    """A network whose answer has a residual added to its logits."""

    def __init__(self, network: nn.Module, residual: Residual) -> None:
        super().__init__()
        self.network = network
        self.residual = residual  # no buffers: they stay 32-bit, whatever the network computes in

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (B, classes, H, W) of each round; only those of the last are changed."""
        logits, maps = inner_maps(self.network, images)
        size = (images.shape[-2], images.shape[-1])
        return *logits[:-1], logits[-1].float() + self.residual.of_maps(maps, size)


def probabilities(maps: TileMaps, residual: Residual | None) -> Tensor:
    """Return the class probabilities (C, T, T) of a tile with a residual, or without."""
    logits = maps.logits
    if residual is None:
        return logits.softmax(dim=0)
    size = (logits.shape[-2], logits.shape[-1])
    return (logits + residual.of_maps([each[None] for each in maps.maps], size)[0]).softmax(dim=0)

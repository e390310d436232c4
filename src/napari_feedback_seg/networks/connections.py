"""The ways back from the output to the input without attention between places (Table 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_REDUCTION = 16
"""Of the channels in the bottleneck of squeeze and excitation, as in SE-Net."""

_LEAST_CHANNELS = 4
"""In that bottleneck: what a width of 64 gives. One alone may never be active."""


class Connection(nn.Module):
    """Bring the output-side map back to the input side.

    ``A = scale * transform(output_side) + input_side``, with a learned ``scale`` that
    starts at 0.

    Parameters
    ----------
    channels : int
        Channels of both maps.
    mode : {"add", "conv1x1", "squeeze_excitation", "light_attention"}
        The map itself; a 1 x 1 convolution of it; its channels weighted by what they are
        on the whole tile; each channel of each place weighted by its neighbourhood.

    References
    ----------
    Hu, Shen, Sun: Squeeze-and-Excitation Networks, 2018. Hiramatsu, Hotta: Semantic
    Segmentation using Light Attention Mechanism, 2020.
    """

    def __init__(self, channels: int, mode: str) -> None:
        super().__init__()
        self.transform = _transform(channels, mode)
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, input_side: Tensor, output_side: Tensor) -> Tensor:
        """Return the input-side map (B, C, H, W) with the output-side map brought back to it."""
        fed_back: Tensor = self.scale * self.transform(output_side)
        return input_side + fed_back


class Gate(nn.Module):
    """A feature map times weights between 0 and 1 that layers find in it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers, nn.Sigmoid())

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return the weighted map (B, C, H, W)."""
        result: Tensor = feature_map * self.layers(feature_map)
        return result


def _transform(channels: int, mode: str) -> nn.Module:
    if mode == "add":
        return nn.Identity()
    if mode == "conv1x1":
        return nn.Conv2d(channels, channels, 1)
    if mode == "light_attention":
        return Gate(nn.Conv2d(channels, channels, 3, padding=1))
    narrow = max(_LEAST_CHANNELS, channels // _REDUCTION)
    return Gate(
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(channels, narrow, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(narrow, channels, 1),
    )

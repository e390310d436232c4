"""The maps inside a network at a tile: what strokes are learnt on, whatever the kind of network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from napari_feedback_seg.networks.residual import watched

if TYPE_CHECKING:
    from torch import nn

    from napari_feedback_seg.networks.residual import Residual

_LARGEST_HALF = 65_504.0
"""The largest 16-bit float."""


@dataclass(frozen=True, eq=False)
class TileMaps:
    """What a network says of one tile, and the maps that it comes from.

    Attributes
    ----------
    logits : Tensor
        (classes, T, T) float32, the answer.
    maps : tuple of Tensor
        (channels, T / n, T / n) float16, ``n`` = 1, 2, 4...; round 1 before round 2. Their
        channels, one after the other, are the features of a pixel.
    """

    logits: Tensor
    maps: tuple[Tensor, ...]

    @property
    def bytes(self) -> int:
        """Memory that they take."""
        return sum(each.numel() * each.element_size() for each in (self.logits, *self.maps))

    def features(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the features (N, F) float32 of pixels of the tile, interpolated where maps are coarser."""
        size = self.logits.shape[-1]
        places = torch.stack([columns, rows], dim=-1).float().add(0.5).mul(2 / size).sub(1)[None, None]
        return torch.cat([_sampled(each.float(), places) for each in self.maps], dim=1)


def _sampled(feature_map: Tensor, places: Tensor) -> Tensor:
    # At a pixel's centre this is what bilinear upsampling of the map gives there.
    found = functional.grid_sample(
        feature_map[None], places, mode="bilinear", padding_mode="border", align_corners=False
    )
    return found[0, :, 0].T


def tile_maps(network: nn.Module, tile: Tensor) -> TileMaps | None:
    """Return the maps of a tile (T, T); None if they are not finite.

    The network is in evaluation mode, and the tile on its device and of its type of numbers.
    """
    with torch.inference_mode():
        image = tile[None, None].contiguous(memory_format=torch.channels_last)
        with watched(network) as maps:
            rounds = network(image)
        logits = rounds[-1][0].float().cpu().contiguous()
        if not all(bool(each.isfinite().all()) for each in (logits, *maps)):
            return None
        halves = [each[0].clamp(-_LARGEST_HALF, _LARGEST_HALF).half().cpu().contiguous() for each in maps]
    return TileMaps(logits, tuple(halves))


def probabilities(maps: TileMaps, residual: Residual | None) -> Tensor:
    """Return the class probabilities (C, T, T) of a tile with a residual, or without."""
    logits = maps.logits
    if residual is None:
        return logits.softmax(dim=0)
    size = (logits.shape[-2], logits.shape[-1])
    return (logits + residual.of_maps([each[None] for each in maps.maps], size)[0]).softmax(dim=0)

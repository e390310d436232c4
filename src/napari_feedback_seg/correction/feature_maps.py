"""The maps inside a network at a tile: what strokes are learnt on, whatever the kind of network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_feedback_seg.networks.unet import UNet

if TYPE_CHECKING:
    from napari_feedback_seg.networks.spec import NetworkSpec

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


def inner_maps(network: nn.Module, images: Tensor) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """Return the logits of each round, and the maps inside the network.

    The maps are those after the first block, the first level below it, and each level of the
    decoder, deepest first; those of round 1 before those of round 2. Of a network of width
    16, depth 4 and two rounds they have 2 x 288 channels.

    Parameters
    ----------
    network : Module
        Of any kind that :func:`~napari_feedback_seg.networks.build_network` gives.
    images : Tensor
        (B, in_channels, H, W).
    """
    unet = next(each for each in network.modules() if isinstance(each, UNet))
    width = unet.classifier.in_channels
    firsts: list[Tensor] = []
    levels: list[list[Tensor]] = [[] for _ in range(len(unet.merge) + 1)]
    # What the last level of the decoder is given begins with the map after the first block.
    last = unet.merge[0]
    hooks = [last.register_forward_pre_hook(lambda _, given: firsts.append(given[0][:, :width]))]
    for found, module in zip(levels, (unet.down[0], *reversed(unet.merge)), strict=True):
        hooks.append(module.register_forward_hook(_keeper(found)))
    try:
        logits = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    rounds = zip(firsts, *levels, strict=True)
    return tuple(logits), [each for maps in rounds for each in maps]


def _keeper(found: list[Tensor]):  # type: ignore[no-untyped-def]
    def keep(module: nn.Module, given: object, result: Tensor) -> None:
        del module, given
        found.append(result)

    return keep


def tile_maps(network: nn.Module, tile: Tensor) -> TileMaps | None:
    """Return the maps of a tile (T, T); None if they are not finite.

    The network is in evaluation mode, and the tile on its device and of its type of numbers.
    """
    with torch.inference_mode():
        image = tile[None, None].contiguous(memory_format=torch.channels_last)
        rounds, maps = inner_maps(network, image)
        logits = rounds[-1][0].float().cpu().contiguous()
        if not all(bool(each.isfinite().all()) for each in (logits, *maps)):
            return None
        halves = [each[0].clamp(-_LARGEST_HALF, _LARGEST_HALF).half().cpu().contiguous() for each in maps]
    return TileMaps(logits, tuple(halves))


def channels_of(network: nn.Module, spec: NetworkSpec) -> list[int]:
    """Return the number of channels of each of a network's inner maps."""
    device = next(network.parameters()).device
    image = torch.zeros(1, spec.in_channels, 2 * spec.multiple, 2 * spec.multiple, device=device)
    with torch.inference_mode():
        return [each.shape[1] for each in inner_maps(network, image)[1]]

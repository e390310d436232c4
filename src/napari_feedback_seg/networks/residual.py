"""A network with a residual head: its answer gets ``W f + b``, of the maps ``f`` inside it.

Strokes teach the head and leave the network as it is, see :mod:`napari_feedback_seg.correction.strokes`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import get_ident
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_feedback_seg.networks.unet import UNet

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from napari_feedback_seg.networks.attention import FeedbackAttention
    from napari_feedback_seg.networks.feedback import FeedbackMaps
    from napari_feedback_seg.networks.spec import NetworkSpec


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

    @classmethod
    def nothing(cls, spec: NetworkSpec) -> Residual:
        """Return the one that adds nothing to what a network says."""
        return cls(torch.zeros(spec.classes, spec.inner_channels), torch.zeros(spec.classes))

    def plus(self, other: Residual) -> Residual:
        """Return what adds both."""
        return Residual(self.weight + other.weight, self.bias + other.bias)

    def times(self, share: float) -> Residual:
        """Return what adds a share of it."""
        return Residual(self.weight * share, self.bias * share)

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
    """A network whose answer has a residual added to its logits.

    The residual is neither moved nor rounded with the weights, and not trained: it is 32-bit,
    whatever the network computes in. In a file it is the tensor ``_extra_state``, (C, F + 1).
    """

    def __init__(self, network: nn.Module, residual: Residual) -> None:
        super().__init__()
        self.network = network
        self.residual = residual

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (B, classes, H, W) of each round; only those of the last are changed."""
        with watched(self.network) as maps:
            logits: tuple[Tensor, ...] = self.network(images)
        return self._added(logits, maps, images)

    def maps(self, images: Tensor) -> FeedbackMaps:
        """Return what one pass of a network with feedback attention leaves behind."""
        with watched(self.network) as maps:
            found: FeedbackMaps = self.network.maps(images)  # type: ignore[operator]
        return replace(found, logits=self._added(found.logits, maps, images))

    @property
    def feedback(self) -> FeedbackAttention:
        """The feedback of a network with feedback attention."""
        found: FeedbackAttention = self.network.feedback  # type: ignore[assignment]
        return found

    def get_extra_state(self) -> Tensor:
        """Return the residual as one tensor."""
        return torch.cat([self.residual.weight, self.residual.bias[:, None]], dim=1)

    def set_extra_state(self, state: Tensor) -> None:
        """Take a residual."""
        self.residual = Residual(state[:, :-1].contiguous(), state[:, -1].contiguous())

    def _added(self, logits: tuple[Tensor, ...], maps: list[Tensor], images: Tensor) -> tuple[Tensor, ...]:
        size = (images.shape[-2], images.shape[-1])
        return *logits[:-1], logits[-1].float() + self.residual.of_maps(maps, size)


def adapted(network: nn.Module, residual: Residual) -> AdaptedNetwork:
    """Return a network with a residual added to what it says, to its own residual if it has one."""
    if isinstance(network, AdaptedNetwork):
        return AdaptedNetwork(network.network, network.residual.plus(residual))
    return AdaptedNetwork(network, residual)


@contextmanager
def watched(network: nn.Module) -> Iterator[list[Tensor]]:
    """Give a list that has the maps inside a network when it has looked at images.

    The maps are those after the first block, the first level below it, and each level of the
    decoder, deepest first; those of round 1 before those of round 2. Of a network of width
    16, depth 4 and two rounds they have 2 x 288 channels (:attr:`NetworkSpec.inner_channels`).

    Parameters
    ----------
    network : Module
        Of any kind that :func:`~napari_feedback_seg.networks.build_network` gives. It is to look once.
    """
    unet = next(each for each in network.modules() if isinstance(each, UNet))
    width = unet.classifier.in_channels
    firsts: list[Tensor] = []
    levels: list[list[Tensor]] = [[] for _ in range(len(unet.merge) + 1)]
    # What the last level of the decoder is given begins with the map after the first block.
    last = unet.merge[0]
    thread = get_ident()  # threads may compute tiles with one network: each is given its own maps

    def keep_first(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        if get_ident() == thread:
            firsts.append(given[0][:, :width])

    hooks = [last.register_forward_pre_hook(keep_first)]
    for found, module in zip(levels, (unet.down[0], *reversed(unet.merge)), strict=True):
        hooks.append(module.register_forward_hook(_keeper(found, thread)))
    result: list[Tensor] = []
    try:
        yield result
        rounds = zip(firsts, *levels, strict=True)
        result += [each for maps in rounds for each in maps]
    finally:
        for hook in hooks:
            hook.remove()


def _keeper(found: list[Tensor], thread: int):  # type: ignore[no-untyped-def]
    def keep(module: nn.Module, given: object, result: Tensor) -> None:
        del module, given
        if get_ident() == thread:
            found.append(result)

    return keep

"""How unlike an image is to what a model learnt from, by what batch norm remembers of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from napari_feedback_seg.models.model import Model

T = TypeVar("T")

UNLIKE_FROM = 0.13
"""An image counts as unlike what a model learnt from above this, see ``benchmarks/unlike.py``."""

_DEEPEST = 2
"""Batch norms of the last block of the encoder: those before it tell sharp from blurred images."""


TILES = 2
"""How many tiles of an image are looked at, at most."""


class _EncoderDone(Exception):
    """Stops the forward pass where the decoder begins."""


def spread(tiles: Sequence[T], most: int = TILES) -> list[T]:
    """Return up to so many of the tiles, spread evenly over them."""
    count = min(most, len(tiles))
    return [tiles[(2 * number + 1) * len(tiles) // (2 * count)] for number in range(count)]


@torch.inference_mode()
def unlikeness(model: Model, tiles: Sequence[np.ndarray]) -> float | None:
    """Return how unlike tiles are to what a model learnt from; None if no batch norm has seen that.

    Each batch norm remembers mean and variance of each of its channels in training. The
    Kullback-Leibler divergence of the tiles' mean and variance from these, taken as those of
    normal distributions, is averaged over the channels of the deepest block of the encoder, first
    round. It is in units of the model's own variance, so that it can be computed, and compared,
    for any model.

    Parameters
    ----------
    model : Model
        Its network runs where it is, in evaluation mode, as far as the decoder.
    tiles : sequence of ndarray
        (T, T) float32 each, as the network sees them.
    """
    found: dict[nn.Module, float] = {}

    def compare(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        if norm not in found:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3))
            ratio = (variance + norm.eps) / (norm.running_var + norm.eps)
            shift = (mean - norm.running_mean).square() / (norm.running_var + norm.eps)
            found[norm] = float((ratio + shift - 1 - ratio.log()).mean()) / 2

    def stop(*_: object) -> None:
        raise _EncoderDone

    network = model.network
    if not model.card.spec.learns:  # of another program's network nothing is known
        return None
    handles = []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.num_batches_tracked:
            handles.append(module.register_forward_pre_hook(compare))
        elif isinstance(module, nn.ConvTranspose2d):
            handles.append(module.register_forward_pre_hook(stop))
    try:
        device = next(network.parameters()).device
        network(torch.stack([torch.from_numpy(tile) for tile in tiles]).unsqueeze(1).to(device))
    except _EncoderDone:
        pass
    finally:
        for handle in handles:
            handle.remove()
    deepest = list(found.values())[-_DEEPEST:]
    return sum(deepest) / len(deepest) if deepest else None

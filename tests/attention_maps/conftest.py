"""Small models with fixed weights whose attention is far from uniform."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.models.model import Model, ModelCard
from napari_feedback_seg.networks import NetworkSpec, build_network

if TYPE_CHECKING:
    from collections.abc import Callable


def make_small_model(tile: int = 32, **spec: object) -> Model:
    torch.manual_seed(0)
    network_spec = NetworkSpec(**{"width": 8, "depth": 2, "query_channels": 4, **spec})
    network = build_network(network_spec).eval()
    with torch.no_grad():
        feedback = network.feedback
        feedback.scale.fill_(1)
        if network_spec.mode in ("self", "source_target"):
            maps = network.maps(torch.randn(1, 1, 64, 64))
            query, key = feedback.query_and_key(maps.input_side, maps.output_side)
            scores = query[0].flatten(1).T @ key[0].flatten(1)
            for part in (feedback.query[1].weight, feedback.query[1].bias):
                part.mul_(3 / scores.std())
        classifier = network.unet.classifier
        logits = network(torch.randn(1, 1, 64, 64))[-1]
        scale = 3 / logits.std(dim=(0, 2, 3))
        classifier.bias.copy_((classifier.bias - logits.mean(dim=(0, 2, 3))) * scale)
        classifier.weight.mul_(scale[:, None, None, None])
    return Model(ModelCard(f"small {network_spec.mode}", network_spec, EM_CLASSES, 4.6, tile), network)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Model]:
    return make_small_model


@pytest.fixture(scope="session")
def section() -> np.ndarray:
    """(75, 90) uint8: blurred noise, so that neighbours are alike and classes vary."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(0).normal(size=(75, 90)), 1.5)
    return np.clip(128 + 200 * noise, 0, 255).astype(np.uint8)

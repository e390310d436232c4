"""Small models with fixed weights that tell all classes apart."""

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
    network_spec = NetworkSpec(**{"width": 4, "depth": 2, "key_pooling": 4, **spec})
    network = build_network(network_spec).eval()
    classifier = network.unet.classifier if network_spec.rounds > 1 else network.classifier
    with torch.no_grad():
        if network_spec.rounds > 1:
            network.feedback.scale.fill_(1)
        logits = network(torch.randn(1, network_spec.in_channels, 64, 64))[-1]
        scale = 3 / logits.std(dim=(0, 2, 3))
        classifier.bias.copy_((classifier.bias - logits.mean(dim=(0, 2, 3))) * scale)
        classifier.weight.mul_(scale[:, None, None, None])
    return Model(ModelCard("small", network_spec, EM_CLASSES, 4.6, tile), network)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Model]:
    return make_small_model


@pytest.fixture(scope="session")
def model() -> Model:
    return make_small_model()


@pytest.fixture(scope="session")
def unet() -> Model:
    return make_small_model(kind="unet")


@pytest.fixture(scope="session")
def section() -> np.ndarray:
    """(75, 90) uint8: blurred noise, so that neighbours are alike and classes vary."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(0).normal(size=(75, 90)), 1.5)
    return np.clip(128 + 200 * noise, 0, 255).astype(np.uint8)

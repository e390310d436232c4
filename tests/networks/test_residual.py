"""A network with a residual head, in memory and in a file."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import torch

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.errors import ModelError
from napari_feedback_seg.models.model import Model, ModelCard
from napari_feedback_seg.models.model_file import load_model_file, save_model
from napari_feedback_seg.networks import NetworkSpec, build_network
from napari_feedback_seg.networks.residual import AdaptedNetwork, Residual, adapted
from napari_feedback_seg.networks.spec import NETWORKS

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = torch.randn(2, 1, 32, 48, generator=torch.Generator().manual_seed(1))


def spec_of(name: str) -> NetworkSpec:
    return NetworkSpec.named(name, width=4, depth=2, key_pooling=4, adapted=True)


def network_with(name: str) -> AdaptedNetwork:
    """Return a network that says something else with its residual than without."""
    spec = spec_of(name)
    network = build_network(spec).eval()
    assert isinstance(network, AdaptedNetwork)
    residual = Residual(torch.randn(spec.classes, spec.inner_channels), torch.randn(spec.classes))
    return AdaptedNetwork(network.network, residual).eval()


@pytest.mark.parametrize("name", NETWORKS)
class TestEveryNetwork:
    @torch.inference_mode()
    def test_a_fresh_residual_adds_nothing(self, name: str) -> None:
        network = build_network(spec_of(name)).eval()
        for plain, same in zip(network.network(IMAGES), network(IMAGES), strict=True):
            assert torch.equal(plain, same)

    @torch.inference_mode()
    def test_another_changes_the_answer_and_no_round_before(self, name: str) -> None:
        network = network_with(name)
        plain, changed = network.network(IMAGES), network(IMAGES)
        assert not torch.allclose(plain[-1], changed[-1], atol=0.1)
        assert all(map(torch.equal, plain[:-1], changed[:-1]))

    @torch.inference_mode()
    def test_a_file_holds_it_exactly(self, name: str, tmp_path: Path) -> None:
        network = network_with(name)
        card = ModelCard("adapted", spec_of(name), EM_CLASSES, 4.6, 64)
        loaded = load_model_file(save_model(Model(card, network), tmp_path / "adapted.safetensors"))
        assert loaded.card.spec.adapted
        assert torch.equal(loaded.network(IMAGES)[-1], network(IMAGES)[-1])


@torch.inference_mode()
def test_two_residuals_become_one() -> None:
    once = network_with("self")
    more = Residual(torch.randn_like(once.residual.weight), torch.randn_like(once.residual.bias))
    twice = adapted(once, more).eval()
    assert not isinstance(twice.network, AdaptedNetwork)
    expected = AdaptedNetwork(once, more).eval()
    assert torch.allclose(twice(IMAGES)[-1], expected(IMAGES)[-1], atol=1e-3)


@torch.inference_mode()
def test_it_is_not_rounded_with_the_weights() -> None:
    network = network_with("self")
    residual = network.residual.weight.clone()
    rounded = copy.deepcopy(network).to(torch.bfloat16)
    assert rounded(IMAGES.bfloat16())[-1].dtype == torch.float32
    assert torch.equal(rounded.residual.weight, residual)


def test_a_training_leaves_it_as_it_is() -> None:
    network = network_with("self").train()
    before = network.residual.weight.clone()
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    network(IMAGES)[-1].square().mean().backward()
    optimiser.step()
    assert torch.equal(network.residual.weight, before)
    assert all(each.grad is not None for each in network.network.unet.first.parameters())


@torch.inference_mode()
def test_the_maps_of_a_network_with_attention_come_with_its_answer() -> None:
    network = network_with("self")
    maps = network.maps(IMAGES)
    assert torch.equal(maps.logits[-1], network(IMAGES)[-1])
    assert torch.equal(maps.input_side, network.network.maps(IMAGES).input_side)
    assert network.feedback is network.network.feedback


def test_a_card_without_one_says_nothing_of_it() -> None:
    assert "adapted" not in NetworkSpec().to_json()  # older versions know no such field


def test_a_residual_of_another_size_is_refused(tmp_path: Path) -> None:
    network = network_with("self")
    network.residual = Residual(torch.zeros(4, 3), torch.zeros(4))
    card = ModelCard("adapted", spec_of("self"), EM_CLASSES, 4.6, 64)
    with pytest.raises(ModelError, match=r"_extra_state is 4 x 4 instead of 4 x 49"):
        save_model(Model(card, network), tmp_path / "adapted.safetensors")


@pytest.mark.parametrize("name", ["self", "unet"])
def test_threads_may_share_a_network(name: str) -> None:
    network, images = network_with(name), torch.randn(24, 1, 32, 48)

    @torch.inference_mode()
    def answers(image: torch.Tensor) -> torch.Tensor:
        return network(image[None])[-1]

    alone = [answers(each) for each in images]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(alone, pool.map(answers, images), strict=True):
            assert torch.allclose(one, other, atol=1e-4)

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from napari_feedback_seg.networks import FeedbackAttentionUNet, NetworkSpec, UNet, build_network

SMALL: dict[str, Any] = {"width": 8, "depth": 2}

FEEDBACK: dict[str, dict[str, Any]] = {
    "self": {},
    "source_target": {"mode": "source_target"},
    "one_conv": {"tap": "one_conv"},
    "source_target_one_conv": {"mode": "source_target", "tap": "one_conv"},
    "gradient_through_round_1": {"detach_first_round": False},
    "norm_per_round": {"norm_per_round": True},
    "norm_per_round_one_conv": {"norm_per_round": True, "tap": "one_conv"},
    "key_pooling": {"key_pooling": 4},
    "key_pooling_odd": {"key_pooling": 3, "mode": "source_target"},
    "query_channels": {"query_channels": 6},
    "more_query_than_value_channels": {"query_channels": 12},
    "narrow": {"width": 1},
    "depth_1": {"depth": 1},
    "depth_4": {"depth": 4},
    "two_classes": {"classes": 2},
    "three_channels": {"in_channels": 3},
}

VARIANTS: dict[str, dict[str, Any]] = {
    "unet": {"kind": "unet"},
    "unet_depth_4": {"kind": "unet", "depth": 4, "in_channels": 2, "classes": 7},
    **FEEDBACK,
}


def spec_of(variant: str) -> NetworkSpec:
    return NetworkSpec(**{**SMALL, **VARIANTS[variant]})


def images_for(spec: NetworkSpec, batch: int = 2) -> Tensor:
    return torch.randn(batch, spec.in_channels, 4 * spec.multiple, 2 * spec.multiple)


def open_feedback(network: nn.Module) -> nn.Module:
    """Let the feedback through, which a fresh network holds back."""
    if isinstance(network, FeedbackAttentionUNet):
        nn.init.constant_(network.feedback.scale, 0.5)
    return network


def after_training(network: nn.Module, images: Tensor) -> nn.Module:
    """Return the network in eval mode, with the statistics of some images."""
    network.train()
    with torch.no_grad():
        network(2 * images + 1)
    return network.eval()


def without_gradient(network: nn.Module) -> set[str]:
    return {
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    }


@pytest.mark.parametrize("variant", VARIANTS)
class TestEveryNetwork:
    def test_one_map_of_logits_for_each_round(self, variant: str) -> None:
        spec = spec_of(variant)
        images = images_for(spec)
        rounds = build_network(spec)(images)
        assert isinstance(rounds, tuple)
        assert len(rounds) == spec.rounds
        for logits in rounds:
            assert logits.shape == (2, spec.classes, *images.shape[2:])
            assert logits.dtype == torch.float32
            assert logits.isfinite().all()

    def test_images_of_a_batch_do_not_mix(self, variant: str) -> None:
        spec = spec_of(variant)
        images = images_for(spec, batch=3)
        network = after_training(open_feedback(build_network(spec)), images)
        for together, alone in zip(network(images), network(images[1:2]), strict=True):
            torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)

    def test_state_dict_there_and_back(self, variant: str) -> None:
        spec = spec_of(variant)
        images = images_for(spec)
        network = after_training(open_feedback(build_network(spec)), images)
        other = build_network(spec).eval()
        assert not torch.equal(other(images)[-1], network(images)[-1])
        other.load_state_dict(network.state_dict())
        for ours, theirs in zip(other(images), network(images), strict=True):
            assert torch.equal(ours, theirs)

    def test_every_parameter_learns(self, variant: str) -> None:
        spec = spec_of(variant)
        network = open_feedback(build_network(spec))
        sum(logits.square().sum() for logits in network(images_for(spec))).backward()
        # Softmax does not see what is added to all keys.
        invisible = {"feedback.key.0.bias", "feedback.key.1.bias"}
        assert without_gradient(network) <= invisible

    def test_double_precision(self, variant: str) -> None:
        spec = spec_of(variant)
        images = images_for(spec)
        network = after_training(open_feedback(build_network(spec)), images)
        single = network(images)
        for logits, expected in zip(network.double()(images.double()), single, strict=True):
            assert logits.dtype == torch.float64
            torch.testing.assert_close(logits.float(), expected, rtol=1e-3, atol=1e-4)

    def test_mixed_precision(self, variant: str) -> None:
        spec = spec_of(variant)
        images = images_for(spec)
        network = after_training(open_feedback(build_network(spec)), images)
        expected = network(images)[-1]
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images)[-1]
        assert (logits - expected).abs().max() < 0.1 * expected.abs().max()
        logits.float().square().sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())

    def test_layout_in_memory_does_not_matter(self, variant: str) -> None:
        spec = spec_of(variant)
        images = images_for(spec)
        network = after_training(open_feedback(build_network(spec)), images)
        expected = network(images)[-1]
        network.to(memory_format=torch.channels_last)
        logits = network(images.to(memory_format=torch.channels_last))[-1]
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", FEEDBACK)
class TestFeedback:
    def test_starts_as_a_unet_that_looks_twice(self, variant: str) -> None:
        spec = spec_of(variant)
        images = images_for(spec)
        network = build_network(spec)
        if not spec.norm_per_round:
            after_training(network, images)
        first, second = network.eval()(images)
        assert torch.equal(first, second)
        open_feedback(network)
        again, second = network(images)
        assert torch.equal(first, again)
        assert not torch.allclose(first, second)

    def test_first_round_is_a_unet(self, variant: str) -> None:
        spec = spec_of(variant)
        images = images_for(spec)
        network = open_feedback(build_network(spec))
        unet = UNet(spec.in_channels, spec.classes, spec.width, spec.depth)
        shared = unet.state_dict()
        unet.load_state_dict({name: network.unet.state_dict()[name] for name in shared})
        assert torch.equal(network.eval()(images)[0], unet.eval()(images)[0])

    def test_rounds_share_their_weights(self, variant: str) -> None:
        spec = spec_of(variant)
        network = build_network(spec)
        unet = UNet(spec.in_channels, spec.classes, spec.width, spec.depth)

        def size(module: nn.Module, *, norms: bool) -> int:
            return sum(
                parameter.numel()
                for part in module.modules()
                if isinstance(part, nn.BatchNorm2d) == norms
                for parameter in part.parameters(recurse=False)
            )

        assert size(network.unet, norms=False) == size(unet, norms=False)
        two_sets = size(unet, norms=True) * 2
        # The convolutions of the first block before the tap run in round 1 only.
        two_sets -= 2 * spec.width * (1 if spec.tap == "one_conv" else 2)
        assert size(network.unet, norms=True) == (two_sets if spec.norm_per_round else size(unet, norms=True))

    def test_first_round_is_detached_or_not(self, variant: str) -> None:
        spec = spec_of(variant)
        network = open_feedback(build_network(spec))
        maps = network.maps(images_for(spec))
        maps.output_side.retain_grad()
        maps.input_side.retain_grad()
        maps.logits[1].square().sum().backward()
        assert (maps.output_side.grad is None) == spec.detach_first_round
        assert maps.input_side.grad.abs().max() > 0
        assert not without_gradient(network.unet.first.first) & {"conv.weight"}

    def test_maps_are_those_of_the_two_sides(self, variant: str) -> None:
        spec = spec_of(variant)
        images = images_for(spec)
        network = open_feedback(build_network(spec)).eval()
        maps = network.maps(images)
        shape = (2, spec.width, *images.shape[2:])
        assert maps.input_side.shape == maps.output_side.shape == shape
        assert torch.equal(network.unet.classifier(maps.output_side), maps.logits[0])
        first = network.unet.first
        expected = first.first(images) if spec.tap == "one_conv" else first(images)
        assert torch.equal(maps.input_side, expected)

    def test_attention_has_the_channels_of_the_paper(self, variant: str) -> None:
        spec = spec_of(variant)
        feedback = build_network(spec).feedback
        narrow = spec.query_channels or max(1, spec.width // 8)
        assert feedback.query[0].out_channels == feedback.key[0].out_channels == narrow
        assert feedback.value[0].out_channels == max(1, spec.width // 2)
        assert isinstance(feedback.norm, nn.BatchNorm2d) == (spec.mode == "source_target")


def test_statistics_of_each_round_are_its_own() -> None:
    spec = NetworkSpec(**SMALL, norm_per_round=True)
    network = open_feedback(build_network(spec))
    network(images_for(spec))
    first, second = network.unet.merge[0].first.norms
    assert first.num_batches_tracked == second.num_batches_tracked == 1
    assert not torch.allclose(first.running_mean, second.running_mean)


def test_width_doubles_with_each_level() -> None:
    network = build_network(NetworkSpec(kind="unet", width=64))
    assert [block.second.conv.out_channels for block in network.down] == [128, 256, 512, 1024]
    assert sum(parameter.numel() for parameter in network.parameters()) == 31_036_676

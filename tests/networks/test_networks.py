from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.models.model import Model, ModelCard
from napari_feedback_seg.models.model_file import load_model_file, save_model
from napari_feedback_seg.networks import FeedbackAttentionUNet, NetworkSpec, UNet, build_network
from napari_feedback_seg.networks.attention import FeedbackAttention
from napari_feedback_seg.networks.recurrent import FeedbackUNet

if TYPE_CHECKING:
    from pathlib import Path

SMALL: dict[str, Any] = {"width": 8, "depth": 2}

ATTENTION: dict[str, dict[str, Any]] = {
    "self": {},
    "source_target": {"mode": "source_target"},
    "one_conv": {"tap": "one_conv"},
    "source_target_one_conv": {"mode": "source_target", "tap": "one_conv"},
    "gradient_through_round_1": {"detach_first_round": False},
    "norm_per_round": {"norm_per_round": True},
    "norm_per_round_one_conv": {"norm_per_round": True, "tap": "one_conv"},
    "as_the_bundled_model": {
        "norm_per_round": True,
        "detach_first_round": False,
        "key_pooling": 4,
        "query_channels": 8,
    },
    "mean_of_rounds": {"mean_of_rounds": True},
    "key_pooling": {"key_pooling": 4},
    "both_pooled": {"query_pooling": 4, "key_pooling": 4},
    "key_pooling_odd": {"key_pooling": 3, "mode": "source_target"},
    "query_channels": {"query_channels": 6},
    "more_query_than_value_channels": {"query_channels": 12},
    "narrow": {"width": 1},
    "depth_1": {"depth": 1},
    "depth_4": {"depth": 4},
    "two_classes": {"classes": 2},
    "three_channels": {"in_channels": 3},
}

CONNECTIONS: dict[str, dict[str, Any]] = {
    "add": {"mode": "add"},
    "add_norm_per_round": {"mode": "add", "norm_per_round": True},
    "conv1x1": {"mode": "conv1x1"},
    "conv1x1_one_conv": {"mode": "conv1x1", "tap": "one_conv", "detach_first_round": False},
    "squeeze_excitation": {"mode": "squeeze_excitation"},
    "squeeze_excitation_wide": {"mode": "squeeze_excitation", "width": 80, "depth": 1},
    "light_attention": {"mode": "light_attention"},
    "light_attention_all": {
        "mode": "light_attention",
        "tap": "one_conv",
        "norm_per_round": True,
        "detach_first_round": False,
    },
}

FEEDBACK = {**ATTENTION, **CONNECTIONS}

VARIANTS: dict[str, dict[str, Any]] = {
    "unet": {"kind": "unet"},
    "unet_depth_4": {"kind": "unet", "depth": 4, "in_channels": 2, "classes": 7},
    "recurrent_unet": {"kind": "recurrent_unet"},
    "recurrent_unet_norm_per_step": {"kind": "recurrent_unet", "norm_per_round": True, "in_channels": 2},
    "feedback_unet": {"kind": "feedback_unet"},
    "feedback_unet_norm_per_round": {"kind": "feedback_unet", "norm_per_round": True, "classes": 7},
    "feedback_unet_gradient_through_round_1": {
        "kind": "feedback_unet",
        "norm_per_round": True,
        "detach_first_round": False,
        "in_channels": 3,
    },
    **FEEDBACK,
}

INVISIBLE = {"feedback.query.0.bias", "feedback.key.0.bias", "feedback.key.1.bias"}
"""A norm takes off the bias before it; softmax does not see what is added to all keys."""


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


def learning_network(variant: str) -> nn.Module:
    """Return an open network of which no unit is silent for every image."""
    network = open_feedback(build_network(spec_of(variant)))
    for name, parameter in network.named_parameters():
        if name in ("feedback.transform.layers.1.bias", "feedback.transform.layers.3.bias"):
            nn.init.constant_(parameter, 1)
    return network


def without_gradient(network: nn.Module) -> set[str]:
    return {
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    }


def parameters_of(module: nn.Module, *, norms: bool) -> int:
    return sum(
        parameter.numel()
        for part in module.modules()
        if isinstance(part, nn.BatchNorm2d) == norms
        for parameter in part.parameters(recurse=False)
    )


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

    @pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 3), (5, 2)])
    def test_any_multiple_will_do(self, variant: str, rows: int, columns: int) -> None:
        spec = spec_of(variant)
        network = after_training(open_feedback(build_network(spec)), images_for(spec))
        images = torch.randn(1, spec.in_channels, rows * spec.multiple, columns * spec.multiple)
        for logits in network(images):
            assert logits.shape == (1, spec.classes, *images.shape[2:])
            assert logits.isfinite().all()

    def test_the_two_rounds_differ(self, variant: str) -> None:
        spec = spec_of(variant)
        images = images_for(spec)
        rounds = after_training(open_feedback(build_network(spec)), images)(images)
        assert len(rounds) == 1 or not torch.allclose(*rounds)

    def test_images_of_a_batch_do_not_mix(self, variant: str) -> None:
        spec = spec_of(variant)
        images = images_for(spec, batch=3)
        network = after_training(open_feedback(build_network(spec)), images)
        for together, alone in zip(network(images), network(images[1:2]), strict=True):
            torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)

    def test_model_file_there_and_back(self, variant: str, tmp_path: Path) -> None:
        spec = spec_of(variant)
        images = images_for(spec)
        network = after_training(open_feedback(build_network(spec)), images)
        classes = tuple(LabelClass(value + 1, f"class {value}", "#000000") for value in range(spec.classes))
        model = Model(ModelCard(variant, spec, classes, pixel_size_nm=4.6, tile=32), network)
        exact = load_model_file(save_model(model, tmp_path / "exact.safetensors"))
        assert exact.card.spec == spec
        for ours, theirs in zip(exact.network(images), network(images), strict=True):
            assert torch.equal(ours, theirs)
        half = load_model_file(save_model(model, tmp_path / "half.safetensors", half=True)).network
        for ours, theirs in zip(half(images), network(images), strict=True):
            assert 0 < (ours - theirs).abs().max() < 0.02 * theirs.abs().max()

    def test_every_parameter_learns(self, variant: str) -> None:
        network = learning_network(variant)
        sum(logits.square().sum() for logits in network(images_for(spec_of(variant)))).backward()
        assert without_gradient(network) <= INVISIBLE

    def test_what_learns_from_the_last_round_alone(self, variant: str) -> None:
        spec = spec_of(variant)
        network = learning_network(variant)
        network(images_for(spec))[-1].square().sum().backward()
        unreached: set[str] = set()
        if spec.rounds > 1 and spec.norm_per_round and spec.detach_first_round:
            # Where each round has its norms, those of the first end before the last round begins.
            names = {name for name, _ in network.named_parameters()}
            first = {re.sub(r"norms\.1\.", "norms.0.", name) for name in names if "norms.1." in name}
            assert first
            unreached = first
        assert unreached <= without_gradient(network) <= unreached | INVISIBLE

    def test_gradients_of_a_batch_of_one_are_right(self, variant: str) -> None:
        """An image twice has the statistics of the image once, and so the same mean gradients."""
        spec = spec_of(variant)
        once = learning_network(variant)
        twice = copy.deepcopy(once)
        image = images_for(spec, batch=1)
        truth = torch.randint(spec.classes, (1, *image.shape[2:]))
        for network, copies in ((once, 1), (twice, 2)):
            rounds = network(image.expand(copies, -1, -1, -1).contiguous())
            target = truth.expand(copies, -1, -1)
            sum(nn.functional.cross_entropy(logits, target) for logits in rounds).backward()
        largest = max(parameter.grad.abs().max().item() for parameter in twice.parameters())
        for (name, ours), theirs in zip(once.named_parameters(), twice.parameters(), strict=True):
            difference = (ours.grad - theirs.grad).abs().max().item()
            assert difference <= 1e-4 * largest, name

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
        assert parameters_of(network.unet, norms=False) == parameters_of(unet, norms=False)
        one_set = parameters_of(unet, norms=True)
        # The convolutions of the first block before the tap run in round 1 only.
        two_sets = 2 * one_set - 2 * spec.width * (1 if spec.tap == "one_conv" else 2)
        assert parameters_of(network.unet, norms=True) == (two_sets if spec.norm_per_round else one_set)

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

    def test_only_attention_has_query_and_key(self, variant: str) -> None:
        spec = spec_of(variant)
        feedback = build_network(spec).feedback
        assert isinstance(feedback, FeedbackAttention) == (variant in ATTENTION)
        if variant in ATTENTION:
            narrow = spec.query_channels or max(1, spec.width // 8)
            assert feedback.query[0].out_channels == feedback.key[0].out_channels == narrow
            assert feedback.value[0].out_channels == max(1, spec.width // 2)
            assert isinstance(feedback.norm, nn.BatchNorm2d) == (spec.mode == "source_target")


@pytest.mark.parametrize("norm_per_round", [False, True])
class TestFeedbackUNet:
    def network(self, norm_per_round: bool, **others: Any) -> FeedbackUNet:
        spec = NetworkSpec(kind="feedback_unet", norm_per_round=norm_per_round, **SMALL, **others)
        network = build_network(spec)
        assert isinstance(network, FeedbackUNet)
        return network

    def test_second_round_looks_at_the_probabilities_only(self, norm_per_round: bool) -> None:
        """With the states of round 1 forgotten, equal probabilities give equal answers."""
        network = self.network(norm_per_round).eval()
        images, said = torch.randn(2, 1, 16, 8), 3 * torch.randn(1, 4, 16, 8)
        with torch.no_grad():
            network.lstm.gates.weight[:, 8:] = 0
            network.lstm.gates.weight[8:16] = 0
            network.lstm.gates.bias[8:16] = -100
            first = [said.expand(2, -1, -1, -1)]  # round 1 says the same of both images
            network.classifier.register_forward_hook(lambda _, __, answer: first.pop() if first else answer)
            one, other = network(images)[1]
            torch.testing.assert_close(one, other)
            first.append(torch.cat([said, -said]))
            one, other = network(images)[1]
            assert (one - other).abs().max() > 1e-3

    def test_states_are_those_of_the_formula(self, norm_per_round: bool) -> None:
        lstm = self.network(norm_per_round).lstm
        seen, hidden, cell = torch.randn(3, 2, 8, 6, 5)
        weight, bias = lstm.gates.weight, lstm.gates.bias
        took, kept, shown, new = (
            nn.functional.conv2d(seen, weight[part, :8], padding=1)
            + nn.functional.conv2d(hidden, weight[part, 8:], padding=1)
            + bias[part].view(-1, 1, 1)
            for part in (slice(0, 8), slice(8, 16), slice(16, 24), slice(24, 32))
        )
        after = kept.sigmoid() * cell + took.sigmoid() * new.tanh()
        expected = (shown.sigmoid() * after.tanh(), after)
        for ours, theirs in zip(lstm(seen, hidden, cell), expected, strict=True):
            torch.testing.assert_close(ours, theirs)

    @pytest.mark.parametrize("detach", [True, False])
    def test_gradient_stops_at_the_probabilities_or_not(self, norm_per_round: bool, detach: bool) -> None:
        network = self.network(norm_per_round, detach_first_round=detach)
        first, second = network(torch.randn(2, 1, 16, 8))
        first.retain_grad()
        second.square().sum().backward()
        assert (first.grad is None) == detach
        assert not without_gradient(network.from_image)

    def test_rounds_share_their_weights(self, norm_per_round: bool) -> None:
        network = self.network(norm_per_round)
        unet = build_network(NetworkSpec(kind="unet", **SMALL))
        body = parameters_of(unet, norms=False) - parameters_of(unet.first, norms=False)
        convlstm = (2 * 8 * 9 + 1) * 4 * 8
        one_by_one = (1 + 1) * 8 + (4 + 1) * 8
        assert parameters_of(network, norms=False) == body + convlstm + one_by_one
        one_set = parameters_of(unet, norms=True) - parameters_of(unet.first, norms=True)
        assert parameters_of(network, norms=True) == one_set * (2 if norm_per_round else 1)


@pytest.mark.parametrize("norm_per_round", [False, True])
class TestRecurrentUNet:
    def network(self, norm_per_round: bool) -> UNet:
        return build_network(NetworkSpec(kind="recurrent_unet", norm_per_round=norm_per_round, **SMALL))

    def test_a_unit_is_the_formula(self, norm_per_round: bool) -> None:
        unit = self.network(norm_per_round).first.first
        seen = torch.randn(2, 8, 6, 5)
        unit.eval()
        for norm in unit.norms:
            nn.init.normal_(norm.running_mean)
            nn.init.normal_(norm.bias)
        norms = unit.norms if norm_per_round else [unit.norms[0]] * 3
        expected = norms[0](unit.conv(seen)).relu()
        expected = norms[1](unit.conv(seen + expected)).relu()
        expected = norms[2](unit.conv(seen + expected)).relu()
        torch.testing.assert_close(unit(seen), expected)

    def test_steps_share_their_weights(self, norm_per_round: bool) -> None:
        network = self.network(norm_per_round)
        square = [8, 16, 32, 16, 8]
        convolutions = sum(2 * 9 * out * out for out in square)
        widening = sum((before + 1) * out for before, out in zip([1, 8, 16, 32, 16], square, strict=True))
        up = sum((4 * 2 * out + 1) * out for out in (8, 16))
        classifier = (8 + 1) * 4
        assert parameters_of(network, norms=False) == convolutions + widening + up + classifier
        assert parameters_of(network, norms=True) == sum(square) * 2 * 2 * (3 if norm_per_round else 1)

    def test_after_training_it_answers_as_in_training(self, norm_per_round: bool) -> None:
        """With a set of norms a step, the statistics gathered are those of each step."""
        network = self.network(norm_per_round)
        images = torch.randn(4, 1, 32, 32)
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = None  # the mean of all batches
        with torch.no_grad():
            expected = network(images)[0]
            found = network.eval()(images)[0]
        assert ((found - expected).abs().max() < 0.1 * expected.abs().max()) == norm_per_round


def test_mean_of_rounds_answers_with_the_mean_of_both() -> None:
    image = torch.randn(1, 1, 16, 16)
    second = build_network(NetworkSpec(**SMALL)).eval()
    mean = build_network(NetworkSpec(mean_of_rounds=True, **SMALL)).eval()
    mean.load_state_dict(second.state_dict())
    with torch.no_grad():
        for network in (second, mean):
            network.feedback.scale.fill_(1)
        torch.testing.assert_close(mean(image)[0], second(image)[0])
        torch.testing.assert_close(mean(image)[1], sum(second(image)) / 2)


def test_statistics_of_each_round_are_its_own() -> None:
    spec = NetworkSpec(**SMALL, norm_per_round=True)
    network = open_feedback(build_network(spec))
    network(images_for(spec))
    first, second = network.unet.merge[0].first.norms
    assert first.num_batches_tracked == second.num_batches_tracked == 1
    assert not torch.allclose(first.running_mean, second.running_mean)


def test_gates_weigh_by_their_formula() -> None:
    output_side = torch.randn(2, 8, 6, 5)
    squeeze = build_network(NetworkSpec(mode="squeeze_excitation", **SMALL)).feedback.transform
    first, second = squeeze.layers[1], squeeze.layers[3]
    hidden = (output_side.mean((2, 3)) @ first.weight[:, :, 0, 0].T + first.bias).relu()
    weights = (hidden @ second.weight[:, :, 0, 0].T + second.bias).sigmoid()
    torch.testing.assert_close(squeeze(output_side), output_side * weights[:, :, None, None])
    light = build_network(NetworkSpec(mode="light_attention", **SMALL)).feedback.transform
    weights = nn.functional.conv2d(output_side, light.layers[0].weight, light.layers[0].bias, padding=1)
    torch.testing.assert_close(light(output_side), output_side * weights.sigmoid())


def test_squeeze_and_excitation_at_the_width_of_the_paper_is_se_net_s() -> None:
    gate = build_network(NetworkSpec(mode="squeeze_excitation", width=64, depth=1)).feedback.transform
    assert gate.layers[1].weight.shape == (4, 64, 1, 1)
    assert gate.layers[3].weight.shape == (64, 4, 1, 1)


def test_adding_adds_the_map_itself() -> None:
    feedback = open_feedback(build_network(NetworkSpec(mode="add", **SMALL))).feedback
    input_side, output_side = torch.randn(2, 1, 8, 6, 5)
    torch.testing.assert_close(feedback(input_side, output_side), input_side + 0.5 * output_side)


def test_width_doubles_with_each_level() -> None:
    network = build_network(NetworkSpec(kind="unet", width=64))
    assert [block.second.conv.out_channels for block in network.down] == [128, 256, 512, 1024]
    assert sum(parameter.numel() for parameter in network.parameters()) == 31_036_676

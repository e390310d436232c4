from __future__ import annotations

import copy

import pytest
import torch

from napari_feedback_seg.networks import NetworkSpec, build_network
from napari_feedback_seg.networks.folding import fold_batch_norm


@pytest.mark.parametrize(
    "variant",
    [
        {"kind": "unet"},
        {"kind": "recurrent_unet"},
        {"kind": "feedback_unet"},
        {"mode": "self"},
        {"mode": "source_target", "tap": "one_conv"},
        {"mode": "squeeze_excitation", "norm_per_round": False},
    ],
    ids=lambda each: "-".join(map(str, each.values())),
)
def test_the_answer_stays_the_same_without_batch_norm(variant):
    torch.manual_seed(0)
    network = build_network(NetworkSpec(**{"kind": "feedback_attention", "width": 4, "depth": 2, **variant}))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after a training
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -1, 1)
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    network.eval()
    if hasattr(network, "feedback"):
        torch.nn.init.constant_(network.feedback.scale, 0.7)
    folded = copy.deepcopy(network)
    fold_batch_norm(folded)
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in folded.modules())
    image = torch.randn(2, 1, 32, 32)
    with torch.inference_mode():
        for found, expected in zip(folded(image), network(image), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

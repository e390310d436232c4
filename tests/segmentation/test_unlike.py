from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.models.model import Model
from napari_feedback_seg.segmentation.one_section import INVERTED, UNLIKE
from napari_feedback_seg.segmentation.predict import segment
from napari_feedback_seg.segmentation.sections import normalise
from napari_feedback_seg.segmentation.unlike import spread, unlikeness


def smooth(sigma: float, seed: int) -> np.ndarray:
    return normalise(gaussian_filter(np.random.default_rng(seed).normal(size=(64, 64)), sigma))


@pytest.fixture
def taught(make_model):
    """A model whose batch norm has seen smooth noise."""
    model = make_model()
    network = model.network
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    with torch.no_grad():
        for seed in range(20):
            network(torch.from_numpy(smooth(3, seed))[None, None])
    network.eval()
    return Model(model.card, network)


class TestUnlikeness:
    def test_what_it_has_seen_and_what_not(self, taught):
        known = [unlikeness(taught, [smooth(3, seed)]) for seed in (100, 101)]
        others = [unlikeness(taught, [other]) for other in (smooth(0.5, 0), smooth(12, 0), 2 * smooth(3, 0))]
        assert 0 <= max(known) < 0.5 * min(others)

    def test_it_is_0_for_the_very_statistics(self, taught):
        norm = taught.network.unet.first.first.norms[0]
        tiles = torch.from_numpy(np.stack([smooth(3, 0), smooth(3, 1)]))[:, None]
        with torch.no_grad():
            maps = taught.network.unet.first.first.conv(tiles)
        norm.running_mean.copy_(maps.mean(dim=(0, 2, 3)))
        norm.running_var.copy_(maps.var(dim=(0, 2, 3)))
        for each in taught.network.modules():
            if isinstance(each, nn.BatchNorm2d) and each is not norm:
                each.num_batches_tracked.zero_()  # as if it had seen nothing
        assert unlikeness(taught, [smooth(3, 0), smooth(3, 1)]) == pytest.approx(0, abs=1e-5)

    def test_nothing_is_known_of_an_untaught_network(self, make_model):
        assert unlikeness(make_model(kind="unet"), [smooth(3, 0)]) is None

    def test_it_stops_before_the_decoder_and_leaves_no_trace(self, taught):
        called = []
        handle = taught.network.unet.classifier.register_forward_hook(lambda *_: called.append(1))
        assert unlikeness(taught, [smooth(3, 0)]) == unlikeness(taught, [smooth(3, 0)])
        assert called == []
        with torch.inference_mode():
            taught.network(torch.zeros(1, 1, 64, 64))
        assert len(called) == 2
        handle.remove()


def test_spread():
    assert spread(list(range(100)), 4) == [12, 37, 62, 87]
    assert spread([1, 2, 3], 4) == [1, 2, 3]


class TestSentence:
    @pytest.fixture(scope="class")
    @staticmethod
    def trained():
        return load_model("unet-w16")

    def test_tissue_is_known(self, trained):
        assert segment(builtin_section(320, seed=0).image, trained).messages == ()

    @pytest.mark.parametrize("sigma", [0, 12])
    def test_noise_and_blobs_are_not(self, trained, sigma):
        noise = np.random.default_rng(0).normal(size=(320, 320))
        assert segment(gaussian_filter(noise, sigma), trained).messages == (UNLIKE,)

    def test_inverted_contrast_is_said_alone(self, trained):
        assert segment(255 - builtin_section(320, seed=0).image, trained).messages == (INVERTED,)

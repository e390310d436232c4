from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from napari_feedback_seg.networks import NetworkSpec, build_network
from napari_feedback_seg.networks.attention import attend
from napari_feedback_seg.networks.hashing import HashedAttention


def vectors(batch: int, places: int, keys: int, channels: int = 8) -> list[Tensor]:
    return [
        torch.randn(batch, length, depth).requires_grad_()
        for length, depth in ((places, channels), (keys, channels), (keys, 5))
    ]


def with_gradients(result: Tensor, wanted: list[Tensor]) -> list[Tensor]:
    weights = torch.linspace(-1, 1, result.numel()).view(result.shape)
    return [result, *torch.autograd.grad((result * weights).sum(), wanted)]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("places", "keys"), [(64, 64), (35, 35), (63, 20), (1, 1), (2, 7)])
class TestHashedAttention:
    @pytest.mark.parametrize("buckets", [1, 2])
    def test_is_exact_where_all_keys_are_seen(self, buckets: int, batch: int, places: int, keys: int) -> None:
        inputs = vectors(batch, places, keys)
        expected = with_gradients(attend(*inputs), inputs)
        found = with_gradients(HashedAttention(8, buckets)(*inputs), inputs)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("buckets", [3, 8, 100])
    def test_each_query_sees_no_more_than_its_share(
        self, buckets: int, batch: int, places: int, keys: int
    ) -> None:
        """Values that name their key show which were seen, and with which weight."""
        query, key, _ = vectors(batch, places, keys)
        weights = HashedAttention(8, buckets)(query, key, torch.eye(keys).expand(batch, -1, -1))
        assert weights.shape == (batch, places, keys)
        seen = weights > 0
        assert seen.sum(dim=2).max() <= min(keys, 2 * -(-keys // buckets))
        scores = (query @ key.transpose(1, 2)).masked_fill(~seen, -torch.inf)
        torch.testing.assert_close(weights, scores.softmax(dim=2), rtol=1e-4, atol=1e-6)

    def test_gradients_flow_to_what_was_seen(self, batch: int, places: int, keys: int) -> None:
        inputs = vectors(batch, places, keys)
        for gradient in with_gradients(HashedAttention(8, 8)(*inputs), inputs)[1:]:
            assert gradient.isfinite().all()
            assert gradient.abs().max() > 0 or keys == 1

    def test_images_of_a_batch_do_not_mix(self, batch: int, places: int, keys: int) -> None:
        inputs = vectors(batch, places, keys)
        hashed = HashedAttention(8, 8)
        alone = hashed(*(each[-1:] for each in inputs))
        torch.testing.assert_close(hashed(*inputs)[-1:], alone, rtol=1e-4, atol=1e-6)


def test_a_query_finds_the_keys_that_are_like_it() -> None:
    """Of the weight that exact attention gives, far more than its share of the keys is seen."""
    centres = 4 * torch.nn.functional.normalize(torch.randn(16, 16), dim=1)
    which = torch.randint(16, (2, 1, 512))
    query, key = (centres[each] + 0.2 * torch.randn(1, 512, 16) for each in which)
    exact = (query @ key.transpose(1, 2)).softmax(dim=2)
    seen = HashedAttention(16, 16)(query, key, torch.eye(512)[None]) > 0
    assert seen.float().mean() <= 2 / 16
    assert (exact * seen).sum(dim=2).mean() > 3 * 2 / 16


def test_answers_alike_again_and_after_loading() -> None:
    spec = NetworkSpec(width=8, depth=2, hashing=8)
    network, other = build_network(spec).eval(), build_network(spec).eval()
    torch.nn.init.ones_(network.feedback.scale)
    image = torch.randn(1, 1, 32, 32)
    first = network(image)[-1]
    assert torch.equal(network(image)[-1], first)
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(image)[-1], first)


def test_a_network_with_one_bucket_is_that_without() -> None:
    assert "feedback.attend.rotation" in build_network(NetworkSpec(width=8, depth=2, hashing=2)).state_dict()
    plain = build_network(NetworkSpec(width=8, depth=2, hashing=1))
    assert not any("rotation" in name for name in plain.state_dict())


MEMORY = """
import resource, torch
from napari_feedback_seg.networks.hashing import HashedAttention

resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
torch.set_num_threads(1)
hashed = HashedAttention(8, 64)


def run(places):
    inputs = [torch.randn(1, places, channels).requires_grad_() for channels in (8, 8, 32)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hashed(*inputs).sum().backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


run(256)
print(run(128 * 128))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux gives it")
def test_memory_does_not_hold_the_matrix() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 150  # MB; the matrix would take 1000

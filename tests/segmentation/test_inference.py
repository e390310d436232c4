from __future__ import annotations

import copy
import gc
import platform
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from napari_feedback_seg.errors import DeviceError, ModelError
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.models.model import Model
from napari_feedback_seg.networks import FeedbackAttentionUNet, UNet
from napari_feedback_seg.segmentation import inference as module
from napari_feedback_seg.segmentation.inference import Inference

CPU = torch.device("cpu")
TILES = list(np.random.default_rng(0).normal(size=(5, 32, 32)).astype(np.float32))


class Failing(torch.nn.Module):
    """The real network, behind a GPU that fails at some of the calls."""

    def __init__(self, network, calls, error):
        super().__init__()
        self.network = network
        counted = iter(range(1000))

        def fail():  # a function, so that copies of the network count on
            if next(counted) in calls:
                raise error

        self.fail = fail

    def forward(self, images):
        self.fail()
        return self.network(images)


def failing(model: Model, calls: range | set[int], error: Exception | None = None) -> Model:
    error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return Model(model.card, Failing(model.network, calls, error))


def infer(
    model: Model,
    *,
    rounds: int = 1,
    flips: bool = False,
    batch: int | None = None,
    precision: str = "fp32",
) -> np.ndarray:
    return np.stack(list(Inference(model, CPU, rounds, flips, batch, precision)(TILES)))


class TestProbabilities:
    def test_softmax_of_the_last_round(self, model):
        with torch.inference_mode():
            logits = model.network(torch.tensor(np.stack(TILES))[:, None])
        expected = torch.cat([logits[-1].softmax(1), logits[0].softmax(1)], dim=1).numpy()
        np.testing.assert_allclose(infer(model, rounds=2), expected, atol=1e-5)
        np.testing.assert_allclose(infer(model), expected[:, :4], atol=1e-5)
        assert np.abs(expected[:, :4] - expected[:, 4:]).max() > 0.01  # the rounds differ

    @pytest.mark.parametrize("batch", [1, 2, 5, 50])
    def test_the_batch_does_not_matter(self, model, batch):
        np.testing.assert_allclose(infer(model, batch=batch), infer(model, batch=3), atol=1e-5)

    def test_flips_average_over_all_eight(self, unet):
        expected = 0
        for turns in range(4):
            for axis in (None, 1):
                turned = [np.rot90(tile if axis is None else np.flip(tile, axis), turns) for tile in TILES]
                with torch.inference_mode():
                    logits = unet.network(torch.tensor(np.stack(turned))[:, None])[-1]
                back = np.rot90(logits.softmax(1).numpy(), -turns, (2, 3))
                expected = expected + (back if axis is None else np.flip(back, 3)) / 8
        averaged = infer(unet, flips=True)
        np.testing.assert_allclose(averaged, expected, atol=1e-5)
        assert np.abs(averaged - infer(unet)).max() > 0.01

    def test_flips_follow_the_image(self, unet):
        inference = Inference(unet, CPU, 1, True, None, "fp32")
        [straight, turned] = inference([TILES[0], np.rot90(TILES[0]).copy()])
        np.testing.assert_allclose(np.rot90(straight, axes=(1, 2)), turned, atol=1e-5)

    def test_the_model_stays_as_it_is(self, unet):
        before = {name: value.clone() for name, value in unet.network.state_dict().items()}
        unet.network.train()
        try:
            infer(unet)
            assert unet.network.training
        finally:
            unet.network.eval()
        for name, value in unet.network.state_dict().items():
            assert torch.equal(value, before[name])
            assert value.stride() == before[name].stride()


class TestMemory:
    @pytest.mark.parametrize("error", [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB, max allowed: 9.07 GB)."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ], ids=["cuda", "mps", "cpu"])  # fmt: skip
    def test_the_batch_is_halved(self, model, error):
        inference = Inference(failing(model, {0, 1}, error), CPU, 1, False, 4, "fp32")
        np.testing.assert_allclose(np.stack(list(inference(TILES))), infer(model), atol=1e-5)
        assert inference.batch == 1
        assert inference.messages == []

    def test_then_the_cpu_takes_over_from_the_tile_that_failed(self, model):
        calls = []
        stubborn = failing(model, range(3, 5))
        inner = stubborn.network.fail
        stubborn.network.fail = lambda: (calls.append(1), inner())
        inference = Inference(stubborn, CPU, 1, False, 2, "fp32")
        inference._on_cpu = False  # here the CPU stands in for a GPU
        np.testing.assert_allclose(np.stack(list(inference(TILES * 2))), infer(model).tolist() * 2, atol=1e-5)
        # 2 + 2 + 2 tiles, a failure with two and one with one, then the last four one by one
        assert len(calls) == 3 + 2 + 4
        [message] = inference.messages
        assert "ran out of memory" in message
        assert "CPU" in message

    @pytest.mark.parametrize("on_cpu", [True, False])
    def test_too_little_even_there(self, model, on_cpu):
        inference = Inference(failing(model, range(1000)), CPU, 1, False, 4, "fp32")
        inference._on_cpu = on_cpu
        with pytest.raises(DeviceError, match="one tile of 32 x 32"):
            list(inference(TILES))
        assert bool(inference.messages) is not on_cpu

    @pytest.mark.parametrize("kind", ["unet", "feedback"])
    def test_closing_frees_the_network(self, model, unet, kind):
        def networks() -> int:
            return sum(type(each) in (UNet, FeedbackAttentionUNet) for each in gc.get_objects())

        gc.collect()
        before = networks()
        inference = Inference(unet if kind == "unet" else model, CPU, 1, False, None, "fp32")
        list(inference(TILES))
        assert networks() > before
        inference.close()
        assert networks() == before

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
    def test_cuda_as_cpu(self, model):
        gpu = Inference(model, torch.device("cuda"), 2, True, None, "fp32")
        allocated = torch.cuda.memory_allocated()
        found = np.stack(list(gpu(TILES)))
        gpu.close()
        assert torch.cuda.memory_allocated() == allocated
        np.testing.assert_allclose(found, infer(model, rounds=2, flips=True), atol=5e-3)


class TestPrecision:
    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_half_the_bits_give_nearly_the_same(self, model, precision):
        exact, found = infer(model, rounds=2), infer(model, rounds=2, precision=precision)
        assert found.dtype == np.float32
        difference = np.abs(found - exact)
        assert 0 < difference.mean() < 0.02
        assert (found[:, :4].argmax(1) == exact[:, :4].argmax(1)).mean() > 0.97

    @pytest.mark.parametrize("has_it", [True, False])
    def test_auto_is_bfloat16_where_the_processor_has_it(self, model, monkeypatch, has_it):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_it, raising=False)
        assert Inference(model, CPU, 1, False, None).dtype == (torch.bfloat16 if has_it else torch.float32)
        np.testing.assert_array_equal(
            infer(model, precision="auto"), infer(model, precision="bf16" if has_it else "fp32")
        )

    def test_what_is_too_large_for_float16_is_computed_in_float32(self, unet):
        large = Model(unet.card, copy.deepcopy(unet.network))
        with torch.no_grad():
            large.network.first.first.norms[0].weight.mul_(1e6)
            large.network.classifier.weight.mul_(1e-6)
        inference = Inference(large, CPU, 1, False, 2, "fp16")
        found = np.stack(list(inference(TILES)))
        assert inference.dtype == torch.float32
        np.testing.assert_array_equal(found, infer(large, batch=2))

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
    @pytest.mark.parametrize("precision", ["auto", "fp16"])
    def test_cuda_in_half_the_bits(self, model, precision):
        gpu = Inference(model, torch.device("cuda"), 1, False, 2, precision)
        found = np.stack(list(gpu(TILES * 4)))
        expected = np.concatenate([infer(model)] * 4)
        assert (found.argmax(1) == expected.argmax(1)).mean() > 0.97


class TestThreads:
    @pytest.fixture(autouse=True)
    def _threads(self):
        before = torch.get_num_threads()
        yield
        torch.set_num_threads(before)

    def test_equal_numbers_for_any_number_of_threads(self, model):
        answers = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            answers.append(infer(model, rounds=2, batch=2))
            assert torch.get_num_threads() == threads
        np.testing.assert_array_equal(answers[1], answers[0])
        np.testing.assert_array_equal(answers[2], answers[0])

    def test_equal_numbers_whatever_other_tiles_come(self, model):
        alone = Inference(model, CPU, 2, False, 4, "fp32", steady=True)(TILES[4:])
        np.testing.assert_array_equal(
            next(alone), list(Inference(model, CPU, 2, False, 4, "fp32", steady=True)(TILES))[4]
        )

    def test_threads_are_given_back_when_it_is_stopped(self, model):
        torch.set_num_threads(2)
        answers = Inference(model, CPU, 1, False, 1, "fp32")(TILES)
        next(answers)
        answers.close()
        assert torch.get_num_threads() == 2

    def test_what_is_too_large_for_float16_is_an_error(self, unet):
        large = copy.deepcopy(unet)
        with torch.no_grad():
            large.network.classifier.weight.mul_(1e6)
        with pytest.raises(ModelError, match="--precision fp32"):
            list(Inference(large, CPU, 1, False, 1, "fp16", steady=True)(TILES))


class TestTiles:
    def test_are_taken_as_they_are_needed(self, model):
        taken = []
        many = (taken.append(1) or tile for tile in TILES * 20)
        for number, _ in enumerate(Inference(model, CPU, 1, False, 2, "fp32")(many)):
            # A batch for each thread, one that is being used, and one that waits.
            assert len(taken) <= number + 2 * (torch.get_num_threads() + 2)

    @pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how glibc keeps memory")
    def test_memory_is_not_fetched_anew_for_each_of_them(self):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # where no other test has used memory
            fetched, one_map = pool.submit(pages_of_a_tile).result()
        assert fetched < one_map / 2, "each tile fetched its feature maps from the system"


def pages_of_a_tile() -> tuple[float, float]:
    """Return how many pages of memory a tile fetches from the system, and how many its first maps take."""
    import resource

    torch.set_num_threads(1)
    model = load_model("unet-w16")
    inference = Inference(Model(replace(model.card, tile=512), model.network), CPU, 1, False, 1, "fp32")
    tiles = [np.zeros((512, 512), np.float32)] * 4
    passes = []
    for _ in range(5):  # the first ones fetch what the others use again
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        list(inference(tiles))
        passes.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(passes) / len(tiles), 512 * 512 * model.card.spec.width * 4 / resource.getpagesize()


class TestErrors:
    def test_another_failure_of_the_device(self, model):
        broken = failing(model, {0}, RuntimeError("CUDA error: device-side assert triggered"))
        with pytest.raises(DeviceError, match="device-side assert"):
            list(Inference(broken, CPU, 1, False, None, "fp32")(TILES))

    def test_a_device_that_fails_again_when_it_is_freed(self, model, monkeypatch):
        def fail(_):
            raise RuntimeError("CUDA error: unspecified launch failure")

        monkeypatch.setattr(module, "release_memory", fail)
        inference = Inference(model, CPU, 1, False, None, "fp32")
        inference.close()
        assert inference._network is None

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_weights_that_are_no_numbers(self, unet, value):
        damaged = Model(unet.card, UNet(1, 4, 4, 2).eval())
        with torch.no_grad():
            damaged.network.classifier.bias[2] = value
        with pytest.raises(ModelError, match="not numbers"):
            infer(damaged)

    def test_a_network_that_does_not_fit_its_card(self, unet):
        other = Model(replace(unet.card), UNet(1, 3, 4, 2).eval())
        with pytest.raises(ModelError, match="does not fit its card"):
            infer(other)

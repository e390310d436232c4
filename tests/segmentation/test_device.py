from __future__ import annotations

import pytest
import torch

from napari_feedback_seg.errors import DeviceError
from napari_feedback_seg.segmentation.device import (
    choose_device,
    describe_device,
    inference_dtype,
    resolved_precision,
)


def test_auto_takes_what_is_there():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == expected


def test_cpu():
    device = choose_device("cpu")
    assert device == torch.device("cpu")
    threads = torch.get_num_threads()
    assert describe_device(device) == f"CPU ({threads} thread{'s' * (threads > 1)})"


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "meta", "xpu"])
def test_no_such_device(name):
    with pytest.raises(DeviceError, match="no device called"):
        choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_no_cuda(name):
    with pytest.raises(DeviceError, match="No CUDA GPU"):
        choose_device(name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_cuda_gpu_that_is_not_there():
    with pytest.raises(DeviceError, match="the CUDA GPUs here are 0 to"):
        choose_device("cuda:99")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an Apple GPU")
def test_no_mps():
    with pytest.raises(DeviceError, match="No Apple GPU"):
        choose_device("mps")


class TestPrecision:
    @pytest.mark.parametrize(
        ("name", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)]
    )
    def test_one_that_is_asked_for(self, name, dtype):
        assert inference_dtype(torch.device("cpu"), name) == dtype

    def test_an_unknown_one(self):
        with pytest.raises(DeviceError, match="auto, bf16, fp16 or fp32"):
            inference_dtype(torch.device("cpu"), "fp8")

    def test_an_apple_gpu_computes_in_float16(self):
        assert inference_dtype(torch.device("mps"), "auto") == torch.float16
        assert resolved_precision(torch.device("mps"), "auto") == "fp32"  # whose gradients would vanish

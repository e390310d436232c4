"""The device that the network runs on, and the precision that it is good at."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from typing import TYPE_CHECKING, Any

import torch

from napari_feedback_seg.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_TENSOR_CORES = (7, 0)
"""CUDA GPUs from this on compute float16 faster than float32."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_BLOCK_KEPT, _MOST_KEPT = 2**25, 2**28
"""Of freed memory: the largest block, the most that glibc allows, and all of it."""

_OUT_OF_MEMORY = ("out of memory", "allocate memory", "not enough memory", "alloc_failed")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device that a person asked for.

    Parameters
    ----------
    name : str
        ``auto`` takes an NVIDIA or AMD GPU, else an Apple GPU, else the CPU. Or one by
        name: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises
    ------
    DeviceError
        If there is no such device on this computer.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"There is no device called {name!r}. Use auto, cpu, cuda, cuda:1 or mps.")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(
                "No CUDA GPU can be used: this computer has no such GPU, its driver is missing, or this "
                "PyTorch was built for the CPU. Use the device cpu, or install the GPU build of PyTorch."
            )
        if (device.index or 0) >= torch.cuda.device_count():
            raise DeviceError(
                f"There is no {name}: the CUDA GPUs here are 0 to {torch.cuda.device_count() - 1}."
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("No Apple GPU can be used here. Use the device cpu.")
    return device


def resolved_precision(device: torch.device, precision: str) -> str:
    """Return ``bf16`` or ``fp32`` for a training.

    ``auto`` is bfloat16 where the processor computes it in hardware.
    """
    if precision != "auto":
        return precision
    return "bf16" if _has_bfloat16(device) else "fp32"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Return the autocast that ``precision`` asks for in a training: bfloat16, or none."""
    if resolved_precision(device, precision) == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def inference_dtype(device: torch.device, precision: str) -> torch.dtype:
    """Return the type of numbers that a network computes its answer in.

    Without gradients, float16 serves too: ``auto`` takes it on GPUs that have no bfloat16.

    Parameters
    ----------
    device : torch.device
        What computes.
    precision : {"auto", "bf16", "fp16", "fp32"}
        What was asked for.

    Raises
    ------
    DeviceError
        If it is something else.
    """
    if precision not in ("auto", *_DTYPES):
        raise DeviceError(f"The precision is auto, bf16, fp16 or fp32, not {precision!r}.")
    if precision != "auto":
        return _DTYPES[precision]
    if _has_bfloat16(device):
        return torch.bfloat16
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= _TENSOR_CORES
    else:
        fast = device.type == "mps"
    return torch.float16 if fast else torch.float32


def tiles_at_once(device: torch.device, tile: int) -> int:
    """Return how many tiles keep a device busy.

    One of 256 x 256 pixels for a CPU, which computes them best out of its cache, and one for
    every two processors of a CUDA GPU.
    """
    at_once = {"cpu": 1, "mps": 8}.get(device.type)
    if at_once is None:
        at_once = torch.cuda.get_device_properties(device).multi_processor_count // 2
    return max(1, at_once * 256**2 // tile**2)


def describe_device(device: torch.device) -> str:
    """Return a device as a person knows it: ``CPU (2 threads)``, ``NVIDIA H100``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    threads = torch.get_num_threads()
    return f"CPU ({threads} thread{'s' if threads > 1 else ''})"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether it says that the memory of a device, or of the computer, did not suffice."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(each in str(error).lower() for each in _OUT_OF_MEMORY)


def machine(device: torch.device) -> str:
    """Return what computes, as it is to stand in a card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{platform.machine()} {device.type.upper()}, {threads} of {os.cpu_count()} threads"


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, instead of fetching it anew from the system.

    A network frees and takes the same memory for every tile, and a fifth of the time on a
    CPU went into pages that were given back and fetched again. :func:`release_memory`
    gives them back. Other systems' memory is not managed so.
    """
    with _glibc() as libc:
        libc.mallopt(_M_MMAP_THRESHOLD, _BLOCK_KEPT)
        libc.mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)
        libc.mallopt(_M_ARENA_MAX, 1)  # of a thread's own memory glibc keeps less


def release_memory(device: torch.device) -> None:
    """Give memory that is kept for later back to the system."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    else:
        with _glibc() as libc:
            libc.malloc_trim(0)


@contextlib.contextmanager
def _glibc() -> Iterator[ctypes.CDLL]:
    """Yield the C library; what it lacks, as others than glibc do, is not done."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        yield ctypes.CDLL(None)


def _has_bfloat16(device: torch.device) -> bool:
    """Return whether the device computes bfloat16 in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())

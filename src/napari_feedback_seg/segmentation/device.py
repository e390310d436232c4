"""The device that the network runs on."""

from __future__ import annotations

import os
import platform

import torch

from napari_feedback_seg.errors import DeviceError

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
                "No CUDA GPU can be used here: there is none, its driver is missing, or this PyTorch was "
                "built for the CPU. Use the device cpu, or install the GPU build of PyTorch."
            )
        if (device.index or 0) >= torch.cuda.device_count():
            raise DeviceError(
                f"There is no {name}: the CUDA GPUs here are 0 to {torch.cuda.device_count() - 1}."
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("No Apple GPU can be used here. Use the device cpu.")
    return device


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


def release_memory(device: torch.device) -> None:
    """Give memory that PyTorch keeps on a GPU for later back to the system."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()

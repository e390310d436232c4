"""What the paper defines: torch modules only, no files, no devices.

The names are loaded at first use: describing a network needs no torch, building one does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_feedback_seg.networks.feedback import FeedbackAttentionUNet, build_network
    from napari_feedback_seg.networks.spec import NetworkSpec
    from napari_feedback_seg.networks.unet import UNet

__all__ = ["FeedbackAttentionUNet", "NetworkSpec", "UNet", "build_network"]

_HOMES = {
    "FeedbackAttentionUNet": "feedback",
    "NetworkSpec": "spec",
    "UNet": "unet",
    "build_network": "feedback",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

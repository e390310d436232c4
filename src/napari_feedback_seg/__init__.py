"""Segment EM sections with feedback attention.

The public API is loaded at first use: importing the package loads neither torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_feedback_seg.correction.adapt import segment
    from napari_feedback_seg.models.library import list_models, load_model
    from napari_feedback_seg.models.model import Model, ModelCard
    from napari_feedback_seg.networks.spec import NetworkSpec
    from napari_feedback_seg.segmentation.measure import measure_labels
    from napari_feedback_seg.volumes.segment import segment_volume

__version__ = "0.2.0"

__all__ = [
    "Model",
    "ModelCard",
    "NetworkSpec",
    "__version__",
    "list_models",
    "load_model",
    "measure_labels",
    "segment",
    "segment_volume",
]

_HOMES = {
    "Model": "models.model",
    "ModelCard": "models.model",
    "NetworkSpec": "networks.spec",
    "list_models": "models.library",
    "load_model": "models.library",
    "measure_labels": "segmentation.measure",
    "segment": "correction.adapt",
    "segment_volume": "volumes.segment",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # found directly from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

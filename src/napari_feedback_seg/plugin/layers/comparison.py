"""The layers that are compared, and the layer of the errors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from napari_feedback_seg.plugin.layers.image import (
    DERIVED_PREFIX,
    RESULT_KEY,
    add_beside,
    class_colormap,
    class_features,
    like,
    move,
)
from napari_feedback_seg.plugin.session.segment.comparing import looks_like_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel

    from napari_feedback_seg.classes import LabelClass

ERRORS_KEY = "feedback-seg-errors"
"""In the metadata of a layer of errors: the name of the result that it is about."""


def comparable(viewer: ViewerModel) -> list[Labels]:
    """Return the results and what others made, the topmost first; no corrections, errors, or attention."""
    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Labels)
        and not any(str(key).startswith(DERIVED_PREFIX) for key in layer.metadata if key != RESULT_KEY)
    ]


def masks(viewer: ViewerModel) -> list[Any]:
    """Return the Image layers that hold a mask, which napari takes for an image when it opens one."""
    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Image)
        and isinstance(layer.data, np.ndarray)
        and layer.data.dtype in (bool, np.uint8)
        and layer.ndim in (2, 3)
        and looks_like_mask(layer.data, ())
    ]


def show_errors(
    viewer: ViewerModel, result: Labels, errors: np.ndarray, classes: Sequence[LabelClass]
) -> None:
    """Show the true classes where a result is wrong, in the layer of its errors."""
    looks = {
        "colormap": class_colormap([replace(each, opacity=0.9) for each in classes]),
        "features": class_features(classes),
    }
    for layer in viewer.layers:
        if layer.metadata.get(ERRORS_KEY) == result.name and layer.data.shape == errors.shape:
            layer.data = errors
            move(layer, result)
            layer.colormap, layer.features = looks["colormap"], looks["features"]
            return
    name = f"{result.name} errors"
    layer = Labels(errors, name=name, metadata={ERRORS_KEY: result.name}, **looks, **like(result))
    add_beside(viewer, layer)

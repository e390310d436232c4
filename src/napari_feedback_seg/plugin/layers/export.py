"""A result and what its layers look like, as an export holds them."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.plugin.layers.corrections import find_layer
from napari_feedback_seg.plugin.layers.image import (
    CORRECTIONS_KEY,
    RESULT_KEY,
    image_of,
    like,
    pixels_of,
    spacing_nm,
)
from napari_feedback_seg.plugin.layers.results import (
    PROBABILITY_KEY,
    measured_size,
    probability_layers,
    region_of,
)
from napari_feedback_seg.plugin.session.records import CorrectionsRecord
from napari_feedback_seg.segmentation.export import Result

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_feedback_seg.plugin.session.correct.painted.composed import Composed


def to_export(
    viewer: ViewerModel, layer: Labels, composed: Composed, file_spacing_nm: float | None
) -> Result:
    """Return a result layer as it is to be exported, with the distance of the sections that the file says."""
    image = image_of(viewer, layer)
    probabilities = {
        each.metadata[PROBABILITY_KEY]["class"]: each
        for each in probability_layers(viewer, layer)
        if tuple(each.data.shape) == tuple(layer.data.shape)
    }
    looks: dict[str, Any] = {
        "labels": _labels_state(layer),
        "probabilities": [_image_state(each) for each in probabilities.values()],
    }
    if image is not None:
        looks["image"] = {
            **_common_state(image),
            "contrast_limits": list(image.contrast_limits),
            "shape": list(pixels_of(image).shape),
            "reader": image.source.reader_plugin,
        }
    corrections = find_layer(viewer, image) if composed.corrections is not None else None
    if corrections is not None:
        record = CorrectionsRecord.from_json(corrections.metadata.get(CORRECTIONS_KEY, {}))
        region = region_of(layer)
        top, left = (0, 0) if region is None else (region[0].start, region[1].start)
        muted = [[z, row - top, column - left] for z, row, column in record.muted]
        looks["corrections"] = _labels_state(corrections)
        looks["corrections"] |= {"muted": muted, "muted_classes": list(record.muted_classes)}
    return Result(
        labels=composed,
        record=copy.deepcopy(layer.metadata[RESULT_KEY]),
        layers=looks,
        probabilities={name: each.data for name, each in probabilities.items()},
        corrections=composed.corrections,
        pixel_size_nm=measured_size(layer),
        spacing_nm=spacing_nm(layer) or file_spacing_nm,
        image_path=_path(image),
    )


def _path(image: Image | None) -> str | None:
    path = image.source.path if image is not None else None
    return os.path.abspath(path) if path and os.path.exists(path) else str(path) if path else None


def _labels_state(layer: Labels) -> dict[str, Any]:
    """Return what a labels layer looks like, as plain JSON."""
    colors = getattr(layer.colormap, "color_dict", None)
    return {
        **_common_state(layer),
        "visible": layer.visible,
        "features": layer.features.to_dict("list"),
        "colors": [[value, np.asarray(color).tolist()] for value, color in colors.items()]
        if colors
        else None,
    }


def _image_state(layer: Image) -> dict[str, Any]:
    """Return what a probability layer looks like, as plain JSON."""
    return {
        **_common_state(layer),
        "gamma": layer.gamma,
        "contrast_limits": list(layer.contrast_limits),
        "metadata": copy.deepcopy(layer.metadata),
        "colormap": {
            "name": layer.colormap.name,
            "colors": np.asarray(layer.colormap.colors).tolist(),
            "controls": np.asarray(layer.colormap.controls).tolist(),
            "interpolation": str(layer.colormap.interpolation),
        },
    }


def _common_state(layer: Labels | Image) -> dict[str, Any]:
    place = like(layer)
    plain = {name: np.asarray(place[name]).tolist() for name in ("scale", "translate", "rotate", "shear")}
    return {
        "name": layer.name,
        "opacity": layer.opacity,
        "blending": str(layer.blending),
        **plain,
        "affine": np.asarray(place["affine"].affine_matrix).tolist(),
        "units": [str(unit) for unit in place["units"]],
        "axis_labels": list(place["axis_labels"]),
    }

"""The layer that holds the corrections of an image: what it must be, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.layers import class_colormap, class_features, em_sections, like

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image
    from napari.utils.colormaps import DirectLabelColormap
    from napari.viewer import Viewer

    from napari_feedback_seg.classes import LabelClass

CORRECTIONS_KEY = "feedback-seg-corrections"
"""Where a layer's metadata say of which image it holds the corrections."""


@dataclass(frozen=True)
class Count:
    """Corrected pixels, and the places in which they lie together."""

    pixels: int = 0
    strokes: int = 0


def find_layer(viewer: Viewer, image: Image | None) -> Labels | None:
    """Return the layer of corrections of an image; None if there is none that fits it."""
    if image is None:
        return None
    for layer in reversed(viewer.layers):
        ours = layer.metadata.get(CORRECTIONS_KEY, {}).get("image") == image.name
        if isinstance(layer, Labels) and (ours or layer.name == _name(image)) and not _misfit(layer, image):
            return layer
    return None


def new_layer(viewer: Viewer, image: Image | None, classes: Sequence[LabelClass]) -> Labels:
    """Add an empty layer of corrections, "<image> corrections", and return it.

    Raises
    ------
    InputError
        If there is no image, or its name is taken by a layer that does not fit.
    """
    sections = em_sections(image)
    assert image is not None
    taken = next((each for each in viewer.layers if each.name == _name(image)), None)
    if taken is not None:
        raise InputError(
            f"The layer '{taken.name}' cannot hold the corrections of '{image.name}': "
            f"{_misfit(taken, image)}. Rename or delete it, and try again."
        )
    layer = Labels(
        np.zeros(tuple(int(length) for length in sections.data.shape), np.uint8),
        name=_name(image),
        colormap=corrections_colormap(classes),
        features=class_features(classes),
        metadata={CORRECTIONS_KEY: {"image": image.name}},
        opacity=0.7,
        **like(image),
    )
    active = viewer.layers.selection.active
    viewer.add_layer(layer)
    viewer.layers.selection.active = active
    return layer


def corrections_colormap(classes: Sequence[LabelClass]) -> DirectLabelColormap:
    """Return the colours of the classes, each as opaque as the others: a stroke is to be seen."""
    return class_colormap([replace(each, opacity=1.0) for each in classes])


def fits(result: Labels | None, image: Image | None) -> bool:
    """Whether the corrections of an image can be shown in a result."""
    if result is None or image is None:
        return False
    data = result.data
    return isinstance(data, np.ndarray) and data.flags.writeable and data.shape == _shape(image)


def count(plane: np.ndarray) -> dict[int, Count]:
    """Return class value to count, for the corrections (Y, X) of a section."""
    from scipy import ndimage

    rows, columns = np.nonzero(plane)
    if not rows.size:
        return {}
    box = plane[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    values = [int(value) for value in np.unique(box) if value != UNLABELLED]
    touching = np.ones((3, 3), bool)
    return {
        value: Count(int((box == value).sum()), int(ndimage.label(box == value, touching)[1]))
        for value in values
    }


def _name(image: Image) -> str:
    return f"{image.name} corrections"


def _shape(image: Image) -> tuple[int, ...] | None:
    try:
        return tuple(int(length) for length in em_sections(image).data.shape)
    except InputError:
        return None


def _misfit(layer: Any, image: Image) -> str:
    """Return why a layer cannot hold the corrections of an image; empty if it can."""
    if not isinstance(layer, Labels):
        return f"it is a {type(layer).__name__} layer and no Labels layer"
    shape = _shape(image)
    if not isinstance(layer.data, np.ndarray) or not layer.data.flags.writeable:
        return "its data cannot be painted on"
    if shape is None or layer.data.shape != shape:
        return f"its shape is {layer.data.shape} and that of the image {shape}"
    ends = np.array(shape, float) - 1
    corners = [np.zeros(len(shape)), ends]
    corners += [np.where(np.arange(len(shape)) == axis, ends, 0) for axis in range(len(shape))]
    if not all(np.allclose(layer.data_to_world(c), image.data_to_world(c), atol=1e-3) for c in corners):
        return "it lies elsewhere than the image (its scale, position or rotation is another)"
    return ""

"""The labels of a volume on the disk as a layer, and what of the volume is in view."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.layers.image import (
    add_beside,
    class_colormap,
    class_features,
    displayed_section,
    like,
    moved_to,
    visible_region,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image


VOLUME_KEY = "feedback-seg-volume"
"""Where the metadata of such a layer say which folder it shows, and what its labels mean."""


def show_volume(
    viewer: ViewerModel,
    image: Image,
    folder: str,
    levels: Sequence[Any],
    classes: Sequence[LabelClass],
    place: tuple[Sequence[float], Sequence[float]],
) -> Labels:
    """Show labels on the disk over their image; of a folder that is shown already, the layer is returned.

    The levels are (Z, Y, X) or (Y, X) each, the finest first, and are read as they are looked at. The place
    is how many voxels of the image's finest level one of the labels is long, and the centre of the first.
    """
    for layer in viewer.layers:
        if layer.metadata.get(VOLUME_KEY, {}).get("folder") == folder:
            return layer
    axes = levels[0].ndim
    ratio, corner = (np.asarray(each, float)[-axes:] for each in place)
    attributes = like(image) if image.ndim == axes else _of_last_axes(image, axes)
    scale = np.asarray(attributes["scale"]) * ratio
    layer = Labels(
        list(levels) if len(levels) > 1 else levels[0],
        multiscale=len(levels) > 1,
        name=f"{image.name} labels on the disk",
        colormap=class_colormap(classes),
        features=class_features(classes),
        metadata={VOLUME_KEY: {"folder": folder, "classes": [each.to_json() for each in classes]}},
        opacity=0.8,
        **{**moved_to(attributes, corner), "scale": scale},
    )
    layer.editable = False
    add_beside(viewer, layer)
    return layer


def _of_last_axes(image: Image, axes: int) -> dict[str, Any]:
    """Return what puts a layer of fewer axes where an image is, whose first axes have one element each."""
    return {name: getattr(image, name)[-axes:] for name in ("scale", "translate", "units", "axis_labels")}


def volume_at_hand(viewer: ViewerModel) -> Labels | None:
    """Return the labels on the disk that are the active layer, or else the newest."""
    found = [layer for layer in reversed(viewer.layers) if VOLUME_KEY in layer.metadata]
    active = viewer.layers.selection.active
    return active if active in found else next(iter(found), None)


def store_of(layer: Labels) -> Path:
    """Return the OME-Zarr that labels on the disk lie in."""
    return Path(layer.metadata[VOLUME_KEY]["folder"]).parents[1]


def classes_on_disk(layer: Labels) -> tuple[LabelClass, ...]:
    """Return what labels on the disk mean."""
    return tuple(LabelClass(**each) for each in layer.metadata[VOLUME_KEY]["classes"])


def in_view(viewer: ViewerModel, image: Image) -> tuple[int, slice, slice] | None:
    """Return the section, rows and columns of the finest level that are looked at; None if none are."""
    try:
        rows, columns = visible_region(viewer, image)
    except InputError:
        return None
    return displayed_section(viewer, image), rows, columns

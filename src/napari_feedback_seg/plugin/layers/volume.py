"""The labels of a volume on the disk as a layer, and what of the volume is in view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.layers.image import (
    class_colormap,
    class_features,
    displayed_section,
    like,
    visible_region,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_feedback_seg.classes import LabelClass

VOLUME_KEY = "feedback-seg-volume"
"""Where the metadata of such a layer say which folder it shows."""


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
        if layer.metadata.get(VOLUME_KEY) == folder:
            return layer
    ratio, corner = (np.asarray(each, float)[-image.ndim :] for each in place)
    attributes = like(image)
    scale = np.asarray(image.scale) * ratio
    plain = {name: attributes[name] for name in ("scale", "translate", "rotate", "shear")}
    moved = Labels(np.zeros((1,) * image.ndim, np.uint8), **plain).data_to_world(corner)
    layer = Labels(
        list(levels) if len(levels) > 1 else levels[0],
        multiscale=len(levels) > 1,
        name=f"{image.name} labels on the disk",
        colormap=class_colormap(classes),
        features=class_features(classes),
        metadata={VOLUME_KEY: folder},
        opacity=0.8,
        **{**attributes, "scale": scale, "translate": np.asarray(moved)},
    )
    layer.editable = False
    active = viewer.layers.selection.active
    viewer.add_layer(layer)
    viewer.layers.selection.active = active
    return layer


def in_view(viewer: ViewerModel, image: Image) -> tuple[int, slice, slice] | None:
    """Return the section, rows and columns of the finest level that are looked at; None if none are."""
    try:
        rows, columns = visible_region(viewer, image)
    except InputError:
        return None
    return displayed_section(viewer, image), rows, columns

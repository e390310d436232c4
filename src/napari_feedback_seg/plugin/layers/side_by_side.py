"""Two answers about the same part of an image, shown side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from napari_feedback_seg.plugin.layers.image import (
    add_beside,
    class_colormap,
    class_features,
    em_sections,
    image_of,
    like_part,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.plugin.session.regions import Region

SIDE_KEY = "feedback-seg-side"
"""In the metadata of the layers of the two sides."""

GAP = 0.04
"""Between the two, as a fraction of their width."""


class SideBySide:
    """Layers of the left side on the image, and a copy of the part to the right of it with the other.

    ``sides`` are title and labels (Y, X) of the left side and of the right one. What else lies on the image
    is hidden meanwhile.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        section: int,
        region: Region,
        sides: Sequence[tuple[str, np.ndarray]],
        classes: Sequence[LabelClass],
    ) -> None:
        self._viewer = viewer
        over = [layer for layer in viewer.layers if isinstance(layer, Labels) and layer.visible]
        self._hidden = [layer for layer in over if image_of(viewer, layer) == image]
        grey = np.asarray(em_sections(image).section(section)[region])  # a lazy array is read once
        rows, columns = region
        width = columns.stop - columns.start
        step = width + max(1, round(GAP * width))
        right = rows, slice(columns.start + step, columns.stop + step)
        look: dict[str, Any] = {"metadata": {SIDE_KEY: image.name}}
        shown = {"contrast_limits": image.contrast_limits, "colormap": image.colormap, "gamma": image.gamma}
        axes = (None,) * (image.ndim - 2)
        places = like_part(image, region, section), like_part(image, right, section)
        copied = Image(np.asarray(grey)[axes], name=f"{image.name} again", **shown, **look, **places[1])
        labels = [
            Labels(
                np.asarray(values)[axes],
                name=f"{image.name} {title}",
                colormap=class_colormap(classes),
                features=class_features(classes),
                opacity=0.8,
                **look,
                **place,
            )
            for (title, values), place in zip(sides, places, strict=True)
        ]
        self.layers: list[Layer] = [copied, *labels]
        camera = getattr(viewer, "scene", viewer).camera  # napari 0.9 moved it there
        self._camera, self._view = camera, (camera.center, camera.zoom)
        for layer in self._hidden:
            layer.visible = False
        for layer in self.layers:
            add_beside(viewer, layer)
        ends = np.zeros((2, image.ndim))
        ends[:, -2:] = (rows.start, columns.start), (rows.stop, right[1].stop)
        middle = np.asarray(image.data_to_world(ends.mean(axis=0)))[-2:]
        camera.center = (*camera.center[:-2], *middle)
        camera.zoom = camera.zoom / (2 + GAP)

    def close(self) -> None:
        """Take the layers away, and let everything be seen as before; may be called again."""
        layers, self.layers = self.layers, []
        if not layers:
            return
        for layer in layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        for layer in self._hidden:
            layer.visible = True
        self._camera.center, self._camera.zoom = self._view

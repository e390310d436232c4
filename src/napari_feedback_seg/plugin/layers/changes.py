"""What a stroke changed, as an outline on the image; and where a person asks why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_feedback_seg.plugin.layers.image import DERIVED_PREFIX, add_beside, like_part, put
from napari_feedback_seg.plugin.layers.picking import Pointing

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_feedback_seg.plugin.session.regions import Region

CHANGES_KEY = f"{DERIVED_PREFIX}-changes"
"""In the metadata of the layer that outlines what changed."""

OUTLINE = "#7cff00"
_WIDTH = 2  # of the outline, in pixels


class ChangeLayers(Pointing):
    """Outlines what has changed in a layer of its own, made once and then updated; follows the mouse."""

    # --- the outline

    def show(self, image: Image, section: int, region: Region, changed: np.ndarray) -> None:
        """Outline the pixels (Y, X) of a region of a section that have changed."""
        axes = (None,) * (image.ndim - 2)
        mask = np.asarray(changed, np.uint8)[axes]
        place = like_part(image, region, section)
        layer = self._find()
        if layer is None or layer.ndim != image.ndim:
            self.clear()
            self._add(mask, place)
            return
        layer.visible = False  # drawn once, when all is in place
        layer.data = mask
        put(layer, place)
        layer.visible = True

    def hide(self) -> None:
        """Show no outline; may be called again."""
        layer = self._find()
        if layer is not None:
            layer.visible = False

    def clear(self) -> None:
        """Take the layer away; may be called again."""
        layer = self._find()
        if layer is not None:
            self._layers.viewer.layers.remove(layer)

    def _find(self) -> Labels | None:
        layers = self._layers.viewer.layers
        return next((each for each in layers if CHANGES_KEY in each.metadata), None)

    def _add(self, mask: np.ndarray, place: dict[str, Any]) -> None:
        colors: dict[int | None, Any] = {None: (0, 0, 0, 0), 0: (0, 0, 0, 0), 1: OUTLINE}
        layer = Labels(
            mask,
            name="changed by the last stroke",
            colormap=DirectLabelColormap(color_dict=colors),
            metadata={CHANGES_KEY: True},
            opacity=1,
            **place,
        )
        layer.contour = _WIDTH
        add_beside(self._layers.viewer, layer)

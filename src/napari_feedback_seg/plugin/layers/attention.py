"""The layers that show attention over an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Points, Shapes
from napari.utils.colormaps import Colormap
from napari.utils.transforms import Affine

from napari_feedback_seg.attention_maps.colours import colour_table, contrast_limits
from napari_feedback_seg.plugin.layers.image import class_colormap, class_features, like, move

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_feedback_seg.attention_maps.grid import TileFrame
    from napari_feedback_seg.attention_maps.tile import PixelAttention
    from napari_feedback_seg.classes import LabelClass

ATTENTION_KEY = "feedback-seg-attention"
"""Where the metadata of a layer of attention say what it is."""

MAPS = ("pixel", "class", "received", "disagreement")
"""The layers that are maps; one at a time is to be seen."""

MARK = "#00d0ff"


@dataclass(frozen=True)
class AttentionLayers:
    """The layers that show the attention of one section of an image; made once, then updated.

    Parameters
    ----------
    viewer : Viewer
        Where the layers are.
    image : Image
        What they are about. They take its transform and units.
    section : int
        Index of the section in a stack.
    frame : TileFrame
        The tile that is shown.
    """

    viewer: Viewer
    image: Image
    section: int
    frame: TileFrame

    def show_map(self, what: str, name: str, values: np.ndarray) -> None:
        """Show a map (Y, X) of the tile's region, and hide what belongs to the other maps.

        Parameters
        ----------
        what : str
            Which of :data:`MAPS`; a layer that is there is updated.
        name : str
            The layer is called "<image> <name>".
        values : ndarray
            The map.
        """
        low, high = contrast_limits(values)
        bounds = [min(low, float(values.min())), max(high, float(values.max()))]
        layer = self._found(what)
        if layer is None:
            layer = Image(
                self._placed(values),
                name=f"{self.image.name} {name}",
                colormap=Colormap(colour_table() / 255, name="attention"),
                interpolation2d="nearest",
                opacity=0.6,
                metadata=self._metadata(what),
                **self._attributes(),
            )
            layer.contrast_limits_range = bounds
            layer.contrast_limits = (low, high)
            self._add(layer)
        else:
            self._update(layer, values, f"{self.image.name} {name}")
            layer.contrast_limits_range = bounds
            layer.contrast_limits = (low, high)
        for other in (*MAPS, "picked"):
            found = self._found(other)
            if found is not None:
                _show_if(found, other == what)

    def show_labels(
        self, what: str, name: str, labels: np.ndarray, classes: Sequence[LabelClass], visible: bool = True
    ) -> None:
        """Show labels (Y, X) of the tile's region; ``what`` and ``name`` as in :meth:`show_map`."""
        layer = self._found(what)
        if layer is None:
            layer = Labels(
                self._placed(labels),
                name=f"{self.image.name} {name}",
                metadata=self._metadata(what),
                visible=visible,
                **self._attributes(),
            )
            self._add(layer)
        else:
            self._update(layer, labels, f"{self.image.name} {name}")
            _show_if(layer, visible)
        layer.colormap = class_colormap(classes)
        layer.features = class_features(classes)

    def show_tile(self) -> None:
        """Draw the outline of the tile, its mirrored border included."""
        corners = np.stack([self._point(*corner) for corner in self.frame.outline])
        layer = self._found("tile")
        if layer is None:
            layer = Shapes(
                [corners],
                shape_type="rectangle",
                name=f"{self.image.name} attention tile",
                edge_color=MARK,
                edge_width=self._length(1.5),
                face_color="transparent",
                metadata=self._metadata("tile"),
                **like(self.image),
            )
            self._add(layer)
        elif not (len(layer.data) == 1 and np.array_equal(layer.data[0], corners)):
            layer.data = [corners]
            layer.edge_color, layer.face_color = MARK, "transparent"
        move(layer, self.image)
        _show_if(layer, True)

    def show_pixel(self, pixel: PixelAttention) -> None:
        """Mark the picked pixel with a cross and its strongest places with their rank."""
        at = [(pixel.y, pixel.x), *((each.y, each.x) for each in pixel.strongest)]
        points = np.stack([self._point(*each) for each in at])
        layer = self._found("picked")
        if layer is not None and len(layer.data) == len(points):
            layer.data = points
            move(layer, self.image)
            _show_if(layer, True)
            return
        if layer is not None:
            self.viewer.layers.remove(layer)
        ranks = ["", *(str(rank) for rank in range(1, len(points)))]
        self._add(
            Points(
                points,
                name=f"{self.image.name} attention picked",
                symbol=["cross", *["disc"] * (len(points) - 1)],
                size=self._length(4),
                canvas_size_limits=(11, 10_000),
                face_color=[MARK, *["transparent"] * (len(points) - 1)],
                border_color=MARK,
                border_width=0.2,
                features={"rank": ranks},
                text={"string": "{rank}", "color": MARK, "size": 12, "anchor": "lower_left"},
                metadata=self._metadata("picked"),
                **like(self.image),
            )
        )

    def hide(self) -> None:
        """Hide all layers of attention of this image, because they are of another model."""
        for layer in self._all():
            layer.visible = False

    def _found(self, what: str) -> Any:
        for layer in self._all():
            if layer.metadata[ATTENTION_KEY]["what"] == what and layer.ndim == self.image.ndim:
                return layer
        return None

    def _all(self) -> list[Layer]:
        image = str(self.image.unique_id)
        layers = list(self.viewer.layers)
        return [each for each in layers if each.metadata.get(ATTENTION_KEY, {}).get("image_id") == image]

    def _metadata(self, what: str) -> dict[str, Any]:
        image = {"image": self.image.name, "image_id": str(self.image.unique_id)}
        return {ATTENTION_KEY: {**image, "what": what}}

    def _add(self, layer: Layer) -> None:
        layers = self.viewer.layers
        outline, active = self._found("tile"), layers.selection.active
        # Maps come below the outline and the marks.
        layers.insert(
            layers.index(outline) if outline and isinstance(layer, Image | Labels) else len(layers), layer
        )
        layers.selection.active = active  # to be clicked again, or painted on

    def _update(self, layer: Any, values: np.ndarray, name: str) -> None:
        layer.data = self._placed(values)
        for attribute, value in self._attributes().items():
            same = getattr(layer, attribute) == value
            if not (same if attribute == "units" else np.array_equal(getattr(layer, attribute), value)):
                setattr(layer, attribute, value)
        if layer.name != name:
            layer.name = name

    def _attributes(self) -> dict[str, Any]:
        """Return the transform that puts the region's first pixel where it is in the image."""
        attributes = like(self.image)
        rows, columns = self.frame.region
        whole = Affine(
            **{each: attributes[each] for each in ("scale", "translate", "rotate", "shear")},
            ndim=self.image.ndim,
        )
        attributes["translate"] = np.asarray(whole(self._point(rows.start, columns.start)))
        return attributes

    def _placed(self, values: np.ndarray) -> np.ndarray:
        return values if self.image.ndim == 2 else values[None]

    def _point(self, y: float, x: float) -> np.ndarray:
        return np.array([self.section, y, x], float)[-self.image.ndim :]

    def _length(self, pixels: float) -> float:
        """Return a length that looks alike however large the tile is."""
        corners = self.frame.outline
        return pixels * float(corners[2][0] - corners[0][0]) / 256


def _show_if(layer: Layer, visible: bool) -> None:
    """Show or hide a layer; napari draws all of it anew even where nothing changes."""
    if layer.visible != visible:
        layer.visible = visible

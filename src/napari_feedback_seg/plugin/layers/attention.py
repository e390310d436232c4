"""The layers that show attention over an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Points, Shapes
from napari.utils.colormaps import Colormap

from napari_feedback_seg.attention_maps.colours import colour_table, contrast_limits
from napari_feedback_seg.plugin.layers.image import (
    RESULT_KEY,
    add_beside,
    class_colormap,
    class_features,
    like,
    like_part,
    move,
    pixels_of,
    put,
)
from napari_feedback_seg.plugin.layers.picking import Pointing

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_feedback_seg.plugin.session.attention.view import Picture

ATTENTION_KEY = "feedback-seg-attention"
"""Where the metadata of a layer of attention say what it is."""

MARK = "#00d0ff"


class AttentionLayers(Pointing):
    """Shows attention over an image in a few layers, made once and then updated; tells where a person points.

    A map, labels of the rounds, the outline of the tile, and the picked pixel with its strongest places.
    """

    @property
    def viewer(self) -> ViewerModel:
        """The viewer."""
        return self._layers.viewer

    # --- labels that are right

    @property
    def truths(self) -> list[Labels]:
        """The Labels layers that a person or another program made, the topmost first."""
        return [
            layer
            for layer in reversed(self.viewer.layers)
            if isinstance(layer, Labels) and not {ATTENTION_KEY, RESULT_KEY} & set(layer.metadata)
        ]

    def labels_of(self, layer: Labels, section: int) -> np.ndarray:
        """Return the labels (Y, X) of a section."""
        data = pixels_of(layer)
        if data.ndim == 3 and section < data.shape[0]:
            data = data[section]
        return np.asarray(data)

    # --- what is shown

    def draw(self, picture: Picture) -> None:
        """Show a picture, and of an image's other layers of attention none."""
        parts: tuple[tuple[str, bool, Callable[[Picture], None]], ...] = (
            ("map", picture.values is not None, self._draw_map),
            ("rounds", picture.labels is not None, self._draw_labels),
            ("tile", True, self._draw_tile),
            ("picked", picture.pixel is not None, self._draw_pixel),
        )
        for what, wanted, draw in parts:
            if wanted:
                draw(picture)
            layer = self._found(picture.image, what)
            if layer is not None and layer.visible != wanted:  # else it is all drawn anew
                layer.visible = wanted

    def hide(self, image: Image) -> None:
        """Hide all layers of attention of an image."""
        for layer in self._all(image):
            layer.visible = False

    def clear(self) -> None:
        """Delete all layers of attention of all images."""
        for layer in [each for each in self.viewer.layers if ATTENTION_KEY in each.metadata]:
            self.viewer.layers.remove(layer)

    def _draw_map(self, picture: Picture) -> None:
        values = picture.values
        assert values is not None
        low, high = contrast_limits(values)
        layer = self._found(picture.image, "map")
        if layer is None:
            layer = Image(
                _placed(values, picture),
                colormap=Colormap(colour_table() / 255, name="attention"),
                interpolation2d="nearest",
                opacity=0.6,
                **_attributes(picture, "map"),
            )
            if hasattr(layer, "colorbar"):  # not before napari 0.7
                layer.colorbar.visible = True
            self._add(layer, picture)
        else:
            layer.data = _placed(values, picture)
            put(layer, _attributes(picture, "map"))
        layer.contrast_limits_range = min(low, float(values.min())), max(high, float(values.max()))
        layer.contrast_limits = (low, high)

    def _draw_labels(self, picture: Picture) -> None:
        assert picture.labels is not None
        layer = self._found(picture.image, "rounds")
        if layer is None:
            layer = Labels(_placed(picture.labels, picture), **_attributes(picture, "rounds"))
            self._add(layer, picture)
        else:
            layer.data = _placed(picture.labels, picture)
            put(layer, _attributes(picture, "rounds"))
        layer.colormap = class_colormap(picture.tile.classes)
        layer.features = class_features(picture.tile.classes)

    def _draw_tile(self, picture: Picture) -> None:
        """Draw the outline of the tile, its mirrored border included."""
        corners = np.stack([_point(picture, *corner) for corner in picture.tile.frame.outline])
        layer = self._found(picture.image, "tile")
        if layer is None:
            layer = Shapes(
                [corners],
                shape_type="rectangle",
                edge_color=MARK,
                edge_width=_length(picture, 1.5),
                face_color="transparent",
                **_named(picture, "tile"),
                **like(picture.image),
            )
            self._add(layer, picture)
        elif not (len(layer.data) == 1 and np.array_equal(layer.data[0], corners)):
            layer.data = [corners]
            layer.edge_color, layer.face_color = MARK, "transparent"
        move(layer, picture.image)

    def _draw_pixel(self, picture: Picture) -> None:
        """Mark the picked pixel with a cross and its strongest places with their rank."""
        pixel = picture.pixel
        assert pixel is not None
        at = [(pixel.y, pixel.x), *((each.y, each.x) for each in pixel.strongest)]
        points = np.stack([_point(picture, *each) for each in at])
        layer = self._found(picture.image, "picked")
        if layer is not None and len(layer.data) == len(points):
            layer.data = points
            move(layer, picture.image)
            return
        if layer is not None:
            self.viewer.layers.remove(layer)
        ranks = ["", *(str(rank) for rank in range(1, len(points)))]
        layer = Points(
            points,
            symbol=["cross", *["disc"] * (len(points) - 1)],
            size=_length(picture, 4),
            canvas_size_limits=(11, 10_000),
            face_color=[MARK, *["transparent"] * (len(points) - 1)],
            border_color=MARK,
            border_width=0.2,
            features={"rank": ranks},
            text={"string": "{rank}", "color": MARK, "size": 12, "anchor": "lower_left"},
            **_named(picture, "picked"),
            **like(picture.image),
        )
        self._add(layer, picture)

    def _found(self, image: Image, what: str) -> Any:
        for layer in self._all(image):
            if layer.metadata[ATTENTION_KEY]["what"] == what and layer.ndim == image.ndim:
                return layer
        return None

    def _all(self, image: Image) -> list[Layer]:
        identity = str(image.unique_id)
        layers = list(self.viewer.layers)
        return [each for each in layers if each.metadata.get(ATTENTION_KEY, {}).get("image_id") == identity]

    def _add(self, layer: Layer, picture: Picture) -> None:
        outline = self._found(picture.image, "tile")
        # The map and the labels come below the outline and the marks.
        below = outline is not None and isinstance(layer, Image | Labels)
        add_beside(self.viewer, layer, self.viewer.layers.index(outline) if below else None)


def _named(picture: Picture, what: str) -> dict[str, Any]:
    image, suffix = picture.image, "" if what == "map" else f" {what}"
    about = {"image": image.name, "image_id": str(image.unique_id), "what": what}
    return {"name": f"{image.name} attention{suffix}", "metadata": {ATTENTION_KEY: about}}


def _attributes(picture: Picture, what: str) -> dict[str, Any]:
    """Return what puts the region's first pixel where it is in the image, and what the layer is."""
    place = like_part(picture.image, picture.tile.frame.region, picture.section)
    return {**_named(picture, what), **place}


def _placed(values: np.ndarray, picture: Picture) -> np.ndarray:
    return values if picture.image.ndim == 2 else values[None]


def _point(picture: Picture, y: float, x: float) -> np.ndarray:
    return np.array([picture.section, y, x], float)[-picture.image.ndim :]


def _length(picture: Picture, pixels: float) -> float:
    """Return a length that looks alike however large the tile is."""
    corners = picture.tile.frame.outline
    return pixels * float(corners[2][0] - corners[0][0]) / 256

"""The layer that holds the corrections of an image: what it must be, and what is in it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.layers.image import (
    CORRECTIONS_KEY,
    add_beside,
    class_colormap,
    class_features,
    em_sections,
    like,
    planes_of,
)
from napari_feedback_seg.plugin.layers.painting import Painting, forget_undo, move_stroke
from napari_feedback_seg.plugin.layers.picking import PAN_ZOOM
from napari_feedback_seg.plugin.session.records import CorrectionsRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from napari.layers import Image
    from napari.utils.colormaps import DirectLabelColormap
    from napari.viewer import Viewer

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.plugin.session.regions import Region

_LARGEST = 255  # label of a class
_ZOOM = 4.0  # canvas pixels for a pixel of the image, at the least


def find_layer(viewer: Viewer, image: Image | None, current: Labels | None = None) -> Labels | None:
    """Return the layer of corrections that fits an image, or None.

    The current one is preferred if it is one of several, such as a layer and its duplicate.
    """
    found = [layer for layer in _candidates(viewer, image) if not _misfit(layer, image)]
    return next((layer for layer in found if layer == current), found[0] if found else None)


def corrections_colormap(classes: Sequence[LabelClass]) -> DirectLabelColormap:
    """Return the colours of the classes, each as opaque as the others: a stroke is to be seen."""
    return class_colormap([replace(each, opacity=1.0) for each in classes])


def name_for(image: Image) -> str:
    """Return the name of the layer of corrections of an image."""
    return f"{image.name} corrections"


class CorrectionLayers:
    """The layers of corrections of a viewer, as a session sees them."""

    take_stroke = staticmethod(move_stroke)

    def __init__(self, viewer: Callable[[], Any], later: Callable[[Callable[[], None]], None]) -> None:
        self._viewer = viewer
        self.painting = Painting(viewer, later)  # tells what is painted

    def find(self, image: Image | None, current: Labels | None = None) -> Labels | None:
        """Return the layer of corrections of an image; see :func:`find_layer`."""
        return find_layer(self._viewer(), image, current)

    def problem(self, image: Image | None) -> str:
        """Return why the layer that is there cannot hold the corrections of an image; empty if one can."""
        found = _candidates(self._viewer(), image)
        reasons = [_misfit(layer, image) for layer in found]
        if image is None or not found or "" in reasons:
            return ""
        remedy = "Delete it" if _is_bound(found[0], image) else "Rename or delete it"
        return (
            f"The layer '{found[0].name}' cannot hold the corrections of '{image.name}': "
            f"{reasons[0]}. {remedy}, and try again."
        )

    def make(self, image: Image | None, classes: Sequence[LabelClass]) -> Labels:
        """Return the layer of corrections of an image, "<image> corrections", which is made if need be.

        Raises InputError if there is no image, or a layer of this name that does not fit.
        """
        found = self.find(image)
        if found is not None:
            return found
        sections = em_sections(image)
        assert image is not None
        sentence = self.problem(image)
        if sentence:
            raise InputError(sentence)
        layer = Labels(
            np.zeros(sections.shape, np.uint8),
            name=name_for(image),
            colormap=corrections_colormap(classes),
            features=class_features(classes, "not corrected"),
            opacity=0.7,
            **like(image),
        )
        self.adopt(layer, image)
        add_beside(self._viewer(), layer)
        return layer

    def adopt(self, layer: Labels, image: Image) -> None:
        """Let a layer be the corrections of an image from now on: by identity, in its place, as uint8."""
        mine = {"image_id": str(image.unique_id), "layer_id": str(layer.unique_id)}
        self.note(layer, image=image.name, source=self.source(image), **mine)
        if layer.data.dtype != np.uint8:
            layer.data = layer.data.astype(np.uint8)
        if _lies_elsewhere(layer, image) or layer.units != image.units:
            for name, value in like(image).items():
                setattr(layer, name, value)

    def planes(self, layer: Labels) -> list[np.ndarray]:
        """Return the sections (Y, X) of a layer, to be read and written."""
        return planes_of(layer.data)

    def write(self, layer: Labels, z: int, labels: np.ndarray) -> None:
        """Replace a section of a layer with labels (Y, X), not to be undone by napari."""
        planes_of(layer.data)[z][:] = labels
        forget_undo(layer)
        layer.refresh()

    def record(self, layer: Labels) -> CorrectionsRecord:
        """Return what a layer notes of itself."""
        return CorrectionsRecord.from_json(layer.metadata.get(CORRECTIONS_KEY, {}))

    def note(self, layer: Labels, **what: Any) -> None:
        """Write down what else belongs to the corrections in a layer."""
        before = layer.metadata.get(CORRECTIONS_KEY, {})
        if before != {**before, **what}:
            layer.metadata = {**layer.metadata, CORRECTIONS_KEY: {**before, **what}}

    def mute(self, layer: Labels, other: CorrectionsRecord, table: np.ndarray) -> None:
        """Mute what another record mutes, too; ``table`` says what its classes are in the layer."""
        own = self.record(layer)
        classes = {int(table[value]) for value in other.muted_classes if 0 <= value < len(table)}
        muted = {*own.muted, *other.muted}
        self.note(layer, muted=sorted(muted), muted_classes=sorted({*own.muted_classes, *classes}))

    def show_classes(self, layer: Labels, classes: Sequence[LabelClass]) -> None:
        """Let the labels of a layer mean these classes, in their colours."""
        self.note(layer, classes=[each.to_json() for each in classes])
        wanted = corrections_colormap(classes)
        if set(wanted.color_dict) != set(getattr(layer.colormap, "color_dict", {})):
            layer.colormap = wanted
            layer.features = class_features(classes, "not corrected")

    def part(self, layer: Labels, region: Region | None) -> np.ndarray:
        """Return the corrections of a region of the image; of all of it if that is None."""
        return layer.data if region is None else layer.data[(..., *region)]

    def take_brush(self, layer: Labels, value: int, size: int | None = None) -> None:
        """Take napari's brush in hand, on a layer, to paint a value."""
        self._viewer().layers.selection.active = layer
        layer.visible = True
        layer.selected_label = value
        if size is not None:
            layer.brush_size = size
        layer.mode = "paint"

    def in_hand(self, *layers: Labels | None) -> int | None:
        """Return the value that a click paints on one of these layers, 0 to erase; None without a tool."""
        active = self._viewer().layers.selection.active
        if active is None or active not in layers:
            return None
        mode = str(active.mode)
        if mode == "erase":
            return UNLABELLED
        return int(active.selected_label) if mode in ("paint", "fill", "polygon") else None

    def put_brush_away(self, value: int, *layers: Labels | None) -> None:
        """Let the mouse move the picture, if a click paints a value on one of these layers."""
        if self.in_hand(*layers) == value:
            self._viewer().layers.selection.active.mode = PAN_ZOOM

    @staticmethod
    def source(image: Image) -> str:
        """Return the file that an image was opened from, or its address; empty if it is from elsewhere."""
        path = str(getattr(image.source, "path", None) or "")
        return path if not path or "://" in path else os.path.normcase(os.path.abspath(path))

    def go_to_section(self, image: Image, z: int) -> None:
        """Show a section of an image."""
        viewer = self._viewer()
        world = image.data_to_world([z, 0, 0][-image.ndim :])
        for axis, value in enumerate(world[:-2], start=viewer.dims.ndim - image.ndim):
            viewer.dims.set_point(axis, value)

    def go_to(self, image: Image, z: int, row: int, column: int) -> None:
        """Show a place of an image in the middle of the view, at least at a certain zoom."""
        viewer = self._viewer()
        point = [row, column] if image.ndim == 2 else [z, row, column]
        world = np.asarray(image.data_to_world(point))
        self.go_to_section(image, z)
        camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera  # before napari 0.9
        camera.center = tuple(world[-2:])
        side = abs(np.asarray(image.data_to_world(np.asarray(point) + 1.0)) - world)[-2:].max()
        camera.zoom = max(camera.zoom, _ZOOM / side if side else _ZOOM)


def _candidates(viewer: Viewer, image: Image | None) -> list[Any]:
    """Return the layers that belong to an image: bound to it, or else, as of a file, by their name."""
    if image is None:
        return []
    newest = list(reversed(viewer.layers))
    present = {str(layer.unique_id) for layer in newest}
    newest = [layer for layer in newest if not _is_duplicate(layer, present)]
    bound = [layer for layer in newest if _is_bound(layer, image)]
    named = []
    for layer in newest:
        about = layer.metadata.get(CORRECTIONS_KEY, {})
        if about.get("image_id") not in present and image.name == about.get("image"):
            if about.get("source", CorrectionLayers.source(image)) == CorrectionLayers.source(image):
                named.append(layer)
        elif not about and layer.name == name_for(image):
            named.append(layer)
    return bound or named


def _is_duplicate(layer: Any, present: Collection[str]) -> bool:
    """Whether it was duplicated from a layer of corrections that is there."""
    original = layer.metadata.get(CORRECTIONS_KEY, {}).get("layer_id", str(layer.unique_id))
    return original != str(layer.unique_id) and original in present


def _is_bound(layer: Any, image: Image) -> bool:
    return bool(layer.metadata.get(CORRECTIONS_KEY, {}).get("image_id") == str(image.unique_id))


def _shape(image: Image) -> tuple[int, ...] | None:
    try:
        return em_sections(image).shape
    except InputError:
        return None


def _misfit(layer: Any, image: Image | None) -> str:
    """Return why a layer cannot hold the corrections of an image; empty if it can."""
    if image is None or not isinstance(layer, Labels):
        return f"it is a {type(layer).__name__} layer and no Labels layer"
    data, shape = layer.data, _shape(image)
    if not isinstance(data, np.ndarray) or not data.flags.writeable:
        return "its data cannot be painted on"
    if shape is None or data.shape != shape:
        return f"its shape is {data.shape} and that of the image {shape}"
    if data.dtype != np.uint8 and data.size and not 0 <= int(data.min()) <= int(data.max()) <= _LARGEST:
        return f"its labels go from {data.min()} to {data.max()}, and those of classes from 1 to {_LARGEST}"
    placed = not np.allclose([layer.data_to_world(c) for c in _corners(shape)], _corners(shape))
    if placed and not _is_bound(layer, image) and _lies_elsewhere(layer, image):
        return "it lies elsewhere than the image (its scale, position or rotation is another)"
    return ""


def _lies_elsewhere(layer: Labels, image: Image) -> bool:
    corners = _corners(layer.data.shape)
    ours, theirs = ([each.data_to_world(corner) for corner in corners] for each in (layer, image))
    return not np.allclose(ours, theirs, atol=1e-3)


def _corners(shape: tuple[int, ...]) -> list[np.ndarray]:
    ends = np.array(shape, float) - 1
    along = [np.where(np.arange(len(shape)) == axis, ends, 0) for axis in range(len(shape))]
    return [np.zeros(len(shape)), ends, *along]

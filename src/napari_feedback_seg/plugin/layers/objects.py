"""The layers of numbered objects and of their meshes, and what a person points at in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Surface
from napari.utils.colormaps import (
    CyclicLabelColormap,
    DirectLabelColormap,
    ensure_colormap,
    label_colormap,
)
from psygnal import Signal

from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.plugin.layers.image import (
    OBJECTS_KEY,
    add_beside,
    in_micrometres,
    like,
    like_part,
    made_from,
)
from napari_feedback_seg.plugin.layers.painting import forget_undo, part_of
from napari_feedback_seg.plugin.layers.picking import PAN_ZOOM, drag, picked
from napari_feedback_seg.plugin.layers.results import PROBABILITY_KEY, probability_layers
from napari_feedback_seg.plugin.session.regions import whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari.layers import Image, Layer

    from napari_feedback_seg.objects.edits import Place
    from napari_feedback_seg.objects.meshes import Mesh
    from napari_feedback_seg.objects.options import Voxel
    from napari_feedback_seg.objects.table import Table
    from napari_feedback_seg.plugin.layers.viewer import ViewerLayers

EDITS_KEY = f"{OBJECTS_KEY}-edits"
"""Where the metadata of a result that was opened again name the files of edits of its objects."""

MESHES_KEY, PREVIEW_KEY = f"{OBJECTS_KEY}-meshes", f"{OBJECTS_KEY}-preview"

_UNDO, _REDO = "Control-Z", "Control-Shift-Z"


class ObjectLayers:
    """Makes the layers of objects, and tells what a person does in them.

    Events
    ------
    pointed : list of Place
        The mouse went over these places of the followed layer, one if it was a click.
    selected : Labels, int
        A person chose an object in a layer.
    painted : Labels, ndarray, int
        Voxels (n, 3) were painted with a number. They are as they were before.
    undo, redo
        The keys for these were pressed.
    """

    pointed = Signal(object)
    selected = Signal(object, int)
    painted = Signal(object, object, int)
    undo = Signal()
    redo = Signal()

    def __init__(self, layers: ViewerLayers) -> None:
        self._layers = layers
        self._followed: Labels | None = None
        self._quiet = False
        self._meshed: list[Labels] = []

    # --- what there is

    def probabilities(self, result: Labels) -> dict[str, Any]:
        """Return the probabilities of a result, by name of the class, as far as they are shown."""
        found = probability_layers(self._layers.viewer, result)
        return {
            each.metadata[PROBABILITY_KEY]["class"]: each.data
            for each in found
            if each.data.shape == result.data.shape and each.data.any()
        }

    def layer_of(self, image: Any, what: str) -> Labels | None:
        """Return the newest layer of these objects of an image."""
        for layer in reversed(self._layers.viewer.layers):
            about = layer.metadata.get(OBJECTS_KEY)
            if isinstance(layer, Labels) and made_from(about, image) and about.get("class") == what:
                return layer
        return None

    def edits_file(self, result: Labels | None, what: str) -> Path | None:
        """Return the file of edits that was exported with a result which was opened again."""
        found = {} if result is None else result.metadata.get(EDITS_KEY, {})
        return Path(found[what]) if what in found else None

    # --- what is made

    def show(self, image: Image, result: Labels, labels: np.ndarray, what: str) -> Labels:
        """Show numbered objects where the result is that they were made from; return the layer."""
        layer = self.layer_of(image, what)
        if layer is not None and layer.data.shape == labels.shape:
            layer.data = labels
            forget_undo(layer)
        else:
            about = {"image": image.name, "image_id": str(image.unique_id), "class": what}
            layer = Labels(
                labels,
                name=f"{image.name} {what}",
                metadata={OBJECTS_KEY: about},
                opacity=0.6,
                **like(result),
            )
            self._layers.viewer.add_layer(layer)
            layer.events.paint.connect(self._on_paint)
            layer.events.selected_label.connect(self._on_selected)
            layer.mouse_drag_callbacks.append(self._click)
            layer.bind_key(_UNDO, lambda _: self.undo.emit(), overwrite=True)
            layer.bind_key(_REDO, lambda _: self.redo.emit(), overwrite=True)
        result.visible = False
        self.activate(layer)
        return layer

    def let_go(self, layer: Layer) -> None:
        """Hear no more of a layer of objects."""
        if OBJECTS_KEY in layer.metadata and self._click in layer.mouse_drag_callbacks:
            layer.events.paint.disconnect(self._on_paint)
            layer.events.selected_label.disconnect(self._on_selected)
            layer.mouse_drag_callbacks.remove(self._click)

    def activate(self, layer: Labels) -> None:
        """Let the mouse and the keys mean a layer."""
        self._layers.viewer.layers.selection.active = layer

    def show_preview(self, result: Labels, z: int, labels: np.ndarray) -> None:
        """Show the objects of one section of a result, for now."""
        self.end_preview()
        data = labels[None] if result.ndim == 3 else labels
        place = like_part(result, whole(labels.shape), z)
        about = {"name": "preview of objects", "metadata": {PREVIEW_KEY: True}}
        add_beside(self._layers.viewer, Labels(data, opacity=0.6, **about, **place))

    @property
    def previews(self) -> bool:
        """Whether a preview is shown."""
        return any(PREVIEW_KEY in each.metadata for each in self._layers.viewer.layers)

    def end_preview(self) -> bool:
        """Take the preview away; return whether there was one."""
        layers = self._layers.viewer.layers
        previews = [each for each in layers if PREVIEW_KEY in each.metadata]
        for each in previews:
            layers.remove(each)
        return bool(previews)

    def set_features(self, layer: Labels, table: Table, colour_by: str) -> None:
        """Give a layer the measures of its objects, and colour it by one of them; by number if empty."""
        columns = {"index": table["object"], **{k: v for k, v in table.columns.items() if k != "object"}}
        layer.features = columns
        if colour_by not in table.columns:
            if not isinstance(layer.colormap, CyclicLabelColormap):
                layer.colormap = label_colormap()
            return
        values = np.asarray(table[colour_by], float)
        known = np.isfinite(values)
        low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 1.0)
        scaled = np.where(known, (values - low) / ((high - low) or 1.0), 0)
        colours = ensure_colormap("viridis").map(scaled)
        by_number: dict[int | None, Any] = {None: (0.6, 0.6, 0.6, 1), 0: (0, 0, 0, 0)}
        by_number |= {
            int(number): colour if fine else (0.6, 0.6, 0.6, 1)
            for number, colour, fine in zip(table["object"], colours, known, strict=True)
        }
        layer.colormap = DirectLabelColormap(color_dict=by_number)

    def refresh(self, layer: Labels) -> None:
        """Draw a layer anew."""
        layer.refresh(thumbnail=False, extent=False)

    def select(self, layer: Labels, number: int) -> None:
        """Choose an object in a layer."""
        self._quiet = True
        try:
            layer.selected_label = number
        finally:
            self._quiet = False

    def show_meshes(
        self, image: Image, objects: Labels, meshes: Sequence[Mesh], voxel: Voxel, what: str
    ) -> Surface:
        """Show meshes in 3D, in the place of the objects and in their colours; return the layer.

        The objects come back when two dimensions are shown: in three, both would flicker.
        They are in micrometres, as the mouse and the scale bar then say, if the image has a unit of length.
        """
        side, place = in_micrometres(objects) or (np.ones(objects.ndim), like(objects))
        vertices, faces, colours, before = [], [], [], 0
        for mesh in meshes:
            vertices.append((mesh.vertices / np.asarray(voxel) * side).astype(np.float32))
            faces.append(mesh.faces + before)
            before += len(mesh.vertices)
            colours.append(np.tile(objects.get_color(mesh.number), (len(mesh.vertices), 1)))
        data = np.concatenate(vertices), np.concatenate(faces)
        name, viewer = f"{image.name} {what} meshes", self._layers.viewer
        for old in [each for each in viewer.layers if MESHES_KEY in each.metadata and each.name == name]:
            viewer.layers.remove(old)
        layer = Surface(
            data,
            name=name,
            vertex_colors=np.concatenate(colours),
            shading="smooth",
            metadata={MESHES_KEY: {"image_id": str(image.unique_id), "class": what}},
            **place,
        )
        viewer.add_layer(layer)
        viewer.layers.selection.active = objects
        objects.visible = False
        self._meshed.append(objects)
        viewer.dims.ndisplay = 3
        return layer

    def end_meshes(self) -> None:
        """Show the objects again that meshes were shown of."""
        for each in self._meshed:
            each.visible = True
        self._meshed.clear()

    def colours(self, objects: Labels, numbers: Sequence[int]) -> Mapping[int, Any]:
        """Return the colours of objects, red, green, blue and opacity from 0 to 1."""
        return {number: objects.get_color(number) for number in numbers}

    # --- what a person does

    def take_brush(self, layer: Labels, number: int) -> None:
        """Take napari's brush in hand to paint a number."""
        self.activate(layer)
        self.select(layer, number)
        layer.mode = "paint"

    def put_brush_away(self, layer: Labels) -> None:
        """Let the mouse move the picture."""
        layer.mode = PAN_ZOOM

    def follow(self, layer: Labels | None) -> None:
        """Tell where the mouse is pressed and dragged over a layer; None: no more."""
        self._followed = layer
        try:
            callbacks = self._layers.viewer.mouse_drag_callbacks
        except LookupError:  # the window was closed, and its callbacks went with it
            return
        if self._drag in callbacks:
            callbacks.remove(self._drag)
        if layer is not None:
            active = self._layers.viewer.layers.selection.active
            if active is not None and str(getattr(active, "mode", PAN_ZOOM)) != PAN_ZOOM:
                active.mode = PAN_ZOOM  # or its tool would be at work, too
            callbacks.append(self._drag)

    def _drag(self, viewer: Any, event: Any) -> Iterator[None]:
        places: list[Place | None] = []
        yield from drag(viewer, event, lambda position, _: places.append(self._place(position)))
        found = [each for each in places if each is not None]
        if found:
            self.pointed.emit(found)

    def _place(self, position: Any) -> Place | None:
        if self._followed is None:
            return None
        try:
            return picked(self._layers.viewer, self._followed, position)[1]
        except FeedbackSegError:  # the canvas shows no section
            return None

    def _click(self, layer: Any, event: Any) -> Iterator[None]:
        """Choose the object that is clicked on, unless a tool is in hand."""
        if event.button != 1 or event.modifiers or self._followed is not None or layer.mode != PAN_ZOOM:
            return
        yield
        moved = False
        while event.type == "mouse_move":
            moved = True
            yield
        if not moved:
            value = layer.get_value(
                event.position,
                view_direction=event.view_direction,
                dims_displayed=event.dims_displayed,
                world=True,
            )
            if value:
                layer.selected_label = int(value)

    def _on_selected(self, event: Any) -> None:
        if not self._quiet:
            self.selected.emit(event.source, int(event.source.selected_label))

    def _on_paint(self, event: Any) -> None:
        layer, parts = event.source, [part_of(atom) for atom in event.value]
        self._layers.later(lambda: self._take_stroke(layer, parts))

    def _take_stroke(self, layer: Labels, parts: list[Any]) -> None:
        places, number = [], 0
        for part in parts:
            number = int(np.max(part.after))
            index = part.index if len(part.index) == 3 else (np.zeros_like(part.index[0]), *part.index)
            places.append(np.stack(index, axis=1))
        for part in reversed(parts):
            layer.data[part.index] = part.before
        forget_undo(layer)
        self.painted.emit(layer, np.unique(np.concatenate(places), axis=0), number)

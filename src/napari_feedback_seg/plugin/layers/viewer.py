"""The layers of a viewer, as a session sees them."""

from __future__ import annotations

from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from napari.layers import Image, Labels, Shapes
from psygnal import Signal

from napari_feedback_seg.plugin.layers import comparison
from napari_feedback_seg.plugin.layers import image as of_image
from napari_feedback_seg.plugin.layers.attention import AttentionLayers
from napari_feedback_seg.plugin.layers.changes import ChangeLayers
from napari_feedback_seg.plugin.layers.corrections import CorrectionLayers
from napari_feedback_seg.plugin.layers.export import to_export
from napari_feedback_seg.plugin.layers.image import RESULT_KEY, UNFINISHED_KEY, is_em_image
from napari_feedback_seg.plugin.layers.objects import ObjectLayers
from napari_feedback_seg.plugin.layers.results import (
    ResultWriter,
    add_classes,
    forget_probabilities,
    measured_size,
    record_of,
    redraw,
    region_of,
    remove_probabilities,
    write_record,
)
from napari_feedback_seg.plugin.layers.side_by_side import SideBySide
from napari_feedback_seg.plugin.layers.volume import (
    classes_on_disk,
    in_view,
    show_volume,
    store_of,
    volume_at_hand,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.plugin.session.records import ResultRecord
    from napari_feedback_seg.plugin.session.regions import Region


_VERTEX_ATTRIBUTES = 16
"""OpenGL has at least so many."""


def _forget_vertices() -> None:
    """Have OpenGL forget the vertices of a deleted layer.

    vispy 0.17 leaves them enabled, and the process could end when the next layer was drawn: seen when the
    marks of attention, which have text, were deleted with its other layers.
    """
    from vispy.gloo import get_current_canvas, gl

    canvas = get_current_canvas()
    if canvas is None:
        return
    with suppress(RuntimeError):  # its window is gone
        canvas.set_current()
        for index in range(_VERTEX_ATTRIBUTES):
            gl.glDisableVertexAttribArray(index)


def _with_viewer(function: Any) -> Any:
    """Return a function of a viewer as a method of its layers."""

    @wraps(function)
    def method(layers: ViewerLayers, *arguments: Any, **options: Any) -> Any:
        return function(layers.viewer, *arguments, **options)

    return method


class ViewerLayers:
    """Tells what happens to the layers of a viewer, and what they are.

    It does not keep the viewer alive.

    Events
    ------
    changed
        The list of layers, or a name in it, has changed, or a result has another array.
    removed : Layer
        A layer was deleted.
    activated
        Another layer is active, or none.
    moved : Image
        An image has another scale, unit or place.
    replaced : Image
        An image has other pixels.
    looked
        Another section is shown, or another part of it.
    tool_changed
        Another tool, or another label to paint with, is taken in hand on a Labels layer.
    """

    # What a session may ask of layers, without knowing napari.
    is_image = staticmethod(is_em_image)
    sections = staticmethod(of_image.em_sections)
    pixels = staticmethod(of_image.pixels_of)
    pixel_size = staticmethod(of_image.pixel_size_nm)
    spacing = staticmethod(of_image.spacing_nm)
    record_of = staticmethod(record_of)
    region_of = staticmethod(region_of)
    measured_size = staticmethod(measured_size)
    add_classes = staticmethod(add_classes)
    write_record = staticmethod(write_record)
    images = property(_with_viewer(of_image.images_of))
    image_of = _with_viewer(of_image.image_of)
    result_of = _with_viewer(of_image.result_of)
    result_writer = _with_viewer(ResultWriter)
    to_export = _with_viewer(to_export)
    side_by_side = _with_viewer(SideBySide)
    displayed_section = _with_viewer(of_image.displayed_section)
    section_shown = _with_viewer(of_image.section_shown)
    visible_region = _with_viewer(of_image.visible_region)
    in_view = _with_viewer(in_view)
    show_volume = _with_viewer(show_volume)
    volume_at_hand = _with_viewer(volume_at_hand)
    classes_on_disk = staticmethod(classes_on_disk)
    store_of = staticmethod(store_of)
    comparable = property(_with_viewer(comparison.comparable))
    masks = property(_with_viewer(comparison.masks))
    show_errors = _with_viewer(comparison.show_errors)
    forget_probabilities = _with_viewer(forget_probabilities)
    remove_probabilities = _with_viewer(remove_probabilities)

    changed = Signal()
    removed = Signal(object)
    activated = Signal()
    moved = Signal(object)
    replaced = Signal(object)
    looked = Signal()
    tool_changed = Signal()

    def __init__(self, viewer: ViewerModel, later: Callable[[Callable[[], None]], None]) -> None:
        self._viewer = ref(viewer)
        self.later = later
        # the layers of corrections, and what is painted
        self.corrections = CorrectionLayers(lambda: self.viewer, later)
        self.changes = ChangeLayers(self)
        self._watched: set[Layer] = set()
        camera = getattr(viewer, "scene", viewer).camera  # napari 0.9 moved it there
        self._connections: tuple[tuple[Any, Any], ...] = (
            (viewer.layers.events.inserted, self._on_layers),
            (viewer.layers.events.removed, self._on_layers),
            (viewer.layers.events.reordered, self._on_layers),
            (viewer.layers.events.renamed, self._on_layers),
            (viewer.layers.selection.events.active, self._on_active),
            (viewer.dims.events.current_step, self._on_looked),
            (viewer.dims.events.ndisplay, self._on_dimensions),
            (camera.events.center, self._on_looked),
            (camera.events.zoom, self._on_looked),
        )
        for emitter, callback in self._connections:
            emitter.connect(callback)
        self._watch(set(viewer.layers))
        self.attention = AttentionLayers(self)
        self.objects = ObjectLayers(self)

    @property
    def viewer(self) -> ViewerModel:
        """The viewer.

        Raises LookupError if it is gone.
        """
        viewer = self._viewer()
        if viewer is None:
            raise LookupError("The viewer is gone.")
        return viewer

    # --- what there is

    @property
    def shapes(self) -> list[Shapes]:
        """The Shapes layers, the topmost first."""
        return [layer for layer in reversed(self.viewer.layers) if isinstance(layer, Shapes)]

    @property
    def active(self) -> Layer | None:
        """The active layer."""
        return self.viewer.layers.selection.active

    def __contains__(self, layer: object) -> bool:
        return layer in self.viewer.layers

    @property
    def identities(self) -> set[Any]:
        """The identities of all layers."""
        return {layer.unique_id for layer in self.viewer.layers}

    def is_finished(self, layer: Layer) -> bool:
        """Return whether a layer has its pixels."""
        return UNFINISHED_KEY not in layer.metadata

    def result_at_hand(self, image: Image | None) -> Labels | None:
        """Return the result that is the active layer, or that of an image, or else the newest."""
        results = [layer for layer in reversed(self.viewer.layers) if self.classes_of(layer)]
        if self.active in results:
            return self.active
        return self.result_of(image) if image is not None else next(iter(results), None)

    def records_of(self, image: Image) -> list[ResultRecord]:
        """Return what the results of an image note of themselves, the newest first."""
        found = (record_of(layer) for layer in of_image.results_of(self.viewer, image))
        return [record for record in found if record is not None]

    def path(self, layer: Layer) -> str:
        """Return the file that a layer was opened from; empty if it is from elsewhere."""
        return str(getattr(layer.source, "path", None) or "")

    # --- what is in a result

    def stamp(self, result: Labels) -> Any:
        """Return what tells a result from another, and from itself after another segmentation."""
        record = record_of(result)
        return result.unique_id, id(result.data), record and record.runs

    def classes_of(self, result: Labels) -> tuple[LabelClass, ...]:
        """Return the classes of a result."""
        record = record_of(result)
        return record.classes if record is not None else ()

    def place(self, result: Labels, image: Image) -> None:
        """Put a result where its image is now."""
        of_image.move(result, image, region_of(result))

    def plane(self, result: Labels, z: int) -> np.ndarray:
        """Return a section (Y, X) of a result; not to be written to."""
        return of_image.planes_of(result.data)[z]

    def write_plane(self, result: Labels, z: int, labels: np.ndarray) -> None:
        """Show labels (Y, X) in a section of a result."""
        of_image.planes_of(result.data)[z][:] = labels
        redraw(result)

    # --- what a person looks at

    def rectangle(self, name: str, image: Layer) -> tuple[int, Region]:
        """Return the section and the region that a shape of the layer of this name encloses.

        Raises InputError if there is no shape, or it lies beside the image.
        """
        shapes = next((each for each in self.shapes if each.name == name), None)
        return of_image.rectangle_region(self.viewer, shapes, image)

    def prepare(self, classes: Sequence[LabelClass]) -> None:
        """Have napari compile what draws labels, which takes a second at its first use; in any thread."""
        of_image.class_colormap(classes).map(np.zeros((1, 1), np.uint8))

    # --- what happens

    def _on_layers(self, event: Any) -> None:
        self._watch(set(self.viewer.layers))
        if event.type == "removed":
            if hasattr(self.viewer, "window"):
                _forget_vertices()
            self.removed.emit(event.value)
        self.changed.emit()

    def _on_active(self, _: Any) -> None:
        self.activated.emit()

    def _watch(self, layers: set[Layer]) -> None:
        for layer in layers ^ self._watched:
            verb = "connect" if layer in layers else "disconnect"
            if isinstance(layer, Labels):
                getattr(layer.events.data, verb)(self._on_labels)
                for emitter in (layer.events.mode, layer.events.selected_label):
                    getattr(emitter, verb)(self._on_tool)
            elif isinstance(layer, Image):
                getattr(layer.events.data, verb)(self._on_data)
                for name in ("scale", "translate", "rotate", "shear", "affine", "units"):
                    getattr(getattr(layer.events, name), verb)(self._on_place)
            if layer not in layers:
                self.objects.let_go(layer)
        self._watched = layers
        self.corrections.painting.watch([layer for layer in layers if isinstance(layer, Labels)])

    def _on_labels(self, event: Any) -> None:
        if RESULT_KEY in event.source.metadata:  # corrections are replaced by whoever adopts them
            self.changed.emit()

    def _on_tool(self, _: Any) -> None:
        self.tool_changed.emit()

    def _on_dimensions(self, event: Any) -> None:
        if event.value == 2:
            self.objects.end_meshes()

    def _on_looked(self, _: Any) -> None:
        self.looked.emit()

    def _on_data(self, event: Any) -> None:
        self.replaced.emit(event.source)

    def _on_place(self, event: Any) -> None:
        self.moved.emit(event.source)

    def cleanup(self) -> None:
        """Let go of the layers; may be called again."""
        connections, self._connections = self._connections, ()
        for emitter, callback in connections:
            emitter.disconnect(callback)
        self._watch(set())

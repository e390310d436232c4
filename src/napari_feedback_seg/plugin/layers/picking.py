"""Where in an image a person points with the mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.layers.image import (
    check_sections_shown,
    displayed_section,
    em_sections,
    in_units_of,
    pixels_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_feedback_seg.plugin.layers.viewer import ViewerLayers

PAN_ZOOM = "pan_zoom"


class Pointing:
    """Layers on which a person points at places.

    A click belongs either to it or to a tool of the active layer, such as the brush: switched on, it
    puts the tool away, and a tool that is taken up afterwards switches it off. While the mouse is dragged
    the canvas is not panned.

    Parameters
    ----------
    layers : ViewerLayers
        Knows the viewer.

    Events
    ------
    pointed : sequence of float, bool
        Where in the world a person has pressed the mouse, or dragged it to (True).
    interrupted
        A person has taken up a tool, such as the brush: clicks are no longer followed.
    """

    pointed = Signal(object, bool)
    interrupted = Signal()

    def __init__(self, layers: ViewerLayers) -> None:
        self._layers = layers
        self._on = False
        self._active: Layer | None = None

    def follow(self, on: bool) -> None:
        """Follow the mouse, or leave it to napari; may be called again."""
        if on == self._on:
            return
        self._on = on
        try:
            viewer = self._layers.viewer
        except LookupError:  # the window was closed, and its callbacks went with it
            return
        selection = viewer.layers.selection
        if on:
            if _tool_in_hand(selection.active):
                selection.active.mode = PAN_ZOOM
            viewer.mouse_drag_callbacks.append(self._drag)
            selection.events.active.connect(self._follow_active)
        else:
            viewer.mouse_drag_callbacks.remove(self._drag)
            selection.events.active.disconnect(self._follow_active)
        self._follow_active()

    def _follow_active(self, _: Any = None) -> None:
        if self._active is not None:
            self._active.events.mode.disconnect(self._end_with_tool)
        self._active = self._layers.viewer.layers.selection.active if self._on else None
        if self._active is not None:
            self._active.events.mode.connect(self._end_with_tool)
            self._end_with_tool()

    def _end_with_tool(self, _: Any = None) -> None:
        if _tool_in_hand(self._active):
            self.follow(False)
            self.interrupted.emit()

    def _drag(self, viewer: Any, event: Any) -> Iterator[None]:
        yield from drag(viewer, event, self.pointed.emit, lambda: self._on)

    def pixel_at(self, image: Layer | None, position: Sequence[float]) -> tuple[int, int, int]:
        """Return section, row and column of the pixel of an image at a position of the canvas, in the world.

        Raises InputError if there is no image, the canvas shows no section of it, or the position is beside
        it.
        """
        sections = em_sections(image)
        assert image is not None
        point, pixel = picked(self._layers.viewer, image, position)
        height, width = sections.section_shape
        if pixel is None:
            raise InputError(
                f"There is no pixel of '{image.name}' there: its rows go from 0 to {height - 1} and its "
                f"columns from 0 to {width - 1}. Click in the image."
            )
        if image.ndim == 3 and not -0.5 <= point[0] <= sections.count - 0.5:
            raise InputError(
                f"The slider is beside '{image.name}': move it to one of its sections, 0 to "
                f"{sections.count - 1}."
            )
        return pixel


def drag(
    viewer: Any,
    event: Any,
    take: Callable[[Any, bool], object],
    wanted: Callable[[], bool] = lambda: True,
) -> Iterator[None]:
    """Follow the mouse from a press on, a callback of napari; the canvas is not panned meanwhile.

    ``take`` is called with the position in the world, and with whether the mouse was dragged to it.
    """
    # napari resumes this at every move until it sees a release. It sees none where that comes while
    # the press is still handled, as where another plugin draws a progress bar: so the event itself is asked.
    if event.button != 1 or event.modifiers:
        return
    camera = getattr(viewer, "scene", viewer).camera  # napari 0.9 moved it there
    camera.mouse_pan = False
    try:
        take(event.position, False)
        yield
        while event.type == "mouse_move" and event.is_dragging and wanted():
            take(event.position, True)
            yield
    finally:
        camera.mouse_pan = getattr(viewer.layers.selection.active, "mouse_pan", True)


def _tool_in_hand(layer: Layer | None) -> bool:
    return str(getattr(layer, "mode", PAN_ZOOM)) != PAN_ZOOM


def picked(
    viewer: ViewerModel, layer: Layer, position: Sequence[float]
) -> tuple[np.ndarray, tuple[int, int, int] | None]:
    """Return a position in the pixels of a layer, and its section, row and column if it is not beside it.

    Raises InputError if the canvas shows no section.
    """
    check_sections_shown(viewer)
    point = np.asarray(layer.world_to_data(in_units_of(viewer, layer, position)), float)
    y, x = (int(each) for each in np.floor(point[-2:] + 0.5))
    height, width = pixels_of(layer).shape[-2:]
    there = 0 <= y < height and 0 <= x < width
    return point, (displayed_section(viewer, layer), y, x) if there else None

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
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_feedback_seg.plugin.layers.viewer import ViewerLayers

TILT = 0.02
"""Sections by which the plane may leave the section over a step of one pixel."""

PAN_ZOOM = "pan_zoom"


class Picker:
    """Follows the mouse over the canvas while it is switched on.

    A click belongs either to it or to a tool of the active layer, such as the brush: switched on, it
    puts the tool away, and a tool that is taken up afterwards switches it off.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    picked : callable
        Called with the position in the world, and whether that is dragged to: at a press of the left
        button, and at every move until it is released. The canvas is not panned meanwhile.
    ended : callable
        Called when a tool has switched it off.
    """

    def __init__(self, viewer: ViewerModel, picked: Callable[..., None], ended: Callable[[], None]) -> None:
        self._viewer = viewer
        self._picked = picked
        self._ended = ended
        self._active: Layer | None = None

    @property
    def on(self) -> bool:
        """Whether it follows."""
        return self._drag in self._viewer.mouse_drag_callbacks

    def switch(self, on: bool) -> None:
        """Follow the mouse, or leave it to napari; may be called again."""
        if on == self.on:
            return
        selection = self._viewer.layers.selection
        if on:
            if _tool_in_hand(selection.active):
                selection.active.mode = PAN_ZOOM
            self._viewer.mouse_drag_callbacks.append(self._drag)
            selection.events.active.connect(self._follow_active)
        else:
            self._viewer.mouse_drag_callbacks.remove(self._drag)
            selection.events.active.disconnect(self._follow_active)
        self._follow_active()

    def _follow_active(self, _: Any = None) -> None:
        if self._active is not None:
            self._active.events.mode.disconnect(self._end_with_tool)
        self._active = self._viewer.layers.selection.active if self.on else None
        if self._active is not None:
            self._active.events.mode.connect(self._end_with_tool)
            self._end_with_tool()

    def _end_with_tool(self, _: Any = None) -> None:
        if _tool_in_hand(self._active):
            self.switch(False)
            self._ended()

    def _drag(self, viewer: Any, event: Any) -> Iterator[None]:
        # napari resumes this at every move until it sees a release. It sees none where that comes while
        # the press is still handled, as it does when a progress bar is drawn: so the event itself is asked.
        if event.button != 1 or event.modifiers:
            return
        camera = getattr(viewer, "scene", viewer).camera  # napari 0.9 moved it there
        camera.mouse_pan = False
        try:
            self._picked(event.position, False)
            yield
            while event.type == "mouse_move" and event.is_dragging and self.on:
                self._picked(event.position, True)
                yield
        finally:
            camera.mouse_pan = getattr(viewer.layers.selection.active, "mouse_pan", True)


class Pointing:
    """Layers on which a person points at places.

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
        self._picker: Picker | None = None

    def follow(self, on: bool) -> None:
        """Follow the mouse, or leave it to napari; may be called again."""
        if self._picker is not None:
            self._picker.switch(False)
        self._picker = Picker(self._layers.viewer, self.pointed.emit, self.interrupted.emit) if on else None
        if self._picker is not None:
            self._picker.switch(True)

    def pixel_at(self, image: Layer | None, position: Sequence[float]) -> tuple[int, int, int]:
        """Return section, row and column of a position of the world, as :func:`picked_pixel` does."""
        return picked_pixel(self._layers.viewer, image, position)


def _tool_in_hand(layer: Layer | None) -> bool:
    return str(getattr(layer, "mode", PAN_ZOOM)) != PAN_ZOOM


def picked_pixel(viewer: ViewerModel, layer: Layer | None, position: Sequence[float]) -> tuple[int, int, int]:
    """Return section, row and column of the pixel of an image at a position of the canvas.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    layer : Layer or None
        The image that is pointed at.
    position : sequence of float
        In the world, as mouse events have it.

    Raises
    ------
    InputError
        If there is no image, the canvas shows no section of it, or the position is beside it.
    """
    sections = em_sections(layer)
    assert layer is not None
    check_sections_shown(viewer)
    point = np.asarray(layer.world_to_data(in_units_of(viewer, layer, position)), float)
    if layer.ndim == 3:
        _check_not_tilted(layer)
    z = displayed_section(viewer, layer)
    y, x = (int(each) for each in np.floor(point[-2:] + 0.5))
    height, width = sections.section_shape
    if not (0 <= y < height and 0 <= x < width):
        raise InputError(
            f"There is no pixel of '{layer.name}' there: its rows go from 0 to {height - 1} and its columns "
            f"from 0 to {width - 1}. Click in the image."
        )
    if layer.ndim == 3 and not -0.5 <= point[0] <= sections.count - 0.5:
        raise InputError(
            f"The slider is beside '{layer.name}': move it to one of its sections, 0 to {sections.count - 1}."
        )
    return z, y, x


def picked_voxel(viewer: ViewerModel, layer: Layer | None, position: Sequence[float]) -> tuple[int, int, int]:
    """Return section, row and column of the voxel of labels at a position of the canvas.

    Raises
    ------
    InputError
        If there are none, the canvas shows no section of them, or the position is beside them.
    """
    if layer is None:
        raise InputError("There are no objects. Find them first.")
    check_sections_shown(viewer)
    point = np.asarray(layer.world_to_data(in_units_of(viewer, layer, position)), float)
    z = displayed_section(viewer, layer)
    y, x = (int(each) for each in np.floor(point[-2:] + 0.5))
    height, width = layer.data.shape[-2:]
    if not (0 <= y < height and 0 <= x < width):
        raise InputError(f"That is beside '{layer.name}'. Click on an object.")
    return z, y, x


def _check_not_tilted(layer: Layer) -> None:
    origin = np.asarray(layer.world_to_data(np.zeros(3)))
    for axis in (1, 2):
        step = np.zeros(3)
        step[axis] = 1
        moved = np.asarray(layer.world_to_data(step)) - origin
        if abs(moved[0]) > TILT * float(np.hypot(*moved[1:])):
            raise InputError(
                f"The plane that is shown is tilted out of the sections of '{layer.name}': the layer is "
                "rotated or sheared in depth. Attention is within one section: undo that to pick."
            )

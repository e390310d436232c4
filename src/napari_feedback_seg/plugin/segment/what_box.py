"""Choose how much of the image to segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Shapes
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_feedback_seg.plugin.layers.image import (
    check_slider,
    displayed_section,
    rectangle_region,
    visible_region,
)
from napari_feedback_seg.plugin.segment.model_box import narrow

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.layers.image import Sections
    from napari_feedback_seg.plugin.session.state import DockState

VISIBLE, SECTION, ALL, RECTANGLE = "visible", "section", "all", "rectangle"


class WhatBox(QWidget):
    """A section, all of them, what is visible, or a rectangle of a Shapes layer chosen below."""

    def __init__(self, state: DockState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.chooser = QComboBox()
        self.shapes_box = QComboBox()
        self.shapes_box.setToolTip("The selected rectangle of this layer, or the last one drawn")
        self.setFocusProxy(self.chooser)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for box in (self.chooser, self.shapes_box):
            narrow(box)
            layout.addWidget(box)
        self.chooser.currentIndexChanged.connect(self._show_shapes)
        state.image_changed.connect(self._refresh)
        state.layers_changed.connect(self._refresh_shapes)
        self._refresh()

    def part(self, sections: Sections) -> tuple[list[int], tuple[slice, slice] | None]:
        """Return which sections of the image are chosen, and the region of them; None is all of it.

        Raises
        ------
        InputError
            If what is displayed, or the Shapes layer, does not say.
        """
        viewer, image, what = self._state.viewer, self._state.image, self.chooser.currentData()
        if what == ALL:
            return list(range(sections.count)), None
        if what == RECTANGLE:
            shapes = {layer.name: layer for layer in self._shapes()}.get(self.shapes_box.currentText())
            section, rectangle = rectangle_region(viewer, shapes, image)
            return [section], rectangle
        check_slider(viewer, image)
        visible = visible_region(viewer, image) if what == VISIBLE else None
        return [displayed_section(viewer, image)], visible

    def _refresh(self) -> None:
        image, chosen = self._state.image, self.chooser.currentData()
        stack = image is not None and image.ndim > 2
        choices = {SECTION: "This section", ALL: "All sections"} if stack else {SECTION: "The whole image"}
        choices |= {VISIBLE: "Visible region", RECTANGLE: "Rectangle of a Shapes layer"}
        self.chooser.clear()
        for key, name in choices.items():
            self.chooser.addItem(name, key)
        self.chooser.setCurrentIndex(max(0, self.chooser.findData(chosen)))
        self._refresh_shapes()

    def _refresh_shapes(self) -> None:
        chosen = self.shapes_box.currentText()
        self.shapes_box.clear()
        for layer in self._shapes():
            self.shapes_box.addItem(layer.name)
        self.shapes_box.setCurrentIndex(max(0, self.shapes_box.findText(chosen)))
        self._show_shapes()

    def _shapes(self) -> list[Shapes]:
        return [layer for layer in reversed(self._state.viewer.layers) if isinstance(layer, Shapes)]

    def _show_shapes(self) -> None:
        self.shapes_box.setVisible(self.chooser.currentData() == RECTANGLE)

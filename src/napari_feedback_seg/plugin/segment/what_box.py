"""Choose how much of the image to segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from napari_feedback_seg.plugin.forms.row import chooser, column, fill
from napari_feedback_seg.plugin.session.segment.segmenting import What

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.session import Session


class WhatBox(QWidget):
    """A section, all of them, what is visible, or a rectangle of a Shapes layer chosen below."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.chooser = chooser("How much of the image to segment (Alt+W)")
        self.shapes_box = chooser("The selected rectangle of this layer, or the last one drawn")
        self.setFocusProxy(self.chooser)
        column(self, self.chooser, self.shapes_box)
        self.chooser.currentIndexChanged.connect(self._choose)
        self.shapes_box.currentIndexChanged.connect(self._choose)
        session.changed.connect(self._draw)
        self._draw("image")

    def _choose(self) -> None:
        what = self.chooser.currentData()
        self._session.segmenting.choose(what, self.shapes_box.currentText())

    def _draw(self, part: str) -> None:
        if part not in ("image", "layers", "result", "model", "segmenting"):
            return
        segmenting = self._session.segmenting
        fill(self.chooser, {name: what for what, name in segmenting.choices.items()}, segmenting.what)
        names = [layer.name for layer in self._session.layers.shapes]
        fill(self.shapes_box, {name: name for name in names}, segmenting.shapes)
        self.shapes_box.setVisible(segmenting.what is What.RECTANGLE)

"""Choose labels that are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from qtpy.QtWidgets import QComboBox, QWidget

from napari_feedback_seg.plugin.forms.options_form import narrow
from napari_feedback_seg.plugin.layers.attention import ATTENTION_KEY
from napari_feedback_seg.plugin.layers.image import RESULT_KEY

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.state import DockState


class TruthBox(QComboBox):
    """The Labels layers of the viewer that a person or another program made, and none of them."""

    def __init__(self, state: DockState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.setToolTip("Labels that are right, to count what the feedback made right or wrong")
        narrow(self)
        state.layers_changed.connect(self._refresh)
        self._refresh()

    def labels(self, section: int) -> np.ndarray | None:
        """Return the labels of a section as they are; None if no layer is chosen."""
        layers = self._layers()
        if self.currentIndex() < 1 or self.currentIndex() > len(layers):
            return None
        layer = layers[self.currentIndex() - 1]
        data = layer.data[0] if layer.multiscale else layer.data
        if data.ndim == 3 and section < data.shape[0]:
            data = data[section]
        return np.asarray(data)

    def _layers(self) -> list[Labels]:
        return [
            layer
            for layer in self._state.viewer.layers
            if isinstance(layer, Labels) and not {ATTENTION_KEY, RESULT_KEY} & set(layer.metadata)
        ]

    def _refresh(self) -> None:
        chosen = self.currentText()
        self.clear()
        self.addItems(["none", *(layer.name for layer in self._layers())])
        self.setCurrentIndex(max(0, self.findText(chosen)))

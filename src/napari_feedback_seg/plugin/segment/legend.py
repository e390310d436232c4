"""The classes of a result: colour, name, and whether they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_feedback_seg.plugin.layers.image import class_colormap
from napari_feedback_seg.plugin.layers.results import record_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Labels

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.plugin.session.session import Session


class Legend(QWidget):
    """A check box for each class of the result, or else of the model, which shows and hides it there."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._classes: Sequence[LabelClass] = ()
        self.boxes: dict[int, QCheckBox] = {}
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(2)
        session.changed.connect(self._draw)
        self._draw("result")

    @property
    def hidden(self) -> set[int]:
        """The values of the classes that are not to be seen."""
        return {value for value, box in self.boxes.items() if not box.isChecked()}

    def apply(self) -> None:
        """Show and hide the classes in the result."""
        layer: Labels | None = self._session.result
        if layer is None:
            return
        if not isinstance(layer.colormap, DirectLabelColormap):
            return  # a person has chosen another colour mode
        wanted = class_colormap(self._classes, self.hidden)
        if {key: tuple(value) for key, value in wanted.color_dict.items()} != {
            key: tuple(value) for key, value in getattr(layer.colormap, "color_dict", {}).items()
        }:
            layer.colormap = wanted

    def _draw(self, part: str) -> None:
        if part not in ("model", "result"):
            return
        result, card = self._session.result, self._session.card
        record = record_of(result) if result is not None else None
        classes = record.classes if record and record.classes else card.classes if card else ()
        if classes == self._classes:
            self.apply()
            return
        self._classes = classes
        for box in self.boxes.values():
            self._layout.removeWidget(box)
            box.deleteLater()
        self.boxes = {}
        for each in classes:
            box = QCheckBox(each.name)
            box.setChecked(True)
            box.setIcon(color_icon(each.color))
            box.setToolTip(f"Show {each.name} (label {each.value}) in the result")
            box.toggled.connect(self.apply)
            self._layout.addWidget(box)
            self.boxes[each.value] = box
        self.apply()


def color_icon(color: str) -> QIcon:
    """Return a square of this colour."""
    square = QPixmap(14, 14)
    square.fill(QColor(color))
    return QIcon(square)

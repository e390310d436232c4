"""A small plot of how much each class looks at each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QEvent, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFont, QHelpEvent, QPainter
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_feedback_seg.attention_maps.colours import coloured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QPaintEvent

    from napari_feedback_seg.classes import LabelClass

_SWATCH = 10
_ROW = 26
_MOST_WITH_NUMBERS = 8


class MatrixPlot(QWidget):
    """Rows look, columns are looked at; the numbers are times uniform attention."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._matrix = np.zeros((0, 0))
        self._classes: Sequence[LabelClass] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)

    def show_matrix(self, matrix: np.ndarray, classes: Sequence[LabelClass]) -> None:
        """Plot a matrix (C, C); NaN stays empty."""
        self._matrix, self._classes = matrix, classes
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        """Return a size at which every number can be read."""
        return QSize(240, _ROW * (len(self._classes) + 1))

    def minimumSizeHint(self) -> QSize:
        """Return the size below which it is not to be squeezed."""
        return QSize(180, self.sizeHint().height())

    def text_at(self, x: float, y: float) -> str:
        """Return the sentence about the cell at a position of the widget; empty beside the cells."""
        cell = self._cell(0, 0)
        row, column = int((y - cell.top()) // cell.height()), int((x - cell.left()) // cell.width())
        if not (0 <= row < len(self._classes) and 0 <= column < len(self._classes)):
            return ""
        looking, looked_at = self._classes[row].name, self._classes[column].name
        value = self._matrix[row, column]
        if np.isnan(value):
            return f"There is no {looking} or no {looked_at} in this tile."
        return f"{looking} looks {value:.2f} times as much at {looked_at} as if it looked everywhere alike"

    def event(self, event: QEvent | None) -> bool:
        """Say in words what the cell below the mouse shows."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            text = self.text_at(event.pos().x(), event.pos().y())
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the names and the cells."""
        if not self._classes:
            return
        painter = QPainter(self)
        finite = self._matrix[np.isfinite(self._matrix)]
        highest = max(1.0, float(finite.max())) if finite.size else 1.0
        colours = coloured(np.nan_to_num(self._matrix), (0.0, highest))
        for index, each in enumerate(self._classes):
            self._name_row(painter, each, self._cell(index, 0).top())
            self._name_column(painter, each, self._cell(0, index))
        for row in range(len(self._classes)):
            for column in range(len(self._classes)):
                self._draw(painter, row, column, colours[row, column])
        painter.end()

    def _draw(self, painter: QPainter, row: int, column: int, colour: np.ndarray) -> None:
        cell = self._cell(row, column)
        value = self._matrix[row, column]
        if np.isnan(value):
            painter.setPen(self.palette().color(self.palette().ColorRole.Text))
            painter.drawText(cell, Qt.AlignmentFlag.AlignCenter, "-")
            return
        background = QColor(*(int(part) for part in colour))
        painter.fillRect(cell.adjusted(0, 0, -1, -1), background)
        if len(self._classes) <= _MOST_WITH_NUMBERS:
            painter.setPen(QColor("black" if background.lightness() > 130 else "white"))
            painter.drawText(cell, Qt.AlignmentFlag.AlignCenter, f"{value:.2f}")

    def _name_row(self, painter: QPainter, each: LabelClass, top: float) -> None:
        swatch = QRectF(1, top + (_ROW - _SWATCH) / 2, _SWATCH, _SWATCH)
        self._write(painter, each, swatch, QRectF(_SWATCH + 5, top, self._left() - _SWATCH - 7, _ROW))

    def _name_column(self, painter: QPainter, each: LabelClass, below: QRectF) -> None:
        swatch = QRectF(below.left(), _ROW - 5, below.width() - 1, 4)
        font = QFont(self.font())
        font.setPointSizeF(max(6.0, font.pointSizeF() * 0.8))
        painter.setFont(font)
        self._write(painter, each, swatch, QRectF(below.left(), 0, below.width() - 2, _ROW - 6))
        painter.setFont(self.font())

    def _write(self, painter: QPainter, each: LabelClass, swatch: QRectF, box: QRectF) -> None:
        painter.fillRect(swatch, QColor(each.color))
        painter.setPen(self.palette().color(self.palette().ColorRole.Text))
        name = painter.fontMetrics().elidedText(each.name, Qt.TextElideMode.ElideRight, int(box.width()))
        painter.drawText(box, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, name)

    def _left(self) -> float:
        metrics = self.fontMetrics()
        widest = max((metrics.horizontalAdvance(each.name) for each in self._classes), default=0)
        return min(widest + _SWATCH + 10, self.width() / 3)

    def _cell(self, row: int, column: int) -> QRectF:
        width = (self.width() - self._left()) / max(1, len(self._classes))
        return QRectF(self._left() + column * width, _ROW * (row + 1), width, _ROW)

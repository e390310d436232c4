"""A small plot of a fine-tune while it goes on."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_feedback_seg.plugin.session.losses import Losses

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintEvent

_TRAINING, _HELD_OUT = QColor("#2f93d2"), QColor("#dd7a00")


class Curves(QWidget):
    """Training loss and held-out loss over the steps."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.losses = Losses()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(110)

    def sizeHint(self) -> QSize:
        """Return a small size."""
        return QSize(240, 110)

    def show_losses(self, losses: Losses) -> None:
        """Show the losses of a fine-tune."""
        self.losses = losses
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the curves, each on a scale of its own from 0 to its highest value."""
        second = "held-out loss" if self.losses.is_held_out else "loss on all corrections"
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().text().color()
        frame = QRectF(4, 20, self.width() - 8, self.height() - 26)
        painter.setPen(QPen(text, 0.5))
        painter.drawLine(frame.bottomLeft(), frame.bottomRight())
        left = 4.0
        for name, color, points in (
            ("training loss", _TRAINING, self.losses.training),
            (second, _HELD_OUT, self.losses.held_out),
        ):
            label = f"{name} {points[-1][1]:.2f}" if points else name
            painter.fillRect(QRectF(left, 7, 10, 4), color)
            painter.setPen(text)
            painter.drawText(QPointF(left + 14, 13), label)
            left += painter.fontMetrics().horizontalAdvance(label) + 26
            painter.setPen(QPen(color, 2))
            self._draw(painter, frame, points)
        painter.end()

    def _draw(self, painter: QPainter, frame: QRectF, points: list[tuple[int, float]]) -> None:
        highest = max((loss for _, loss in points), default=0) or 1
        places = [
            QPointF(
                frame.left() + step / self.losses.total * frame.width(),
                frame.bottom() - loss / highest * frame.height(),
            )
            for step, loss in points
        ]
        steps = [step for step, _ in points]
        edges = [0, *(bisect_right(steps, each) for each in self.losses.breaks), len(places)]
        for start, stop in pairwise(edges):
            painter.drawPolyline(QPolygonF(places[start:stop]))
        painter.setBrush(Qt.BrushStyle.SolidPattern)
        for place in places if len(places) < 20 else places[-1:]:
            painter.drawEllipse(place, 2, 2)

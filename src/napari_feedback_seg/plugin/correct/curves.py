"""A small plot of a fine-tune while it goes on."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintEvent

_TRAINING, _HELD_OUT = QColor("#2f93d2"), QColor("#dd7a00")
_SMOOTH = 0.2


class Curves(QWidget):
    """Training loss and held-out loss over the steps."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.training: list[tuple[int, float]] = []
        self.held_out: list[tuple[int, float]] = []
        self.total = 1
        self._breaks: list[int] = []
        self._second = "held-out loss"
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(110)

    def sizeHint(self) -> QSize:
        """Return a small size."""
        return QSize(240, 110)

    def clear(self) -> None:
        """Begin anew."""
        self.training, self.held_out, self.total, self._breaks = [], [], 1, []
        self.update()

    def begin_part(self) -> None:
        """Begin a new part, of other corrections: its lines do not join those before."""
        self._breaks.append(self.training[-1][0] if self.training else 0)

    def add_training(self, step: int, total: int, loss: float) -> None:
        """Add the loss of a step, smoothed."""
        if self.training and self.training[-1][0] not in self._breaks:
            loss = self.training[-1][1] + _SMOOTH * (loss - self.training[-1][1])
        self.training.append((step, loss))
        self.total = max(total, step)
        self.update()

    def add_held_out(self, step: int, total: int, loss: float, really: bool = True) -> None:
        """Add the loss on the held-out corrections, or if none are, on those that it learns from."""
        self.held_out.append((step, loss))
        self._second = "held-out loss" if really else "loss on all corrections"
        self.total = max(total, step)
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the curves, each on a scale of its own from 0 to its highest value."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().text().color()
        frame = QRectF(4, 20, self.width() - 8, self.height() - 26)
        painter.setPen(QPen(text, 0.5))
        painter.drawLine(frame.bottomLeft(), frame.bottomRight())
        left = 4.0
        for name, color, points in (
            ("training loss", _TRAINING, self.training),
            (self._second, _HELD_OUT, self.held_out),
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
                frame.left() + step / self.total * frame.width(),
                frame.bottom() - loss / highest * frame.height(),
            )
            for step, loss in points
        ]
        steps = [step for step, _ in points]
        edges = [0, *(bisect_right(steps, each) for each in self._breaks), len(places)]
        for start, stop in pairwise(edges):
            painter.drawPolyline(QPolygonF(places[start:stop]))
        painter.setBrush(Qt.BrushStyle.SolidPattern)
        for place in places if len(places) < 20 else places[-1:]:
            painter.drawEllipse(place, 2, 2)

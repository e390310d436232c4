"""A table of how much each class looks at each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QSizePolicy, QTableWidget, QTableWidgetItem

from napari_feedback_seg.attention_maps.colours import coloured
from napari_feedback_seg.plugin.segment.legend import color_icon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.classes import LabelClass


class MatrixTable(QTableWidget):
    """Rows look, columns are looked at; the numbers are times the average."""

    def __init__(self) -> None:
        super().__init__()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.horizontalHeader().setMinimumSectionSize(24)
        self.verticalHeader().setMaximumWidth(110)
        self.verticalHeader().setTextElideMode(Qt.TextElideMode.ElideRight)
        self.horizontalHeader().setTextElideMode(Qt.TextElideMode.ElideRight)
        self.horizontalHeader().setDefaultAlignment(
            Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        )

    def show_matrix(self, matrix: np.ndarray, classes: Sequence[LabelClass]) -> None:
        """Show a matrix (C, C); NaN stays empty."""
        self.setRowCount(len(classes))
        self.setColumnCount(len(classes))
        for index, each in enumerate(classes):
            looking, looked_at = (
                QTableWidgetItem(color_icon(each.color), each.name),
                QTableWidgetItem(each.name),
            )
            for header in (looking, looked_at):
                header.setToolTip(each.name)
            self.setVerticalHeaderItem(index, looking)
            self.setHorizontalHeaderItem(index, looked_at)
        finite = matrix[np.isfinite(matrix)]
        colours = coloured(np.nan_to_num(matrix), (0.0, max(1.0, float(finite.max(initial=0.0)))))
        for at in np.ndindex(matrix.shape):
            looking, looked_at = (classes[index].name for index in at)
            self.setItem(*at, _cell(float(matrix[at]), colours[at], looking, looked_at))
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        """Return a height in which every row is seen."""
        height = self.horizontalHeader().sizeHint().height() + self.verticalHeader().length()
        return QSize(super().sizeHint().width(), height + 2 * self.frameWidth())


def _cell(value: float, colour: np.ndarray, looking: str, at: str) -> QTableWidgetItem:
    if np.isnan(value):
        cell = QTableWidgetItem("-")
        cell.setToolTip(f"There is no {looking} or no {at} in this tile.")
    else:
        background = QColor(*(int(part) for part in colour))
        cell = QTableWidgetItem(f"{value:.1f}")
        cell.setBackground(background)
        cell.setForeground(QColor("black" if background.lightness() > 130 else "white"))
        cell.setToolTip(f"{looking} looks at {at} {value:.2f} times as much as at the average place")
    cell.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
    return cell

"""A table of words and numbers, to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_ROWS = 12
"""Rows to be seen at once; the others are scrolled to."""

_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter


class TextTable(QTableWidget):
    """Rows below headings, as wide as their words; one column has words, and the others have numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 6)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setMinimumSectionSize(20)

    def show_rows(self, headings: Mapping[str, str], rows: Sequence[Sequence[str]], words: int = 0) -> None:
        """Show rows below headings, which have tooltips; ``words`` is the column of words."""
        self.setColumnCount(len(headings))
        self.setRowCount(len(rows))
        for x, (heading, tip) in enumerate(headings.items()):
            self.setHorizontalHeaderItem(x, _item(heading, x == words))
            self.horizontalHeaderItem(x).setToolTip(tip)
        for y, row in enumerate(rows):
            for x, text in enumerate(row):
                self.setItem(y, x, _item(text, x == words))
        height = self.horizontalHeader().sizeHint().height() + 2 * self.frameWidth()
        self.setFixedHeight(height + min(MOST_ROWS, len(rows)) * self.rowHeight(0))


def _item(text: str, left: bool) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    item.setTextAlignment(_LEFT if left else _RIGHT)
    return item

"""The table of objects: sorted by a click on a heading, chosen by a click on a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QItemSelectionModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QTableView

from napari_feedback_seg.objects.table import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

    from napari_feedback_seg.objects.table import Table

_ROWS = 6
"""Rows to be seen at least; the others are scrolled to."""

_UNITS = {"um": "µm", "um2": "µm²", "um3": "µm³", "nm": "nm", "px": "px", "deg": "°"}


def heading(name: str) -> str:
    """Return what a column is called, its unit in a line of its own."""
    stem, _, unit = name.rpartition("_")
    if stem and unit in _UNITS:
        return f"{stem.replace('_', ' ')}\n{_UNITS[unit]}"
    return name.replace("_", " ")


class ObjectTable(QTableView):
    """Shows measures.

    Signals
    -------
    chosen : int
        A person chose the object with this number.
    """

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._model = _Model(self)
        self.setModel(self._model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setSortingEnabled(True)
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        rows.hide()
        rows.setDefaultSectionSize(self.fontMetrics().height() + 6)
        columns.setMinimumSectionSize(20)
        columns.setDefaultSectionSize(self.fontMetrics().horizontalAdvance("elongation") + 16)
        self.setMinimumHeight(columns.sizeHint().height() * 2 + _ROWS * rows.defaultSectionSize())
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.clicked.connect(self._on_clicked)

    def show_table(self, table: Table | None, selected: int) -> None:
        """Show a table, and which object is chosen."""
        self._model.show(table)
        row = self._model.row_of(selected)
        selection = self.selectionModel()
        if row is None:
            selection.clearSelection()
        elif selected not in self.selected():
            index = self._model.index(row, 0)
            flags = QItemSelectionModel.SelectionFlag
            selection.select(index, flags.ClearAndSelect | flags.Rows)
            self.scrollTo(index)

    def selected(self) -> list[int]:
        """Return the numbers of the objects whose rows are chosen."""
        return [self._model.number(index.row()) for index in self.selectionModel().selectedRows()]

    def _on_clicked(self, index: QModelIndex) -> None:
        self.chosen.emit(self._model.number(index.row()))


class _Model(QAbstractTableModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__()
        self._table: Table | None = None
        self._names: Sequence[str] = ()
        self._order = np.zeros(0, int)
        self._sorted = (0, Qt.SortOrder.AscendingOrder)

    def show(self, table: Table | None) -> None:
        """Show a table in the order that was chosen."""
        if table is self._table:
            return
        self.beginResetModel()
        names = tuple(table.columns) if table is not None else ()
        if names != tuple(self._names):
            self._sorted = (0, Qt.SortOrder.AscendingOrder)
        self._table, self._names = table, names
        self._sort()
        self.endResetModel()

    def number(self, row: int) -> int:
        """Return the number of the object in a row."""
        assert self._table is not None
        return int(self._table["object"][self._order[row]])

    def row_of(self, number: int) -> int | None:
        """Return the row of an object."""
        if self._table is None:
            return None
        rows = np.flatnonzero(self._table["object"][self._order] == number)
        return int(rows[0]) if len(rows) else None

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._order)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._names)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation != Qt.Orientation.Horizontal or section >= len(self._names):
            return None
        if role == Qt.ItemDataRole.ToolTipRole:
            return describe(self._names[section])
        return heading(self._names[section]) if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role != Qt.ItemDataRole.DisplayRole or self._table is None:
            return None
        value = self._table[self._names[index.column()]][self._order[index.row()]].item()
        return shown(value)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        self.beginResetModel()
        self._sorted = (column, order)
        self._sort()
        self.endResetModel()

    def _sort(self) -> None:
        column, order = self._sorted
        if self._table is None or not 0 <= column < len(self._names):
            self._order = np.arange(len(self._table) if self._table is not None else 0)
            return
        values = np.asarray(self._table[self._names[column]], float)
        descending = order == Qt.SortOrder.DescendingOrder
        self._order = np.argsort(
            np.where(np.isnan(values), np.inf, -values if descending else values), kind="stable"
        )


def shown(value: float) -> str:
    """Return a number as a person reads it, with three digits; nothing for what is unknown."""
    if isinstance(value, int):
        return str(value)
    if np.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"

"""The table of areas and profiles of a result."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from napari.layers import Labels
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QDoubleSpinBox,
    QFileDialog,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.errors import OutputError
from napari_feedback_seg.plugin.forms.decimals import PointOrComma, decimal_point
from napari_feedback_seg.plugin.forms.row import row
from napari_feedback_seg.plugin.layers.image import RESULT_KEY, pixel_size_nm
from napari_feedback_seg.segmentation.measure import LEAST_PIXELS, LEAST_UM2, measure

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari.layers import Layer

    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.segmentation.measure import Measures, Row, SectionMeasured

MOST_ROWS = 12
"""Rows to be seen at once; the others are scrolled to."""

_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter


class MeasurePanel(QWidget):
    """Measures the result of the image, and shows, copies and saves the table.

    Attributes
    ----------
    measures : Measures or None
        What the table shows.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._of: Any = None
        self._measured: Labels | None = None
        self.measures: Measures | None = None
        self.least_box = QDoubleSpinBox()
        PointOrComma(self.least_box)
        self.least_box.setToolTip("Smaller profiles are taken for specks, and not counted")
        self.measure_button = QPushButton("Measure")
        self.measure_button.setToolTip(
            "Measure the areas of the classes, and count the profiles of organelles"
        )
        self.table = QTableView()
        self.copy_button = QPushButton("Copy")
        self.copy_button.setToolTip("Copy the table, with all its digits, to paste it into a spreadsheet")
        self.save_button = QPushButton("Save CSV...")
        self.save_button.setToolTip("Save the table as a file of comma-separated values")
        self.note = QLabel()
        self.note.setWordWrap(True)
        self._lay_out()
        self.measure_button.clicked.connect(self.measure)
        self.copy_button.clicked.connect(self.copy)
        self.save_button.clicked.connect(self._ask_for_file)
        session.changed.connect(self._on_changed)
        session.jobs.started.connect(self._refresh)
        session.jobs.ended.connect(self._refresh)
        session.corrected.connect(self._outdate)
        self._show(None)
        self._refresh()

    def _lay_out(self) -> None:
        table = self.table
        table.setModel(_Table(None))
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setTabKeyNavigation(False)
        table.setWordWrap(False)
        rows, columns = table.verticalHeader(), table.horizontalHeader()
        assert rows is not None
        assert columns is not None
        rows.hide()
        rows.setDefaultSectionSize(table.fontMetrics().height() + 6)
        columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        columns.setMinimumSectionSize(20)
        self.least_box.setMinimumWidth(112)
        least = QLabel("L&east profile")
        least.setBuddy(self.least_box)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row(least, self.least_box, self.measure_button))
        layout.addWidget(table)
        layout.addWidget(self.note)
        layout.addLayout(row(self.copy_button, self.save_button))

    def least(self) -> float:
        """Return the least size of a profile: in µm² where the pixel size is known, else in pixels."""
        return self.least_box.value()

    def measure(self) -> None:
        """Measure the result, off the GUI thread."""
        self._session.correcting.corrections.look()
        self._refresh()  # the scale, and so the unit, may be another
        layer = current_result(self._session)
        if layer is None:
            return
        labels = self._session.correcting.corrections.of_result(layer)
        classes, size, least = classes_of(layer), measured_size(layer), self.least()

        def work() -> Generator[SectionMeasured, None, Measures]:
            return measure(labels, classes, size, least)

        self._show(None)
        self._of, self._measured = stamp(layer), layer
        self._session.jobs.run(work, title=f"Measuring {layer.name}", on_done=self._finish)

    def _finish(self, measures: Measures) -> None:
        self._show(measures)
        self._refresh()  # it may have changed in the meantime

    def _outdate(self, _: Any = None) -> None:
        """Take note that what was measured has changed."""
        self._of = None
        self._refresh()

    def copy(self) -> None:
        """Copy the table as text, with tabs between the columns."""
        clipboard = QApplication.clipboard()
        if self.measures is not None and clipboard is not None:
            clipboard.setText(self.measures.to_text(decimal=decimal_point()))
            show_info(f"{len(self.measures.rows)} rows were copied: paste them into a spreadsheet.")

    def save(self, path: Path, overwrite: bool = False) -> None:
        """Save the table as a CSV file."""
        if self.measures is None:
            return
        try:
            self.measures.write_csv(path, overwrite)
        except OutputError as error:
            show_error(str(error))
        else:
            show_info(f"The table is saved as {path}.")

    def cleanup(self) -> None:
        """Let go of the layer; may be called again."""
        self._measured = None

    def _ask_for_file(self) -> None:
        chosen, _ = QFileDialog.getSaveFileName(self, "Save the table", "measures.csv", "Tables (*.csv)")
        if chosen:
            path = Path(chosen)
            # The dialog has asked before it gave a name that is taken, but not about the name with .csv.
            self.save(path.with_name(f"{path.name}.csv") if not path.suffix else path, bool(path.suffix))

    def _on_changed(self, part: str) -> None:
        if part == "result":
            self._refresh()

    def _refresh(self) -> None:
        layer, busy = current_result(self._session), self._session.jobs.busy
        if self.measures is not None and (layer is None or stamp(layer) != self._of):
            same = layer is not None and layer == self._measured  # of another one nothing was measured
            self._show(None)
            self.note.setText("The result has changed: measure again." if same else "")
            self.note.setVisible(same)
        self.measure_button.setEnabled(layer is not None and not busy)
        self.least_box.setEnabled(layer is not None)
        if layer is not None:
            self._set_unit(measured_size(layer) is not None)

    def _set_unit(self, known: bool) -> None:
        box, unit = self.least_box, " µm²" if known else " px"
        if box.suffix() != unit:
            box.setSuffix(unit)
            box.setDecimals(4 if known else 0)
            box.setRange(0, 1e3 if known else 1e7)
            box.setSingleStep(LEAST_UM2 / 3 if known else 10)
            box.setValue(LEAST_UM2 if known else LEAST_PIXELS)

    def _show(self, measures: Measures | None) -> None:
        self.measures = measures
        model = _Table(measures, self.table)
        previous = self.table.model()
        self.table.setModel(model)
        if previous is not None:
            previous.deleteLater()
        for widget in (self.table, self.note, self.copy_button, self.save_button):
            widget.setVisible(measures is not None)
        if measures is None:
            return
        stack = measures.rows[-1].section is not None
        self.table.setColumnHidden(0, not stack)
        counted = " Profiles: an organelle that runs through five sections has five." if stack else ""
        self.note.setText(f"%: of the segmented area.{counted}")
        headings = self.table.horizontalHeader()
        assert headings is not None
        height = headings.sizeHint().height() + 2 * self.table.frameWidth()
        self.table.setFixedHeight(height + min(MOST_ROWS, len(measures.rows)) * self.table.rowHeight(0))


class _Table(QAbstractTableModel):
    """The rows of a table, rounded for the eye."""

    def __init__(self, measures: Measures | None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: tuple[Row, ...] = measures.rows if measures else ()
        known = bool(self._rows) and self._rows[0].pixel_um2 is not None
        self._unit = "µm²" if known else "px"
        self._known = known

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._headings())

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        heading, tip = self._headings()[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _LEFT if section == 1 else _RIGHT
        return heading if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _LEFT if index.column() == 1 else _RIGHT
        if role == Qt.ItemDataRole.DisplayRole:
            return self._cells(self._rows[index.row()])[index.column()]
        return None

    def _headings(self) -> tuple[tuple[str, str], ...]:
        unit = self._unit
        return (
            ("z", "Section, counted from 0 as on the slider; all: all sections together"),
            ("Class", "Class of the labels"),
            ("%", "Share of the segmented area; label 0, not segmented, is left out"),
            (unit, f"Area in {unit}"),
            ("Pro-\nfiles", "Number of organelle profiles: pixels of one section that touch"),
            (f"Mean\n{unit}", f"Mean size of a profile in {unit}"),
        )

    def _cells(self, row: Row) -> tuple[str, ...]:
        return (
            "all" if row.section is None else str(row.section),
            row.name,
            f"{row.percent:.1f}" if row.percent is not None else "",
            _number(row.um2 if self._known else row.pixels),
            "" if row.profiles is None else str(row.profiles),
            _number(row.mean_um2 if self._known else row.mean_pixels),
        )


def current_result(session: Session) -> Labels | None:
    """Return the result that is the active layer, or that of the image, or if there is none the newest."""
    active = session.viewer.layers.selection.active
    if is_result(active):
        return active
    if session.image is not None:
        return session.result
    results = [layer for layer in session.viewer.layers if is_result(layer)]
    return results[-1] if results else None


def is_result(layer: Layer | None) -> TypeGuard[Labels]:
    """Return whether a layer was made by a segmentation, and says which classes it has."""
    return isinstance(layer, Labels) and "classes" in layer.metadata.get(RESULT_KEY, {})


def classes_of(layer: Labels) -> tuple[LabelClass, ...]:
    """Return the classes of a result."""
    return tuple(LabelClass(**each) for each in layer.metadata[RESULT_KEY]["classes"])


def measured_size(layer: Labels) -> tuple[float, float] | None:
    """Return the height and width in nm of a rectangle as large as a pixel of a result.

    The size of the layer counts, and where that has none the one that the result was made with, as a
    person typed it in.
    """
    recorded = layer.metadata[RESULT_KEY].get("pixel_size_nm")
    size = pixel_size_nm(layer) or ((float(recorded[0]), float(recorded[1])) if recorded else None)
    if size is None:
        return None
    # A sheared pixel is a parallelogram: its sides alone do not give its area.
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
    down, across = ((np.asarray(layer.data_to_world(step)) - origin)[-2:] for step in np.eye(layer.ndim)[-2:])
    area = abs(float(down[0] * across[1] - down[1] * across[0]))
    sine = area / (math.hypot(*down) * math.hypot(*across))
    return size[0], size[1] if sine > 1 - 1e-9 else size[1] * sine


def stamp(layer: Labels) -> Any:
    """Return what tells a result from another, and from itself after another segmentation."""
    return layer.unique_id, id(layer.data), layer.metadata.get(RESULT_KEY, {}).get("runs")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 99.95 or value == 0 or isinstance(value, int) else f"{value:#.3g}"

"""The table of areas and profiles of a result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error, show_info
from qtpy.QtWidgets import QDoubleSpinBox, QFileDialog, QLabel, QWidget

from napari_feedback_seg.errors import OutputError
from napari_feedback_seg.plugin.forms.decimals import PointOrComma, decimal_point
from napari_feedback_seg.plugin.forms.row import button, column, copy_text, row, sentence
from napari_feedback_seg.plugin.forms.text_table import TextTable

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.segmentation.measure import Measures, Row


class MeasurePanel(QWidget):
    """Measures the result at hand, and shows, copies and saves the table."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session, self._measuring = session, session.measuring
        self.least_box = QDoubleSpinBox()
        PointOrComma(self.least_box)
        self.least_box.setToolTip("Smaller profiles are taken for specks, and not counted (Alt+E)")
        self.measure_button = button(
            "Measure", "Measure the areas of the classes, and count the profiles of organelles"
        )
        self.table = TextTable()
        self.copy_button = button(
            "Copy", "Copy the table, with all its digits, to paste it into a spreadsheet"
        )
        self.save_button = button("Save CSV...", "Save the table as a file of comma-separated values")
        self.note = sentence()
        self._lay_out()
        self.measure_button.clicked.connect(self.measure)
        self.copy_button.clicked.connect(self.copy)
        self.save_button.clicked.connect(self._ask_for_file)
        session.changed.connect(self._draw)
        self._draw("measuring")

    def _lay_out(self) -> None:
        self.least_box.setMinimumWidth(112)
        least = QLabel("L&east profile")
        least.setBuddy(self.least_box)
        first = row(least, self.least_box, self.measure_button)
        column(self, first, self.table, self.note, row(self.copy_button, self.save_button))

    def measure(self) -> None:
        """Measure the result."""
        self._draw_unit()  # the scale may be another
        self._measuring.start(self.least_box.value())

    def copy(self) -> None:
        """Copy the table as text, with tabs between the columns."""
        self._measuring.look()
        measures = self._measuring.measures
        if measures is not None:
            copy_text(measures.to_text(decimal=decimal_point()))
            show_info(f"{len(measures.rows)} rows were copied: paste them into a spreadsheet.")

    def save(self, path: Path, overwrite: bool = False) -> None:
        """Save the table as a CSV file."""
        self._measuring.look()
        measures = self._measuring.measures
        if measures is None:
            return
        try:
            measures.write_csv(path, overwrite)
        except OutputError as error:
            show_error(str(error))
        else:
            show_info(f"The table is saved as {path}.")

    def _ask_for_file(self) -> None:
        chosen, _ = QFileDialog.getSaveFileName(self, "Save the table", "measures.csv", "Tables (*.csv)")
        if chosen:
            path = Path(chosen)
            # The dialog has asked before it gave a name that is taken, but not about the name with .csv.
            self.save(path.with_name(f"{path.name}.csv") if not path.suffix else path, bool(path.suffix))

    def _draw(self, part: str) -> None:
        if part == "measuring":
            self._draw_table(self._measuring.measures)
        if part in ("measuring", "image", "result", "job"):
            there = self._measuring.result is not None
            self.measure_button.setEnabled(there and not self._session.jobs.busy)
            self.least_box.setEnabled(there)
            self._draw_unit()

    def _draw_unit(self) -> None:
        known, box = self._measuring.in_um2, self.least_box
        unit = " µm²" if known else " px"
        if self._measuring.result is not None and box.suffix() != unit:
            box.setSuffix(unit)
            box.setDecimals(4 if known else 0)
            box.setRange(0, 1e3 if known else 1e7)
            box.setSingleStep(self._measuring.least / 3)
            box.setValue(self._measuring.least)

    def _draw_table(self, measures: Measures | None) -> None:
        for widget in (self.table, self.copy_button, self.save_button):
            widget.setVisible(measures is not None)
        self.note.setText("The result has changed: measure again.")
        self.note.setVisible(measures is not None or self._measuring.outdated)
        if measures is None:
            return
        known = measures.rows[0].pixel_um2 is not None
        self.table.show_rows(_headings(known), [_cells(each, known) for each in measures.rows], words=1)
        stack = measures.rows[-1].section is not None
        self.table.setColumnHidden(0, not stack)
        counted = " Profiles: an organelle that runs through five sections has five." if stack else ""
        self.note.setText(f"%: of the segmented area.{counted}")


def _headings(known: bool) -> dict[str, str]:
    """Return the headings and their tooltips, where the size of a pixel is known and where it is not."""
    unit = "µm²" if known else "px"
    return {
        "z": "Section, counted from 0 as on the slider; all: all sections together",
        "Class": "Class of the labels",
        "%": "Share of the segmented area; label 0, not segmented, is left out",
        unit: f"Area in {unit}",
        "Pro-\nfiles": "Number of organelle profiles: pixels of one section that touch",
        f"Mean\n{unit}": f"Mean size of a profile in {unit}",
    }


def _cells(row: Row, known: bool) -> tuple[str, ...]:
    """Return what is shown of a row, rounded for the eye."""
    return (
        "all" if row.section is None else str(row.section),
        row.name,
        f"{row.percent:.1f}" if row.percent is not None else "",
        _number(row.um2 if known else row.pixels),
        "" if row.profiles is None else str(row.profiles),
        _number(row.mean_um2 if known else row.mean_pixels),
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 99.95 or value == 0 or isinstance(value, int) else f"{value:#.3g}"

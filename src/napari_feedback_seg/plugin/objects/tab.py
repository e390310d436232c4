"""The tab in which single mitochondria, synapses and cells are found, measured and put right."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QProgressBar,
    QWidget,
)

from napari_feedback_seg.plugin.forms.decimals import decimal_point
from napari_feedback_seg.plugin.forms.fold import Fold
from napari_feedback_seg.plugin.forms.options_form import OptionsForm
from napari_feedback_seg.plugin.forms.row import button, chooser, column, copy_text, fill, row, say, sentence
from napari_feedback_seg.plugin.objects.histogram import Histogram
from napari_feedback_seg.plugin.objects.table import ObjectTable, heading
from napari_feedback_seg.plugin.session.jobs import State
from napari_feedback_seg.plugin.session.objects.editing import ADD, DELETE, MERGE, SPLIT
from napari_feedback_seg.plugin.session.objects.work import CELLS

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.session import Session

_MESHES = 200
"""Objects that are meshed at once at most."""

_COMMA = "Tables with decimal commas (*.csv)"


class ObjectsTab(QWidget):
    """Find, look, measure, put right, mesh, save."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session, self._objects = session, session.objects
        self._make_widgets()
        self._lay_out()
        self._connect()
        self._draw()

    # --- widgets

    def _make_widgets(self) -> None:
        objects = self._objects
        self.what_box = chooser("What to find: objects of a class, or cells, which membranes enclose (Alt+O)")
        self.form = OptionsForm(objects.options)
        self.cell_form = OptionsForm(objects.cell_options)
        how = QWidget()
        column(how, self.form, self.cell_form)
        self.how = Fold("How", how)
        self.find_button = button("&Find objects", "Find the objects in the result, number and measure them")
        self.preview_button = button(
            "Preview", "Show what these options find in the section that is displayed"
        )
        self.tools = {
            SPLIT: button("&Split", "Click two places on an object, or draw a line across it"),
            MERGE: button("&Merge", "Click two objects to make one of them"),
            DELETE: button("&Delete", "Click an object to delete it"),
            ADD: button("&Add", "Paint a new object, through the sections too"),
        }
        for each in self.tools.values():
            each.setCheckable(True)
        self.undo_button = button("&Undo", "Take back the preview, or the last edit (Ctrl+Z on the objects)")
        self.redo_button = button("&Redo", "Do again what was undone")
        self.table = ObjectTable()
        self.measure_box = chooser("Colour the objects by this measure, and show how it is spread (Alt+B)")
        self.histogram = Histogram()
        self.mesh_button = button(
            "Mes&hes", "Show the chosen rows, if several, or else all objects as surfaces in 3D"
        )
        self.save_meshes_button = button("Save meshes...", "Save the meshes as PLY, OBJ, STL or GLB, in µm")
        self.copy_button = button("&Copy", "Copy the table, to paste it into a spreadsheet")
        self.save_button = button("Sa&ve table...", "Save the table as CSV")
        self.save_edits_button = button("Save edits...", "Save the edits, to do them again")
        self.open_edits_button = button("Open edits...", "Do the edits of a file")
        self.progress = QProgressBar()
        self.cancel_button = button("Cancel", "Stop")
        self.status = sentence()

    def _lay_out(self) -> None:
        form, self.colour = QFormLayout(), QFormLayout()
        for each in (form, self.colour):
            each.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("&Objects", self.what_box)
        self.colour.addRow("Colour &by", self.measure_box)
        layout = column(
            self,
            form,
            self.how,
            row(self.find_button, self.preview_button),
            row(*self.tools.values(), self.undo_button, self.redo_button),
            self.table,
            row(self.progress, self.cancel_button),  # below what the mouse is on, which they would move
            self.status,
            self.colour,
            self.histogram,
            row(self.mesh_button, self.save_meshes_button),
            row(self.copy_button, self.save_button),
            row(self.save_edits_button, self.open_edits_button),
            margin=9,
        )
        layout.setStretchFactor(self.table, 1)  # all the height that is left
        layout.addStretch(0)

    def _connect(self) -> None:
        objects = self._objects
        self.what_box.activated.connect(lambda index: objects.choose(self.what_box.itemText(index)))
        self.form.changed.connect(objects.set_options)
        self.cell_form.changed.connect(objects.set_options)
        self.find_button.clicked.connect(objects.find)
        self.preview_button.clicked.connect(objects.preview)
        self.cancel_button.clicked.connect(self._session.jobs.cancel)
        for tool, each in self.tools.items():
            each.clicked.connect(partial(self._take_tool, tool))
        self.undo_button.clicked.connect(objects.editing.undo)
        self.redo_button.clicked.connect(objects.editing.redo)
        self.table.chosen.connect(objects.select)
        self.measure_box.activated.connect(lambda index: objects.colour(self.measure_box.itemData(index)))
        self.mesh_button.clicked.connect(self._make_meshes)
        self.copy_button.clicked.connect(self.copy)
        self.save_button.clicked.connect(self._ask_for_table)
        self.save_meshes_button.clicked.connect(self._ask_for_meshes)
        self.save_edits_button.clicked.connect(self._ask_for_edits)
        self.open_edits_button.clicked.connect(self._ask_for_edits_to_open)
        self._session.changed.connect(self._on_changed)

    # --- what a person does

    def _take_tool(self, tool: str) -> None:
        self._objects.editing.set_tool("" if self._objects.editing.tool == tool else tool)

    def _make_meshes(self) -> None:
        table = self._objects.table
        if table is not None:
            numbers = self.table.selected()
            self._objects.make_meshes(numbers if len(numbers) > 1 else table["object"].tolist()[:_MESHES])

    def copy(self) -> None:
        """Copy the table as text, with tabs between the columns."""
        table = self._objects.table
        if table is not None:
            copy_text(table.to_text(decimal=decimal_point()))
            self._session.said.emit(f"{len(table)} rows were copied: paste them into a spreadsheet.", "info")

    def _ask_for_table(self) -> None:
        kinds = ["Tables (*.csv)", _COMMA]
        first = kinds[decimal_point() == ","]
        name = f"{self._objects.what}.csv"
        chosen, kind = QFileDialog.getSaveFileName(self, "Save the table", name, ";;".join(kinds), first)
        if chosen:
            path = _named(chosen, ".csv")
            self._objects.files.save_table(path, overwrite=str(path) == chosen, decimal_comma=kind == _COMMA)

    def _ask_for_meshes(self) -> None:
        kinds = "PLY (*.ply);;OBJ (*.obj);;STL (*.stl);;GLB (*.glb)"
        chosen, kind = QFileDialog.getSaveFileName(
            self, "Save the meshes", f"{self._objects.what}.ply", kinds
        )
        if chosen:
            path = _named(chosen, f".{kind[:3].lower() or 'ply'}")
            self._objects.files.save_meshes(path, overwrite=str(path) == chosen)

    def _ask_for_edits(self) -> None:
        chosen, _ = QFileDialog.getSaveFileName(self, "Save the edits", "edits.json", "Edits (*.json)")
        if chosen:
            path = _named(chosen, ".json")
            self._objects.files.save_edits(path, overwrite=str(path) == chosen)

    def _ask_for_edits_to_open(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Open edits", "", "Edits (*.json)")
        if chosen:
            self._objects.editing.open_edits(Path(chosen))

    # --- what is shown

    def _on_changed(self, part: str) -> None:
        if part in ("objects", "result", "image", "model", "layers"):
            self._draw()
        elif part == "job":
            self._draw_job()

    def _draw(self) -> None:
        objects, found = self._objects, self._objects.found
        self._draw_choices()
        cells = objects.what == CELLS
        self.form.setVisible(not cells)
        self.cell_form.setVisible(cells)
        self.form.value, self.cell_form.value = objects.options, objects.cell_options
        self.find_button.setText("&Find cells" if cells else "&Find objects")
        self.table.show_table(objects.table, found.selected if found is not None else 0)
        for tool, each in self.tools.items():
            each.setChecked(objects.editing.tool == tool)
            each.setEnabled(found is not None)
        self.undo_button.setEnabled(self._objects.editing.can_undo)
        self.redo_button.setEnabled(found is not None and found.editor.can_redo)
        self.save_edits_button.setEnabled(found is not None and bool(found.editor.edits))
        self.open_edits_button.setEnabled(found is not None)
        stack = found is not None and found.labels.ndim == 3
        self.mesh_button.setEnabled(stack)
        self.save_meshes_button.setEnabled(found is not None and bool(found.meshes))
        for widget in (self.table, self.copy_button, self.save_button):
            widget.setVisible(found is not None)
        self.colour.setRowVisible(self.measure_box, found is not None)
        self._draw_measures()
        say(self.status, f"{objects.status} {objects.editing.hint}".strip())
        self._draw_job()

    def _draw_choices(self) -> None:
        choices = self._objects.choices
        fill(self.what_box, {each: each for each in choices}, self._objects.what)
        self.what_box.setEnabled(bool(choices))

    def _draw_measures(self) -> None:
        table, chosen = self._objects.table, self._objects.colour_by
        names = [name for name in table.columns if name != "object"] if table is not None else []
        measures = {heading(name).replace("\n", ", "): name for name in names}
        fill(self.measure_box, {"number": "", **measures}, chosen)
        self.histogram.show_measure(table, chosen)

    def _draw_job(self) -> None:
        jobs, state = self._session.jobs, self._objects.state
        for widget in (self.progress, self.cancel_button):
            widget.setVisible(state is not State.IDLE)
        self.cancel_button.setEnabled(state is not State.CANCELLING)
        self.progress.setRange(0, jobs.total)
        self.progress.setValue(jobs.done)
        for each in (self.find_button, self.preview_button):
            each.setEnabled(bool(self._objects.choices) and not jobs.busy)


def _named(chosen: str, suffix: str) -> Path:
    """Return a path with an ending. The dialog has asked about a name that is taken, not about another."""
    path = Path(chosen)
    return path if path.suffix else path.with_name(f"{path.name}{suffix}")

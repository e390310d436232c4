from __future__ import annotations

import csv

import numpy as np
import pytest
from qtpy.QtCore import QLocale, Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.segmentation.measure import LEAST_PIXELS, LEAST_UM2, measure


@pytest.fixture
def panel(tab):
    return tab.measure_panel


@pytest.fixture
def measured(panel, dock, press, finish):
    """Press Measure and wait; return the table as it is seen, a list of rows."""

    def measured() -> list[list[str]]:
        press(panel.measure_button)
        finish(dock)
        return cells(panel.table)

    return measured


def cells(table) -> list[list[str]]:
    model = table.model()
    shown = [n for n in range(model.columnCount()) if not table.isColumnHidden(n)]
    return [[model.index(row, n).data() for n in shown] for row in range(model.rowCount())]


def headings(table) -> list[str]:
    model = table.model()
    return [
        model.headerData(n, Qt.Orientation.Horizontal)
        for n in range(model.columnCount())
        if not table.isColumnHidden(n)
    ]


def expected(layer, *arguments):
    events = measure(layer.data, EM_CLASSES, *arguments)
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


def test_a_section_in_square_micrometres(viewer, segment, section, dock, panel, measured):
    viewer.add_image(section, name="cells", scale=(5, 10), units="nm")
    layer = segment()
    panel.least_box.setValue(0.0005)
    rows = measured()
    assert headings(panel.table) == ["Class", "%", "µm²", "Pro-\nfiles", "Mean\nµm²"]
    assert dock.session.measuring.measures == expected(layer, (5.0, 10.0), 0.0005)
    assert [row[0] for row in rows] == [each.name for each in EM_CLASSES]
    share = 100 * (layer.data == 2).mean()
    assert rows[1][1] == f"{share:.1f}"
    assert float(rows[1][2]) == pytest.approx((layer.data == 2).sum() * 50e-6, rel=0.01)
    assert int(rows[1][3]) == dock.session.measuring.measures.rows[1].profiles > 0
    assert rows[0][3:] == ["", ""]
    assert panel.table.isVisibleTo(panel)


def test_a_stack_section_by_section(viewer, segment, section, tab, dock, panel, measured):
    viewer.add_image(np.stack([section, section[::-1], section]), name="cells")
    tab.what_box.chooser.setCurrentIndex(tab.what_box.chooser.findText("All sections"))
    layer = segment()
    panel.least_box.setValue(20)
    rows = measured()
    assert headings(panel.table)[0] == "z"
    assert headings(panel.table)[3] == "px"
    assert [row[0] for row in rows[::4]] == ["all", "0", "1", "2"]
    assert rows[5][3] == f"{(layer.data[0] == 2).sum():,}"
    assert dock.session.measuring.measures == expected(layer, None, 20)
    assert "five sections" in panel.note.text()


def test_the_unit_follows_the_pixel_size(viewer, segment, section, panel, tab):
    assert not panel.measure_button.isEnabled()
    viewer.add_image(section, name="no size")
    segment()
    assert panel.least_box.suffix() == " px"
    assert panel.least_box.value() == LEAST_PIXELS
    viewer.add_image(section, name="size", scale=(4.6, 4.6), units="nm")
    assert not panel.measure_button.isEnabled()  # of this image there is no result
    segment()
    assert panel.least_box.suffix() == " µm²"
    assert panel.least_box.value() == LEAST_UM2


def test_the_least_size_is_in_the_unit_of_the_moment(viewer, segment, section, panel, measured):
    viewer.add_image(section)
    result = segment()
    assert panel.least_box.suffix() == " px"
    result.scale, result.units = (5, 5), ("nm", "nm")
    measured()
    assert panel.least_box.suffix() == " µm²"
    assert panel.least_box.value() == LEAST_UM2


def test_the_table_is_copied_and_saved(
    viewer, segment, section, dock, panel, measured, press, tmp_path, monkeypatch, said
):
    viewer.add_image(section, scale=(5, 5), units="nm")
    layer = segment()
    assert not panel.copy_button.isVisibleTo(panel)
    measured()
    press(panel.copy_button)
    assert QApplication.clipboard().text() == dock.session.measuring.measures.to_text(
        decimal=QLocale().decimalPoint()
    )
    assert "4 rows were copied" in said()

    def chosen(name):
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(name) if name else "", ""))
        press(panel.save_button)

    chosen(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert [row[1] for row in rows] == ["class", *(each.name for each in EM_CLASSES)]
    chosen(None)
    (tmp_path / "plain.csv").write_text("mine")
    chosen(tmp_path / "plain")  # the dialog asked about 'plain', not about 'plain.csv'
    assert (tmp_path / "plain.csv").read_text() == "mine"
    assert "is there already" in said()
    chosen(tmp_path / "plain.csv")  # here the dialog has asked
    assert (tmp_path / "plain.csv").read_text().startswith("section,class")
    layer.data[:10] = 1  # by a script, of which napari knows nothing
    panel.save(tmp_path / "old.csv")
    assert not (tmp_path / "old.csv").exists()
    assert not panel.table.isVisibleTo(panel)
    assert "measure again" in panel.note.text()


def test_a_large_stack_is_measured_off_the_gui_thread_and_can_be_cancelled(
    viewer, segment, section, dock, tab, panel, press, finish, qtbot
):
    viewer.add_image(np.stack([section] * 2), name="cells")
    layer = segment()
    layer.data = np.full((400, 300, 300), 2, np.uint8)
    press(panel.measure_button)
    assert dock.session.jobs.busy
    assert not panel.measure_button.isEnabled()
    with qtbot.waitSignal(dock.session.jobs.progressed, timeout=60_000):
        pass  # the event loop turns while it is measured
    press(tab.cancel_button)
    finish(dock)
    assert dock.session.measuring.measures is None
    assert panel.measure_button.isEnabled()

from __future__ import annotations

import csv

import numpy as np
import pytest
from qtpy.QtCore import QLocale, Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.plugin.segment.measure import current_result, measured_size
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


def test_a_section_in_square_micrometres(viewer, segment, section, panel, measured):
    viewer.add_image(section, name="cells", scale=(5, 10), units="nm")
    layer = segment()
    panel.least_box.setValue(0.0005)
    rows = measured()
    assert headings(panel.table) == ["Class", "%", "µm²", "Pro-\nfiles", "Mean\nµm²"]
    assert panel.measures == expected(layer, (5.0, 10.0), 0.0005)
    assert [row[0] for row in rows] == [each.name for each in EM_CLASSES]
    share = 100 * (layer.data == 2).mean()
    assert rows[1][1] == f"{share:.1f}"
    assert float(rows[1][2]) == pytest.approx((layer.data == 2).sum() * 50e-6, rel=0.01)
    assert int(rows[1][3]) == panel.measures.rows[1].profiles > 0
    assert rows[0][3:] == ["", ""]
    assert panel.table.isVisibleTo(panel)


def test_a_stack_section_by_section(viewer, segment, section, tab, panel, measured):
    viewer.add_image(np.stack([section, section[::-1], section]), name="cells")
    tab.what_box.chooser.setCurrentIndex(tab.what_box.chooser.findText("All sections"))
    layer = segment()
    panel.least_box.setValue(20)
    rows = measured()
    assert headings(panel.table)[0] == "z"
    assert headings(panel.table)[3] == "px"
    assert [row[0] for row in rows[::4]] == ["all", "0", "1", "2"]
    assert rows[5][3] == f"{(layer.data[0] == 2).sum():,}"
    assert panel.measures == expected(layer, None, 20)
    assert "five sections" in panel.note.text()


def test_the_unit_follows_the_pixel_size(viewer, segment, section, panel, tab):
    assert not panel.measure_button.isEnabled()
    viewer.add_image(section, name="no size")
    segment()
    assert panel.least_box.suffix() == " px"
    assert panel.least() == LEAST_PIXELS
    viewer.add_image(section, name="size", scale=(4.6, 4.6), units="nm")
    assert not panel.measure_button.isEnabled()  # of this image there is no result
    segment()
    assert panel.least_box.suffix() == " µm²"
    assert panel.least() == LEAST_UM2


def test_a_size_that_was_typed_in_counts(viewer, dock, segment, section, panel, measured):
    viewer.add_image(section)
    dock.session.pixel_sizes.typed = 8
    layer = segment()
    measured()
    assert panel.measures.rows[0].um2 == pytest.approx((layer.data == 1).sum() * 64e-6)


def test_a_scale_that_is_put_right_later_counts(viewer, segment, section, panel, measured, dock):
    image = viewer.add_image(section, scale=(4, 4), units="nm")
    result = segment()
    measured()
    first = panel.measures.rows[0].um2
    image.scale = (8, 8)
    np.testing.assert_array_equal(result.scale, (8, 8))
    measured()
    assert panel.measures.rows[0].um2 == pytest.approx(4 * first)


def test_the_least_size_is_in_the_unit_of_the_moment(viewer, segment, section, panel, measured):
    viewer.add_image(section)
    result = segment()
    assert panel.least_box.suffix() == " px"
    result.scale, result.units = (5, 5), ("nm", "nm")
    measured()
    assert panel.least_box.suffix() == " µm²"
    assert panel.least() == LEAST_UM2


def test_the_area_of_a_turned_and_sheared_pixel(viewer, segment, section, dock):
    viewer.add_image(section, scale=(4, 6), rotate=30, shear=[0.7], units="nm")
    layer = segment()
    height, width = measured_size(layer)
    matrix = np.stack(
        [np.subtract(layer.data_to_world(step), layer.data_to_world((0, 0))) for step in np.eye(2)]
    )
    assert height * width == pytest.approx(abs(np.linalg.det(matrix)), rel=1e-5)


def test_the_table_is_copied_and_saved(
    viewer, segment, section, panel, measured, press, tmp_path, monkeypatch, said
):
    viewer.add_image(section, scale=(5, 5), units="nm")
    segment()
    assert not panel.copy_button.isVisibleTo(panel)
    measured()
    press(panel.copy_button)
    assert QApplication.clipboard().text() == panel.measures.to_text(decimal=QLocale().decimalPoint())
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


def test_a_table_of_what_was_there_before_goes(viewer, segment, section, tab, panel, measured):
    image = viewer.add_image(section, name="cells")
    segment()
    measured()
    viewer.add_points(np.zeros((1, 2)))  # has nothing to do with it
    assert panel.measures is not None
    tab.options_form.widgets["overlap"].value = 0.5
    segment()
    assert panel.measures is None
    assert not panel.table.isVisibleTo(panel)
    measured()
    viewer.layers.remove("cells labels")
    assert panel.measures is None
    assert not panel.measure_button.isEnabled()
    assert image in viewer.layers


def test_a_table_of_what_was_painted_or_undone_since_goes(
    viewer, dock, segment, section, panel, measured, press, tmp_path, qtbot
):
    viewer.add_image(section, name="cells")
    layer = segment()
    layer.brush_size = 30
    measured()
    said = panel.measures.rows[2].pixels
    layer.paint((50, 40), 3)  # goes to the corrections
    qtbot.waitUntil(lambda: panel.measures is None, timeout=60_000)
    assert "measure again" in panel.note.text()
    measured()
    corrections = dock.session.correcting.corrections.layer
    new = (corrections.data == 3) & (layer.data != 3)
    assert panel.measures.rows[2].pixels == said + new.sum()
    corrections.undo()
    qtbot.waitUntil(lambda: panel.measures is None, timeout=60_000)
    measured()
    assert panel.measures.rows[2].pixels == said
    viewer.layers["cells labels"].visible = False
    QApplication.processEvents()
    assert panel.measures is not None


def test_nothing_segmented_is_a_sentence(viewer, segment, section, panel, measured, said):
    image = viewer.add_image(section)
    layer = segment()
    viewer.layers.remove(image)  # or what is wiped out would come back
    layer.data[:] = 0
    assert measured() == []
    assert "no pixel is segmented" in said()
    assert panel.measures is None


def test_a_large_stack_is_measured_off_the_gui_thread_and_can_be_cancelled(
    viewer, segment, section, dock, tab, panel, press, finish, qtbot
):
    viewer.add_image(np.stack([section] * 2), name="cells")
    layer = segment()
    layer.data = np.full((400, 300, 300), 2, np.uint8)
    press(panel.measure_button)
    assert dock.state.jobs.busy
    assert not panel.measure_button.isEnabled()
    with qtbot.waitSignal(dock.state.jobs.progressed, timeout=60_000):
        pass  # the event loop turns while it is measured
    press(tab.cancel_button)
    finish(dock)
    assert panel.measures is None
    assert panel.measure_button.isEnabled()


def test_without_an_image_the_newest_result_is_measured(viewer, segment, section, dock, panel, measured):
    viewer.add_image(section, name="cells")
    layer = segment()
    viewer.layers.remove("cells")
    assert current_result(dock.state) == layer
    assert len(measured()) == 4


def test_of_what_was_never_measured_nothing_is_said_to_have_changed(
    viewer, segment, section, panel, measured, dock
):
    one = viewer.add_image(section, name="one")
    segment()
    viewer.add_image(section[::-1], name="two")
    segment()
    measured()
    dock.session.image = one
    viewer.layers.selection.active = one
    assert panel.measures is None
    assert not panel.note.isVisibleTo(panel)

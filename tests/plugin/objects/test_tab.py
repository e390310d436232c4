from __future__ import annotations

import csv

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QFileDialog, QWidget

from napari_feedback_seg.plugin.layers.results import ResultWriter
from napari_feedback_seg.plugin.session.records import RunRecord
from napari_feedback_seg.segmentation.prediction import Prediction

LONG = 60_000


@pytest.fixture
def labels():
    stack = np.full((12, 60, 90), 4, np.uint8)
    stack[:, :, 44:47] = 1
    z, y, x = np.indices(stack.shape)
    for centre in ((6, 20, 15), (6, 20, 32), (6, 40, 70)):
        far = sum(((a - c) * s) ** 2 for a, c, s in zip((z, y, x), centre, (2, 1, 1), strict=True))
        stack[far <= 81] = 2
    return stack


@pytest.fixture
def tab(dock, viewer, labels, finish, press):
    """The tab, with three mitochondria."""
    grey = np.random.default_rng(0).integers(0, 255, labels.shape, np.uint8)
    image = viewer.add_image(grey, name="stack", scale=(20, 10, 10), units=("nm",) * 3)
    session = dock.session
    whole = (slice(0, 60), slice(0, 90))
    writer = ResultWriter(viewer, image, labels.shape, session.card.classes, RunRecord("small"))
    for z in range(12):
        writer.write(z, Prediction(labels[z], None, None, whole, "cpu", ()))
    session.tell("result")
    dock.show_tab("objects")
    tab = dock.objects_tab
    press(tab.find_button)
    finish(dock)
    return tab


def cells(table, column=0):
    model = table.model()
    return [model.data(model.index(row, column)) for row in range(model.rowCount())]


def drag(viewer, qtbot, *places):
    """Press at the first place (Y, X) of the section that is shown, move over the others, release."""
    window = next(each for each in QApplication.topLevelWidgets() if each.windowTitle() == "napari")
    if not window.isVisible():
        viewer.show()
        viewer.window.resize(1000, 700)
        qtbot.wait(200)
    native = next(
        each for each in window.findChildren(QWidget) if type(each).__name__ == "CanvasBackendDesktop"
    )
    layer = viewer.layers["stack"]
    low, high = layer.extent.world[:, -2:]
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
    camera.center, camera.zoom = tuple((low + high) / 2), 0.4
    qtbot.wait(100)
    points = []
    for place in places:
        world = np.asarray(layer.data_to_world((0, *place)))[-2:]
        offset = (world - (low + high) / 2) * 0.4
        points.append(QPoint(round(native.width() / 2 + offset[1]), round(native.height() / 2 + offset[0])))
    kinds = [QEvent.Type.MouseButtonPress, *[QEvent.Type.MouseMove] * (len(points) - 1)]
    for kind, point in zip((*kinds, QEvent.Type.MouseButtonRelease), (*points, points[-1]), strict=True):
        held = (
            Qt.MouseButton.NoButton if kind == QEvent.Type.MouseButtonRelease else Qt.MouseButton.LeftButton
        )
        button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else Qt.MouseButton.LeftButton
        where = QPointF(native.mapToGlobal(point))
        event = QMouseEvent(kind, QPointF(point), where, button, held, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(native, event)
        qtbot.wait(30)  # vispy passes moves over that come too fast
    qtbot.wait(50)


def test_the_table_shows_sorts_and_jumps(tab, dock, viewer, qtbot):
    assert cells(tab.table) == ["1", "2", "3"]
    assert "3 mitochondria" in tab.status.text()
    tab.table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    assert cells(tab.table) == ["3", "2", "1"]
    at = tab.table.visualRect(tab.table.model().index(0, 0)).center()
    qtbot.mouseClick(tab.table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert dock.session.objects.found.selected == 3
    assert viewer.dims.current_step[0] == 6
    assert tab.table.selected() == [3]


def test_what_was_found_is_said_beside_what_a_tool_does(tab, press):
    found = tab.status.text()
    press(tab.tools["delete"])
    assert tab.status.text() == f"{found} Click the object."
    press(tab.tools["delete"])
    assert tab.status.text() == found


@pytest.mark.window
def test_a_click_in_the_viewer_selects_the_row(tab, dock, viewer, qtbot):
    dock.session.objects.select(1)
    drag(viewer, qtbot, (40, 70))
    assert dock.session.objects.found.selected == 3
    assert tab.table.selected() == [3]


@pytest.mark.window
def test_tools_with_the_mouse(tab, dock, viewer, qtbot, press):
    dock.session.objects.select(1)
    press(tab.tools["merge"])
    drag(viewer, qtbot, (20, 15))
    drag(viewer, qtbot, (20, 32))
    assert len(cells(tab.table)) == 2
    press(tab.tools["split"])
    assert not tab.tools["merge"].isChecked()
    drag(viewer, qtbot, *[(y, 23) for y in range(4, 38, 3)])
    assert len(cells(tab.table)) == 3, tab.status.text()
    press(tab.undo_button)
    assert len(cells(tab.table)) == 2
    press(tab.redo_button)
    press(tab.tools["delete"])
    drag(viewer, qtbot, (40, 70))
    assert len(cells(tab.table)) == 2
    press(tab.tools["delete"])
    assert dock.session.objects.editing.tool == ""


@pytest.mark.window
def test_painting_with_the_mouse_adds_an_object(tab, viewer, qtbot, press):
    press(tab.tools["add"])
    drag(viewer, qtbot, (50, 10), (52, 14), (54, 18))
    qtbot.waitUntil(lambda: len(cells(tab.table)) == 4, timeout=LONG)


def test_colour_and_histogram(tab, dock):
    index = tab.measure_box.findData("volume_um3")
    tab.measure_box.setCurrentIndex(index)
    tab.measure_box.activated.emit(index)
    assert dock.session.objects.colour_by == "volume_um3"
    assert "median" in tab.histogram.legend.text()
    assert sum(tab.histogram.bars.opts["height"]) == 3


def test_copy_and_save_with_decimal_commas(tab, press, tmp_path, monkeypatch):
    press(tab.copy_button)
    lines = QApplication.clipboard().text().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("object\t")
    chosen = (str(tmp_path / "table"), "Tables with decimal commas (*.csv)")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: chosen)
    press(tab.save_button)
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert float(rows[0]["volume_um3"].replace(",", ".")) == pytest.approx(0.00305, rel=0.1)


def test_meshes_and_their_file(tab, dock, viewer, press, finish, tmp_path, monkeypatch):
    press(tab.mesh_button)
    finish(dock)
    assert "stack mitochondria meshes" in viewer.layers
    chosen = (str(tmp_path / "meshes"), "GLB (*.glb)")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: chosen)
    press(tab.save_meshes_button)
    assert (tmp_path / "meshes.glb").read_bytes()[:4] == b"glTF"


def test_edits_are_saved_and_opened(tab, press, dock, tmp_path, monkeypatch):
    from napari_feedback_seg.objects.edits import Delete

    assert not tab.save_edits_button.isEnabled()
    dock.session.objects.editing.do(Delete((6, 40, 70)))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "e"), "Edits (*.json)"))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "e.json"), ""))
    press(tab.save_edits_button)
    press(tab.undo_button)
    press(tab.open_edits_button)
    assert len(cells(tab.table)) == 2


def test_cells_have_a_form_of_their_own(tab, dock, press, finish):
    tab.how.expand()
    index = tab.what_box.findText("cells")
    tab.what_box.setCurrentIndex(index)
    tab.what_box.activated.emit(index)
    assert tab.find_button.text() == "&Find cells"
    press(tab.find_button)
    finish(dock)
    assert cells(tab.table) == ["1", "2"]


def test_what_is_said_moves_neither_the_table_nor_a_tool(tab, dock, press):
    dock.resize(280, 700)
    dock.show()
    QApplication.processEvents()
    tools = tab.tools["split"].parentWidget()
    before = tab.table.geometry().top(), tools.geometry()
    for _ in range(2):
        press(tab.tools["split"])
        dock.session.objects.editing.hint = "The line does not cut the object. Draw it across. " * 3
        dock.session.objects.tell()
        QApplication.processEvents()
        assert (tab.table.geometry().top(), tools.geometry()) == before


def test_the_table_takes_the_height_that_is_free(tab, dock):
    heights = []
    for height in (700, 1000):
        dock.resize(360, height)
        dock.show()
        QApplication.processEvents()
        heights.append(tab.table.height())
    assert heights[1] - heights[0] > 200


def test_nothing_is_cut_in_a_narrow_dock(tab, dock):
    dock.resize(260, 600)
    QApplication.processEvents()
    assert tab.minimumSizeHint().width() <= 260

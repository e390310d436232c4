from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

LONG = 60_000  # ms


@pytest.fixture
def panel(tab):
    return tab.compare_panel


def texts(table):
    return [[table.item(y, x).text() for x in range(table.columnCount())] for y in range(table.rowCount())]


@pytest.fixture
def compared(dock, panel, press, finish):
    """Press Compare and wait; return the table."""

    def compared():
        press(panel.compare_button)
        finish(dock)
        return {row[0]: row[1:] for row in texts(panel.table)}

    return compared


def test_the_table_is_shown_copied_and_gone_when_something_is_painted(
    viewer, dock, panel, compared, press, segment, section, qtbot
):
    assert "two Labels layers" in panel.note.text()
    assert not panel.compare_button.isEnabled()
    viewer.add_image(section, name="cells")
    result = segment()
    assert "same shape as 'cells labels' (96 x 80)" in panel.note.text()
    data = result.data.copy()
    data[:10, :10] = np.where(data[:10, :10] == 1, 2, 1)
    truth = viewer.add_labels(data, name="truth")
    assert panel.truth_box.native.currentText() == "truth"
    assert panel.kind_box.currentText() == "labels of these classes"
    assert not panel.rest_box.isVisibleTo(panel)

    rows = compared()
    one, other = data == 1, result.data == 1
    assert rows["membrane"][0] == f"{(one & other).sum() / (one | other).sum():.1%}"
    assert rows["membrane"][2] == f"{(one & other).sum() / one.sum():.1%}"
    assert "Cells that the membranes enclose" in panel.note.text()
    press(panel.copy_button)
    before = QApplication.clipboard().text()
    assert before.startswith("Class\tIoU\tDice\tas membrane")

    truth.name = "another name"
    assert panel.truth_box.native.currentText() == "another name"
    truth.data[40:60] = 3  # of which napari knows nothing
    QApplication.clipboard().setText("mine")
    press(panel.copy_button)
    assert QApplication.clipboard().text() == "mine"
    assert "compare again" in panel.note.text()
    compared()
    truth.brush_size = 30
    truth.paint((50, 40), 3)
    qtbot.waitUntil(lambda: not panel.table.isVisibleTo(panel), timeout=LONG)
    assert not panel.copy_button.isVisibleTo(panel)
    assert "compare again" in panel.note.text()
    truth.undo()  # nobody looks at it any more
    compared()
    assert "compare again" not in panel.note.text()


def test_a_class_that_the_truth_lacks_is_said(viewer, panel, compared, section):
    viewer.add_labels(np.uint8(section // 64 + 1), name="mine")
    viewer.add_labels(np.where(section > 127, 4, 1).astype(np.uint8), name="truth")
    rows = compared()
    assert rows["mitochondria"][0] == rows["synapse"][0] == "0.0%"
    assert "Not in the ground truth, and so not in the mean: mitochondria, synapse." in panel.note.text()
    mean = np.mean([float(rows[name][0][:-1]) for name in ("membrane", "cytoplasm")])
    assert float(rows["mean"][0][:-1]) == pytest.approx(mean, abs=0.1)


def test_what_is_not_segmented_is_said(viewer, panel, compared, section):
    labels = np.uint8(section // 64 + 1)
    half = labels.copy()
    half[:48] = 0
    viewer.add_labels(half, name="found")
    viewer.add_labels(labels, name="truth")
    compared()
    assert "50.0% of the ground truth is not segmented" in panel.note.text()


def test_a_mask_is_chosen_by_its_class_and_what_0_means(viewer, panel, compared, segment, section):
    viewer.add_image(section, name="cells")
    found = segment().data == 2
    found[:20] = False
    viewer.add_image(np.uint8(255) * found, name="mito mask")
    assert panel.kind_box.currentText() == "a mask: mitochondria"
    assert panel.rest_box.isVisibleTo(panel)
    assert set(compared()) == {"mitochondria", "everything else", "mean"}
    panel.rest_box.setCurrentIndex(panel.rest_box.findText("unlabelled"))
    panel.rest_box.activated.emit(panel.rest_box.currentIndex())
    assert compared()["mitochondria"][0] == "100.0%"


@pytest.mark.window
def test_labels_that_were_opened_from_files_are_compared(viewer, compared, segment, section, tmp_path):
    viewer.add_image(section, name="cells")
    data = segment().data.copy()
    data[:10, :10] = 1
    viewer.add_labels(data, name="truth")
    for name in ("cells labels", "truth"):
        viewer.layers[name].save(str(tmp_path / f"{name}.tif"))
    expected = compared()
    viewer.layers.clear()
    for name in ("cells labels", "truth"):
        viewer.open(str(tmp_path / f"{name}.tif"), plugin="napari", layer_type="labels")
    assert compared() == expected


@pytest.mark.window
@pytest.mark.parametrize("closed", [True, False])
def test_what_is_painted_after_the_dock_is_gone_does_no_harm(
    viewer, dock, compared, segment, section, qtbot, closed
):
    viewer.add_image(section, name="cells")
    truth = viewer.add_labels(segment().data.copy(), name="truth")
    compared()
    if closed:
        viewer.window.remove_dock_widget(dock)
    with qtbot.waitSignal(dock.destroyed):
        dock.deleteLater()
    truth.paint((50, 40), 3)
    truth.undo()

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.models.model_file import save_model


@pytest.fixture
def panel(tab):
    return tab.compare_panel


LONG = 60_000  # ms


def texts(table):
    return [[table.item(y, x).text() for x in range(table.columnCount())] for y in range(table.rowCount())]


def offered(box):
    return [box.itemText(i) for i in range(box.count())]


def choose(box, text):
    box.setCurrentIndex(box.findText(text))
    box.activated.emit(box.currentIndex())


def iou(truth, found, value):
    counted = (truth > 0) & (found > 0)
    one, other = (truth == value) & counted, (found == value) & counted
    return f"{(one & other).sum() / (one | other).sum():.1%}"


@pytest.fixture
def compared(dock, panel, press, finish):
    """Press Compare and wait; return the table."""

    def compared():
        press(panel.compare_button)
        finish(dock)
        return {row[0]: row[1:] for row in texts(panel.table)}

    return compared


@pytest.fixture
def settled(panel, qtbot):
    """Wait until the pixels were looked at, if anything has asked for that."""
    return lambda: qtbot.waitUntil(lambda: not panel.unchanged.looking, timeout=LONG)


@pytest.fixture
def truth(viewer, segment, section):
    """A result, and a ground truth that differs in a corner and leaves another out."""
    viewer.add_image(section, name="cells", scale=(4.6, 4.6), units="nm")
    result = segment()
    data = result.data.copy()
    data[:10, :10] = np.where(data[:10, :10] == 1, 2, 1)
    data[-10:, -10:] = 0
    return viewer.add_labels(data, name="truth", scale=(4.6, 4.6), units="nm")


def test_scores_confusion_and_a_layer_of_the_errors(viewer, dock, panel, press, finish, truth):
    assert [panel.truth_box.itemText(i) for i in range(panel.truth_box.count())] == ["truth"]
    active = viewer.layers.selection.active
    press(panel.compare_button)
    finish(dock)
    wrong = viewer.layers["cells labels errors"]
    expected = np.zeros_like(truth.data)
    expected[:10, :10] = truth.data[:10, :10]
    np.testing.assert_array_equal(wrong.data, expected)
    np.testing.assert_array_equal(wrong.scale, truth.scale)
    assert wrong.units == truth.units
    assert wrong.get_color(4)[3] > 0.5  # cytoplasm too is to be seen where it was missed
    assert viewer.layers.selection.active == active

    rows = {row[0]: row[1:] for row in texts(panel.table)}
    result = dock.state.result.data
    counted = truth.data > 0
    one, other = (truth.data == 1) & counted, (result == 1) & counted
    assert rows["membrane"][0] == f"{(one & other).sum() / (one | other).sum():.1%}"
    assert rows["membrane"][2] == f"{(one & other).sum() / one.sum():.1%}"
    assert "Cells that the membranes enclose" in panel.note.text()
    panel.copy()
    assert QApplication.clipboard().text().startswith("Class\tIoU\tDice\tas membrane")


def test_again_the_errors_are_updated_in_place(viewer, dock, panel, press, finish, truth):
    press(panel.compare_button)
    finish(dock)
    count = len(viewer.layers)
    truth.data = dock.state.result.data.copy()
    press(panel.compare_button)
    finish(dock)
    assert len(viewer.layers) == count
    assert not viewer.layers["cells labels errors"].data.any()
    assert texts(panel.table)[-1][1] == "100.0%"


def test_what_is_not_segmented_does_not_count(viewer, dock, tab, panel, press, finish, section):
    viewer.add_image(np.stack([section, section[::-1]]), name="cells")
    viewer.dims.set_point(0, 0)
    press(tab.segment_button)
    finish(dock)
    truth = dock.state.result.data.copy()
    truth[1] = 1
    viewer.add_labels(truth, name="truth")
    press(panel.compare_button)
    finish(dock)
    assert texts(panel.table)[-1][1] == "100.0%"
    assert "50.0% of the ground truth is not segmented" in panel.note.text()
    assert not viewer.layers["cells labels errors"].data.any()


def test_scores_of_another_result_do_not_stay(viewer, dock, tab, panel, press, finish, truth, section):
    press(panel.compare_button)
    finish(dock)
    assert panel.table.isVisibleTo(panel)
    tab.options_form.widgets["overlap"].value = 0.5
    press(tab.segment_button)
    finish(dock)
    assert not panel.table.isVisibleTo(panel)
    assert "compare again" in panel.note.text()
    panel.copy()
    viewer.layers["cells"].translate = (40, 0)
    press(panel.compare_button)
    finish(dock)
    np.testing.assert_array_equal(viewer.layers["cells labels errors"].translate, (40, 0))
    viewer.add_image(section, name="another")
    assert not panel.table.isVisibleTo(panel)


def test_a_truth_of_several_resolutions(viewer, dock, panel, press, finish, truth):
    viewer.layers.remove(truth)
    fine = dock.state.result.data.copy()
    viewer.add_labels([fine, fine[::2, ::2]], name="pyramid", multiscale=True)
    press(panel.compare_button)
    finish(dock)
    assert texts(panel.table)[-1][1] == "100.0%"


def test_without_a_truth_of_the_same_shape_there_is_nothing_to_press(viewer, panel, segment, section):
    viewer.add_image(section)
    viewer.add_labels(section[:50] // 100, name="smaller")
    segment()
    assert panel.truth_box.count() == 0
    assert not panel.compare_button.isEnabled()
    assert "same shape" in panel.compare_button.toolTip()


def test_values_that_are_no_class_are_a_sentence(viewer, dock, panel, press, finish, truth, said):
    truth.data[0, 0] = 77
    press(panel.compare_button)
    finish(dock)
    assert "values that are no class (77)" in said()
    assert "cells labels errors" not in viewer.layers


@pytest.mark.parametrize("painted", ["result", "truth"])
def test_what_is_painted_since_is_in_no_score(viewer, dock, panel, compared, press, truth, painted, qtbot):
    result = dock.state.result
    layer = {"result": result, "truth": truth}[painted]
    first = compared()
    press(panel.copy_button)
    before = QApplication.clipboard().text()
    layer.brush_size = 30
    layer.paint((50, 40), 3)  # on the result it goes to the corrections
    qtbot.waitUntil(lambda: panel.scores is None, timeout=LONG)
    assert not panel.table.isVisibleTo(panel)
    assert not panel.copy_button.isVisibleTo(panel)
    assert "compare again" in panel.note.text()
    panel.copy()
    assert QApplication.clipboard().text() == before
    second = compared()
    counts = np.asarray(dock.session.correcting.corrections.of_result(result))
    assert second["synapse"][0] == iou(truth.data, counts, 3) != first["synapse"][0]
    assert "compare again" not in panel.note.text()


@pytest.mark.parametrize("painted", ["result", "truth"])
def test_what_is_undone_since_is_in_no_score(viewer, dock, panel, compared, truth, painted, qtbot, settled):
    corrections = dock.session.correcting.corrections
    layer = {"result": dock.state.result, "truth": truth}[painted]
    layer.brush_size = 30
    layer.paint((50, 40), 3)
    compared()
    settled()
    assert panel.scores is not None
    (truth if painted == "truth" else corrections.layer).undo()
    qtbot.waitUntil(lambda: panel.scores is None, timeout=LONG)
    assert "compare again" in panel.note.text()


def test_pixels_that_are_replaced_or_set_by_a_script_are_in_no_score(viewer, dock, panel, compared, truth):
    compared()
    truth.data = np.where(truth.data == 4, 2, truth.data)
    assert panel.scores is None
    compared()
    QApplication.clipboard().setText("mine")
    truth.data[40:60] = 3  # of which napari knows nothing
    panel.copy()
    assert QApplication.clipboard().text() == "mine"
    assert panel.scores is None


def test_a_stroke_undone_on_another_section_counts(
    viewer, dock, tab, panel, compared, section, qtbot, settled
):
    viewer.add_image(np.stack([section, section[::-1], section]), name="cells")
    choose(tab.what_box.chooser, "All sections")
    with qtbot.waitSignal(dock.state.jobs.ended, timeout=LONG):
        tab.segment()
    truth = viewer.add_labels(dock.state.result.data.copy(), name="truth")
    viewer.dims.set_point(0, 2)
    truth.brush_size = 20
    truth.paint((2, 50, 40), 3)
    compared()
    viewer.dims.set_point(0, 0)
    settled()
    assert panel.scores is not None
    truth.undo()
    qtbot.waitUntil(lambda: panel.scores is None, timeout=LONG)


def test_a_stroke_while_it_is_compared_makes_it_out_of_date(viewer, dock, panel, press, finish, truth):
    press(panel.compare_button)
    assert dock.state.jobs.busy
    truth.paint((50, 40), 3)
    finish(dock)
    assert panel.scores is None
    assert "compare again" in panel.note.text()


def test_what_changes_no_pixel_leaves_the_scores(viewer, dock, panel, compared, truth, settled):
    compared()
    for layer in (truth, dock.state.result):
        layer.visible = False
        layer.visible = True
        layer.contour = 1
        layer.refresh()
    viewer.scene.camera.zoom *= 2
    viewer.layers["cells labels errors"].paint((50, 40), 3)
    viewer.add_points(np.zeros((1, 2)))
    truth.name = "another name"
    settled()
    assert panel.scores is not None
    assert panel.truth_box.currentText() == "another name"
    assert panel.copy_button.isVisibleTo(panel)


def test_of_an_array_on_disk_only_the_section_on_display_is_read_again(viewer, panel, compared, settled):
    labels = np.random.default_rng(0).integers(1, 5, (4, 60, 50)).astype(np.uint8)
    read = []

    def plane(block_info=None):
        z = block_info[None]["array-location"][0][0]
        read.append(z)
        return labels[z : z + 1]

    lazy = da.map_blocks(plane, chunks=((1,) * 4, 60, 50), dtype=np.uint8, meta=np.zeros((0, 0, 0), np.uint8))
    viewer.add_labels(labels.copy(), name="found")
    truth = viewer.add_labels(lazy, name="truth")
    viewer.dims.set_point(0, 1)
    assert compared()["mean"][0] == "100.0%"
    settled()
    read.clear()
    truth.refresh()
    settled()
    panel.copy()
    assert set(read) <= {1}
    assert panel.scores is not None


def test_the_layers_are_let_go(viewer, dock, panel, compared, truth):
    def connected():
        return [
            len(emitter.callbacks)
            for layer in (viewer.layers["cells labels"], truth)
            for emitter in (layer.events.paint, layer.events.data, layer.events.set_data)
        ]

    before = connected()
    compared()
    assert all(now > then for now, then in zip(connected(), before, strict=True))
    truth.data = truth.data.copy()
    assert connected() == before
    compared()
    panel.cleanup()
    assert connected() == before


@pytest.mark.parametrize("closed", [True, False])
def test_the_layers_are_let_go_with_the_dock(viewer, dock, panel, compared, truth, qtbot, closed):
    compared()
    listening = len(truth.events.data.callbacks)
    if closed:
        viewer.window.remove_dock_widget(dock)
        assert len(truth.events.data.callbacks) < listening
    with qtbot.waitSignal(dock.destroyed):
        dock.deleteLater()
    assert len(truth.events.data.callbacks) < listening
    truth.paint((50, 40), 3)
    truth.undo()


def test_the_truth_is_no_layer_of_the_dock(viewer, dock, panel, press, truth):
    dock.show_tab("correct")
    press(dock.correct_tab.classes.buttons[2])
    viewer.add_labels(truth.data, metadata={"feedback-seg-attention": {}})
    viewer.add_labels(truth.data, metadata={"feedback-seg-errors": "cells labels"})
    assert "cells corrections" in viewer.layers
    assert offered(panel.truth_box) == ["truth"]
    assert offered(panel.labels_box) == ["truth", "cells labels"]


def test_an_older_result_may_be_the_truth_but_after_what_others_made(viewer, dock, panel, compared, truth):
    result = dock.state.result
    record = {**result.metadata["feedback-seg"], "image_id": "of another day"}
    older = viewer.add_labels(result.data.copy(), name="older", metadata={"feedback-seg": record})
    assert panel.labels_box.currentText() == "older"
    viewer.layers.selection.active = viewer.layers["cells"]
    assert panel.labels_box.currentText() == "cells labels"
    assert offered(panel.truth_box) == ["truth", "older"]
    choose(panel.truth_box, "older")
    assert compared()["mean"][0] == "100.0%"
    older.paint((50, 40), 3)
    assert panel.scores is None


def test_two_plain_layers_are_compared_with_the_classes_of_the_model(viewer, dock, panel, compared, section):
    viewer.add_image(section)
    mine = np.uint8(section // 64 + 1)
    other = np.where(section % 7 == 0, 2, mine)
    viewer.add_labels(mine, name="mine", scale=(4, 4))
    viewer.add_labels(other, name="colleague's")
    viewer.add_labels(mine[:50], name="smaller")
    assert panel.labels_box.currentText() == "mine"
    assert offered(panel.labels_box) == ["smaller", "colleague's", "mine"]
    assert offered(panel.truth_box) == ["colleague's"]
    rows = compared()
    assert list(rows) == [*(each.name for each in EM_CLASSES), "mean"]
    assert rows["mitochondria"][0] == iou(other, mine, 2)
    errors = viewer.layers["mine errors"]
    np.testing.assert_array_equal(errors.data, np.where(mine == other, 0, other))
    np.testing.assert_array_equal(errors.scale, (4, 4))


def test_labels_that_were_opened_from_files_are_compared(viewer, dock, panel, compared, truth, tmp_path):
    for name in ("cells labels", "truth"):
        viewer.layers[name].save(str(tmp_path / f"{name}.tif"))
    expected = compared()
    viewer.layers.clear()
    for name in ("cells labels", "truth"):
        viewer.open(str(tmp_path / f"{name}.tif"), plugin="napari", layer_type="labels")
    assert compared() == expected


def test_the_labels_are_those_at_hand_until_others_are_chosen(viewer, panel, segment, truth, section):
    assert panel.labels_box.currentText() == "cells labels"
    choose(panel.labels_box, "truth")
    assert offered(panel.truth_box) == ["cells labels"]
    viewer.add_points(np.zeros((1, 2)))
    assert panel.labels_box.currentText() == "truth"
    viewer.add_image(section, name="another")
    segment()
    assert panel.labels_box.currentText() == "another labels"
    viewer.layers.selection.active = viewer.layers["cells labels"]
    assert panel.labels_box.currentText() == "cells labels"
    choose(panel.labels_box, "truth")
    viewer.layers.remove(truth)
    assert panel.labels_box.currentText() == "cells labels"


def test_scores_by_the_classes_of_a_model_go_with_it(
    viewer, dock, panel, compared, section, small_model, models_folder
):
    others = tuple(replace(each, name=f"my {each.name}") for each in EM_CLASSES)
    model = replace(small_model, card=replace(small_model.card, classes=others))
    save_model(model, models_folder / "mine.safetensors")
    dock.state.refresh_models()
    for name in ("one", "other"):
        viewer.add_labels(np.uint8(section // 64 + 1), name=name)
    assert "membrane" in compared()
    dock.state.refresh_models()
    assert panel.scores is not None
    dock.state.model_name = "mine"
    assert panel.scores is None
    assert "my membrane" in compared()


def test_a_shape_that_changed_in_the_meantime_is_a_sentence(viewer, dock, panel, compared, truth, said):
    truth.data = truth.data[:50]
    compared()
    assert "The shapes differ" in said()
    assert panel.scores is None


def test_what_is_missing_is_a_sentence(viewer, panel, section):
    assert "two Labels layers" in panel.note.text()
    viewer.add_labels(section // 100, name="alone")
    assert "same shape as 'alone' (96 x 80)" in panel.note.text()
    viewer.add_labels(section // 90)
    assert not panel.note.isVisibleTo(panel)
    assert panel.compare_button.isEnabled()


def test_a_class_that_the_truth_lacks_is_said(viewer, dock, panel, compared, section):
    viewer.add_labels(np.uint8(section // 64 + 1), name="mine")
    viewer.add_labels(np.where(section > 127, 4, 1).astype(np.uint8), name="truth")
    rows = compared()
    assert rows["mitochondria"][0] == rows["synapse"][0] == "0.0%"
    assert "Not in the ground truth, and so not in the mean: mitochondria, synapse." in panel.note.text()
    mean = np.mean([float(rows[name][0][:-1]) for name in ("membrane", "cytoplasm")])
    assert float(rows["mean"][0][:-1]) == pytest.approx(mean, abs=0.1)


def test_sides_that_no_power_of_two_divides(viewer, dock, panel, segment, compared):
    image = np.random.default_rng(0).integers(0, 255, (97, 81), dtype=np.uint8)
    viewer.add_image(image, name="odd")
    result = segment()
    assert result.data.shape == (97, 81)
    assert result.data.all()
    viewer.add_labels(result.data.copy(), name="truth")
    assert compared()["mean"][0] == "100.0%"


class TestMask:
    @pytest.fixture
    def mask(self, viewer, segment, section):
        """A mask of the mitochondria, as napari opens it: an image. Some rows of it are empty."""
        viewer.add_image(section, name="cells")
        found = segment().data == 2
        found[:20] = False
        return viewer.add_image(np.uint8(255) * found, name="mito mask")

    def test_it_is_recognised_and_scored_as_one_class(self, viewer, panel, compared, mask):
        assert panel.truth_box.currentText() == "mito mask"
        assert panel.kind_box.currentText() == "a mask: mitochondria"
        assert panel.rest_box.isVisibleTo(panel)
        result = viewer.layers["cells labels"].data
        rows = compared()
        assert set(rows) == {"mitochondria", "everything else", "mean"}
        truth, found = mask.data > 0, (result == 2)
        assert rows["mitochondria"][0] == f"{(truth & found).sum() / (truth | found).sum():.1%}"

    def test_outside_of_it_may_be_unlabelled(self, panel, compared, mask):
        choose(panel.rest_box, "unlabelled")
        assert compared()["mitochondria"][0] == "100.0%"

    def test_labels_of_the_classes_are_no_mask(self, panel, truth):
        assert panel.kind_box.currentText() == "labels of these classes"
        assert not panel.rest_box.isVisibleTo(panel)

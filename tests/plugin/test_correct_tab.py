from __future__ import annotations

import json
import warnings

import dask.array as da
import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt, QThreadPool
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QApplication, QColorDialog, QInputDialog, QMessageBox

from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.plugin.contributions.reader import read_result
from napari_feedback_seg.plugin.layers.corrections import CORRECTIONS_KEY
from napari_feedback_seg.plugin.session.autosave import autosave_of, unsaved_folder

LONG = 120_000
SAMPLE = builtin_section(160, seed=3)
INVERTED = 255 - SAMPLE.image


@pytest.fixture
def correct(dock, qtbot):
    dock.show()
    dock.show_tab("correct")
    return dock.correct_tab


@pytest.fixture
def paint(correct, qtbot):
    """Paint a square of a class on the corrections, and wait until it is seen."""

    def paint(value, *corner, side=6):
        correct.paint_with(value)
        layer = correct.store.layer
        layer.brush_size = 1
        rows, columns = np.mgrid[corner[-2] : corner[-2] + side, corner[-1] : corner[-1] + side]
        places = np.stack([*(np.full(rows.size, z) for z in corner[:-2]), rows.ravel(), columns.ravel()])
        layer.data_setitem(tuple(places), value)
        qtbot.waitUntil(lambda: not correct.store._touched.waiting, timeout=LONG)
        return layer

    return paint


@pytest.fixture
def seen(correct, qtbot):
    """Wait until what was painted has been looked at."""

    def seen():
        correct.store.look()

    return seen


class TestStore:
    def test_a_class_button_takes_the_brush_in_hand(self, viewer, correct, press, section):
        image = viewer.add_image(section, name="cells", scale=(4.6, 4.6), rotate=20, units="nm")
        press(correct.classes.buttons[2])
        layer = viewer.layers.selection.active
        assert layer.name == "cells corrections"
        assert (layer.selected_label, layer.mode) == (2, "paint")
        assert layer.data.shape == section.shape
        for point in ((0, 0), (95, 79)):
            np.testing.assert_allclose(layer.data_to_world(point), image.data_to_world(point))
        press(correct.classes.buttons[4])
        assert len([each for each in viewer.layers if isinstance(each, Labels)]) == 1
        assert layer.selected_label == 4

    def test_chords_choose_classes(self, viewer, dock, correct, qtbot, section):
        viewer.add_image(section)
        window = dock.window()
        window.show()
        window.activateWindow()
        qtbot.waitUntil(lambda: correct.classes.isVisible(), timeout=LONG)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            QApplication.setActiveWindow(window)  # no window manager does it here
        qtbot.keyClick(window, Qt.Key.Key_3, Qt.KeyboardModifier.AltModifier)
        qtbot.waitUntil(lambda: correct.store.layer is not None, timeout=LONG)
        assert correct.store.layer.selected_label == 3

    def test_what_was_painted_wins_in_the_result_and_undo_gives_it_back(
        self, viewer, correct, segment, section, paint, seen
    ):
        viewer.add_image(section, name="cells")
        result = segment()
        said = result.data.copy()
        value = 1 if said[20, 20] != 1 else 2
        layer = paint(value, 20, 20)
        seen()
        assert (result.data[20:26, 20:26] == value).all()
        assert correct.store.counts[0][value].pixels == 36
        layer.undo()
        seen()
        np.testing.assert_array_equal(result.data, said)
        assert correct.store.counts == {}

    def test_a_stroke_on_the_result_is_copied_and_undone(self, viewer, correct, segment, section, seen):
        viewer.add_image(section, name="cells")
        result = segment()
        said = result.data.copy()
        value = 3 if said[30, 30] != 3 else 2
        result.brush_size = 5
        result.paint((30, 30), value)
        seen()
        layer = correct.store.layer
        assert layer.data[30, 30] == value
        assert (layer.data[said == result.data] == 0).all()
        result.undo()
        seen()
        assert not layer.data.any()
        np.testing.assert_array_equal(result.data, said)

    def test_it_is_seen_by_itself_after_a_moment(self, viewer, correct, segment, section, qtbot):
        viewer.add_image(section, name="cells")
        result = segment()
        value = 3 if result.data[30, 30] != 3 else 2
        result.paint((30, 30), value)
        qtbot.waitUntil(lambda: correct.store.layer is not None, timeout=LONG)
        qtbot.waitUntil(lambda: correct.store.layer.data[30, 30] == value, timeout=LONG)
        assert "1 stroke" in correct.classes.counts[value].text()

    def test_segmenting_again_keeps_what_was_painted(self, viewer, correct, segment, section, paint, seen):
        viewer.add_image(section, name="cells")
        first = segment()
        said = first.data.copy()
        value = 1 if said[20, 20] != 1 else 2
        paint(value, 20, 20)
        seen()
        again = segment()
        assert again == first  # what was painted stands in the corrections: nothing is lost here
        assert (again.data[20:26, 20:26] == value).all()
        rest = np.ones(said.shape, bool)
        rest[20:26, 20:26] = False
        np.testing.assert_array_equal(again.data[rest], said[rest])

    def test_a_lazy_stack_is_counted_by_section(self, viewer, correct, section, paint, seen):
        stack = da.from_array(np.stack([section] * 5), chunks=(1, -1, -1))
        viewer.add_image(stack, name="cells")
        viewer.dims.set_point(0, 3)
        paint(2, 3, 10, 10)
        paint(2, 3, 40, 40, side=4)
        viewer.dims.set_point(0, 1)
        paint(4, 1, 10, 10)
        seen()
        counts = correct.store.counts
        assert counts[3][2].pixels == 52
        assert counts[3][2].strokes == 2
        assert counts[1][4].pixels == 36
        assert "sections 1, 3" in correct.note.text()

    def test_a_layer_of_another_shape_is_refused_with_a_sentence(self, viewer, correct, section, press, said):
        viewer.add_image(section, name="cells")
        viewer.add_labels(np.zeros((10, 10), np.uint8), name="cells corrections")
        press(correct.classes.buttons[1])
        assert "its shape is (10, 10)" in said()
        assert correct.store.layer is None

    def test_a_layer_that_lies_elsewhere_is_refused(self, viewer, correct, section, press, said):
        viewer.add_image(section, name="cells")
        viewer.add_labels(np.zeros(section.shape, np.uint8), name="cells corrections", translate=(5, 5))
        press(correct.classes.buttons[1])
        assert "lies elsewhere" in said()

    def test_a_layer_that_was_opened_is_taken(self, viewer, correct, section, seen):
        viewer.add_image(section, name="cells")
        labels = np.zeros(section.shape, np.uint8)
        labels[5:9, 5:9] = 2
        layer = viewer.add_labels(labels, name="cells corrections")
        seen()
        assert correct.store.layer == layer
        assert correct.store.counts[0][2].pixels == 16

    def test_without_an_image_there_is_a_sentence(self, viewer, correct, press, said):
        press(correct.classes.buttons[1])
        assert "There is no image" in said()


class TestWhatIsMissing:
    def test_nothing(self, viewer, correct, press, said, section):
        viewer.add_image(section)
        press(correct.tune_button)
        assert "Nothing is corrected yet" in said()

    def test_one_pixel(self, viewer, correct, paint, press, said, section, seen):
        viewer.add_image(section)
        paint(1, 20, 20, side=1)
        seen()
        assert "too little" in correct.note.text()
        press(correct.tune_button)
        assert "too little to learn from" in said()

    def test_one_class(self, viewer, correct, paint, section, seen):
        viewer.add_image(section)
        paint(2, 20, 20)
        seen()
        assert "Only mitochondria so far" in correct.note.text()

    def test_labels_that_are_no_class(self, viewer, correct, paint, press, said, section, seen):
        viewer.add_image(section)
        layer = paint(2, 20, 20)
        layer.data_setitem((np.array([40]), np.array([40])), 77)
        seen()
        assert "no class (77)" in correct.note.text()
        press(correct.tune_button)
        assert "no class (77)" in said()

    def test_a_new_class_has_the_next_value_and_its_colour(self, viewer, correct, paint, section, seen):
        viewer.add_image(section)
        correct.classes.wanted.emit("nucleus", "#56b4e9")
        layer = correct.store.layer
        assert layer.selected_label == 5
        np.testing.assert_allclose(layer.get_color(5)[:3], np.array([0x56, 0xB4, 0xE9]) / 255, atol=0.01)
        assert "nucleus" in [button.text() for button in correct.classes.buttons.values()]
        paint(5, 20, 20)
        seen()
        assert [each.name for each in correct.learning.config().new_classes] == ["nucleus"]
        assert "no class" not in correct.note.text()
        correct.classes.wanted.emit("nucleus", "#000000")
        assert len(correct.store.added) == 1


class TestLooking:
    def test_it_goes_from_place_to_place(self, viewer, dock, correct, press, finish, section, paint, seen):
        viewer.add_image(np.stack([np.zeros_like(section), section]), name="cells", scale=(30, 5, 5))
        press(correct.look_button)
        finish(dock)
        assert "on section 1" in correct.status.text()
        assert viewer.dims.point[0] == 30
        first = viewer.scene.camera.center
        press(correct.look_button)
        assert viewer.scene.camera.center != first
        assert not dock.state.jobs.busy  # it was all looked at before
        for _ in range(10):
            press(correct.look_button)
        assert "no doubtful place left" in correct.status.text()

    def test_what_is_corrected_is_passed_over(
        self, viewer, dock, correct, press, finish, section, paint, seen
    ):
        viewer.add_image(section, name="cells")
        paint(1, 0, 0, side=80)
        seen()
        press(correct.look_button)
        finish(dock)
        assert "no doubtful place left" in correct.status.text()

    def test_without_an_image_there_is_a_sentence(self, correct, press, said):
        press(correct.look_button)
        assert "There is no image" in said()


@pytest.fixture
def inverted(viewer, dock, correct, qtbot, finish):
    """An image with inverted contrast, segmented, with right corrections; steps are few."""
    image = viewer.add_image(INVERTED, name="cells")
    dock.state.model_name = "unet-w16"
    dock.state.device = "cpu"
    correct.steps_box.setValue(3)
    dock.segment_tab.segment()
    finish(dock)
    correct.paint_with(1)
    layer = correct.store.layer
    for row in range(10, 150, 40):
        for column in range(10, 150, 40):
            part = (slice(row, row + 7), slice(column, column + 7))
            layer.data[part] = SAMPLE.labels[part]
    layer.refresh()
    correct.store.look()
    return image


def right(dock):
    return float((dock.state.result.data == SAMPLE.labels).mean())


class TestFinetune:
    def test_from_a_poor_result_to_a_saved_model(
        self, viewer, dock, correct, inverted, press, finish, qtbot, tmp_path
    ):
        before = right(dock)
        press(correct.tune_button)
        assert not correct.tune_button.isEnabled()
        assert correct.keep_button.isVisibleTo(correct)
        qtbot.waitUntil(lambda: bool(correct.curves.training and correct.curves.held_out), timeout=LONG)
        qtbot.waitUntil(lambda: not correct.learning.running, timeout=LONG)
        finish(dock)
        assert correct.status.text().startswith("Keep")
        assert not autosave_of(inverted).checkpoint.exists()
        assert "membrane:" in correct.status.text()
        assert dock.state.model_name == "unet-w16 fine-tuned"
        after = right(dock)
        assert after > before + 0.2
        corrected = correct.store.layer.data > 0
        np.testing.assert_array_equal(dock.state.result.data[corrected], correct.store.layer.data[corrected])
        # before and after
        press(correct.before_button)
        assert right(dock) == pytest.approx(before, abs=1e-6)
        press(correct.before_button)
        assert right(dock) == pytest.approx(after, abs=1e-6)
        # undo and redo
        press(correct.undo_button)
        assert (dock.state.model_name, right(dock)) == ("unet-w16", pytest.approx(before, abs=1e-6))
        assert dock.state.result.metadata["feedback-seg"]["model"] == "unet-w16"
        press(correct.redo_button)
        assert dock.state.model_name == "unet-w16 fine-tuned"
        assert right(dock) == pytest.approx(after, abs=1e-6)
        # it is among the dock's models, whatever reads the library
        dock.state.refresh_models()
        assert dock.state.model_name == "unet-w16 fine-tuned"
        # the rest
        press(correct.rest_button)
        finish(dock)
        assert right(dock) > 0.8
        # saved, and in the library
        correct.save_as("mine")
        assert dock.state.model_name == "mine"
        card = load_model("mine").card
        assert card.name == "mine"
        assert card.parent == load_model("unet-w16").digest
        assert "cells" in card.data[-1].name
        assert not list(unsaved_folder().glob("*.safetensors"))
        assert not correct.save_button.isEnabled()

    def test_worse_leaves_the_model_and_says_why(self, dock, correct, inverted, press, finish, qtbot):
        layer = correct.store.layer
        where = layer.data > 0
        layer.data[where] = np.random.default_rng(0).integers(1, 5, where.sum())
        layer.refresh()
        correct.store.look()
        press(correct.tune_button)
        finish(dock)
        assert "The model stays as it was" in correct.status.text()
        assert dock.state.model_name == "unet-w16"
        assert correct.models.earlier is None

    def test_stopped_it_goes_back_or_keeps_the_best(self, dock, correct, inverted, press, finish, qtbot):
        correct.steps_box.setValue(40)
        press(correct.tune_button)
        qtbot.waitUntil(lambda: bool(correct.curves.training), timeout=LONG)
        press(correct.back_button)
        finish(dock)
        assert "stays as it was" in correct.status.text()
        assert dock.state.model_name == "unet-w16"
        assert not autosave_of(inverted).checkpoint.exists()
        press(correct.tune_button)
        qtbot.waitUntil(lambda: bool(correct.curves.held_out), timeout=LONG)
        assert autosave_of(inverted).checkpoint.exists()
        press(correct.keep_button)
        qtbot.waitUntil(lambda: dock.state.model_name == "unet-w16 fine-tuned", timeout=LONG)
        finish(dock)
        assert correct.status.text().startswith("Keep")

    def test_not_while_it_segments(self, viewer, dock, correct, inverted, press, finish, said):
        dock.segment_tab.segment()
        correct.fine_tune()
        assert "still running" in said()
        assert not correct.learning.running
        finish(dock)

    def test_the_image_is_deleted_while_it_runs(self, viewer, dock, correct, inverted, press, qtbot, said):
        press(correct.tune_button)
        qtbot.waitUntil(lambda: bool(correct.curves.training), timeout=LONG)
        viewer.layers.remove(inverted)
        qtbot.waitUntil(lambda: not dock.state.jobs.busy, timeout=LONG)
        assert "image is no longer there" in said()
        assert dock.state.model_name == "unet-w16 fine-tuned"

    def test_the_corrections_are_deleted_while_it_runs(self, viewer, dock, correct, inverted, press, qtbot):
        press(correct.tune_button)
        viewer.layers.remove(correct.store.layer)
        qtbot.waitUntil(lambda: not dock.state.jobs.busy, timeout=LONG)
        assert dock.state.model_name == "unet-w16 fine-tuned"
        assert correct.store.counts == {}

    @pytest.mark.parametrize("what", ["dock", "viewer"])
    def test_closed_while_it_runs(self, viewer, dock, correct, inverted, press, qtbot, what):
        correct.steps_box.setValue(1000)  # it does not end by itself
        press(correct.tune_button)
        qtbot.waitUntil(lambda: bool(correct.curves.training), timeout=LONG)
        if what == "dock":
            viewer.window.remove_dock_widget(dock.parent())
        else:
            viewer.close()
        qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=LONG)

    def test_a_section_without_contents_is_a_sentence(
        self, viewer, dock, correct, paint, press, finish, said
    ):
        viewer.add_image(np.full((160, 160), np.nan, np.float32), name="empty")
        dock.state.model_name = "unet-w16"
        paint(1, 20, 20)
        paint(2, 100, 100)
        press(correct.tune_button)
        finish(dock)
        assert "Section 0 has corrections, but" in said()


class TestAutosave:
    @pytest.fixture
    def another_dock(self, viewer, dock):
        """The dock of a session after a crash."""
        from napari_feedback_seg.plugin.contributions.dock import FeedbackDock

        def another():
            viewer.layers.clear()
            new = FeedbackDock(viewer)
            viewer.window.add_dock_widget(new, name="another")
            return new

        return another

    def test_corrections_are_offered_again(
        self, viewer, dock, correct, paint, another_dock, qtbot, section, press
    ):
        image = viewer.add_image(section, name="cells")
        paint(2, 20, 20)
        correct.store.look()
        qtbot.waitUntil(lambda: autosave_of(image).saved == [0], timeout=LONG)
        painted = correct.store.layer.data.copy()
        new = another_dock()
        tab = new.correct_tab
        assert not tab.recovery.offer
        viewer.add_image(section, name="cells")
        assert "corrections of 'cells'" in tab.recovery.offer
        press(tab.restore_button)
        np.testing.assert_array_equal(tab.store.layer.data, painted)
        assert CORRECTIONS_KEY in tab.store.layer.metadata
        assert not tab.recovery.offer

    def test_or_discarded(
        self, viewer, dock, correct, paint, another_dock, qtbot, section, press, monkeypatch
    ):
        image = viewer.add_image(section, name="cells")
        paint(2, 20, 20)
        correct.store.look()
        qtbot.waitUntil(lambda: autosave_of(image).saved == [0], timeout=LONG)
        new = another_dock()
        image = viewer.add_image(section, name="cells")
        monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
        press(new.correct_tab.discard_button)
        assert autosave_of(image).saved == []
        assert not new.correct_tab.recovery.offer

    def test_for_an_image_that_is_no_longer_there(
        self, viewer, dock, correct, paint, another_dock, qtbot, section, press, said
    ):
        image = viewer.add_image(section, name="cells")
        paint(2, 20, 20)
        correct.store.look()
        qtbot.waitUntil(lambda: autosave_of(image).saved == [0], timeout=LONG)
        new = another_dock()
        image = viewer.add_image(section, name="cells")
        viewer.layers.remove(image)
        press(new.correct_tab.restore_button)
        assert "'cells' is no longer there" in said()

    def test_damaged_ones_are_a_sentence(
        self, viewer, dock, correct, paint, another_dock, qtbot, section, press, said
    ):
        image = viewer.add_image(section, name="cells")
        paint(2, 20, 20)
        correct.store.look()
        autosave = autosave_of(image)
        qtbot.waitUntil(lambda: autosave.saved == [0], timeout=LONG)
        (autosave.folder / "section-00000.npz").write_bytes(b"damaged")
        new = another_dock()
        viewer.add_image(section, name="cells")
        press(new.correct_tab.restore_button)
        assert "cannot be read" in said()

    def test_what_cannot_be_written_is_said_once_and_work_goes_on(
        self, viewer, dock, correct, paint, qtbot, section, said, models_folder
    ):
        image = viewer.add_image(section, name="cells")
        (models_folder / "unsaved").write_text("a file in the way")
        paint(2, 20, 20)
        correct.store.look()
        correct.recovery.save()
        assert said().count("could not be saved by themselves") == 1
        paint(2, 40, 40)
        correct.recovery.save()
        assert said().count("could not be saved by themselves") == 1
        (models_folder / "unsaved").unlink()
        paint(2, 60, 60)
        correct.recovery.save()
        assert autosave_of(image).saved == [0]

    def test_undone_corrections_leave_no_file(self, viewer, correct, paint, section):
        image = viewer.add_image(section, name="cells")
        layer = paint(2, 20, 20)
        correct.store.look()
        correct.recovery.save()
        assert autosave_of(image).saved == [0]
        layer.undo()
        correct.store.look()
        correct.recovery.save()
        assert autosave_of(image).saved == []


class TestBackAndForth:
    def test_over_sections_that_the_earlier_model_had_not_segmented(
        self, viewer, dock, correct, press, finish, qtbot
    ):
        stack = np.stack([INVERTED, INVERTED[::-1]])
        viewer.add_image(stack, name="cells", scale=(30, 4.6, 4.6))
        viewer.dims.set_point(0, 0)
        dock.state.model_name = "unet-w16"
        correct.steps_box.setValue(3)
        dock.segment_tab.segment()
        finish(dock)
        result = dock.state.result
        correct.paint_with(1)
        layer = correct.store.layer
        for row in range(10, 150, 40):
            for column in range(10, 150, 40):
                part = (0, slice(row, row + 7), slice(column, column + 7))
                layer.data[part] = SAMPLE.labels[part[1:]]
        layer.refresh()
        correct.store.look()
        press(correct.tune_button)
        assert not correct.undo_button.isEnabled()
        qtbot.waitUntil(lambda: not correct.learning.running, timeout=LONG)
        finish(dock)
        first = result.data[0].copy()
        press(correct.before_button)
        press(correct.rest_button)
        assert not correct.before_button.isChecked()
        finish(dock)
        said = result.data.copy()
        assert said[1].all()
        press(correct.before_button)
        assert not result.data[1].any()
        press(correct.before_button)
        np.testing.assert_array_equal(result.data, said)
        press(correct.undo_button)
        assert not result.data[1].any()
        assert (result.data[0] != first).mean() > 0.2
        assert {run["model"] for run in result.metadata["feedback-seg"]["runs"]} == {"unet-w16"}
        press(correct.redo_button)
        np.testing.assert_array_equal(result.data, said)
        assert result.metadata["feedback-seg"]["runs"][-1]["model"] == "unet-w16 fine-tuned"

    def test_an_answer_that_is_shown_for_comparison_leaves_nothing_behind(
        self, viewer, dock, correct, inverted, press, finish, section
    ):
        press(correct.tune_button)
        finish(dock)
        result, painted = dock.state.result, correct.store.layer.data.copy()
        new = result.data.copy()
        result.data_setitem((np.array([100]), np.array([30])), 3)
        correct.store.look()
        press(correct.before_button)
        assert (result.data != new).mean() > 0.2
        result.undo()  # of a stroke on another answer
        correct.store.look()
        correct.store.layer.data[100, 30] = painted[100, 30]
        correct.store.look()
        np.testing.assert_array_equal(correct.store.layer.data, painted)
        dock.state.image = viewer.add_image(section, name="another")
        np.testing.assert_array_equal(result.data, new)
        dock.state.image = inverted
        assert not correct.before_button.isChecked()
        press(correct.before_button)
        assert (result.data != new).mean() > 0.2
        inverted.scale = (2, 2)
        dock.cleanup()
        np.testing.assert_array_equal(result.data, new)

    def test_not_while_something_runs(self, dock, correct, inverted, press, finish):
        press(correct.tune_button)
        finish(dock)
        new = dock.state.result.data.copy()
        press(correct.rest_button)
        assert not correct.before_button.isEnabled()
        correct.learning.show_before(True)
        finish(dock)
        assert not correct.learning.shows_before
        np.testing.assert_array_equal(dock.state.result.data != 0, new != 0)
        assert correct.before_button.isEnabled()

    def test_models_of_an_earlier_time_and_of_another_branch_are_in_nobodys_way(
        self, dock, correct, inverted, press, finish
    ):
        earlier = unsaved_folder() / "unet-w16 fine-tuned.safetensors"
        earlier.parent.mkdir(exist_ok=True)
        earlier.write_bytes(b"of an earlier time")
        press(correct.tune_button)
        finish(dock)
        assert dock.state.model_name == "unet-w16 fine-tuned 2"
        assert earlier.read_bytes() == b"of an earlier time"
        press(correct.undo_button)
        press(correct.tune_button)
        finish(dock)
        assert (correct.models.earlier, correct.models.current) == ("unet-w16", "unet-w16 fine-tuned 3")
        dock.state.model_name = "unet-w16 fine-tuned 2"
        correct.save_as("the first")
        assert dock.state.model_name == "the first"
        assert not correct.models.unsaved

    def test_another_image_chosen_while_it_learns_stays(
        self, viewer, dock, correct, inverted, press, finish, said, section
    ):
        other = viewer.add_image(section, name="other")
        dock.state.image = inverted
        press(correct.tune_button)
        dock.state.image = other
        dock.state.model_name = "small"
        finish(dock)
        assert dock.state.image == other
        assert "go to 'cells' and segment" in said()
        assert autosave_of(inverted).about["model"].endswith("unet-w16 fine-tuned.safetensors")
        assert not autosave_of(other).about
        assert (correct.models.earlier, correct.models.current) == ("unet-w16", "unet-w16 fine-tuned")

    def test_a_dock_opened_again_has_the_models(self, viewer, dock, correct, inverted, press, finish):
        from napari_feedback_seg.plugin.contributions.dock import FeedbackDock

        press(correct.tune_button)
        finish(dock)
        assert dock.state.model_name == "unet-w16 fine-tuned"
        dock.cleanup()
        new = FeedbackDock(viewer)
        viewer.window.add_dock_widget(new, name="another")
        assert new.state.model_name == "unet-w16 fine-tuned"
        assert new.correct_tab.models.earlier == "unet-w16"
        assert new.correct_tab.save_button.isEnabled()
        new.state.model_name = "small"
        assert new.correct_tab.models.earlier is None
        new.state.model_name = "unet-w16 fine-tuned"
        assert new.correct_tab.models.earlier == "unet-w16"

    def test_a_name_is_asked_for(self, dock, correct, inverted, press, finish, said):
        press(correct.tune_button)
        finish(dock)
        correct.save_as("")
        assert "Give the model a name" in said()
        assert correct.models.unsaved


class TestNewClass:
    def test_there_is_one_result_whatever_classes_the_models_have(
        self, viewer, dock, correct, inverted, press, finish
    ):
        result = dock.state.result
        correct.add_class("nucleus", "#56b4e9")
        layer = correct.store.layer
        for row in range(20, 150, 40):
            layer.data[row : row + 10, 60:70] = 5
        layer.refresh()
        correct.store.look()
        assert (result.data == 5).any()
        np.testing.assert_allclose(result.get_color(5)[:3], np.array([0x56, 0xB4, 0xE9]) / 255, atol=1e-6)
        assert "nucleus" in [each["name"] for each in result.metadata["feedback-seg"]["classes"]]
        assert dock.segment_tab.legend.boxes[5].text() == "nucleus"
        press(correct.tune_button)
        finish(dock)
        assert dock.state.model_name == "unet-w16 fine-tuned"
        assert dock.state.result == result
        dock.state.model_name = "unet-w16"
        dock.segment_tab.segment()
        finish(dock)
        assert dock.state.result == result
        results = [each for each in viewer.layers if "feedback-seg" in each.metadata]
        assert results == [result]
        painted = layer.data > 0
        np.testing.assert_array_equal(result.data[painted], layer.data[painted])

    def test_what_is_painted_lies_above_a_new_result(self, viewer, dock, correct, section, paint, finish):
        viewer.add_image(section, name="cells")
        paint(2, 20, 20)
        dock.segment_tab.segment()
        finish(dock)
        names = [each.name for each in viewer.layers]
        assert names.index("cells corrections") > names.index("cells labels")


class TestExport:
    def test_corrections_are_told_of_written_and_opened_again(
        self, viewer, dock, correct, inverted, finish, tmp_path
    ):
        from napari_feedback_seg.plugin.segment.export import export_result

        assert export_result(dock.state, tmp_path)
        finish(dock)
        record = tmp_path / "cells-segmented" / "cells-run.json"
        run = json.loads(record.read_text(encoding="utf-8"))
        assert run["sections_edited_by_hand"] == [0]
        assert any("corrected by hand" in note for note in run["notes"])
        corrections = correct.store.layer.data.copy()
        viewer.layers.clear()
        viewer.add_image(INVERTED, name="cells")
        for data, state, kind in read_result(str(record)):
            getattr(viewer, f"add_{kind}")(data, **state)
        np.testing.assert_array_equal(correct.store.layer.data, corrections)
        assert {each.value for each in correct.store.classes} == {1, 2, 3, 4}
        assert correct.store.counts


class TestDialogs:
    def test_add_a_class_asks_for_name_and_colour(self, viewer, dock, correct, section, press, monkeypatch):
        viewer.add_image(section, name="cells")
        monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: (" nucleus ", True))
        monkeypatch.setattr(QColorDialog, "getColor", lambda *_, **__: QColor("#56b4e9"))
        press(correct.classes.add_button)
        (new,) = correct.store.added
        assert (new.name, new.color) == ("nucleus", "#56b4e9")
        monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("vesicle", False))
        press(correct.classes.add_button)
        assert correct.store.added == [new]

    def test_save_the_model_asks_for_a_name(
        self, dock, correct, inverted, press, finish, monkeypatch, models_folder
    ):
        press(correct.tune_button)
        finish(dock)
        monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: (" mine ", True))
        press(correct.save_button)
        assert (models_folder / "mine.safetensors").is_file()

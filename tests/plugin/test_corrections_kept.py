from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtWidgets import QMessageBox
from skimage.io import imsave

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.correction.classes import grow
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.plugin.contributions.dock import FeedbackDock
from napari_feedback_seg.plugin.layers.corrections import CORRECTIONS_KEY
from napari_feedback_seg.plugin.session import corrections_memory, recovery
from napari_feedback_seg.plugin.session.autosave import Autosave, autosave_of, kept
from napari_feedback_seg.plugin.session.corrections_count import Counter, difference
from napari_feedback_seg.plugin.session.corrections_section import SeenSection
from napari_feedback_seg.plugin.session.segmenting import What

LONG = 60_000


@pytest.fixture
def correct(dock):
    dock.show()
    dock.show_tab("correct")
    return dock.correct_tab


@pytest.fixture
def stack(viewer, section):
    image = viewer.add_image(np.stack([section, section[::-1], section[:, ::-1]]), name="cells")
    viewer.dims.set_point(0, 0)
    return image


@pytest.fixture
def segmented(dock, stack, finish, correct):
    """The result of a stack of three sections."""
    dock.correct_tab.learning.segment_rest()
    finish(dock)
    return dock.state.result


def stroke(correct, value, *corner, side=6):
    """Paint as the brush does, on whatever section is shown."""
    correct.paint_with(value)
    layer = correct.store.layer
    rows, columns = np.mgrid[corner[-2] : corner[-2] + side, corner[-1] : corner[-1] + side]
    places = np.stack([*(np.full(rows.size, z) for z in corner[:-2]), rows.ravel(), columns.ravel()])
    layer.data_setitem(tuple(places), value)
    return layer


def other(labels, *place):
    """Return a class that is not predicted at a place."""
    return 1 if labels[place] != 1 else 2


def same_where_corrected(correct, result):
    data = correct.store.layer.data
    return np.array_equal(result.data[data > 0], data[data > 0])


class TestWhatIsSeen:
    def test_a_stroke_is_seen_though_one_moves_on_at_once(
        self, viewer, correct, stack, segmented, qtbot, dock
    ):
        value = other(segmented.data, 0, 20, 20)
        stroke(correct, value, 0, 20, 20)
        viewer.dims.set_point(0, 2)
        qtbot.waitUntil(lambda: 0 in correct.store.counts, timeout=LONG)
        assert correct.store.counts[0][value].pixels == 36
        assert same_where_corrected(correct, segmented)
        qtbot.waitUntil(lambda: autosave_of(stack).saved == [0], timeout=LONG)

    def test_so_is_one_on_the_result(self, viewer, correct, segmented, qtbot):
        value = other(segmented.data, 0, 20, 20)
        segmented.data_setitem((np.array([0]), np.array([20]), np.array([20])), value)
        viewer.dims.set_point(0, 2)
        qtbot.waitUntil(lambda: correct.store.layer is not None, timeout=LONG)
        assert correct.store.layer.data[0, 20, 20] == value

    def test_undo_and_redo_are_seen_from_another_section(self, viewer, correct, segmented, qtbot):
        said = segmented.data.copy()
        value = other(said, 0, 20, 20)
        layer = stroke(correct, value, 0, 20, 20)
        qtbot.waitUntil(lambda: 0 in correct.store.counts, timeout=LONG)
        viewer.dims.set_point(0, 2)
        layer.undo()
        qtbot.waitUntil(lambda: correct.store.counts == {}, timeout=LONG)
        np.testing.assert_array_equal(segmented.data, said)
        layer.redo()
        qtbot.waitUntil(lambda: 0 in correct.store.counts, timeout=LONG)
        assert same_where_corrected(correct, segmented)

    def test_strokes_across_the_sections_are_seen(self, viewer, correct, segmented, qtbot):
        correct.paint_with(2)
        layer = correct.store.layer
        viewer.dims.order = (1, 0, 2)
        layer.brush_size = 5
        layer.n_edit_dimensions = 3
        layer.paint((1, 40, 40), 2)
        assert (layer.data.any(axis=(1, 2))).all()
        layer.n_edit_dimensions = 2
        painted = int((layer.data > 0).sum())
        qtbot.waitUntil(lambda: sorted(correct.store.counts) == [0, 1, 2], timeout=LONG)
        assert sum(counts[2].pixels for counts in correct.store.counts.values()) == painted
        assert same_where_corrected(correct, segmented)

    @pytest.mark.parametrize("reader", ["export", "measure", "compare"])
    def test_who_reads_the_result_looks_before(
        self, viewer, dock, correct, segmented, finish, tmp_path, reader
    ):
        viewer.add_labels(np.ones_like(segmented.data), name="truth")
        viewer.layers.selection.active = viewer.layers["cells"]
        tab = dock.segment_tab
        value = other(segmented.data, 1, 20, 20)
        stroke(correct, value, 1, 20, 20)
        if reader == "export":
            tab.export_button.export_to(tmp_path)
        elif reader == "measure":
            tab.measure_panel.measure()
        else:
            tab.compare_panel.compare()
        assert (segmented.data[1, 20:26, 20:26] == value).all()
        finish(dock)

    def test_what_is_written_by_a_script_is_seen_before_an_export(self, dock, correct, segmented):
        stroke(correct, 2, 0, 60, 60)
        correct.store.look()
        value = other(segmented.data, 2, 20, 20)
        correct.store.layer.data[2, 20:26, 20:26] = value
        dock.state.reading.emit()
        assert (segmented.data[2, 20:26, 20:26] == value).all()

    def test_one_stroke_after_another_does_not_put_it_off(self, correct, stack, qtbot, monkeypatch):
        correct.store._touched._pause.setInterval(LONG)
        correct.store._touched._latest.setInterval(20)
        stroke(correct, 2, 0, 20, 20)
        qtbot.waitUntil(lambda: 0 in correct.store.counts, timeout=LONG)

    def test_a_stroke_while_all_sections_are_segmented_splits_no_result(
        self, dock, correct, segmented, tab, finish
    ):
        for timer in (correct.store._touched._pause, correct.store._touched._latest):
            timer.setInterval(LONG)
        value, painted = other(segmented.data, 2, 20, 20), []

        def paint():
            if not painted and dock.state.jobs.busy:
                painted.append(2)
                segmented.data_setitem((np.array([2]), np.array([20]), np.array([20])), value)

        dock.state.result_changed.connect(paint)
        tab.what_box.chooser.setCurrentIndex(tab.what_box.chooser.findData(What.ALL))
        tab.segment()
        finish(dock)
        assert painted
        assert dock.state.result == segmented
        assert segmented.data[2, 20, 20] == value == correct.store.layer.data[2, 20, 20]


class TestLayer:
    @pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.uint16, np.int64])
    def test_labels_of_any_integer_type_become_corrections(self, viewer, correct, segmented, stack, dtype):
        labels = np.zeros(stack.data.shape, dtype)
        labels[0, 5:9, 5:9] = other(segmented.data, 0, 5, 5)
        opened = viewer.add_labels(labels, name="mycorr")
        assert "rename it to 'cells corrections'" in correct.note.text()
        assert correct.store.layer is None
        opened.name = "cells corrections"
        assert correct.store.layer == opened
        assert "rename" not in correct.note.text()
        assert same_where_corrected(correct, segmented)
        correct.recovery.save()
        np.testing.assert_array_equal(autosave_of(stack).load_section(0), labels[0])

    def test_it_is_put_where_the_image_is(self, viewer, correct, section):
        image = viewer.add_image(section, name="cells", scale=(4, 4), units="nm")
        opened = viewer.add_labels(np.ones(section.shape, np.int32), name="cells corrections")
        assert correct.store.layer == opened
        assert opened.units == image.units
        np.testing.assert_allclose(opened.data_to_world((9, 9)), image.data_to_world((9, 9)))

    @pytest.mark.parametrize("value", [-1, 300])
    def test_labels_that_no_class_can_have_are_a_sentence(self, viewer, correct, section, value, press):
        viewer.add_image(section, name="cells")
        opened = viewer.add_labels(np.full(section.shape, value, np.int32), name="cells corrections")
        assert correct.store.layer is None
        assert f"{value}" in correct.note.text()
        assert "cannot hold the corrections" in correct.note.text()
        assert (opened.data == value).all()

    def test_data_of_another_type_later(self, correct, segmented, stack, qtbot):
        layer = stroke(correct, 2, 0, 20, 20)
        labels = np.zeros(stack.data.shape, np.int32)
        labels[0, 40:50, 40:50] = 3
        layer.data = labels
        qtbot.waitUntil(lambda: list(correct.store.counts.get(0, {})) == [3], timeout=LONG)
        assert same_where_corrected(correct, segmented)

    def test_data_of_another_shape_later_is_a_sentence_and_nothing_is_written(
        self, correct, segmented, stack, qtbot, press
    ):
        layer = stroke(correct, 2, 0, 20, 20)
        correct.store.look()
        correct.recovery.save()
        before = segmented.data.copy()
        layer.data = np.ones((3, 10, 10), np.uint8)
        qtbot.waitUntil(lambda: "its shape is (3, 10, 10)" in correct.note.text(), timeout=LONG)
        press(correct.classes.buttons[1])
        assert "its shape is (3, 10, 10)" in correct.status.text()
        correct.recovery.save()
        assert autosave_of(stack).load_section(0).sum() == 2 * 36
        np.testing.assert_array_equal(segmented.data, before)
        layer.data = np.zeros(stack.data.shape, np.uint8)
        press(correct.classes.buttons[1])
        assert correct.store.layer == layer

    def test_a_renamed_image_keeps_its_corrections(self, viewer, correct, stack, press):
        layer = stroke(correct, 2, 0, 20, 20)
        correct.store.look()
        stack.name = "other"
        assert correct.store.counts[0][2].pixels == 36
        press(correct.classes.buttons[1])
        assert correct.store.layer == layer
        assert len([each for each in viewer.layers if isinstance(each, Labels)]) == 1

    def test_an_image_of_the_old_name_has_its_own(self, viewer, dock, correct, section):
        first = viewer.add_image(section, name="cells")
        layer = stroke(correct, 2, 20, 20)
        first.name = "first"
        dock.state.image = viewer.add_image(section, name="cells")
        assert correct.store.layer is None
        new = stroke(correct, 3, 40, 40)
        assert new != layer
        dock.state.image = first
        assert correct.store.layer == layer

    def test_nor_when_one_comes_back_from_another_image(self, viewer, dock, correct, stack, section):
        layer = stroke(correct, 2, 0, 20, 20)
        correct.store.look()
        copy = Labels.create(*layer.as_layer_data_tuple())
        copy.name = "backup"
        viewer.add_layer(copy)
        dock.state.image = viewer.add_image(section, name="another")
        dock.state.image = stack
        assert correct.store.layer == layer
        viewer.layers.remove(layer)
        assert correct.store.layer == copy

    def test_an_image_of_this_name_from_another_file_does_not_get_it(
        self, viewer, dock, correct, section, tmp_path
    ):
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            imsave(tmp_path / folder / "cells.tif", section, check_contrast=False)
        [image] = viewer.open(tmp_path / "one" / "cells.tif", plugin="napari")
        layer = stroke(correct, 2, 20, 20)
        correct.store.look()
        viewer.layers.remove(image)
        [image] = viewer.open(tmp_path / "two" / "cells.tif", plugin="napari")
        assert correct.store.layer is None
        viewer.layers.remove(image)
        viewer.open(tmp_path / "one" / "cells.tif", plugin="napari")
        assert correct.store.layer == layer

    def test_a_duplicate_does_not_take_its_place(self, viewer, correct, stack):
        layer = stroke(correct, 2, 0, 20, 20)
        copy = Labels(layer.data.copy(), name="copy", metadata=dict(layer.metadata))
        viewer.add_layer(copy)
        assert correct.store.layer == layer

    def test_it_follows_the_image(self, viewer, correct, stack, press):
        layer = stroke(correct, 2, 0, 20, 20)
        correct.store.look()
        stack.translate = (0, 30, 40)
        stack.scale = (20, 5, 5)
        stack.rotate = np.array([[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]])
        assert correct.store.layer == layer
        assert correct.store.counts[0][2].pixels == 36
        np.testing.assert_allclose(layer.data_to_world((1, 9, 5)), stack.data_to_world((1, 9, 5)))


class TestAnotherImage:
    """What is painted while the dock is at another image, or closed."""

    @pytest.fixture
    def away(self, viewer, dock, segmented, section):
        """The dock is at another image."""
        image = viewer.add_image(section, name="another")
        assert dock.state.image == image
        return image

    def test_a_stroke_on_the_corrections_brings_the_dock_back(
        self, viewer, dock, correct, stack, segmented, section, qtbot
    ):
        layer = stroke(correct, 2, 0, 20, 20)
        correct.store.look()
        another = viewer.add_image(section, name="another")
        assert dock.state.image == another
        layer.data_setitem((np.array([1]), np.array([40]), np.array([40])), 3)
        qtbot.waitUntil(lambda: dock.state.image == stack, timeout=LONG)
        qtbot.waitUntil(lambda: 1 in correct.store.counts, timeout=LONG)
        assert same_where_corrected(correct, segmented)
        qtbot.waitUntil(lambda: autosave_of(stack).saved == [0, 1], timeout=LONG)

    def test_so_does_one_on_the_result(self, dock, correct, stack, segmented, away, qtbot):
        value = other(segmented.data, 0, 20, 20)
        segmented.data_setitem((np.array([0]), np.array([20]), np.array([20])), value)
        qtbot.waitUntil(lambda: dock.state.image == stack, timeout=LONG)
        qtbot.waitUntil(lambda: correct.store.layer is not None, timeout=LONG)
        assert correct.store.layer.data[0, 20, 20] == value

    def test_so_does_choosing_the_result(self, viewer, dock, stack, segmented, away, qtbot):
        viewer.layers.selection.active = segmented
        qtbot.waitUntil(lambda: dock.state.image == stack, timeout=LONG)

    def test_a_layer_that_is_active_for_a_moment_does_not(self, viewer, dock, stack, segmented, away, qtbot):
        viewer.layers.selection.active = segmented
        qtbot.waitUntil(lambda: dock.state.image == stack, timeout=LONG)
        dock.state.image = away  # chosen in the panel
        viewer.layers.selection.active = None
        viewer.layers.selection.active = segmented
        qtbot.wait(50)
        assert dock.state.image == away

    def test_a_stroke_just_before_one_leaves_is_of_the_image_that_is_left(
        self, viewer, dock, correct, stack, segmented, section
    ):
        value = other(segmented.data, 0, 20, 20)
        segmented.data_setitem((np.array([0]), np.array([20]), np.array([20])), value)
        viewer.add_image(section, name="another")
        names = [layer.name for layer in viewer.layers if isinstance(layer, Labels)]
        assert names == ["cells labels", "cells corrections"]
        assert viewer.layers["cells corrections"].data[0, 20, 20] == value
        assert correct.store.layer is None
        assert autosave_of(stack).saved == [0]

    @pytest.mark.parametrize("how", ["another image", "another dock"])
    def test_what_was_painted_on_the_result_meanwhile_becomes_a_correction(
        self, viewer, dock, correct, stack, segmented, section, how, qtbot
    ):
        value = other(segmented.data, 0, 20, 20)
        if how == "another dock":
            viewer.window.remove_dock_widget(dock.parent())
            dock.deleteLater()
            qtbot.wait(10)
        else:
            dock.state.image = viewer.add_image(section, name="another")
        segmented.data[0, 20, 20] = value
        if how == "another dock":
            dock = FeedbackDock(viewer)
            viewer.window.add_dock_widget(dock, name="again")
        dock.state.image = stack
        store = dock.correct_tab.store
        store.look()
        assert store.layer.data[0, 20, 20] == value
        assert store.layer.data.astype(bool).sum() == 1

    def test_what_nobody_has_followed_is_not_written_over(
        self, viewer, dock, correct, segmented, finish, qtbot
    ):
        viewer.window.remove_dock_widget(dock.parent())
        dock.deleteLater()
        qtbot.wait(10)
        corrections_memory._SEEN.clear()  # as for a result that was opened from a file
        value = other(segmented.data, 0, 20, 20)
        segmented.data[0, 20, 20] = value
        dock = FeedbackDock(viewer)
        viewer.window.add_dock_widget(dock, name="again")
        dock.state.model_name = "small"
        dock.correct_tab.store.look()
        dock.segment_tab.segment()
        finish(dock)
        assert segmented.data[0, 20, 20] == value
        assert dock.state.result != segmented

    def test_an_erased_correction_gives_the_label_of_the_model_back(
        self, dock, correct, stack, segmented, away
    ):
        dock.state.image = stack
        said = segmented.data.copy()
        layer = stroke(correct, other(said, 0, 20, 20), 0, 20, 20)
        correct.store.look()
        dock.state.image = away
        dock.state.image = stack
        layer.data[:] = 0
        correct.store.look()
        np.testing.assert_array_equal(segmented.data, said)

    def test_so_does_deleting_the_layer(self, viewer, correct, segmented):
        said = segmented.data.copy()
        layer = stroke(correct, other(said, 0, 20, 20), 0, 20, 20)
        correct.store.look()
        assert (segmented.data != said).any()
        viewer.layers.remove(layer)
        np.testing.assert_array_equal(segmented.data, said)
        assert correct.recovery.offer


class TestAutosave:
    @pytest.fixture
    def killed(self, viewer, dock, qtbot):
        """Begin again as after a crash: another dock, without layers."""

        def killed():
            dock.correct_tab.recovery._timer.stop()
            viewer.window.remove_dock_widget(dock.parent())
            dock.deleteLater()
            qtbot.wait(10)
            viewer.layers.clear()
            new = FeedbackDock(viewer)
            viewer.window.add_dock_widget(new, name="another")
            return new.correct_tab

        return killed

    @pytest.fixture
    def answer(self, monkeypatch):
        asked = []

        def answer(yes):
            button = QMessageBox.StandardButton.Yes if yes else QMessageBox.StandardButton.No
            monkeypatch.setattr(QMessageBox, "question", lambda *words: asked.append(words[2]) or button)
            return asked

        return answer

    def test_strokes_beside_an_offer_are_kept_and_both_come_back(
        self, viewer, correct, section, killed, press
    ):
        viewer.add_image(section, name="cells")
        stroke(correct, 2, 20, 20)
        correct.store.look()
        correct.recovery.save()
        tab = killed()
        image = viewer.add_image(section, name="cells")
        assert tab.recovery.offer
        stroke(tab, 3, 50, 50)
        tab.store.look()
        tab.recovery.save()
        first, second = autosave_of(image), autosave_of(image).beside(2)
        assert first.load_section(0)[20, 20] == 2
        assert second.load_section(0)[50, 50] == 3
        viewer.layers.clear()
        viewer.add_image(section, name="cells")
        assert "1 older one" in tab.recovery.offer
        press(tab.restore_button)
        assert tab.recovery.offer
        press(tab.restore_button)
        assert not tab.recovery.offer
        assert [tab.store.layer.data[place] for place in ((20, 20), (50, 50))] == [2, 3]
        tab.recovery.save()
        assert [each.load_section(0)[20, 20] for each in kept(first)] == [2]

    def test_they_go_by_the_file_whatever_its_path_reads_like_and_whatever_it_is_called(
        self, viewer, correct, section, killed, tmp_path, monkeypatch
    ):
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            imsave(tmp_path / folder / "cells.tif", section, check_contrast=False)
        monkeypatch.chdir(tmp_path / "one")
        [image] = viewer.open("cells.tif", plugin="napari")
        image.name = "mine"
        stroke(correct, 2, 20, 20)
        correct.store.look()
        correct.recovery.save()
        tab = killed()
        monkeypatch.chdir(tmp_path / "two")
        viewer.open("cells.tif", plugin="napari")
        assert not tab.recovery.offer
        viewer.layers.clear()
        viewer.open(tmp_path / "one" / "cells.tif", plugin="napari")
        assert "corrections of 'mine'" in tab.recovery.offer

    def test_two_images_of_one_file_have_each_its_own(self, viewer, correct, section, killed, tmp_path):
        imsave(tmp_path / "cells.tif", section, check_contrast=False)
        for name in ("one", "two"):
            viewer.open(tmp_path / "cells.tif", plugin="napari", name=name)
        stroke(correct, 2, 20, 20)
        correct.store.look()
        correct.recovery.save()
        tab = killed()
        for name in ("two", "one"):
            viewer.open(tmp_path / "cells.tif", plugin="napari", name=name)
        assert not tab.recovery.offer
        tab._state.image = viewer.layers["two"]
        assert "corrections of 'two'" in tab.recovery.offer

    def test_what_cannot_be_restored_stays_and_is_offered_again(
        self, viewer, correct, section, killed, press, said
    ):
        image = viewer.add_image(section, name="cells")
        stroke(correct, 2, 20, 20)
        correct.store.look()
        correct.recovery.save()
        path = autosave_of(image).folder / "section-00000.npz"
        path.write_bytes(b"damaged")
        tab = killed()
        viewer.add_image(section, name="cells")
        press(tab.restore_button)
        assert "cannot be read" in said()
        assert tab.recovery.offer
        stroke(tab, 3, 50, 50)
        tab.store.look()
        tab.recovery.save()
        assert path.read_bytes() == b"damaged"

    def test_a_deleted_layer_is_offered_and_not_written_over(
        self, viewer, correct, section, press, answer, qtbot
    ):
        image = viewer.add_image(section, name="cells")
        viewer.layers.remove(stroke(correct, 2, 20, 20))  # before anybody has looked
        assert "corrections of 'cells'" in correct.recovery.offer
        stroke(correct, 3, 50, 50)
        correct.store.look()
        correct.recovery.save()
        assert autosave_of(image).load_section(0)[20, 20] == 2
        asked = answer(False)
        press(correct.discard_button)
        assert "will be deleted" in asked[0]
        assert autosave_of(image).saved == [0]
        answer(True)
        press(correct.discard_button)
        assert not correct.recovery.offer
        assert autosave_of(image).saved == []
        assert autosave_of(image).beside(2).saved == [0]

    def test_corrections_opened_from_a_file_are_not_offered_once_more(self, viewer, correct, section, killed):
        image = viewer.add_image(section, name="cells")
        labels = stroke(correct, 2, 20, 20).data.astype(np.int32)
        correct.store.look()
        correct.recovery.save()
        tab = killed()
        viewer.add_image(section, name="cells")
        assert tab.recovery.offer
        viewer.add_labels(labels, name="cells corrections")
        assert not tab.recovery.offer
        assert tab.recovery.autosave == autosave_of(image)

    def test_a_dock_that_is_opened_again_goes_on(self, viewer, dock, correct, section, qtbot):
        image = viewer.add_image(section, name="cells")
        layer = stroke(correct, 2, 20, 20)
        viewer.window.remove_dock_widget(dock.parent())
        dock.deleteLater()
        qtbot.wait(10)
        assert autosave_of(image).saved == [0]  # though nobody had looked
        layer.data[60:70, 60:70] = 3
        layer.data[20:26, 20:26] = 0
        new = FeedbackDock(viewer)
        viewer.window.add_dock_widget(new, name="another")
        assert not new.correct_tab.recovery.offer
        new.correct_tab.recovery.save()
        np.testing.assert_array_equal(autosave_of(image).load_section(0), layer.data)
        assert len(kept(autosave_of(image))) == 1

    def test_it_does_not_wait_for_a_pause_for_ever(self, viewer, correct, section, qtbot):
        image = viewer.add_image(section, name="cells")
        correct.recovery._timer.setInterval(LONG)
        correct.recovery._latest.setInterval(50)
        stroke(correct, 2, 20, 20)
        correct.store.look()
        qtbot.waitUntil(lambda: autosave_of(image).saved == [0], timeout=LONG)

    def test_much_is_written_bit_by_bit_and_only_once(
        self, viewer, dock, correct, stack, segmented, section, qtbot, monkeypatch
    ):
        monkeypatch.setattr(recovery, "_AT_ONCE", 0)
        correct.recovery._timer.setInterval(LONG)
        for z in range(3):
            stroke(correct, 2, z, 20, 20)
        correct.store.look()
        correct.recovery._save_some()
        assert len(autosave_of(stack).saved) == 1
        qtbot.waitUntil(lambda: autosave_of(stack).saved == [0, 1, 2], timeout=LONG)
        files = sorted(autosave_of(stack).folder.glob("section-*.npz"))
        before = [path.stat().st_mtime_ns for path in files]
        dock.state.image = viewer.add_image(section, name="another")
        dock.state.image = stack
        stroke(correct, 3, 1, 60, 60)
        correct.store.look()
        correct.recovery.save()
        after = [path.stat().st_mtime_ns for path in files]
        assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]

    @pytest.mark.parametrize("dense", [False, True])
    def test_what_is_written_is_read(self, tmp_path, dense):
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 5, (70, 50), np.uint8) * (rng.random((70, 50)) < (0.9 if dense else 0.05))
        autosave = Autosave(tmp_path / "kept", "cells", (3, 70, 50))
        autosave.save_section(1, labels)
        np.testing.assert_array_equal(autosave.load_section(1), labels)
        assert autosave.load_section(1).dtype == np.uint8

    def test_an_older_one_of_another_type_is_read(self, tmp_path):
        labels = np.zeros((70, 50), np.uint32)
        labels[3, 4] = 2
        autosave = Autosave(tmp_path, "cells", (70, 50))
        np.savez_compressed(tmp_path / "section-00000.npz", labels=labels)
        np.testing.assert_array_equal(autosave.load_section(0), labels)


class TestClasses:
    def test_what_is_no_class_is_not_shown_in_the_result(self, correct, segmented, qtbot):
        said = segmented.data.copy()
        layer = stroke(correct, 2, 0, 20, 20)
        layer.data_setitem((np.array([0]), np.array([60]), np.array([60])), 77)
        correct.store.look()
        assert "no class (77)" in correct.note.text()
        assert segmented.data[0, 60, 60] == said[0, 60, 60]
        assert not correct.store.plane(0)[60, 60]
        assert correct.store.add_class("nucleus", "#56b4e9").value == 77  # as the note suggests
        correct.store.look()
        assert segmented.data[0, 60, 60] == 77

    def test_a_restored_class_keeps_its_meaning(self, viewer, dock, correct, section):
        viewer.add_image(section, name="cells")
        correct.add_class("nucleus", "#56b4e9")
        stroke(correct, 5, 20, 20)
        correct.store.look()
        correct.recovery.save()
        viewer.layers.clear()
        correct.store.remove_class(5)
        viewer.add_image(section, name="cells")
        correct.add_class("vesicles", "#00ff00")
        stroke(correct, 5, 60, 60)
        correct.store.look()
        correct.recovery.restore()
        names = {each.value: each.name for each in correct.store.classes}
        data = correct.store.layer.data
        assert [names[data[place]] for place in ((20, 20), (60, 60))] == ["nucleus", "vesicles"]

    def test_a_dock_that_is_opened_again_knows_them(self, viewer, dock, correct, section, qtbot):
        viewer.add_image(section, name="cells")
        for value, name in ((5, "nucleus"), (6, "vesicles")):
            correct.add_class(name, "#56b4e9")
            stroke(correct, value, 20 * value - 90, 20)
        correct.store.look()
        viewer.window.remove_dock_widget(dock.parent())
        dock.deleteLater()
        qtbot.wait(10)
        new = FeedbackDock(viewer)
        viewer.window.add_dock_widget(new, name="another")
        store = new.correct_tab.store
        assert [(each.value, each.name) for each in store.added] == [(5, "nucleus"), (6, "vesicles")]
        assert not store.odd_values

    def test_a_model_with_other_classes_changes_no_meaning(
        self, viewer, dock, correct, section, small_model, models_folder, qtbot
    ):
        viewer.add_image(section, name="cells")
        correct.add_class("vesicles", "#00ff00")
        layer = stroke(correct, 5, 20, 20)
        stroke(correct, 2, 60, 60)
        correct.store.look()
        nucleus = LabelClass(5, "nucleus", "#56b4e9")
        grown = grow(small_model, [nucleus])
        save_model(grown, models_folder / "grown.safetensors")
        dock.state.refresh_models()
        dock.state.model_name = "grown"
        names = {each.value: each.name for each in correct.store.classes}
        assert names[5] == "nucleus"
        assert [names[layer.data[place]] for place in ((20, 20), (60, 60))] == ["vesicles", "mitochondria"]
        layer.undo()
        correct.store.look()
        assert names[layer.data[20, 20]] == "vesicles"
        dock.state.model_name = "small"
        names = {each.value: each.name for each in correct.store.classes}
        assert names[layer.data[20, 20]] == "vesicles"

    def test_an_added_class_can_be_removed_unless_it_is_painted(self, correct, stack):
        correct.classes.wanted.emit("nucleus", "#56b4e9")
        stroke(correct, 5, 0, 20, 20)
        (remove,) = correct.classes.buttons[5].actions()
        remove.trigger()
        assert "Something is painted as 'nucleus'" in correct.status.text()
        correct.store.layer.undo()
        remove.trigger()
        assert 5 not in correct.classes.buttons
        assert correct.store.added == []
        assert not correct.classes.buttons[1].actions()


class TestLooking:
    def test_segmented_sections_come_first(self, viewer, dock, correct, stack, tab, press, finish):
        viewer.dims.set_point(0, 1)
        press(tab.segment_button)
        finish(dock)
        viewer.dims.set_point(0, 0)
        press(correct.look_button)
        finish(dock)
        assert "on section 1, in the middle of the view: is it right?" in correct.status.text()
        for _ in range(4):
            press(correct.look_button)
        assert "Press Segment" in correct.status.text()


class TestSection:
    @pytest.mark.parametrize("shape", [(70, 50), (2100, 1030)])
    def test_counts_are_those_of_the_whole_after_many_strokes(self, shape):
        rng = np.random.default_rng(1)
        known = np.zeros(256, np.uint8)
        known[1:5] = range(1, 5)
        labels, shown = np.zeros(shape, np.uint8), rng.integers(1, 5, shape, np.uint8)
        said, seen = shown.copy(), SeenSection()
        for turn in range(30):
            row, column = rng.integers(0, shape[0] - 9), rng.integers(0, shape[1] - 9)
            box = slice(row, row + 9), slice(column, column + 9)
            (shown if turn % 7 == 6 else labels)[box] = turn % 5
            seen.look(labels, shown, known)
            np.testing.assert_array_equal(shown, np.where(labels > 0, labels, said))
        whole = Counter(shape)
        whole.update(labels, np.zeros_like(labels), (slice(0, shape[0]), slice(0, shape[1])))
        assert seen.counts == whole.counts
        for value, count in seen.counts.items():
            assert count.pixels == (labels == value).sum()

    def test_small_sections_tell_strokes_apart_by_the_pixel(self):
        labels = np.zeros((60, 60), np.uint8)
        labels[10:12, 10:12] = labels[10:12, 13:15] = labels[12, 15] = 3
        seen = SeenSection()
        seen.look(labels, None, np.arange(256, dtype=np.uint8))
        assert (seen.counts[3].pixels, seen.counts[3].strokes) == (9, 2)

    def test_a_difference_is_boxed(self):
        one = np.zeros((300, 200), np.uint8)
        two = one.copy()
        two[150, 20] = two[70, 90] = 1
        assert difference(one, two) == (slice(70, 151), slice(20, 91))
        assert difference(one, None) is None


def test_the_layer_says_of_which_image_it_is(correct, stack):
    layer = stroke(correct, 2, 0, 20, 20)
    about = layer.metadata[CORRECTIONS_KEY]
    assert (about["image"], about["image_id"]) == ("cells", str(stack.unique_id))
    assert [each["name"] for each in about["classes"]][:2] == ["membrane", "mitochondria"]


def test_a_file_of_another_name_is_no_section(tmp_path):
    autosave = Autosave(tmp_path / "kept", "cells", (8, 20, 30))
    autosave.save_section(3, np.ones((20, 30), np.uint8))
    (autosave.folder / "section-00003-1.npz").write_bytes(b"")
    assert autosave.saved == [3]
    autosave.save_section(3, np.zeros((20, 30), np.uint8))
    assert autosave.saved == []

"""The tab Correct; what the session does is tested without one, in ``session/``."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt, QThreadPool
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QApplication, QColorDialog, QInputDialog, QMessageBox, QWidget

from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.plugin.contributions.dock import FeedbackDock
from napari_feedback_seg.plugin.contributions.reader import read_result
from napari_feedback_seg.plugin.correct.text import missing, where
from napari_feedback_seg.plugin.session.correct.painted.counts import Count

LONG = 120_000


@pytest.fixture
def tab(dock):
    dock.show()
    dock.show_tab("correct")
    return dock.correct_tab


@pytest.fixture
def correcting(dock, tab):
    """What corrects, in as few steps as can be."""
    dock.session.correcting.set_config(FinetuneConfig(steps=2, batch=2, patch=32, checks=1))
    return dock.session.correcting


@pytest.fixture
def corrected(viewer, dock, correcting, section, finish):
    """Two sections, of which the first is segmented and corrected; return the layer of corrections."""
    viewer.add_image(np.stack([section, section[::-1]]), name="cells")
    viewer.dims.set_point(0, 0)
    dock.session.segmenting.segment()
    finish(dock)
    correcting.paint_with(1)
    layer = correcting.corrections.layer
    for number, row in enumerate(range(8, 90, 22)):
        for column in range(8, 70, 22):
            layer.data[0, row : row + 5, column : column + 5] = (number + column) % 4 + 1
    correcting.corrections.look_at_all()
    return layer


class TestPainting:
    def test_a_button_takes_the_brush_in_hand(self, viewer, tab, press, section):
        viewer.add_image(section, name="cells")
        press(tab.classes.buttons[2])
        layer = viewer.layers.selection.active
        assert (layer.name, layer.selected_label, layer.mode) == ("cells corrections", 2, "paint")
        assert tab.classes.buttons[2].isChecked()

    def test_the_button_that_is_down_is_the_tool_in_hand(self, viewer, dock, tab, press, section):
        def down():
            return [value for value, each in tab.classes.buttons.items() if each.isChecked()]

        press(tab.classes.buttons[2])
        assert down() == []  # there is no image
        image = viewer.add_image(section, name="cells")
        press(tab.classes.buttons[2])
        assert down() == [2]
        press(tab.classes.buttons[2])
        assert down() == [2]
        layer = viewer.layers.selection.active
        layer.selected_label = 3
        assert down() == [3]
        layer.mode = "erase"
        assert down() == [0]
        dock.session.instant.set_picking(True)  # which takes the tool away, as panning does
        dock.session.instant.set_picking(False)
        assert down() == []
        press(tab.classes.buttons[1])
        viewer.layers.selection.active = image
        assert down() == []

    @pytest.mark.window
    def test_so_does_a_chord(self, viewer, dock, tab, correcting, qtbot, section):
        viewer.add_image(section)
        window = dock.window()
        window.show()
        window.activateWindow()
        qtbot.waitUntil(tab.classes.isVisible, timeout=LONG)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            QApplication.setActiveWindow(window)  # no window manager does it here
        qtbot.keyClick(window, Qt.Key.Key_3, Qt.KeyboardModifier.AltModifier)
        qtbot.waitUntil(lambda: correcting.corrections.layer is not None, timeout=LONG)
        assert correcting.corrections.layer.selected_label == 3

    def test_a_stroke_is_counted_beside_its_class_and_its_undo(
        self, viewer, tab, correcting, qtbot, section, press
    ):
        viewer.add_image(np.stack([section] * 3), name="cells")
        viewer.dims.set_point(0, 1)
        press(tab.classes.buttons[2])
        layer = correcting.corrections.layer
        layer.paint((1, 20, 20), 2)
        qtbot.waitUntil(lambda: "1 stroke" in tab.classes.counts[2].text(), timeout=LONG)
        assert "On section 1" in tab.note.text()
        assert "Only mitochondria so far" in tab.note.text()
        layer.undo()
        qtbot.waitUntil(lambda: not tab.classes.counts[2].text(), timeout=LONG)

    @pytest.mark.window
    def test_one_on_the_result_goes_to_the_corrections_and_so_does_its_undo_by_the_keys(
        self, viewer, dock, correcting, corrected, qtbot
    ):
        corrected.data[:] = 0
        result = dock.session.result
        said = result.data.copy()
        value = 3 if said[0, 30, 30] != 3 else 2
        viewer.layers.selection.active = result
        result.paint((0, 30, 30), value)
        qtbot.waitUntil(lambda: corrected.data[0, 30, 30] == value, timeout=LONG)
        np.testing.assert_array_equal(result.data, said)
        canvas = next(
            each
            for each in dock.window().findChildren(QWidget)
            if type(each).__name__ == "CanvasBackendDesktop"
        )
        qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        qtbot.waitUntil(lambda: not corrected.data.any(), timeout=LONG)

    def test_add_a_class_asks_for_name_and_colour(self, viewer, tab, correcting, section, press, monkeypatch):
        viewer.add_image(section, name="cells")
        monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: (" nucleus ", True))
        monkeypatch.setattr(QColorDialog, "getColor", lambda *_, **__: QColor("#56b4e9"))
        press(tab.classes.add_button)
        (new,) = correcting.corrections.added
        assert (new.name, new.color) == ("nucleus", "#56b4e9")
        assert tab.classes.buttons[5].text() == "nucleus"
        monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("vesicle", False))
        press(tab.classes.add_button)
        assert correcting.corrections.added == [new]
        (remove,) = tab.classes.buttons[5].actions()
        remove.trigger()
        assert 5 not in tab.classes.buttons
        assert not tab.classes.buttons[1].actions()

    def test_a_class_that_there_is_is_refused_before_its_colour_is_asked(
        self, viewer, tab, correcting, section, press, monkeypatch
    ):
        viewer.add_image(section, name="cells")
        asked = []

        def color(initial, *_):
            asked.append(initial.name())
            return initial

        monkeypatch.setattr(QColorDialog, "getColor", color)
        monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("mitochondria", True))
        press(tab.classes.add_button)
        assert "There is a class 'mitochondria' already" in tab.status.text()
        assert not asked
        for name in ("vesicles", "nucleus"):
            monkeypatch.setattr(QInputDialog, "getText", lambda *_, name=name, **__: (name, True))
            press(tab.classes.add_button)
            assert not tab.status.text()
        colors = [each.color for each in correcting.corrections.classes]
        assert colors[-2:] == asked
        assert len(set(colors)) == len(colors)

    def test_where_to_look_next_has_a_line_of_its_own(
        self, viewer, dock, tab, correcting, press, finish, section
    ):
        viewer.add_image(section, name="cells")
        press(tab.tune_button)
        press(tab.look_button)
        finish(dock)
        assert "is it right?" in tab.place_label.text()
        assert "Nothing is corrected yet" in tab.status.text()


class TestFinetune:
    def test_before_and_after_keep_or_go_back(
        self, viewer, dock, tab, correcting, corrected, press, finish, qtbot
    ):
        result, box = dock.session.result, tab.proposal_box
        before = result.data.copy()
        assert not box.isVisibleTo(tab)
        press(tab.tune_button)
        assert not tab.tune_button.isEnabled()
        assert tab.keep_button.isVisibleTo(tab)
        qtbot.waitUntil(lambda: "step" in tab.status.text(), timeout=LONG)
        finish(dock)
        assert box.isVisibleTo(tab)
        assert box.sentence.text() == correcting.proposal.sentence
        assert tab.curves.isVisibleTo(tab)
        assert tab.model_label.text() == "Model in use: small fine-tuned (not saved yet)"
        after = result.data.copy()
        press(box.before_button)
        np.testing.assert_array_equal(result.data[0], before[0])
        assert box.before_button.isChecked()
        assert not box.after_button.isChecked()
        press(box.after_button)
        np.testing.assert_array_equal(result.data, after)
        assert [button.text() for button in box.section_buttons] == ["Section 0", "Section 1, not painted"]
        press(box.section_buttons[1])
        assert viewer.dims.point[0] == 1
        press(box.back_button)
        assert not box.isVisibleTo(tab)
        assert tab.model_label.text() == "Model in use: small"
        np.testing.assert_array_equal(result.data[0], before[0])
        press(tab.redo_button)
        np.testing.assert_array_equal(result.data, after)

    def test_its_progress_and_the_recommendation_come_into_view(
        self, dock, tab, correcting, corrected, press, finish, qtbot
    ):
        dock.resize(360, 420)
        tab.settings_fold.expand()
        qtbot.waitUntil(lambda: tab.form.isVisible(), timeout=LONG)

        def in_view(widget):
            return widget.isVisible() and widget.visibleRegion().boundingRect() == widget.rect()

        assert not in_view(tab.save_button)
        press(tab.tune_button)
        qtbot.waitUntil(lambda: in_view(tab.status), timeout=LONG)
        finish(dock)
        qtbot.waitUntil(lambda: in_view(tab.proposal_box.keep_button), timeout=LONG)
        assert in_view(tab.proposal_box.sentence)

    def test_save_the_model_asks_for_a_name(
        self, dock, tab, correcting, corrected, press, finish, monkeypatch, models_folder
    ):
        press(tab.tune_button)
        finish(dock)
        press(tab.proposal_box.keep_button)
        monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: (" mine ", True))
        press(tab.save_button)
        assert (models_folder / "mine.safetensors").is_file()
        assert not tab.save_button.isEnabled()

    @pytest.mark.window
    @pytest.mark.parametrize("what", ["dock", "viewer"])
    def test_closed_while_it_runs(self, viewer, dock, tab, correcting, corrected, press, qtbot, what):
        correcting.set_config(replace(correcting.config, steps=1000))  # it does not end by itself
        press(tab.tune_button)
        qtbot.waitUntil(lambda: bool(correcting.losses.training), timeout=LONG)
        if what == "dock":
            viewer.window.remove_dock_widget(dock.parent())
        else:
            viewer.close()
        qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=LONG)

    @pytest.mark.window
    def test_a_dock_that_is_opened_again_has_all_of_it(
        self, viewer, dock, tab, correcting, corrected, press, finish, qtbot
    ):
        press(tab.tune_button)
        finish(dock)
        correcting.add_class("nucleus", "#56b4e9")
        viewer.window.remove_dock_widget(dock.parent())
        dock.deleteLater()
        qtbot.wait(10)
        corrected.data[0, 60:70, 60:70] = 5  # nobody listens, and nothing is lost
        new = FeedbackDock(viewer)
        viewer.window.add_dock_widget(new, name="another")
        again = new.session.correcting
        assert new.session.model_name == "small fine-tuned"
        assert new.correct_tab.undo_button.isEnabled()
        assert new.correct_tab.classes.buttons[5].text() == "nucleus"
        assert not again.journal.offer
        again.journal.flush()
        np.testing.assert_array_equal(again.journal.draft.load_section(0), corrected.data[0])


class TestOffer:
    def test_what_was_kept_is_offered_restored_or_discarded(
        self, viewer, dock, tab, correcting, corrected, press, monkeypatch, qtbot
    ):
        painted = corrected.data.copy()
        image = viewer.layers["cells"]
        assert not tab.offer.isVisibleTo(tab)
        viewer.layers.remove(corrected)
        assert tab.offer.isVisibleTo(tab)
        assert "corrections of 'cells'" in tab.offer_label.text()
        said = []
        dock.session.said.connect(lambda text, _: said.append(text))
        press(tab.restore_button)
        assert said == ["What was kept is back."]  # the image is segmented
        assert not tab.offer.isVisibleTo(tab)
        np.testing.assert_array_equal(correcting.corrections.layer.data, painted)
        viewer.layers.remove(correcting.corrections.layer)
        asked = []
        for answer in (QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes):
            assert tab.offer.isVisibleTo(tab)
            monkeypatch.setattr(
                QMessageBox, "question", lambda *words, answer=answer: asked.append(words[2]) or answer
            )
            press(tab.discard_button)
        assert not tab.offer.isVisibleTo(tab)
        assert "will be deleted" in asked[0]
        assert image in viewer.layers


class TestWhoReads:
    def test_what_is_exported_measured_and_compared_has_the_corrections(
        self, viewer, dock, correcting, corrected, finish, tmp_path
    ):
        result, segment = dock.session.result, dock.segment_tab
        counts = np.where(corrected.data > 0, corrected.data, result.data)
        viewer.layers.selection.active = result
        segment.measure_panel.measure()
        finish(dock)
        rows = {row.name: row.pixels for row in dock.session.measuring.measures.rows if row.section is None}
        assert rows["mitochondria"] == (counts[0] == 2).sum()
        assert segment.export_button.export_to(tmp_path)
        finish(dock)
        record = tmp_path / "cells-segmented" / "cells-run.json"
        run = json.loads(record.read_text(encoding="utf-8"))
        assert run["sections_edited_by_hand"] == [0]
        assert any("corrected by hand" in note for note in run["notes"])
        painted, image = corrected.data.copy(), viewer.layers["cells"].data
        viewer.layers.clear()
        viewer.add_image(image, name="cells")
        for data, state, kind in read_result(str(record)):
            getattr(viewer, f"add_{kind}")(data, **state)
        np.testing.assert_array_equal(viewer.layers["cells labels"].data[0], counts[0])
        np.testing.assert_array_equal(correcting.corrections.layer.data, painted)

    def test_a_comparison_counts_them(self, viewer, dock, correcting, corrected, finish):
        result = dock.session.result
        truth = np.where(corrected.data > 0, corrected.data, result.data)
        viewer.add_labels(truth, name="truth")
        viewer.layers.selection.active = result
        dock.session.comparing.start()
        finish(dock)
        assert dock.session.comparing.scores["mean_iou"] == pytest.approx(1)


def test_undo_says_what_it_undoes(tab):
    for each in (tab.tune_button, tab.permanent_button):
        assert each.text() in tab.undo_button.toolTip()


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({}, "Choose a class and paint"),
        ({1: Count(5, 1)}, "too little to learn from"),
        ({1: Count(500, 9)}, "Only membrane so far"),
        ({1: Count(500, 1), 2: Count(500, 1)}, "A few more strokes"),
        ({1: Count(500, 4), 2: Count(500, 4)}, "Enough to try"),
        ({1: Count(500, 9), 2: Count(500, 9)}, "Enough to learn from"),
    ],
)
def test_what_is_missing_is_said(small_model, counts, sentence):
    assert sentence in missing({0: counts}, small_model.card.classes, [])


def test_a_value_that_is_no_class_is_said(small_model):
    assert "no class are painted (77)" in missing({0: {77: Count(9, 1)}}, small_model.card.classes, [77])


def test_where_it_is_said():
    one = {1: Count(5, 1)}
    assert where({3: one, 1: one}, stack=True) == "On sections 1, 3. "
    assert where(dict.fromkeys(range(10), one), stack=True).endswith("and 2 more. ")
    assert where({0: one}, stack=False) == ""

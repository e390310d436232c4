"""The hint of the first opening: three lines, until they are closed for good."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_feedback_seg.models.library import FOLDER_VARIABLE
from napari_feedback_seg.plugin.contributions.dock import FeedbackDock

pytestmark = pytest.mark.window


def test_the_first_opening_says_what_to_do_in_three_lines(viewer, dock):
    viewer.show()
    assert dock.hint.isVisible()
    assert dock.hint.text.text().count("<br>") == 2
    for tab in ("Segment", "Correct"):
        assert f"<b>{tab}</b>" in dock.hint.text.text()


def test_once_closed_it_is_gone_from_later_docks_too(viewer, dock):
    viewer.show()
    QTest.mouseClick(dock.hint.close_button, Qt.MouseButton.LeftButton)
    assert not dock.hint.isVisible()
    later = FeedbackDock(viewer)
    viewer.window.add_dock_widget(later, name="later")
    assert later.tabs.isVisibleTo(later)
    assert not later.hint.isVisibleTo(later)


def test_a_folder_that_cannot_be_written_closes_it_for_now(viewer, dock, models_folder, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(models_folder / "small.safetensors" / "below a file"))
    viewer.show()
    QTest.mouseClick(dock.hint.close_button, Qt.MouseButton.LeftButton)
    assert not dock.hint.isVisible()


def test_a_low_dock_is_left_to_its_tabs(viewer, dock, qtbot):
    low = FeedbackDock(viewer)
    qtbot.addWidget(low)
    low.resize(360, 250)
    low.show()
    assert not low.hint.isVisible()
    low.resize(360, 600)
    qtbot.waitUntil(low.hint.isVisible)
    QTest.mouseClick(low.hint.close_button, Qt.MouseButton.LeftButton)
    low.resize(360, 640)
    assert not low.hint.isVisible()

"""Answers to strokes in the dock; what the session does is tested without one."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtWidgets import QToolButton

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.correction.strokes import Stroke
from napari_feedback_seg.plugin.correct.text import changes, reason, unknown
from napari_feedback_seg.plugin.layers.changes import CHANGES_KEY
from napari_feedback_seg.plugin.session.jobs import State
from napari_feedback_seg.plugin.session.regions import Part

LONG = 120_000
SYNAPSE, CYTOPLASM = 3, 4


@pytest.fixture
def tab(dock):
    dock.show()
    dock.show_tab("correct")
    return dock.correct_tab


@pytest.fixture
def box(tab):
    return tab.instant_box


@pytest.fixture
def settle(dock, qtbot):
    """Wait until there is nothing more to answer."""

    def settle():
        instant = dock.session.instant
        qtbot.wait(50)
        qtbot.waitUntil(lambda: instant.state is State.IDLE and not dock.session.jobs.busy, timeout=LONG)
        qtbot.wait(50)
        qtbot.waitUntil(lambda: instant.state is State.IDLE, timeout=LONG)

    return settle


@pytest.fixture
def painted(viewer, dock, tab, section, finish, press, settle):
    """A segmented section with strokes, answered; return what the model said without them."""
    viewer.add_image(section, name="cells")
    dock.session.segmenting.segment()
    finish(dock)
    before = dock.session.result.data.copy()
    press(tab.classes.buttons[SYNAPSE])
    layer = dock.session.correcting.corrections.layer
    dark = section[:40] < np.percentile(section, 20)
    for value, where in ((SYNAPSE, dark), (CYTOPLASM, ~dark)):
        layer.data_setitem(np.nonzero(where), value)
    settle()
    return before


def test_a_stroke_is_answered_and_what_has_changed_is_outlined_for_a_moment(
    viewer, dock, tab, box, painted, qtbot
):
    result = dock.session.result
    assert (result.data != painted).sum() > 100
    assert box.on_box.isChecked()
    assert "px now" in box.changes.text()
    assert box.changes.text().endswith("on 1 section.")
    (outline,) = [each for each in viewer.layers if CHANGES_KEY in each.metadata]
    qtbot.waitUntil(lambda: not outline.visible, timeout=LONG)
    assert (
        viewer.layers.selection.active == dock.session.correcting.corrections.layer
    )  # the brush stays in hand


def test_without_strokes_and_back_and_off(dock, box, painted, press, settle):
    result = dock.session.result
    after = result.data.copy()
    press(box.before_button)
    np.testing.assert_array_equal(result.data, painted)
    press(box.before_button)
    np.testing.assert_array_equal(result.data, after)
    box.on_box.click()
    settle()
    np.testing.assert_array_equal(result.data, painted)
    assert not box.why_button.isEnabled()


def test_without_strokes_says_where_that_is_not_known(viewer, dock, box, section, press, settle, finish):
    viewer.add_image(np.stack([section, section[::-1]]), name="cells")
    viewer.dims.set_point(0, 0)
    session = dock.session
    session.segmenting.segment(Part((0,)))
    finish(dock)
    session.correcting.paint_with(SYNAPSE)
    session.correcting.corrections.layer.data_setitem((np.zeros(9, int), np.arange(9), np.arange(9)), SYNAPSE)
    settle()
    assert "not known" not in box.before_button.toolTip()
    session.segmenting.segment(Part((1,)))
    finish(dock)
    settle()
    assert "Section 1 was segmented with the strokes" in box.before_button.toolTip()
    assert not box.unknown.isVisibleTo(box)
    press(box.before_button)
    assert box.unknown.text().startswith("Section 1 was segmented with the strokes")
    assert box.unknown.isVisibleTo(box)


def test_why_lists_strokes_to_go_to_and_to_mute(viewer, dock, tab, box, painted, settle, qtbot, press):
    press(box.why_button)
    assert box.why.text() == "Click on a place in the image."
    dock.session.layers.changes.pointed.emit((5.0, 5.0), False)
    qtbot.waitUntil(lambda: dock.session.instant.why is not None, timeout=LONG)
    settle()
    assert "row 5, column 5" in box.why.text()
    assert box.rows.isVisibleTo(tab)
    assert box.mutes
    key = next(iter(box.mutes))
    assert box.mutes[key].text() == "mute"
    go = next(each for each in box.rows.findChildren(QToolButton) if each.text() == "go")
    press(go)
    press(box.mutes[key])
    settle()
    assert len(dock.session.instant.teaching.muted) == 1
    assert box.mutes[key].text() == "muted"


def test_a_class_that_is_painted_can_be_muted(dock, tab, painted, settle):
    mutes = tab.classes.mutes
    assert [value for value, each in mutes.items() if each.isVisibleTo(tab)] == [SYNAPSE, CYTOPLASM]
    width = mutes[SYNAPSE].width()
    mutes[SYNAPSE].click()
    settle()
    assert dock.session.instant.teaching.muted_classes == (SYNAPSE,)
    assert [mutes[value].text() for value in (SYNAPSE, CYTOPLASM)] == ["muted", "mute"]
    assert mutes[SYNAPSE].width() == width
    mutes[SYNAPSE].click()
    settle()
    assert dock.session.instant.teaching.muted_classes == ()
    assert mutes[SYNAPSE].text() == "mute"


@pytest.mark.window
def test_the_dock_closed_in_the_middle_leaves_nothing_running(viewer, dock, tab, painted, qtbot):
    dock.session.correcting.corrections.layer.data_setitem((np.arange(60, 66), np.arange(60, 66)), SYNAPSE)
    qtbot.waitUntil(lambda: dock.session.instant.state is not State.IDLE, timeout=LONG)
    viewer.window.remove_dock_widget(dock.parent())
    qtbot.waitUntil(lambda: dock.session.instant.state is State.IDLE, timeout=LONG)
    assert not [each for each in viewer.layers if CHANGES_KEY in each.metadata]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, ""),
        ({0: {}}, "The strokes change nothing beside themselves."),
        ({0: {1: 1200, 2: 5}}, "Changed: 1,200 px now membrane, 5 px now mitochondria; on 1 section."),
        ({0: {1: 10}, 3: {1: 5, 2: 20}, 4: {}}, "20 px now mitochondria, 15 px now membrane; on 2 sections."),
    ],
)
def test_what_has_changed_in_words(changed, text):
    assert changes(changed, EM_CLASSES).endswith(text)


def test_what_is_not_known_in_words():
    assert unknown([]) == ""
    assert unknown([3]).startswith("Section 3 was segmented with the strokes: ")
    assert unknown([0, 1, 4]).startswith("Sections 0, 1 and 4 were segmented with the strokes: ")


def test_a_reason_in_words():
    stroke = Stroke(("cells", 3), SYNAPSE, np.array([[10, 20]], np.int32))
    assert reason(stroke, 1.26, EM_CLASSES) == "synapse, section 3, 10, 20 (+1.3)"
    for moved in (0.04, -0.04, -0.2):  # of a stroke that lies there
        assert reason(stroke, moved, EM_CLASSES) == "synapse, section 3, 10, 20"

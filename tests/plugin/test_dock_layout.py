"""The dock is narrow: nothing of it may be cut, wherever it is and however wide."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QTableView,
)

from napari_feedback_seg.plugin.forms.fold import Fold
from napari_feedback_seg.plugin.session.attention.view import View

pytestmark = pytest.mark.window

CONTROLS = (QAbstractButton, QComboBox, QAbstractSpinBox)
TABS = ("segment", "correct", "objects", "attention")


@pytest.fixture
def shown(viewer, dock, section, finish):
    """The dock with all that it can show: a result, a comparison at hand, corrections, attention."""
    image = viewer.add_image(
        np.stack([section, section[::-1]]),
        name="a name that is a good deal longer than the dock is wide",
        scale=(50, 9.2, 9.2),
        units="nm",
    )
    session = dock.session
    session.segmenting.segment()
    finish(dock)
    viewer.add_labels(session.result.data.copy(), name="a ground truth of another laboratory")
    session.correcting.paint_with(2)
    session.correcting.corrections.layer.paint((0, 40, 40), 2)
    session.measuring.start(10)
    finish(dock)
    session.comparing.start()
    finish(dock)
    session.objects.find()
    finish(dock)
    session.attention.pick(image.data_to_world((0, 30, 20)))
    finish(dock)
    session.batch.set(inputs=["/a folder/of images"], output="/another/folder")
    for fold in dock.findChildren(Fold):
        fold.expand()
    viewer.show()
    return dock


def controls(tab):
    found = [each for kind in CONTROLS for each in tab.findChildren(kind)]
    return [each for each in found if not isinstance(each.parent(), (QAbstractSpinBox, QTableView))]


def tabs_of(dock):
    return dict(
        zip(TABS, (dock.segment_tab, dock.correct_tab, dock.objects_tab, dock.attention_tab), strict=True)
    )


def cut(tab):
    """Return what is not seen in full: beside the tab, narrower than its words, or lower than its lines."""
    found = []
    for each in [*controls(tab), *tab.findChildren(QLabel)]:
        if not each.isVisible() or not each.width():
            continue
        right = each.mapTo(tab, each.rect().topRight()).x()
        words = each.text() if isinstance(each, (QLabel, QPushButton)) else type(each).__name__
        if right > tab.width():
            found.append((words, "beside the tab"))
        elif isinstance(each, QPushButton) and each.width() < each.minimumSizeHint().width():
            found.append((words, "narrower than its words"))
        elif (
            isinstance(each, QLabel) and each.wordWrap() and each.height() < each.heightForWidth(each.width())
        ):
            found.append((words, "lower than its lines"))
        elif (
            isinstance(each, QLabel) and not each.wordWrap() and each.width() < each.minimumSizeHint().width()
        ):
            found.append((words, "narrower than its words"))
    return found


def settle():
    for _ in range(4):
        QApplication.processEvents()


def test_nothing_is_cut_at_any_width_side_or_theme(viewer, shown, finish):
    outer = shown.parent()
    window = outer.window()
    wrong = {}

    def look(where):
        for name, tab in tabs_of(shown).items():
            shown.show_tab(name)
            settle()
            area = shown.tabs.currentWidget()
            if area.horizontalScrollBar().maximum() or cut(tab):
                wrong[(where, name)] = area.horizontalScrollBar().maximum(), cut(tab)

    for side in (Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea):
        window.addDockWidget(side, outer)
        for width, theme in ((260, "dark"), (400, "light")):
            viewer.theme = theme
            window.resizeDocks([outer], [width], Qt.Orientation.Horizontal)
            look((side.name, width))
    outer.setFloating(True)
    for width in (260, 320):
        outer.resize(width, 700)
        look(("floating", width))
    outer.setFloating(False)
    window.resizeDocks([outer], [260], Qt.Orientation.Horizontal)
    for view in View:
        shown.session.attention.set(view=view)
        finish(shown)
        look(view)
    assert not wrong


def test_every_control_says_what_it_does_and_its_key_and_tab_follows_the_eye(shown):
    for name, tab in tabs_of(shown).items():
        shown.show_tab(name)
        settle()
        tops = follow_the_tab_key(tab)
        assert len(tops) > 4, name
        assert all(later > earlier - 12 for earlier, later in pairwise(tops)), (name, tops)
        silent = [each for each in controls(tab) if not each.toolTip()]
        assert not silent, name
        keys = Counter()
        for each in controls(tab):
            key = key_of(tab, each)
            if key:
                assert f"Alt+{key}" in each.toolTip(), (name, key, each.toolTip())
                keys[key] += 1
        assert not [key for key, count in keys.items() if count > 1], (name, keys)


def key_of(tab, control):
    """Return the key that Alt reaches a control by: of its own words, or of the label beside it."""
    words = control.text() if isinstance(control, QAbstractButton) else ""
    for form in tab.findChildren(QFormLayout):
        label = form.labelForField(control)
        words = words or (label.text() if isinstance(label, QLabel) else "")
    for label in tab.findChildren(QLabel):
        if label.buddy() is control:
            words = words or label.text()
    key = re.search("&([^& ])", words)
    return key[1].upper() if key else ""


def follow_the_tab_key(tab):
    """Return the heights of the controls of a tab, in the order of the Tab key."""
    own = [each for each in controls(tab) if each.isVisible()]
    first = min(own, key=lambda each: each.mapTo(tab, each.rect().center()).y())
    tops, widget = [], first
    while True:
        if widget in own and widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
            tops.append(widget.mapTo(tab, widget.rect().center()).y())
        widget = widget.nextInFocusChain()
        if widget is first or not tab.isAncestorOf(widget):
            return tops

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QLocale, Qt
from qtpy.QtWidgets import QApplication, QDoubleSpinBox

from napari_feedback_seg.plugin.contributions.dock import FeedbackDock
from napari_feedback_seg.plugin.forms.decimal_box import DecimalBox


@pytest.fixture(params=["en_US", "de_DE", "fr_FR", "de_CH"])
def language(request):
    before = QLocale()
    QLocale.setDefault(QLocale(request.param))
    yield request.param
    QLocale.setDefault(before)


@pytest.fixture
def box(language, qtbot):
    box = DecimalBox()
    qtbot.addWidget(box)
    box.setRange(0, 100_000)
    box.setDecimals(3)
    box.setSuffix(" nm")
    return box


@pytest.mark.parametrize(
    ("typed", "value"), [("4.6", 4.6), ("4,6", 4.6), ("0.005", 0.005), ("12345,5", 12345.5)]
)
def test_a_point_and_a_comma_are_the_same(box, qtbot, typed, value):
    box.selectAll()
    qtbot.keyClicks(box.lineEdit(), typed)
    qtbot.keyClick(box.lineEdit(), Qt.Key.Key_Return)
    assert box.value() == pytest.approx(value)
    assert box.text().endswith(" nm")


def test_letters_and_two_points_are_refused(box, qtbot):
    box.setValue(2.5)
    box.lineEdit().clear()
    qtbot.keyClicks(box.lineEdit(), "a7.5.3x")
    qtbot.keyClick(box.lineEdit(), Qt.Key.Key_Return)
    assert box.value() == pytest.approx(7.53)  # as Qt's does with a second point


def test_every_box_of_the_dock_is_one(viewer, models_folder):
    dock = FeedbackDock(viewer)
    boxes = dock.findChildren(QDoubleSpinBox)
    assert len(boxes) >= 5
    assert all(isinstance(each, DecimalBox) for each in boxes)
    dock.cleanup()


@pytest.mark.parametrize("language", ["de_DE"], indirect=True)
def test_what_is_copied_has_the_sign_of_the_language(
    language, viewer, dock, tab, segment, press, finish, section
):
    viewer.add_image(section, name="cells", scale=(4.6, 4.6), units="nm")
    result = segment()
    press(tab.measure_panel.measure_button)
    finish(dock)
    press(tab.measure_panel.copy_button)
    copied = QApplication.clipboard().text()
    assert "," in copied
    assert "." not in copied
    viewer.add_labels(np.roll(result.data, 3), name="truth", scale=(4.6, 4.6), units="nm")
    press(tab.compare_panel.compare_button)
    finish(dock)
    tab.compare_panel.copy()
    copied = QApplication.clipboard().text()
    assert "," in copied
    assert "." not in copied

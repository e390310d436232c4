from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QLocale
from qtpy.QtWidgets import QApplication, QDoubleSpinBox


@pytest.fixture(autouse=True)
def _german():
    before = QLocale()
    QLocale.setDefault(QLocale("de_DE"))
    yield
    QLocale.setDefault(before)


def test_every_box_of_the_dock_takes_a_point_and_a_comma(dock, qtbot):
    boxes = dock.findChildren(QDoubleSpinBox)
    assert len(boxes) >= 5
    for box in boxes:
        box.setEnabled(True)
        for typed in ("0.5", "0,5"):
            box.setValue(box.minimum())
            box.selectAll()
            qtbot.keyClicks(box, typed)
            box.interpretText()
            assert box.value() == 0.5


def test_what_is_copied_has_the_sign_of_the_language(viewer, dock, tab, segment, press, finish, section):
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

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication


@pytest.fixture
def panel(tab):
    return tab.compare_panel


def texts(table):
    return [[table.item(y, x).text() for x in range(table.columnCount())] for y in range(table.rowCount())]


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

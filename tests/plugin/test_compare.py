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
    tab.overlap_box.setValue(0.5)
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

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_feedback_seg.plugin.forms.layer_chooser import LayerChooser


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    for name in ("first", "second"):
        viewer.add_labels(np.ones((4, 4), int), name=name)
    viewer.add_image(np.zeros((4, 4)))
    return viewer


@pytest.fixture
def chooser(viewer, qtbot):
    chooser = LayerChooser(
        lambda: [each for each in viewer.layers if isinstance(each, Labels)], none="none", tooltip="Which"
    )
    qtbot.addWidget(chooser.native)
    return chooser


def shown(chooser):
    return [chooser.native.itemText(index) for index in range(chooser.native.count())]


def test_choose(viewer, chooser):
    told = []
    chooser.changed.connect(told.append)
    assert shown(chooser) == ["none", "first", "second"]
    chooser.native.setCurrentText("second")
    assert told == [viewer.layers["second"]]
    chooser.native.setCurrentText("none")
    assert told[-1] is None


def test_what_is_chosen_stays_when_layers_are_renamed_added_and_deleted(viewer, chooser):
    chosen, told = viewer.layers["second"], []
    chooser.changed.connect(told.append)
    chosen.name = "renamed"
    viewer.add_labels(np.ones((4, 4), int), name="third")
    chooser.draw(chosen)
    assert chooser.value is chosen
    assert sorted(shown(chooser)) == ["first", "none", "renamed", "third"]
    viewer.layers.remove(chosen)
    chooser.draw(None)
    assert chooser.value is None
    assert "renamed" not in shown(chooser)
    assert not told

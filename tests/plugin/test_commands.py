from __future__ import annotations

import gc

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_feedback_seg import load_model, segment
from napari_feedback_seg.attention_maps.maps import SectionAttention
from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.plugin.contributions.commands import (
    attention_command,
    finetune_command,
    segment_command,
)
from napari_feedback_seg.segmentation.prediction import SegmentOptions

pytestmark = pytest.mark.window

LONG = 60_000  # ms; a busy machine is slow


@pytest.fixture
def docked(viewer, models_folder):
    """Make the form of a command, and dock it."""

    def docked(command):
        form = command()
        viewer.window.add_dock_widget(form)
        return form

    return docked


def test_segment_command_gives_the_labels_that_python_gives(viewer, docked, section, qtbot):
    image = viewer.add_image(section, name="cells", scale=(4.6, 4.6), units="nm")
    form = docked(segment_command)
    assert form.settings.value == SegmentOptions()
    form.model.value = "small"
    form.settings.value = SegmentOptions(overlap=0.5)
    form()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=LONG)
    shown = viewer.layers["cells segmentation"]
    assert isinstance(shown, Labels)
    np.testing.assert_array_equal(shown.data, segment(section, "small", overlap=0.5).labels)
    np.testing.assert_array_equal(shown.scale, image.scale)
    assert list(shown.features["class"])[1] == "membrane"


def test_no_garbage_is_collected_in_the_thread_of_a_command(viewer, docked, section, qtbot):
    viewer.add_image(section, name="cells")
    form = docked(segment_command)
    form.model.value = "small"
    gc.enable()
    try:
        form()
        assert not gc.isenabled()
        qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=LONG)
        qtbot.waitUntil(gc.isenabled, timeout=LONG)
    finally:
        gc.disable()


def test_attention_command_gives_the_map_that_python_gives(viewer, docked, section, qtbot):
    viewer.add_image(np.zeros((5, 5)), name="another")
    stack = viewer.add_image(np.stack([section, section[::-1]]), name="stack")
    form = docked(attention_command)
    form(image=stack, model="small", row=30, column=20, section=1)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=LONG)
    shown = viewer.layers["stack attention at 30, 20"]
    assert isinstance(shown, Image)
    tile = SectionAttention(section[::-1], load_model("small")).at(30, 20)
    np.testing.assert_allclose(shown.data[0], tile.pixel(30, 20).map, rtol=1e-5)
    assert shown.data_to_world((0, 0, 0)) == (1, *(each.start for each in tile.frame.region))


def test_finetune_command_saves_a_model_and_shows_what_it_says(viewer, docked, section, qtbot):
    stack = viewer.add_image(np.stack([section, section[::-1]]), name="stack", scale=(50, 4.6, 4.6))
    painted = np.zeros(stack.data.shape, np.uint8)
    for number, (row, column) in enumerate(np.ndindex(4, 3)):
        painted[0, 8 + 22 * row :, 8 + 22 * column :][:5, :5] = number % 4 + 1
    corrections = viewer.add_labels(painted, name="strokes")
    form = docked(finetune_command)
    settings = FinetuneConfig(steps=2, batch=2, patch=32, checks=1)
    form(image=stack, corrections=corrections, model="small", name="mine", settings=settings)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=LONG)
    shown = viewer.layers["stack by mine"]
    tuned = load_model("mine")
    assert tuned.card.recipe["parent"] == "small"
    np.testing.assert_array_equal(shown.data, segment(stack.data, tuned).labels)
    np.testing.assert_array_equal(shown.scale, stack.scale)


def test_choosers_follow_the_viewer(viewer, docked, section):
    form = docked(segment_command)
    assert form.image.choices == ()
    image = viewer.add_image(section, name="cells")
    assert form.image.choices == (image,)
    assert {"small", "self-w16"} <= set(form.model.choices)

"""Whose result a layer is, and that nothing of another's gets into it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.plugin.layers.results import probability_layers
from napari_feedback_seg.segmentation.predict import segment as segment_array


def labels_of(image, **options):
    return segment_array(image, "small", device="cpu", **options).labels


def test_another_image_of_the_same_name_and_shape_has_a_result_of_its_own(viewer, segment, section):
    image = viewer.add_image(section, name="img")
    first = segment()
    before = first.data.copy()
    viewer.layers.remove(image)
    viewer.add_image(section[::-1], name="img", scale=(3, 3))
    second = segment()
    assert second != first
    np.testing.assert_array_equal(first.data, before)
    np.testing.assert_array_equal(second.scale, (3, 3))


def test_a_renamed_image_keeps_its_result(viewer, dock, tab, segment, section):
    image = viewer.add_image(section, name="one")
    first = segment()
    image.name = "two"
    assert dock.state.result == first
    assert tab.measure_panel.measure_button.isEnabled()
    assert segment() == first
    assert first.metadata["feedback-seg"]["image"] == "two"


def test_what_is_changed_in_the_panel_while_the_model_loads_does_not_count(
    viewer, dock, tab, press, finish, section
):
    image = viewer.add_image(section, name="one", scale=(4.6, 4.6), units="nm")
    press(tab.segment_button)
    viewer.add_image(section, name="two", scale=(10, 10), units="nm")
    tab.pixel_note.box.setValue(77)
    finish(dock)
    record = dock.state.result_of(image).metadata["feedback-seg"]
    assert record["pixel_size_nm"] == [4.6, 4.6]
    assert record["image"] == "one"


def test_probabilities_of_an_earlier_run_do_not_stay(viewer, tab, segment, section):
    viewer.add_image(section, name="cells")
    tab.probabilities_box.setChecked(True)
    result = segment()
    layers = probability_layers(viewer, result)
    assert len(layers) == 4
    assert all(layer.data.any() for layer in layers)
    tab.probabilities_box.setChecked(False)
    assert segment() == result
    assert not any(layer.data.any() for layer in layers)


def test_the_result_follows_an_image_that_was_moved(viewer, segment, section):
    image = viewer.add_image(section)
    result = segment()
    image.scale, image.translate, image.units = (4.6, 4.6), (10, 20), ("nm", "nm")
    assert segment() == result
    np.testing.assert_allclose(result.data_to_world((3, 4)), image.data_to_world((3, 4)))
    assert result.units == image.units


def test_undo_brings_nothing_of_an_earlier_result(viewer, tab, segment, section):
    viewer.add_image(section)
    result = segment()
    result.brush_size = 20
    result.mode = "paint"
    result.paint((40, 40), 3)
    result.undo()
    tab.overlap_box.setValue(0.5)
    assert segment() == result
    expected = result.data.copy()
    result.redo()
    result.undo()
    result.undo()
    np.testing.assert_array_equal(result.data, expected)
    assert result.mode == "paint"


def test_a_model_of_other_classes_leaves_a_result_alone(
    viewer, dock, tab, segment, section, small_model, models_folder
):
    others = tuple(LabelClass(value, f"class {value}", "#ffffff", 0.5) for value in (1, 5, 6, 7))
    model = replace(small_model, card=replace(small_model.card, classes=others))
    save_model(model, models_folder / "other.safetensors")
    viewer.add_image(section)
    first = segment()
    colors = {value: first.get_color(value) for value in (1, 2, 3, 4)}
    dock.state.refresh_models()
    dock.state.model_name = "other"
    viewer.add_points(name="anything")
    for value, color in colors.items():
        np.testing.assert_array_equal(first.get_color(value), color)
    second = segment()
    assert second != first
    assert set(np.unique(second.data)) <= {1, 5, 6, 7}


def test_a_duplicate_hears_of_no_run_but_its_own(viewer, tab, segment, section):
    viewer.add_image(section, name="cells")
    first = segment()
    copied = viewer.add_layer(type(first).create(*first.as_layer_data_tuple()))
    copied.data = first.data.copy()
    tab.overlap_box.setValue(0.5)
    written = segment()
    other = first if written == copied else copied
    assert other.metadata["feedback-seg"]["settings"]["overlap"] == 0.25
    assert written.metadata["feedback-seg"]["settings"]["overlap"] == 0.5
    np.testing.assert_array_equal(other.data, labels_of(section))


def test_a_result_that_is_no_array_any_more_is_left(viewer, tab, segment, section):
    viewer.add_image(section)
    first = segment()
    first.data = first.data[:50]
    second = segment()
    assert second != first
    np.testing.assert_array_equal(second.data, labels_of(section))


def test_the_active_result_is_what_is_measured(viewer, dock, tab, press, finish, segment, section):
    viewer.add_image(section, name="one")
    first = segment()
    viewer.add_image(section[::-1], name="two")
    segment()
    viewer.layers.selection.active = first
    press(tab.measure_panel.measure_button)
    finish(dock)
    row = next(row for row in tab.measure_panel.measures.rows if row.name == "membrane")
    assert row.pixels == (first.data == 1).sum()


@pytest.mark.parametrize("scale", [(20, 20), (500, 500)])
def test_the_note_follows_the_scale_of_the_layer(viewer, tab, section, scale):
    image = viewer.add_image(section, scale=(4.6, 4.6), units="nm")
    assert not tab.pixel_note.isVisibleTo(tab)
    image.scale = scale
    assert tab.pixel_note.isVisibleTo(tab)
    assert f"{scale[0]} nm" in tab.pixel_note.text.text()
    assert tab.pixel_note.rescale_box.isVisibleTo(tab) == (scale == (20, 20))


def test_without_an_em_image_there_is_a_sentence(viewer, segment, section, said):
    viewer.add_image(section, metadata={"feedback-seg-probability": {"image": "gone", "class": "synapse"}})
    assert segment() is None
    assert "There is no EM image" in said()


def test_a_shape_across_the_sections_is_refused(viewer, tab, segment, section, said):
    viewer.add_image(np.stack([section] * 6))
    viewer.add_shapes([[[0, 5, 5], [0, 5, 20], [4, 5, 20], [4, 5, 5]]], shape_type="polygon")
    tab.what_box.chooser.setCurrentIndex(tab.what_box.chooser.findText("Rectangle of a Shapes layer"))
    assert segment() is None
    assert "across the sections" in said()


def test_what_cannot_be_shown_ends_the_job(dock, qtbot, said):
    from napari_feedback_seg.segmentation.events import TileDone

    def work():
        for step in range(20):
            yield TileDone(step, 20)

    def fail(_):
        QApplication.processEvents()
        raise ValueError("it cannot be shown")

    dock.state.jobs.run(work, title="Showing", on_event=fail)
    qtbot.waitUntil(lambda: not dock.state.jobs.busy, timeout=10_000)
    assert "it cannot be shown" in said()
    assert dock.segment_tab.segment_button.isEnabled()

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from napari.layers import Labels
from skimage.io import imsave

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.correction.classes import add_classes
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.plugin.layers.image import CORRECTIONS_KEY


@pytest.fixture
def stack(viewer, session, section):
    image = viewer.add_image(np.stack([section, section[::-1], section[:, ::-1]]), name="cells")
    viewer.dims.set_point(0, 0)
    return image


@pytest.fixture
def corrections(session):
    return session.correcting.corrections


@pytest.fixture
def segmented(session, stack, add_result):
    """A result of the stack: membrane everywhere."""
    return add_result(np.ones(stack.data.shape, np.uint8))


def counted(corrections, z=0):
    """Return class value to pixels, and to strokes, of a section."""
    found = corrections.counts.get(z, {})
    return {value: (each.pixels, each.strokes) for value, each in found.items()}


class TestStrokes:
    def test_a_class_takes_the_brush_in_hand(self, viewer, session, section):
        image = viewer.add_image(section, name="cells", scale=(4.6, 4.6), rotate=20, units="nm")
        session.correcting.paint_with(2)
        layer = viewer.layers.selection.active
        assert (layer.name, layer.data.shape) == ("cells corrections", section.shape)
        assert (layer.selected_label, layer.mode, layer.brush_size) == (2, "paint", 8)
        for point in ((0, 0), (95, 79)):
            np.testing.assert_allclose(layer.data_to_world(point), image.data_to_world(point))
        layer.brush_size, layer.visible = 3, False
        session.correcting.paint_with(4)
        assert len([each for each in viewer.layers if isinstance(each, Labels)]) == 1
        assert (layer.selected_label, layer.brush_size, layer.visible) == (4, 3, True)

    def test_a_stroke_is_counted_and_its_undo(self, session, runner, stack, corrections, stroke):
        layer = stroke(2, 0, 20, 20)
        assert counted(corrections) == {2: (36, 1)}
        layer.undo()
        runner.finish()
        assert corrections.counts == {}
        layer.redo()
        runner.finish()
        assert counted(corrections) == {2: (36, 1)}

    def test_undone_before_anybody_has_looked_it_can_still_come_back(
        self, session, runner, stack, corrections, paint
    ):
        session.correcting.paint_with(2)
        layer = corrections.layer
        paint(layer, 2, 0, 20, 20)
        layer.undo()
        runner.finish()
        assert corrections.counts == {}
        layer.redo()
        runner.finish()
        assert counted(corrections) == {2: (36, 1)}

    def test_from_another_section_it_is_seen_all_the_same(
        self, viewer, session, runner, stack, corrections, stroke
    ):
        layer = stroke(2, 0, 20, 20)
        viewer.dims.set_point(0, 2)
        layer.undo()
        runner.finish()
        assert corrections.counts == {}

    def test_strokes_across_the_sections_are_on_all(self, viewer, session, runner, stack, corrections):
        session.correcting.paint_with(2)
        layer = corrections.layer
        viewer.dims.order = (1, 0, 2)
        layer.brush_size, layer.n_edit_dimensions = 5, 3
        layer.paint((1, 40, 40), 2)
        runner.finish()
        assert list(corrections.counts) == [0, 1, 2]
        assert sum(counted(corrections, z)[2][0] for z in range(3)) == int((layer.data > 0).sum())

    def test_the_result_stays_what_the_model_says(self, session, runner, segmented, corrections, stroke):
        stroke(2, 0, 20, 20)
        assert (segmented.data == 1).all()
        counts = corrections.of_result(segmented)
        assert (counts[0][20:26, 20:26] == 2).all()
        assert int((np.asarray(counts) == 2).sum()) == 36

    def test_one_on_the_result_goes_to_the_corrections(self, session, runner, segmented, corrections):
        segmented.brush_size = 5
        segmented.paint((0, 30, 30), 3)
        runner.finish()
        assert (segmented.data == 1).all()
        assert corrections.layer.data[0, 30, 30] == 3
        assert counted(corrections)[3][1] == 1
        assert not [*runner.waiting]

    def test_one_on_a_result_of_a_part_of_the_image_is_where_it_was_painted(
        self, session, runner, segmented, corrections, paint
    ):
        record = session.layers.record_of(segmented)
        session.layers.write_record(segmented, replace(record, region=((10, 60), (20, 70))))
        segmented.data = segmented.data[:, 10:60, 20:70]
        segmented.translate = (0, 10, 20)
        paint(segmented, 3, 1, 5, 7)
        runner.finish()
        assert (segmented.data == 1).all()
        assert (corrections.layer.data[1, 15:21, 27:33] == 3).all()
        assert counted(corrections, 1) == {3: (36, 1)}
        assert (corrections.of_result(segmented)[1][5:11, 7:13] == 3).all()
        assert int((np.asarray(corrections.of_result(segmented)) == 3).sum()) == 36

    def test_and_is_undone_there(self, session, runner, segmented, corrections):
        segmented.paint((0, 30, 30), 3)
        runner.finish()
        corrections.layer.undo()
        runner.finish()
        assert corrections.counts == {}
        assert not corrections.layer.data.any()

    def test_where_there_is_no_place_for_it_it_is_taken_back(
        self, viewer, session, runner, segmented, corrections, said
    ):
        viewer.add_labels(np.zeros((10, 10), np.uint8), name="cells corrections")
        segmented.paint((0, 30, 30), 3)
        runner.finish()
        assert (segmented.data == 1).all()
        assert "its shape is (10, 10)" in said()

    def test_a_lazy_stack_is_counted_by_section(self, viewer, session, runner, section, corrections, stroke):
        viewer.add_image(da.from_array(np.stack([section] * 5), chunks=(1, -1, -1)), name="cells")
        for z, value, row, side in ((3, 2, 10, 6), (3, 2, 40, 4), (1, 4, 10, 6)):
            stroke(value, z, row, row, side=side)
        assert (counted(corrections, 3), counted(corrections, 1)) == ({2: (52, 2)}, {4: (36, 1)})

    def test_what_a_script_writes_is_counted_when_it_is_looked_for(
        self, session, runner, stack, corrections, stroke
    ):
        layer = stroke(2, 0, 60, 60)
        layer.data[2, 20:26, 20:26] = 3
        corrections.look_at_all()
        assert counted(corrections, 2) == {3: (36, 1)}

    def test_changes_are_told_by_section_and_nothing_without_one(
        self, session, runner, stack, corrections, stroke
    ):
        layer = stroke(2, 1, 20, 20)
        stroke(2, 0, 20, 20)
        told = []
        corrections.changed.connect(told.append)
        layer.undo()
        layer.refresh()
        runner.finish()
        assert told == [[0]]

    def test_without_an_image_there_is_a_sentence(self, session, said):
        session.correcting.paint_with(1)
        assert "There is no image" in said()


class TestLayer:
    @pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.uint16, np.int64])
    def test_labels_of_any_integer_type_become_corrections(self, viewer, stack, corrections, dtype):
        labels = np.zeros(stack.data.shape, dtype)
        labels[0, 5:9, 5:9] = 2
        opened = viewer.add_labels(labels, name="mycorr")
        assert corrections.layer is None
        opened.name = "cells corrections"
        assert corrections.layer == opened
        assert opened.data.dtype == np.uint8
        assert counted(corrections) == {2: (16, 1)}

    def test_it_is_put_where_the_image_is(self, viewer, corrections, section):
        image = viewer.add_image(section, name="cells", scale=(4, 4), units="nm")
        opened = viewer.add_labels(np.ones(section.shape, np.int32), name="cells corrections")
        assert corrections.layer == opened
        assert opened.units == image.units
        np.testing.assert_allclose(opened.data_to_world((9, 9)), image.data_to_world((9, 9)))

    @pytest.mark.parametrize("value", [-1, 300])
    def test_labels_that_no_class_can_have_are_a_sentence(self, viewer, corrections, section, value, said):
        viewer.add_image(section, name="cells")
        opened = viewer.add_labels(np.full(section.shape, value, np.int32), name="cells corrections")
        assert corrections.layer is None
        assert f"{value}" in corrections.problem
        assert said().count("cannot hold the corrections") == 1
        assert (opened.data == value).all()

    @pytest.mark.parametrize(("place", "shape"), [({}, (10, 10)), ({"translate": (5, 5)}, (96, 80))])
    def test_one_that_does_not_fit_is_refused(
        self, viewer, session, corrections, section, said, place, shape
    ):
        viewer.add_image(section, name="cells")
        viewer.add_labels(np.zeros(shape, np.uint8), name="cells corrections", **place)
        session.correcting.paint_with(1)
        assert corrections.layer is None
        assert ("lies elsewhere" if place else "its shape is (10, 10)") in said()

    def test_data_of_another_type_later(self, session, runner, stack, corrections, stroke):
        layer = stroke(2, 0, 20, 20)
        labels = np.zeros(stack.data.shape, np.int32)
        labels[0, 40:50, 40:50] = 3
        layer.data = labels
        assert counted(corrections) == {3: (100, 1)}
        assert layer.data.dtype == np.uint8

    def test_data_of_another_shape_later_is_a_sentence(
        self, session, runner, stack, corrections, said, stroke
    ):
        layer = stroke(2, 0, 20, 20)
        layer.data = np.ones((3, 10, 10), np.uint8)
        assert "its shape is (3, 10, 10)" in corrections.problem
        session.correcting.paint_with(1)
        assert "its shape is (3, 10, 10)" in session.correcting.status
        layer.data = np.zeros(stack.data.shape, np.uint8)
        session.correcting.paint_with(1)
        assert corrections.layer == layer
        assert corrections.problem == ""

    def test_a_renamed_image_keeps_its_corrections(self, viewer, session, runner, stack, corrections, stroke):
        layer = stroke(2, 0, 20, 20)
        stack.name = "other"
        session.correcting.paint_with(1)
        assert corrections.layer == layer
        assert counted(corrections) == {2: (36, 1)}
        assert len([each for each in viewer.layers if isinstance(each, Labels)]) == 1

    def test_an_image_of_the_old_name_has_its_own(
        self, viewer, session, runner, corrections, section, stroke
    ):
        first = viewer.add_image(section, name="cells")
        layer = stroke(2, 20, 20)
        first.name = "first"
        session.image = viewer.add_image(section, name="cells")
        assert corrections.layer is None
        new = stroke(3, 40, 40)
        assert new != layer
        session.image = first
        assert corrections.layer == layer

    def test_a_copy_does_not_take_its_place(
        self, viewer, session, runner, stack, corrections, section, stroke
    ):
        layer = stroke(2, 0, 20, 20)
        copy = Labels.create(*layer.as_layer_data_tuple())
        copy.name = "backup"
        viewer.add_layer(copy)
        session.image = viewer.add_image(section, name="another")
        session.image = stack
        assert corrections.layer == layer
        viewer.layers.remove(layer)
        assert corrections.layer == copy

    def test_an_image_of_this_name_from_another_file_does_not_get_it(
        self, viewer, session, runner, corrections, section, tmp_path, npe2pm, stroke
    ):
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            imsave(tmp_path / folder / "cells.tif", section, check_contrast=False)
        with npe2pm.tmp_plugin(package="napari"):
            [image] = viewer.open(tmp_path / "one" / "cells.tif", plugin="napari")
            layer = stroke(2, 20, 20)
            viewer.layers.remove(image)
            [image] = viewer.open(tmp_path / "two" / "cells.tif", plugin="napari")
            assert corrections.layer is None
            viewer.layers.remove(image)
            viewer.open(tmp_path / "one" / "cells.tif", plugin="napari")
        assert corrections.layer == layer

    def test_it_follows_the_image(self, session, runner, stack, corrections, stroke):
        layer = stroke(2, 0, 20, 20)
        stack.translate, stack.scale = (0, 30, 40), (20, 5, 5)
        stack.rotate = np.array([[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]])
        assert corrections.layer == layer
        assert counted(corrections) == {2: (36, 1)}
        np.testing.assert_allclose(layer.data_to_world((1, 9, 5)), stack.data_to_world((1, 9, 5)))

    def test_it_says_of_which_image_it_is(self, session, runner, stack, stroke):
        about = stroke(2, 0, 20, 20).metadata[CORRECTIONS_KEY]
        assert (about["image"], about["image_id"]) == ("cells", str(stack.unique_id))
        assert [each["name"] for each in about["classes"]][:2] == ["membrane", "mitochondria"]

    def test_napari_calls_what_is_empty_not_painted(self, session, stack, stroke):
        layer = stroke(2, 0, 20, 20)
        assert layer.get_status((0, 60, 60))["value"].endswith("class: not corrected")
        assert layer.get_status((0, 21, 21))["value"].endswith("class: mitochondria")

    def test_what_is_painted_lies_above_a_result_that_is_made_later(
        self, viewer, session, runner, stack, stroke, add_result
    ):
        stroke(2, 0, 20, 20)
        add_result(np.ones(stack.data.shape, np.uint8))
        names = [each.name for each in viewer.layers]
        assert names.index("cells corrections") > names.index("cells labels")


class TestAnotherImage:
    @pytest.fixture
    def away(self, viewer, session, segmented, section):
        """The session is at another image."""
        image = viewer.add_image(section, name="another")
        assert session.image == image
        return image

    def test_a_stroke_on_the_corrections_brings_the_session_back(
        self, viewer, session, runner, stack, corrections, section, stroke, paint
    ):
        layer = stroke(2, 0, 20, 20)
        viewer.add_image(section, name="another")
        assert corrections.layer is None
        paint(layer, 3, 1, 40, 40)
        runner.finish()
        assert session.image == stack
        assert (counted(corrections), counted(corrections, 1)) == ({2: (36, 1)}, {3: (36, 1)})

    def test_so_does_one_on_the_result(self, session, runner, stack, segmented, away, corrections, paint):
        paint(segmented, 3, 0, 20, 20)
        runner.finish()
        assert session.image == stack
        assert counted(corrections) == {3: (36, 1)}
        assert (segmented.data == 1).all()

    def test_one_just_before_one_leaves_is_of_the_image_that_is_left(
        self, viewer, session, runner, segmented, corrections, section, paint
    ):
        paint(segmented, 3, 0, 20, 20)
        another = viewer.add_image(section, name="another")
        names = [layer.name for layer in viewer.layers if isinstance(layer, Labels)]
        assert names == ["cells labels", "cells corrections"]
        assert viewer.layers["cells corrections"].data[0, 20, 20] == 3
        assert corrections.layer is None
        runner.finish()
        assert session.image == another

    def test_coming_back_all_is_counted(self, session, runner, stack, segmented, away, corrections, stroke):
        session.image = stack
        layer = stroke(2, 0, 20, 20)
        session.image = away
        layer.data[1, :5, :5] = 3
        session.image = stack
        assert (counted(corrections), counted(corrections, 1)) == ({2: (36, 1)}, {3: (25, 1)})

    def test_a_result_of_another_image_is_read_with_its_own_corrections(
        self, session, runner, stack, segmented, section, viewer, corrections, stroke
    ):
        stroke(2, 0, 20, 20)
        viewer.add_image(section, name="another")
        assert (corrections.of_result(segmented)[0][20:26, 20:26] == 2).all()


class TestClasses:
    def test_what_is_no_class_does_not_count(self, session, runner, segmented, corrections, stroke, paint):
        layer = stroke(2, 0, 20, 20)
        paint(layer, 77, 0, 60, 60, side=1)
        runner.finish()
        assert corrections.unknown == [77]
        assert corrections.of_result(segmented)[0][60, 60] == 1
        assert not corrections.labels(0)[60, 60]
        assert corrections.painted(0)[60, 60] == 77
        assert corrections.add_class("nucleus", "#56b4e9").value == 77
        assert corrections.unknown == []
        assert corrections.of_result(segmented)[0][60, 60] == 77

    def test_a_new_class_is_known_to_the_result(self, session, runner, segmented, corrections):
        session.correcting.add_class("nucleus", "#56b4e9")
        layer = corrections.layer
        assert layer.selected_label == 5
        for each in (layer, segmented):
            np.testing.assert_allclose(each.get_color(5)[:3], np.array([0x56, 0xB4, 0xE9]) / 255, atol=0.01)
        assert "nucleus" in [each["name"] for each in segmented.metadata["feedback-seg"]["classes"]]

    def test_it_can_be_removed_unless_it_is_painted(self, session, runner, stack, corrections, said, stroke):
        session.correcting.add_class("nucleus", "#56b4e9")
        stroke(5, 0, 20, 20)
        session.correcting.remove_class(5)
        assert "Something is painted as 'nucleus'" in said()
        corrections.layer.undo()
        session.correcting.remove_class(5)
        assert corrections.added == []

    def test_one_that_is_removed_is_out_of_the_hand(self, session, segmented, corrections):
        correcting = session.correcting
        for value, left in ((5, None), (2, 2), (0, 0)):
            correcting.add_class("nucleus", "#56b4e9")
            correcting.paint_with(value)
            correcting.remove_class(5)
            assert correcting.in_hand == left
        correcting.add_class("nucleus", "#56b4e9")
        session.layers.viewer.layers.selection.active = segmented
        segmented.selected_label, segmented.mode = 5, "paint"
        correcting.remove_class(5)
        assert correcting.in_hand is None

    def test_a_model_with_other_classes_changes_no_meaning(
        self, viewer, session, runner, section, small_model, models_folder, corrections, stroke
    ):
        viewer.add_image(section, name="cells")
        session.correcting.add_class("vesicles", "#00ff00")
        layer = stroke(5, 20, 20)
        stroke(2, 60, 60)
        save_model(
            add_classes(small_model, [LabelClass(5, "nucleus", "#56b4e9")]),
            models_folder / "grown.safetensors",
        )
        session.refresh_models()
        session.model_name = "grown"
        names = {each.value: each.name for each in corrections.classes}
        assert names[5] == "nucleus"
        assert [names[layer.data[place]] for place in ((20, 20), (60, 60))] == ["vesicles", "mitochondria"]
        layer.undo()
        runner.finish()
        assert names[layer.data[20, 20]] == "vesicles"
        session.model_name = "small"
        names = {each.value: each.name for each in corrections.classes}
        assert names[layer.data[20, 20]] == "vesicles"

    def test_corrections_from_a_file_keep_theirs(self, viewer, corrections, section):
        viewer.add_image(section, name="cells")
        corrections.add_class("nucleus", "#56b4e9")
        labels = np.zeros(section.shape, np.uint8)
        labels[20, 20] = 5
        classes = [LabelClass(5, "vesicles", "#00ff00").to_json(), {"value": "damaged"}]
        layer = viewer.add_labels(
            labels, name="opened", metadata={CORRECTIONS_KEY: {"image": "cells", "classes": classes}}
        )
        assert corrections.layer == layer
        names = {each.value: each.name for each in corrections.classes}
        assert (names[layer.data[20, 20]], names[5]) == ("vesicles", "nucleus")

"""What a segmentation leaves in the viewer, and what is said of an image that cannot be segmented."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from napari_feedback_seg import __version__
from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.plugin.layers.results import probability_layers
from napari_feedback_seg.plugin.session.segment.segmenting import What
from napari_feedback_seg.segmentation.predict import segment as segment_array


def labels_of(image, **options):
    return segment_array(image, "small", device="cpu", **options).labels


class TestResult:
    def test_a_press_gives_what_python_gives(self, viewer, segment, section):
        viewer.add_image(section, name="cells")
        result = segment()
        assert result.name == "cells labels"
        assert result.data.dtype == np.uint8
        np.testing.assert_array_equal(result.data, labels_of(section))
        assert len(np.unique(result.data)) > 1

    def test_it_lies_on_a_turned_sheared_and_scaled_image(self, viewer, segment, section):
        image = viewer.add_image(
            section,
            scale=(4.6, 4.6),
            rotate=25,
            shear=[0.2],
            translate=(9, 8),
            units="nm",
            axis_labels=("y", "x"),
        )
        result = segment()
        for point in ((0, 0), (95, 0), (40, 79)):
            np.testing.assert_allclose(result.data_to_world(point), image.data_to_world(point))
        assert result.units == image.units
        assert result.axis_labels == image.axis_labels

    def test_it_says_what_made_it(self, viewer, segment, section, small_model):
        viewer.add_image(section, name="cells", scale=(5, 5), units="nm")
        record = segment().metadata["feedback-seg"]
        assert record["model"] == "small"
        assert record["model_sha256"] == load_model("small").digest
        assert record["version"] == __version__
        assert record["image"] == "cells"
        assert record["pixel_size_nm"] == [5.0, 5.0]
        assert record["settings"]["overlap"] == 0.25
        assert record["runs"][0]["sections"] == [0]

    def test_the_classes_have_names_and_their_colours(self, viewer, segment, section, small_model):
        viewer.add_image(section)
        result = segment()
        names = dict(zip(result.features["index"], result.features["class"], strict=True))
        assert names[3] == "synapse"
        for each in small_model.card.classes:
            found = result.get_color(each.value)
            np.testing.assert_allclose(found[:3], np.array(each.rgb) / 255, atol=0.01)
            assert found[3] == pytest.approx(each.opacity, abs=0.01)

    def test_again_it_is_updated_in_place(self, viewer, segment, section, session):
        viewer.add_image(section)
        first = segment()
        session.segmenting.set(overlap=0.5)
        second = segment()
        assert second == first
        assert len(viewer.layers) == 2
        np.testing.assert_array_equal(second.data, labels_of(section, overlap=0.5))
        assert second.metadata["feedback-seg"]["settings"]["overlap"] == 0.5

    def test_a_deleted_result_is_made_anew(self, viewer, segment, section):
        viewer.add_image(section)
        viewer.layers.remove(segment())
        np.testing.assert_array_equal(segment().data, labels_of(section))

    def test_probabilities_are_hidden_layers_one_a_class(
        self, viewer, segment, section, session, small_model
    ):
        image = viewer.add_image(section, name="cells", scale=(4.6, 4.6), units="nm")
        session.segmenting.set(probabilities=True)
        result = segment()
        layers = probability_layers(viewer, result)
        assert [layer.name for layer in layers] == [
            f"cells {each.name} probability" for each in small_model.card.classes
        ]
        assert not any(layer.visible for layer in layers)
        assert all(
            np.array_equal(layer.scale, image.scale) and layer.units == image.units for layer in layers
        )
        total = sum(layer.data.astype(float) for layer in layers)
        np.testing.assert_allclose(total, 1, atol=0.01)
        segment()
        assert probability_layers(viewer, result) == layers
        assert len(session.images) == 1  # they are no images to choose

    def test_another_image_gets_a_result_of_its_own(self, viewer, segment, section, session):
        viewer.add_image(section, name="one")
        first = segment()
        viewer.add_image(section[::-1], name="two")
        assert session.image.name == "two"
        second = segment()
        assert second != first
        np.testing.assert_array_equal(first.data, labels_of(section))
        np.testing.assert_array_equal(second.data, labels_of(section[::-1]))


class TestPart:
    @pytest.fixture
    def stack(self, section):
        return np.stack([section, section[::-1], section[:, ::-1]])

    def test_this_section_is_the_one_shown(self, viewer, segment, stack, session):
        viewer.add_image(stack)
        viewer.dims.set_point(0, 1)
        result = segment()
        np.testing.assert_array_equal(result.data[1], labels_of(stack[1]))
        assert not result.data[[0, 2]].any()
        viewer.dims.set_point(0, 2)
        assert segment() == result
        np.testing.assert_array_equal(result.data[1], labels_of(stack[1]))
        np.testing.assert_array_equal(result.data[2], labels_of(stack[2]))

    def test_a_rectangle_updates_its_part_only(self, viewer, segment, section, session):
        viewer.add_image(section, scale=(2, 2), name="cells")
        whole = segment().data.copy()
        viewer.add_shapes([[[40, 20], [40, 60], [100, 60], [100, 20]]], shape_type="rectangle", name="box")
        session.segmenting.choose(What.RECTANGLE, "box")
        session.segmenting.set(overlap=0.6)
        result = segment()
        region = (slice(20, 51), slice(10, 31))
        np.testing.assert_array_equal(result.data[region], labels_of(section, region=region, overlap=0.6))
        outside = np.ones(whole.shape, bool)
        outside[region] = False
        np.testing.assert_array_equal(result.data[outside], whole[outside])

    def test_without_a_rectangle_a_sentence_says_so(self, viewer, segment, section, session, said):
        viewer.add_image(section)
        session.segmenting.choose(What.RECTANGLE, "box")
        assert segment() is None
        assert "draw a rectangle" in said()

    def test_in_3d_the_visible_region_is_refused_and_the_section_is_not(
        self, viewer, segment, stack, session, said
    ):
        viewer.add_image(stack)
        viewer.dims.ndisplay = 3
        session.segmenting.choose(What.VISIBLE)
        assert segment() is None
        assert "The view is in 3D" in said()
        session.segmenting.choose(What.SECTION)
        assert segment().data.any()

    def test_the_slider_beside_the_stack_is_a_sentence(self, viewer, session, segment, stack, said):
        image = viewer.add_image(stack, name="short")
        viewer.add_labels(np.zeros((10, *stack.shape[1:]), np.uint8), name="long")
        session.image = image
        viewer.dims.set_point(0, 7)
        session.segmenting.choose(What.SECTION)
        assert segment() is None
        assert "The slider is at no section of 'short'" in said()


class TestPixelSize:
    def test_far_off_a_note_offers_to_rescale(self, viewer, session, segment, section):
        viewer.add_image(section, scale=(9.2, 9.2), units="nm")
        plain = segment().data.copy()
        np.testing.assert_array_equal(plain, labels_of(section))
        session.pixel_sizes.set_rescale(True)
        rescaled = segment()
        np.testing.assert_array_equal(rescaled.data, labels_of(section, pixel_size_nm=9.2))
        assert (rescaled.data != plain).any()

    def test_height_and_width_may_differ(self, viewer, session, segment, section):
        viewer.add_image(section, scale=(9.2, 4.6), units="nm")
        session.pixel_sizes.set_rescale(True)
        np.testing.assert_array_equal(segment().data, labels_of(section, pixel_size_nm=(9.2, 4.6)))

    def test_mixed_units_of_layers_and_axes(self, viewer, session, segment, section):
        viewer.add_image(section, scale=(4.6, 4.6), units="nm", name="in nm")
        viewer.add_image(section, scale=(0.0046, 4.6), units=("um", "nm"), name="mixed")
        assert session.image.name == "mixed"
        assert not session.pixel_sizes.notable
        np.testing.assert_array_equal(segment().data, labels_of(section))


class TestBadInput:
    def test_no_image(self, segment, said, session):
        assert segment() is None
        assert "There is no image" in said()
        assert "There is no image" in session.status

    def test_labels_instead_of_an_image(self, viewer, segment, said, section):
        viewer.add_labels(section, name="mine")
        assert segment() is None
        assert "'mine' is a Labels layer and not an image" in said()

    @pytest.mark.parametrize(
        ("data", "attributes", "sentence"),
        [
            (np.zeros((32, 32, 3), np.uint8), {"rgb": True}, "is a colour image"),
            (np.zeros((2, 2, 32, 32), np.uint8), {}, "has 4 axes"),
            (np.full((32, 32), 7, np.uint8), {}, "one grey value|nothing to see"),
            (
                np.full((32, 32), np.nan, np.float32),
                {"contrast_limits": (0, 1)},
                "no number|not numbers|nothing",
            ),
            (np.zeros((32, 32), bool), {}, "only true and false"),
        ],
        ids=["rgb", "4D", "constant", "NaN", "mask"],
    )
    def test_a_sentence_and_no_layer(self, viewer, segment, said, data, attributes, sentence):
        viewer.add_image(data, **attributes)
        assert segment() is None
        assert re.search(sentence, said())
        assert len(viewer.layers) == 1

    def test_some_nan_is_segmented_around(self, viewer, segment, section):
        holed = section.astype(np.float32)
        holed[5:9, 5:9] = np.nan
        viewer.add_image(holed, contrast_limits=(0, 255))
        assert segment().data.any()

    def test_multiscale_takes_the_finest_and_says_so(self, viewer, segment, said, section):
        viewer.add_image([section, section[::2, ::2]], multiscale=True)
        result = segment()
        np.testing.assert_array_equal(result.data, labels_of(section))
        assert "the finest was segmented" in said()


def test_what_is_changed_while_the_model_loads_does_not_count(session, viewer, runner, section):
    image = viewer.add_image(section, name="one", scale=(4.6, 4.6), units="nm")
    session.segmenting.segment()
    viewer.add_image(section, name="two", scale=(10, 10), units="nm")
    session.segmenting.set(overlap=0.5)
    runner.finish()
    record = session.result_of(image).metadata["feedback-seg"]
    assert record["pixel_size_nm"] == [4.6, 4.6]
    assert record["settings"]["overlap"] == 0.25
    assert record["image"] == "one"


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


def test_a_renamed_image_keeps_its_result(viewer, session, segment, section):
    image = viewer.add_image(section, name="one")
    first = segment()
    image.name = "two"
    assert session.result == first
    assert segment() == first
    assert first.metadata["feedback-seg"]["image"] == "two"


def test_probabilities_of_an_earlier_run_do_not_stay(viewer, session, segment, section):
    viewer.add_image(section, name="cells")
    session.segmenting.set(probabilities=True)
    result = segment()
    layers = probability_layers(viewer, result)
    assert len(layers) == 4
    assert all(layer.data.any() for layer in layers)
    session.segmenting.set(probabilities=False)
    assert segment() == result
    assert not any(layer.data.any() for layer in layers)


def test_the_result_follows_an_image_that_was_moved(viewer, segment, section):
    image = viewer.add_image(section)
    result = segment()
    image.scale, image.translate, image.units = (4.6, 4.6), (10, 20), ("nm", "nm")
    assert segment() == result
    np.testing.assert_allclose(result.data_to_world((3, 4)), image.data_to_world((3, 4)))
    assert result.units == image.units


def test_undo_brings_nothing_of_an_earlier_result(viewer, session, segment, section):
    viewer.add_image(section)
    result = segment()
    result.brush_size = 20
    result.mode = "paint"
    result.paint((40, 40), 3)
    result.undo()
    session.segmenting.set(overlap=0.5)
    assert segment() == result
    expected = result.data.copy()
    result.redo()
    result.undo()
    result.undo()
    np.testing.assert_array_equal(result.data, expected)
    assert result.mode == "paint"


def test_a_model_of_other_classes_leaves_a_result_alone(
    viewer, session, segment, section, small_model, models_folder
):
    others = tuple(LabelClass(value, f"class {value}", "#ffffff", 0.5) for value in (1, 5, 6, 7))
    model = replace(small_model, card=replace(small_model.card, classes=others))
    save_model(model, models_folder / "other.safetensors")
    viewer.add_image(section)
    first = segment()
    colors = {value: first.get_color(value) for value in (1, 2, 3, 4)}
    session.refresh_models()
    session.model_name = "other"
    viewer.add_points(name="anything")
    for value, color in colors.items():
        np.testing.assert_array_equal(first.get_color(value), color)
    second = segment()
    assert second != first
    assert set(np.unique(second.data)) <= {1, 5, 6, 7}


def test_a_duplicate_hears_of_no_run_but_its_own(viewer, session, segment, section):
    viewer.add_image(section, name="cells")
    first = segment()
    copied = viewer.add_layer(type(first).create(*first.as_layer_data_tuple()))
    copied.data = first.data.copy()
    session.segmenting.set(overlap=0.5)
    written = segment()
    other = first if written == copied else copied
    assert other.metadata["feedback-seg"]["settings"]["overlap"] == 0.25
    assert written.metadata["feedback-seg"]["settings"]["overlap"] == 0.5
    np.testing.assert_array_equal(other.data, labels_of(section))


def test_a_result_that_is_no_array_any_more_is_left(viewer, session, segment, section):
    viewer.add_image(section)
    first = segment()
    first.data = first.data[:50]
    second = segment()
    assert second != first
    np.testing.assert_array_equal(second.data, labels_of(section))


def test_without_an_em_image_there_is_a_sentence(viewer, segment, section, said):
    viewer.add_image(section, metadata={"feedback-seg-probability": {"image": "gone", "class": "synapse"}})
    assert segment() is None
    assert "There is no EM image" in said()


def test_a_shape_across_the_sections_is_refused(viewer, session, segment, section, said):
    viewer.add_image(np.stack([section] * 6))
    viewer.add_shapes([[[0, 5, 5], [0, 5, 20], [4, 5, 20], [4, 5, 5]]], shape_type="polygon")
    session.segmenting.choose(What.RECTANGLE, "Shapes")
    assert segment() is None
    assert "across the sections" in said()

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.layers.image import (
    class_colormap,
    displayed_section,
    em_sections,
    is_em_image,
    like,
    pixel_size_nm,
    rectangle_region,
)

SECTION = np.arange(60, dtype=np.uint8).reshape(6, 10)


def test_a_section_and_a_stack():
    assert em_sections(Image(SECTION)).count == 1
    stack = em_sections(Image(np.stack([SECTION] * 3)))
    assert (stack.count, stack.section_shape) == (3, (6, 10))
    np.testing.assert_array_equal(stack.section(1), SECTION)


def test_of_several_resolutions_the_finest_is_taken_and_said():
    found = em_sections(Image([SECTION, SECTION[::2, ::2]], multiscale=True))
    np.testing.assert_array_equal(found.data, SECTION)
    assert "several resolutions" in found.messages[0]


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (None, "There is no image"),
        (Labels(SECTION), "is a Labels layer and not an image"),
        (Image(np.zeros((6, 10, 3), np.uint8), rgb=True), "is a colour image"),
        (Image(np.zeros((2, 2, 6, 10), np.uint8)), "has 4 axes"),
    ],
    ids=["none", "labels", "rgb", "4D"],
)
def test_what_cannot_be_segmented_is_refused_with_a_sentence(layer, sentence):
    with pytest.raises(InputError, match=sentence):
        em_sections(layer)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({"scale": (4.6, 4.6), "units": "nm"}, (4.6, 4.6)),
        ({"scale": (0.008, 0.004), "units": "um"}, (8.0, 4.0)),
        ({"scale": (4, 4), "units": "nm", "rotate": 30}, (4.0, 4.0)),
        ({"scale": (4, 0.006), "units": ("nm", "um")}, (4.0, 6.0)),
        ({"scale": (2, 2), "units": "nm", "affine": np.diag([3, 3, 1])}, (6.0, 6.0)),
        ({"scale": (4.6, 4.6)}, None),
        ({"scale": (4.6, 4.6), "units": "s"}, None),
    ],
    ids=str,
)
def test_pixel_size(attributes, size):
    assert pixel_size_nm(Image(SECTION, **attributes)) == size


def test_pixel_size_of_a_stack_is_that_of_its_sections():
    layer = Image(np.stack([SECTION] * 2), scale=(50, 4.6, 4.6), units="nm")
    assert pixel_size_nm(layer) == (4.6, 4.6)


def test_a_derived_layer_lies_on_its_source():
    source = Image(
        SECTION, scale=(2, 3), translate=(5, 7), rotate=20, shear=[0.3], units="nm", axis_labels=("y", "x")
    )
    derived = Labels(SECTION, **like(source))
    for point in ((0, 0), (3, 4), (5, 9)):
        np.testing.assert_allclose(derived.data_to_world(point), source.data_to_world(point))
    assert derived.units == source.units
    assert derived.axis_labels == source.axis_labels


def test_layers_made_here_are_no_images_to_segment():
    assert is_em_image(Image(SECTION))
    assert not is_em_image(Image(SECTION, metadata={"feedback-seg-probability": {}}))
    assert not is_em_image(Labels(SECTION))


def test_hidden_classes_are_transparent_and_cytoplasm_nearly():
    colors = class_colormap(EM_CLASSES, hidden={2}).color_dict
    assert colors[2][3] == 0
    assert colors[1][3] > 0.5
    assert 0 < colors[4][3] < 0.2
    assert colors[0][3] == colors[None][3] == 0


def test_displayed_section_follows_the_slider_whatever_the_scale():
    viewer = ViewerModel()
    layer = viewer.add_image(np.stack([SECTION] * 5), scale=(50, 4, 4), translate=(100, 0, 0), units="nm")
    for z in (0, 3, 4):
        viewer.dims.set_point(0, 100 + 50 * z)
        assert displayed_section(viewer, layer) == z


class TestRectangle:
    def shapes(self, *boxes, **attributes):
        return Shapes(
            [np.array([[a, b], [a, d], [c, d], [c, b]]) for a, b, c, d in boxes],
            shape_type="rectangle",
            **attributes,
        )

    def test_the_last_one_or_the_selected_one_counts(self):
        viewer = ViewerModel()
        layer = viewer.add_image(np.zeros((60, 100)))
        shapes = self.shapes((10, 20, 30, 40), (5, 6, 7, 8))
        assert rectangle_region(viewer, shapes, layer) == (0, (slice(5, 8), slice(6, 9)))
        shapes.selected_data = {0}
        assert rectangle_region(viewer, shapes, layer) == (0, (slice(10, 31), slice(20, 41)))

    def test_scales_of_both_layers_count(self):
        viewer = ViewerModel()
        layer = viewer.add_image(np.zeros((60, 100)), scale=(4, 4), units="nm")
        shapes = self.shapes((0.04, 0.08, 0.12, 0.16), units="um")
        _, region = rectangle_region(viewer, shapes, layer)
        assert region == (slice(10, 31), slice(20, 41))

    def test_it_is_cut_at_the_border(self):
        viewer = ViewerModel()
        layer = viewer.add_image(np.zeros((60, 100)))
        _, region = rectangle_region(viewer, self.shapes((-10, 50, 20, 300)), layer)
        assert region == (slice(0, 21), slice(50, 100))

    def test_beside_the_image_or_missing_is_an_error(self):
        viewer = ViewerModel()
        layer = viewer.add_image(np.zeros((60, 100)))
        with pytest.raises(InputError, match="not within"):
            rectangle_region(viewer, self.shapes((200, 0, 300, 10)), layer)
        with pytest.raises(InputError, match="draw a rectangle"):
            rectangle_region(viewer, None, layer)

"""Where the predictions of a run are shown."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.plugin.layers import results
from napari_feedback_seg.plugin.layers.results import ResultWriter, record_of
from napari_feedback_seg.plugin.session.records import RunRecord
from napari_feedback_seg.segmentation.prediction import Prediction

REGION = (slice(20, 50), slice(30, 70))


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def large(monkeypatch):
    """Let an image of more than 4,000 px be a large one."""
    monkeypatch.setattr(results, "LARGE", 4000)


def write(viewer, image, region, value=1, section=0):
    shape = tuple(part.stop - part.start for part in region)
    run = RunRecord("small", "small.safetensors")
    writer = ResultWriter(viewer, image, image.data.shape, EM_CLASSES, run, region)
    writer.write(section, Prediction(np.full(shape, value, np.uint8), None, None, region, "cpu"))
    return writer.layer


@pytest.mark.usefixtures("large")
class TestPartOfALargeImage:
    @pytest.mark.parametrize(
        "place",
        [
            {},
            {"scale": (4, 6), "translate": (7, 9), "units": "nm"},
            {"rotate": 20, "shear": [0.2], "scale": (2, 3), "affine": np.diag([2.0, 3.0, 1.0])},
        ],
        ids=["plain", "scaled", "turned"],
    )
    def test_the_result_is_a_layer_of_that_part_where_it_is(self, viewer, place):
        image = viewer.add_image(np.zeros((80, 90), np.uint8), **place)
        result = write(viewer, image, REGION)
        assert result.data.shape == (30, 40)
        for row, column in ((0, 0), (29, 39), (10, 5)):
            expected = image.data_to_world((row + 20, column + 30))
            np.testing.assert_allclose(result.data_to_world((row, column)), expected)
        record = record_of(result)
        assert record.region == record.last.region == ((20, 50), (30, 70))

    def test_of_a_stack_it_has_all_sections(self, viewer):
        image = viewer.add_image(np.zeros((3, 80, 90), np.uint8))
        result = write(viewer, image, REGION, section=2)
        assert result.data.shape == (3, 30, 40)
        assert result.data[2].all()
        np.testing.assert_allclose(result.data_to_world((0, 0, 0)), (0, 20, 30))

    def test_what_lies_in_it_is_written_into_it_and_what_does_not_is_another(self, viewer):
        image = viewer.add_image(np.zeros((80, 90), np.uint8))
        result = write(viewer, image, REGION)
        assert write(viewer, image, (slice(25, 30), slice(40, 60)), 2) == result
        expected = np.ones((30, 40))
        expected[5:10, 10:30] = 2
        np.testing.assert_array_equal(result.data, expected)
        other = write(viewer, image, (slice(0, 30), slice(0, 60)))
        assert other != result
        assert other.data.shape == (30, 60)

    def test_it_follows_an_image_that_was_moved(self, viewer):
        image = viewer.add_image(np.zeros((80, 90), np.uint8))
        result = write(viewer, image, REGION)
        image.scale, image.translate = (4.6, 4.6), (10, 20)
        assert write(viewer, image, REGION) == result
        np.testing.assert_allclose(result.data_to_world((0, 0)), image.data_to_world((20, 30)))

    def test_all_of_it_is_a_layer_of_all(self, viewer):
        image = viewer.add_image(np.zeros((80, 90), np.uint8))
        run = RunRecord("small", "small.safetensors")
        writer = ResultWriter(viewer, image, (80, 90), EM_CLASSES, run)
        whole = (slice(0, 80), slice(0, 90))
        writer.write(0, Prediction(np.ones((80, 90), np.uint8), None, None, whole, "cpu"))
        assert writer.layer.data.shape == (80, 90)
        assert write(viewer, image, REGION, 3) == writer.layer
        assert (writer.layer.data[REGION] == 3).all()


def test_of_a_small_image_the_result_has_its_shape(viewer):
    image = viewer.add_image(np.zeros((80, 90), np.uint8))
    result = write(viewer, image, REGION)
    assert result.data.shape == (80, 90)
    assert result.data[REGION].all()
    assert result.data.sum() == 30 * 40

from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.plugin.layers.results import measured_size
from napari_feedback_seg.plugin.session.segment.segmenting import What
from napari_feedback_seg.segmentation.measure import LEAST_PIXELS, LEAST_UM2, measure


@pytest.fixture(autouse=True)
def _no_answers(session):
    """Let a stroke be a correction alone: the result stays what the model says."""
    session.instant.set_on(False)


@pytest.fixture
def measuring(session):
    return session.measuring


@pytest.fixture
def measured(measuring, runner):
    """Measure and wait; return the table."""

    def measured(least=LEAST_PIXELS):
        measuring.start(least)
        runner.finish()
        return measuring.measures

    return measured


def expected(layer, *arguments):
    events = measure(layer.data, EM_CLASSES, *arguments)
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


def test_a_section_in_square_micrometres(viewer, segment, section, measuring, measured):
    viewer.add_image(section, name="cells", scale=(5, 10), units="nm")
    layer = segment()
    assert measuring.in_um2
    assert measuring.least == LEAST_UM2
    assert measured(0.0005) == expected(layer, (5.0, 10.0), 0.0005)


def test_a_stack_section_by_section(viewer, session, segment, section, measuring, measured):
    viewer.add_image(np.stack([section, section[::-1], section]), name="cells")
    session.segmenting.choose(What.ALL)
    layer = segment()
    assert not measuring.in_um2
    assert measuring.least == LEAST_PIXELS
    assert measured(20) == expected(layer, None, 20)


def test_a_size_that_was_typed_in_counts(viewer, session, segment, section, measured):
    viewer.add_image(section)
    session.pixel_sizes.typed = 8
    layer = segment()
    assert measured().rows[0].um2 == pytest.approx((layer.data == 1).sum() * 64e-6)


def test_a_scale_that_is_put_right_later_counts(viewer, segment, section, measured):
    image = viewer.add_image(section, scale=(4, 4), units="nm")
    result = segment()
    first = measured().rows[0].um2
    image.scale = (8, 8)
    np.testing.assert_array_equal(result.scale, (8, 8))
    assert measured().rows[0].um2 == pytest.approx(4 * first)


def test_the_area_of_a_turned_and_sheared_pixel(viewer, segment, section):
    viewer.add_image(section, scale=(4, 6), rotate=30, shear=[0.7], units="nm")
    layer = segment()
    height, width = measured_size(layer)
    matrix = np.stack(
        [np.subtract(layer.data_to_world(step), layer.data_to_world((0, 0))) for step in np.eye(2)]
    )
    assert height * width == pytest.approx(abs(np.linalg.det(matrix)), rel=1e-5)


def test_a_table_of_what_was_there_before_goes(viewer, session, segment, section, measuring, measured):
    image = viewer.add_image(section, name="cells")
    segment()
    measured()
    viewer.add_points(np.zeros((1, 2)))  # has nothing to do with it
    assert measuring.measures is not None
    session.segmenting.set(overlap=0.5)
    segment()
    assert measuring.measures is None
    measured()
    viewer.layers.remove("cells labels")
    assert measuring.measures is None
    assert measuring.result is None
    assert image in viewer.layers


def test_a_table_of_what_was_painted_or_undone_since_goes(
    viewer, session, runner, segment, section, measuring, measured
):
    viewer.add_image(section, name="cells")
    layer = segment()
    layer.brush_size = 30
    said = measured().rows[2].pixels
    layer.paint((50, 40), 3)  # goes to the corrections
    runner.finish()
    assert measuring.measures is None
    assert measuring.outdated
    corrections = session.correcting.corrections.layer
    new = (corrections.data == 3) & (layer.data != 3)
    assert measured().rows[2].pixels == said + new.sum()
    corrections.undo()
    runner.finish()
    assert measuring.measures is None
    assert measured().rows[2].pixels == said
    layer.visible = False
    runner.finish()
    assert measuring.measures is not None


def test_pixels_written_by_a_script_are_seen(viewer, runner, segment, section, measuring, measured):
    viewer.add_image(section, name="cells")
    layer = segment()
    assert measured() is not None
    layer.data[:10] = 1  # napari knows nothing of it
    measuring.look()  # as before a table is copied or saved
    assert measuring.measures is None
    assert measuring.outdated
    assert measured() is not None
    layer.data[:10] = 2
    layer.refresh()  # as a script does to have it seen
    runner.finish()
    assert measuring.measures is None


def test_nothing_segmented_is_a_sentence(viewer, segment, section, measuring, measured, said):
    image = viewer.add_image(section)
    layer = segment()
    viewer.layers.remove(image)  # or what is wiped out would come back
    layer.data[:] = 0
    assert measured() is None
    assert "no pixel is segmented" in said()


def test_a_large_stack_can_be_cancelled(viewer, session, runner, segment, section, measuring):
    viewer.add_image(np.stack([section] * 2), name="cells")
    layer = segment()
    layer.data = np.full((40, 300, 300), 2, np.uint8)
    assert measuring.start(1)
    runner.step()
    session.jobs.cancel()
    runner.finish()
    assert measuring.measures is None
    assert not measuring.outdated


def test_without_an_image_the_newest_result_is_measured(viewer, session, segment, section, measured):
    viewer.add_image(section, name="cells")
    layer = segment()
    viewer.layers.remove("cells")
    assert session.result_at_hand == layer
    assert len(measured().rows) == 4


def test_of_what_was_never_measured_nothing_is_said_to_have_changed(
    viewer, session, segment, section, measuring, measured
):
    one = viewer.add_image(section, name="one")
    segment()
    viewer.add_image(section[::-1], name="two")
    segment()
    assert measured() is not None
    viewer.layers.selection.active = one
    assert session.image == one
    assert measuring.measures is None
    assert not measuring.outdated

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from napari_feedback_seg.plugin.session.jobs import State
from napari_feedback_seg.plugin.session.segmenting import Part, What
from napari_feedback_seg.segmentation.predict import segment as segment_array


def labels_of(image, **options):
    return segment_array(image, "small", device="cpu", **options).labels


@pytest.fixture
def stack(section):
    return np.stack([section, section[::-1], section[:, ::-1]])


@pytest.fixture
def segment(session, runner):
    """Segment and wait; return the result layer."""

    def segment(*arguments, **options):
        session.segmenting.segment(*arguments, **options)
        runner.finish()
        return session.result

    return segment


def test_it_gives_what_python_gives(session, viewer, segment, section):
    viewer.add_image(section, name="cells")
    result = segment()
    assert result.name == "cells labels"
    np.testing.assert_array_equal(result.data, labels_of(section))
    assert session.status.startswith("Done in")


def test_its_state_is_told_on_the_way(session, viewer, runner, section):
    viewer.add_image(section)
    states = []
    session.changed.connect(lambda _: states.append(session.segmenting.state))
    session.segmenting.segment()
    runner.step(3)
    session.segmenting.cancel()
    runner.finish()
    in_order = [state for n, state in enumerate(states) if n == 0 or state is not states[n - 1]]
    assert in_order == [State.LOADING, State.RUNNING, State.CANCELLING, State.IDLE]
    assert session.status == "Cancelled."


@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
def test_all_sections(session, viewer, segment, stack, lazy):
    viewer.add_image(da.from_array(stack, chunks=(1, -1, -1)) if lazy else stack)
    session.segmenting.choose(What.ALL)
    np.testing.assert_array_equal(segment().data, labels_of(stack))


def test_some_sections(session, viewer, segment, stack):
    viewer.add_image(stack)
    result = segment(Part((0, 2)))
    np.testing.assert_array_equal(result.data[[0, 2]], labels_of(stack)[[0, 2]])
    assert not result.data[1].any()


def test_cancel_keeps_the_sections_that_are_done(session, viewer, runner, stack):
    viewer.add_image(stack)
    session.segmenting.choose(What.ALL)
    session.segmenting.segment()
    while session.result is None:
        runner.step()
    session.segmenting.cancel()
    runner.finish()
    np.testing.assert_array_equal(session.result.data[0], labels_of(stack[0]))
    assert not session.result.data[1:].any()
    assert session.status == "Cancelled. 1 of 3 sections are done and stay."


def test_the_image_deleted_while_it_runs(session, viewer, runner, said, stack):
    image = viewer.add_image(stack)
    session.segmenting.segment()
    runner.step(2)
    viewer.layers.remove(image)
    runner.finish()
    assert "The image was deleted while it was segmented" in said()
    assert not viewer.layers


def test_an_image_replaced_while_another_one_is_chosen(session, viewer, runner, said, stack, section):
    image = viewer.add_image(stack, name="one")
    session.segmenting.choose(What.ALL)
    session.segmenting.segment()
    viewer.add_image(section, name="two")
    runner.step(2)
    image.data = stack[::-1].copy()
    runner.finish()
    assert "The image was replaced while it was segmented" in said()
    assert session.result_of(image) is None


def test_nothing_stays_of_a_result_that_was_deleted(session, viewer, runner, said, stack):
    viewer.add_image(stack)
    session.segmenting.choose(What.ALL)
    session.segmenting.segment()
    while session.result is None:
        runner.step()
    viewer.layers.remove(session.result)
    runner.finish()
    assert "The result was deleted while it was made" in said()
    assert "stay" not in session.status
    assert session.result is None


def test_an_error_is_said_and_stands_in_the_status(session, viewer, segment, said):
    viewer.add_image(np.full((32, 32), 7, np.uint8))
    assert segment() is None
    assert session.status in said()
    assert session.status


def test_a_second_run_is_refused(session, viewer, runner, said, section):
    viewer.add_image(section)
    assert session.segmenting.segment()
    assert not session.segmenting.segment()
    assert "is still running" in said()
    runner.finish()
    np.testing.assert_array_equal(session.result.data, labels_of(section))

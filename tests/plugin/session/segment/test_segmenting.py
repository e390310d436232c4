from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from napari_feedback_seg.correction.adapt import segment as adapted_segment
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.plugin.session.jobs import State
from napari_feedback_seg.plugin.session.regions import Part
from napari_feedback_seg.plugin.session.segment.segmenting import What
from napari_feedback_seg.segmentation.predict import segment as segment_array


def labels_of(image, **options):
    return segment_array(image, "small", device="cpu", **options).labels


@pytest.fixture
def stack(section):
    return np.stack([section, section[::-1], section[:, ::-1]])


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


class TestNotDoneYet:
    def test_a_cancelled_run_goes_on_where_it_was(self, session, viewer, runner, stack):
        viewer.add_image(stack)
        session.segmenting.choose(What.ALL)
        assert What.UNDONE not in session.segmenting.choices
        session.segmenting.segment()
        while session.result is None:
            runner.step()
        session.segmenting.cancel()
        runner.finish()
        assert session.segmenting.what is What.UNDONE
        assert session.segmenting.choices[What.UNDONE] == "Sections not done yet (2)"
        assert session.segmenting.part() == Part((1, 2))
        session.segmenting.segment()
        runner.finish()
        np.testing.assert_array_equal(session.result.data, labels_of(stack))
        assert [run.sections for run in session.layers.records_of(session.image)[0].runs] == [(0, 1, 2)]
        assert session.segmenting.what is What.ALL  # nothing is left

    def test_what_another_model_or_a_part_has_done_is_not_done(
        self, session, viewer, segment, stack, small_model, models_folder
    ):
        save_model(small_model, models_folder / "other.safetensors")
        viewer.add_image(stack)
        segment(Part((0,)))
        segment(Part((1,), (slice(0, 50), slice(0, 50))))
        assert session.segmenting.undone == [1, 2]
        session.refresh_models("other")
        assert session.segmenting.undone == [0, 1, 2]
        segment(Part((0, 1)))
        assert session.segmenting.undone == [2]
        session.model_name = "small"
        assert session.segmenting.undone == [0, 1, 2]


class TestUndo:
    def test_it_brings_back_what_was_there_before_and_again(self, session, viewer, segment, section):
        viewer.add_image(section)
        first = segment().data.copy()
        session.segmenting.set(overlap=0.6)
        second = segment().data.copy()
        assert (first != second).any()
        session.last_run.undo()
        np.testing.assert_array_equal(session.result.data, first)
        assert session.layers.records_of(session.image)[0].last.settings.overlap == 0.25
        session.last_run.undo()
        np.testing.assert_array_equal(session.result.data, second)
        assert session.layers.records_of(session.image)[0].last.settings.overlap == 0.6

    def test_before_the_first_run_there_was_nothing(self, session, viewer, segment, section):
        viewer.add_image(section)
        assert session.last_run.writer is None
        result = segment()
        session.last_run.undo()
        assert not result.data.any()
        assert session.layers.records_of(session.image)[0].runs == ()

    def test_of_a_part_only_that_part_comes_back(self, session, viewer, segment, stack):
        viewer.add_image(stack)
        segment(Part((0, 1, 2)))
        before = session.result.data.copy()
        session.segmenting.set(flips=True)
        segment(Part((1,), (slice(10, 60), slice(5, 70))))
        assert (session.result.data != before).any()
        session.last_run.undo()
        np.testing.assert_array_equal(session.result.data, before)

    def test_both_are_shown_side_by_side_to_choose_from(self, session, viewer, segment, section):
        image = viewer.add_image(section, name="cells")
        first = segment().data.copy()
        session.segmenting.set(overlap=0.6)
        second = segment().data.copy()
        session.last_run.show_split()
        assert [side.title for side in session.beside.sides] == ["before", "after"]
        before, after, again = (viewer.layers[f"cells {each}"] for each in ("before", "after", "again"))
        np.testing.assert_array_equal(before.data, first)
        np.testing.assert_array_equal(after.data, second)
        np.testing.assert_array_equal(again.data, section)
        np.testing.assert_allclose(before.data_to_world((0, 0)), (0, 0))
        assert after.data_to_world((0, 0))[1] > section.shape[1]
        np.testing.assert_allclose(after.data_to_world((0, 0)), again.data_to_world((0, 0)))
        assert not session.result.visible
        assert session.images == [image]  # the copy is no image to segment
        session.beside.take(0)
        np.testing.assert_array_equal(session.result.data, first)
        assert session.result.visible
        assert len(viewer.layers) == 2

    def test_it_is_off_while_another_image_is_chosen(self, session, viewer, segment, section):
        image = viewer.add_image(section, name="cells")
        result = segment()
        labels = result.data.copy()
        session.image = viewer.add_image(section[::-1], name="other")
        assert session.last_run.writer is None
        session.last_run.show_split()
        session.last_run.undo()
        assert session.beside.sides == ()
        np.testing.assert_array_equal(result.data, labels)
        session.image = image
        session.last_run.undo()
        assert not result.data.any()

    def test_deleting_a_side_closes_both(self, session, viewer, segment, section):
        viewer.add_image(section, name="cells")
        segment()
        session.last_run.show_split()
        viewer.layers.remove("cells after")
        assert session.beside.sides == ()
        assert len(viewer.layers) == 2


class TestBothScales:
    @pytest.fixture
    def far(self, viewer, section, monkeypatch):
        """An image whose pixels are twice as large as the model's, all of it in view."""
        image = viewer.add_image(section, name="cells", scale=(9.2, 9.2), units="nm")
        image.corner_pixels = np.array([[0, 0], section.shape])
        return image

    @pytest.mark.parametrize(("number", "size"), [(0, None), (1, 9.2)], ids=["as it is", "rescaled"])
    def test_the_one_that_is_chosen_is_the_result(
        self, session, viewer, runner, segment, section, far, number, size
    ):
        assert session.scales.compare()
        runner.finish()
        assert [side.title for side in session.beside.sides] == ["as it is", "rescaled"]
        np.testing.assert_array_equal(session.beside.sides[0].labels, labels_of(section))
        np.testing.assert_array_equal(session.beside.sides[1].labels, labels_of(section, pixel_size_nm=9.2))
        assert session.result is None
        session.beside.take(number)
        np.testing.assert_array_equal(session.result.data, labels_of(section, pixel_size_nm=size))
        assert session.pixel_sizes.rescale == bool(number)
        assert session.layers.records_of(far)[0].last.settings.rescaled_from_nm == (
            (9.2, 9.2) if number else None
        )

    def test_both_are_with_the_strokes(self, session, runner, segment, section, far, stroke):
        segment()
        painted = stroke(3, 20, 20, side=12).data
        assert session.scales.compare()
        runner.finish()
        for side, size in zip(session.beside.sides, (None, 9.2), strict=True):
            expected = adapted_segment(
                section, "small", strokes=[(section.copy(), painted)], pixel_size_nm=size, device="cpu"
            ).labels
            assert (side.labels == expected)[painted == 0].mean() > 0.99
            assert (side.labels != labels_of(section, pixel_size_nm=size)).any()

    def test_closed_it_leaves_nothing(self, session, viewer, runner, far):
        session.scales.compare()
        runner.finish()
        session.beside.close()
        assert viewer.layers == [far]
        assert not session.pixel_sizes.rescale

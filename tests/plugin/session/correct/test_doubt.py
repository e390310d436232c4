from __future__ import annotations

import numpy as np
import pytest
import torch
from napari.layers import Image

from napari_feedback_seg.correction.adaptation import Adaptation
from napari_feedback_seg.models.model import weights_digest
from napari_feedback_seg.networks.residual import Residual
from napari_feedback_seg.plugin.layers.image import em_sections
from napari_feedback_seg.plugin.session.correct.doubt import DoubtWork, SectionSearched, doubtful_places
from napari_feedback_seg.plugin.session.jobs import State
from napari_feedback_seg.plugin.session.strokes import Strokes
from napari_feedback_seg.segmentation.prediction import Prediction, SegmentOptions


@pytest.fixture
def stack(viewer, session, section):
    image = viewer.add_image(np.stack([section, section[::-1]]), name="cells", scale=(30, 5, 5))
    viewer.dims.set_point(0, 0)
    return image


@pytest.fixture
def look(session, runner):
    """Ask where to look next, and wait; return what is said."""

    def look():
        session.correcting.doubt.next_place()
        runner.finish()
        return session.correcting.doubt.text

    return look


def test_it_goes_from_place_to_place_and_searches_once(viewer, session, runner, stack, look):
    found = [look()]
    assert "in the middle of the view: is it right? Press Segment" in found[0]
    assert len(runner.started) == 1
    centre = viewer.scene.camera.center
    while "no doubtful place left" not in found[-1]:
        found.append(look())
    assert len(set(found)) == len(found) == 2 * 4 + 1  # of each square of 64 px one
    assert viewer.scene.camera.center != centre
    assert len(runner.started) == 1


def test_segmented_sections_come_first(viewer, session, stack, look, add_result):
    add_result(np.stack([np.zeros((96, 80), np.uint8), np.ones((96, 80), np.uint8)]), sections=[1])
    assert "on section 1, in the middle of the view: is it right?" in look()
    assert viewer.dims.point[0] == 30
    for _ in range(3):
        assert "Press Segment" not in look()
    assert "on section 0" in look()


def test_what_is_corrected_is_passed_over(viewer, section, stroke, look):
    viewer.add_image(section, name="cells")
    stroke(1, 0, 0, side=80)
    assert "no doubtful place left" in look()


def test_it_is_about_the_image_that_was_searched(viewer, session, runner, stack, section, look):
    other = viewer.add_image(section, name="other")
    session.image = stack
    session.correcting.doubt.next_place()
    session.image = other  # before anything is found
    centre = viewer.scene.camera.center
    runner.finish()
    assert viewer.scene.camera.center == centre
    session.image = stack
    assert "on section" in look()
    session.image = other
    assert "on section" not in look()
    assert len(runner.started) == 2


def test_cancelled_it_goes_on_where_it_was_and_offers_nothing_twice(viewer, session, runner, stack):
    session.correcting.doubt.next_place()
    found = []
    while not found:  # the first section is searched, and the second is not
        runner.step()
        if "on section" in session.correcting.doubt.text:
            found.append(session.correcting.doubt.text)
    session.jobs.cancel()
    runner.finish()
    while "no doubtful place left" not in found[-1]:
        session.correcting.doubt.next_place()
        runner.finish()
        found.append(session.correcting.doubt.text)
    assert len(set(found)) == len(found) == 2 * 4 + 1


def test_cancelled_before_anything_is_found_it_can_begin_again(session, runner, stack, look):
    session.correcting.doubt.next_place()
    session.jobs.cancel()
    runner.finish()
    assert session.correcting.doubt.text == ""
    assert "is it right?" in look()


def test_it_does_not_wipe_what_was_said_of_a_fine_tune(session, stack, look):
    session.correcting.fine_tune()
    said = session.correcting.status
    assert "Nothing is corrected yet" in said
    look()
    assert session.correcting.status == said


def test_what_is_said_goes_with_the_image_and_the_labels_that_it_is_about(
    viewer, session, stack, section, look, segment
):
    other = viewer.add_image(section, name="other")
    session.image = stack
    segment()
    assert look()
    session.image = other
    assert session.correcting.doubt.text == ""
    session.image = stack
    look()
    segment()
    assert session.correcting.doubt.text == ""
    assert look()
    viewer.layers.remove(session.result)
    assert session.correcting.doubt.text == ""


def test_a_stroke_ends_the_search_and_is_answered(viewer, session, runner, stack, segment, paint):
    viewer.dims.set_point(0, 0)
    segment()
    session.correcting.paint_with(3)
    session.correcting.doubt.next_place()
    while "is it right?" not in session.correcting.doubt.text:
        runner.step()
    assert session.jobs.busy
    paint(session.correcting.corrections.layer, 3, 0, 10, 10, side=12)
    while runner.waiting:
        runner.waiting.pop(0)()
    assert session.jobs.state is State.CANCELLING
    assert "is it right?" in session.correcting.doubt.text
    runner.finish()
    assert session.layers.record_of(session.result).last.strokes
    session.correcting.doubt.next_place()  # what was found stays
    assert not session.jobs.busy


def test_another_model_is_in_doubt_elsewhere(session, runner, stack, look, models_folder):
    look()
    session.model_name = "unet-w16"
    session.correcting.doubt.next_place()
    assert len(runner.started) == 2
    session.jobs.cancel()
    runner.finish()


def test_after_further_strokes_there_are_others(session, runner, stack, look, stroke):
    searches = []
    session.jobs.started.connect(searches.append)
    while "no doubtful place left" not in look():
        pass
    assert len(searches) == 1
    stroke(3, 0, 10, 10, side=12)
    assert "is it right?" in look()
    assert len(searches) == 2


def test_it_is_the_model_with_the_strokes_that_is_in_doubt(session, section, small_model):
    mitochondria = Residual(
        torch.zeros(4, small_model.card.spec.inner_channels), torch.tensor([0.0, 50.0, 0.0, 0.0])
    )
    learnt = Adaptation(mitochondria, "small", weights_digest(small_model))
    sections = em_sections(Image(section))
    strokes = Strokes("cells", sections, {}, token="some", learnt=learnt)
    options = SegmentOptions(device="cpu", probabilities=True)
    doubts = []
    for given in (None, strokes):
        work = DoubtWork(sections, (0,), options, lambda: small_model, given)
        (found,) = [each for each in work() if isinstance(each, SectionSearched)]
        doubts.append(max(place.doubt for place in found.places))
    assert doubts[1] < 0.01 < doubts[0]


def test_while_something_else_runs_there_is_a_sentence(session, runner, stack, said):
    session.segmenting.segment()
    session.correcting.doubt.next_place()
    assert "still running" in said()
    assert session.correcting.state is State.IDLE
    session.jobs.cancel()
    runner.finish()


def test_a_blank_image_has_no_doubtful_place(viewer, session, look):
    viewer.add_image(np.zeros((2, 96, 80), np.uint8), name="blank")
    assert "no doubtful place" in look()


def test_without_an_image_there_is_a_sentence(session, said):
    session.correcting.doubt.next_place()
    assert "There is no image" in said()


def test_doubt_is_entropy_and_disagreement_of_the_rounds():
    probabilities = np.zeros((2, 128, 64), np.float16)
    probabilities[0] = 1
    probabilities[:, 20:40, 20:40] = 0.5
    labels, first = np.ones((128, 64), np.uint8), np.ones((128, 64), np.uint8)
    first[90:110, 10:30] = 2
    whole = (slice(0, 128), slice(0, 64))
    one, two = doubtful_places(3, Prediction(labels, probabilities, first, whole, "cpu", ()))
    assert (one.section, two.section) == (3, 3)
    assert 20 <= one.row < 40
    assert 20 <= one.column < 40
    assert 90 <= two.row < 110
    assert one.doubt == pytest.approx(1, abs=0.01)

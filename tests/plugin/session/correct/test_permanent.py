"""What strokes taught becomes a model: what the session does, without a window."""

from __future__ import annotations

import numpy as np
import pytest

import napari_feedback_seg
from napari_feedback_seg.correction.adapt import adapt
from napari_feedback_seg.correction.card import corrected_model
from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.correction.corrections import corrected_sections
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.plugin.correct.text import why
from napari_feedback_seg.plugin.session.drafts import unsaved_folder
from napari_feedback_seg.plugin.session.regions import Part

MEMBRANE, SYNAPSE, CYTOPLASM = 1, 3, 4


@pytest.fixture
def answered(viewer, session, segment, section, runner):
    """Two sections, segmented, the first of which has strokes that are answered; return the result."""
    viewer.add_image(np.stack([section, section[::-1], section[:, ::-1]]), name="cells")
    viewer.dims.set_point(0, 0)
    segment(Part((0, 1)))
    session.correcting.paint_with(SYNAPSE)
    layer = session.correcting.corrections.layer
    dark = section[:40] < np.percentile(section, 20)
    for value, where in ((SYNAPSE, dark), (CYTOPLASM, ~dark)):
        rows, columns = np.nonzero(where)
        layer.data_setitem((np.zeros(rows.size, int), rows, columns), value)
    runner.finish()
    return session.result


@pytest.fixture
def permanent(session, runner):
    def permanent():
        assert session.permanent.make()
        runner.finish()

    return permanent


def test_the_model_says_by_itself_what_was_seen(session, runner, answered, permanent):
    before, (_, learnt) = answered.data.copy(), session.instant.learnt
    permanent()
    assert session.model_name == "small corrected"
    assert "is in use: it says by itself what the strokes taught" in session.correcting.status
    np.testing.assert_array_equal(answered.data, before)  # and nothing was computed anew
    record = session.layers.record_of(answered)
    assert (record.last.model, record.last.strokes) == ("small corrected", "")
    path = session.entry.path
    for z in (0, 1):
        assert record.speaks_of(z, ((0, 96), (0, 80)), str(path), "")
        image = session.image.data[z]
        taught = napari_feedback_seg.segment(image, load_model("small"), strokes=learnt).labels
        assert np.array_equal(napari_feedback_seg.segment(image, path).labels, taught)
    assert (taught == before[1]).mean() > 0.999  # on a section without strokes that is all
    # it is exactly what the strokes had taught, on an image without any
    other = session.image.data[2]
    strokes = [(session.image.data[0], session.correcting.corrections.labels(0))]
    expected = napari_feedback_seg.segment(other, load_model("small"), strokes=strokes).labels
    assert np.array_equal(napari_feedback_seg.segment(other, path).labels, expected)


def test_what_was_there_before_is_shown_where_it_differs(session, runner, answered, permanent, paint):
    permanent()
    assert not session.correcting.can_show_before  # what is shown is what the model before said, with strokes
    before = answered.data.copy()
    paint(session.correcting.corrections.layer, SYNAPSE, 0, 60, 60, side=12)
    runner.finish()
    assert (answered.data != before).any()
    assert session.correcting.can_show_before
    session.correcting.show_before(True)
    np.testing.assert_array_equal(answered.data, before)


def test_its_strokes_are_not_answered_beside_it_and_newer_ones_are(
    session, runner, answered, permanent, paint
):
    permanent()
    assert session.instant.strokes().token == ""
    count = len(runner.started)
    session.instant.look()
    runner.finish()
    assert len(runner.started) == count
    paint(session.correcting.corrections.layer, SYNAPSE, 0, 60, 60)
    runner.finish()
    last = session.layers.record_of(answered).last
    assert (last.model, bool(last.strokes)) == ("small corrected", True)
    permanent()
    assert session.model_name == "small corrected 2"
    assert session.correcting.models.earlier == "small corrected"


def test_undo_brings_the_model_and_its_strokes_back(session, runner, answered, permanent, paint):
    before = answered.data.copy()
    token = session.instant.strokes().token
    permanent()
    session.correcting.undo()
    runner.finish()
    assert session.model_name == "small"
    assert session.layers.record_of(answered).last.strokes == token
    np.testing.assert_array_equal(answered.data, before)
    session.correcting.redo()
    runner.finish()
    assert session.layers.record_of(answered).last.model == "small corrected"
    np.testing.assert_array_equal(answered.data, before)
    session.correcting.undo()
    runner.finish()
    paint(session.correcting.corrections.layer, SYNAPSE, 0, 60, 60)  # it goes on from there
    runner.finish()
    assert session.layers.record_of(answered).last.strokes not in ("", token)
    session.correcting.redo()
    runner.finish()
    record = session.layers.record_of(answered)
    assert all(run.model == "small" or run.strokes for run in record.runs)  # what is shown is not its own


def test_saved_it_is_in_the_library_with_its_history(session, runner, answered, permanent):
    permanent()
    assert session.correcting.models.unsaved
    session.correcting.save_as("mine")
    card = load_model("mine").card
    assert (card.name, card.parent) == ("mine", load_model("small").digest)
    assert card.data[-1].name == "corrections of cells"
    assert card.recipe["strokes"] > 0
    assert not list(unsaved_folder().glob("*.safetensors"))
    assert session.instant.strokes().token == ""
    assert session.layers.record_of(answered).last.model == "mine"


def test_the_rest_is_segmented_with_it(session, runner, answered, permanent):
    permanent()
    before = answered.data.copy()
    assert session.correcting.rest == (2,)
    session.correcting.segment_rest()
    runner.finish()
    np.testing.assert_array_equal(answered.data[:2], before[:2])
    assert answered.data[2].any()


def test_it_is_offered_again_after_a_crash(session, runner, answered, permanent):
    permanent()
    session.correcting.journal.flush()
    assert session.correcting.journal.draft.models == [unsaved_folder() / "small corrected.safetensors"]


def test_muted_strokes_are_not_in_it(session, runner, answered, permanent):
    for value in (SYNAPSE, CYTOPLASM):
        session.instant.mute_class(value, True)
    runner.finish()
    assert not session.permanent.make()
    assert "All strokes are muted" in session.correcting.status
    session.instant.mute_class(SYNAPSE, False)
    assert session.correcting.status == ""
    runner.finish()
    permanent()
    assert session.model_name in ("small corrected", "small")  # whether one class teaches anything, it tells


def test_switched_off_it_is_made_of_the_strokes_all_the_same(session, runner, answered, permanent):
    session.instant.set_on(False)
    runner.finish()
    before = answered.data.copy()
    permanent()
    assert session.model_name == "small corrected"
    np.testing.assert_array_equal(answered.data, before)  # of the model before, and its record says so
    assert session.layers.record_of(answered).last.model == "small"


@pytest.mark.parametrize("case", ["no image", "nothing painted", "known"])
def test_a_sentence_says_what_is_missing(
    session, viewer, runner, section, segment, said, case, answered, permanent
):
    if case == "no image":
        viewer.layers.clear()
    elif case == "nothing painted":
        session.correcting.corrections.layer.data[:] = 0
    else:
        permanent()
    runner.finish()
    assert not session.permanent.make()
    sentence = {
        "no image": "There is no image",
        "nothing painted": "Nothing is corrected yet",
        "known": "knows these strokes already",
    }[case]
    assert sentence in said()
    assert sentence in session.correcting.status


def test_cancelled_the_model_stays(session, runner, answered):
    assert session.permanent.make()
    runner.step()
    session.jobs.cancel()
    runner.finish()
    assert session.model_name == "small"
    assert "stays as it was" in session.correcting.status


def test_the_image_deleted_meanwhile(session, viewer, runner, answered):
    assert session.permanent.make()
    runner.step()
    viewer.layers.remove(session.image)
    runner.finish()
    assert session.model_name == "small corrected"


@pytest.fixture(params=["rotated", "multiscale"])
def odd(request, viewer, session, segment, section, runner):
    """A layer that lies otherwise, segmented, with strokes that are answered; return the result."""
    if request.param == "rotated":
        viewer.add_image(section, name="cells", scale=(3, 3), translate=(7, 11), rotate=30)
    else:
        viewer.add_image([section, section[::2, ::2]], multiscale=True, name="cells")
    segment()
    session.correcting.paint_with(SYNAPSE)
    layer = session.correcting.corrections.layer
    dark = section[:40] < np.percentile(section, 20)
    for value, where in ((SYNAPSE, dark), (CYTOPLASM, ~dark)):
        layer.data_setitem(np.nonzero(where), value)
    runner.finish()
    return session.result


def test_on_a_rotated_or_multiscale_layer_too_the_model_says_what_was_seen(
    session, segment, odd, permanent, section
):
    plain = napari_feedback_seg.segment(section, load_model("small")).labels
    before, (_, learnt) = odd.data.copy(), session.instant.learnt
    taught = napari_feedback_seg.segment(section, load_model("small"), strokes=learnt).labels
    assert (taught != plain).any()
    permanent()
    assert session.model_name == "small corrected"
    np.testing.assert_array_equal(odd.data, before)
    again = napari_feedback_seg.segment(section, session.entry.path).labels
    assert np.array_equal(again, taught)
    assert (segment().data == before)[40:].mean() > 0.999  # with what was put right around the strokes
    assert (before != taught)[40:].any()


def test_on_such_a_layer_cancelling_leaves_everything_as_it_was(session, viewer, runner, odd):
    before, token = odd.data.copy(), session.instant.strokes().token
    painted = session.correcting.corrections.layer.data.copy()
    layers, record = list(viewer.layers), session.layers.record_of(odd)
    assert session.permanent.make()
    runner.step()
    session.jobs.cancel()
    runner.finish()
    assert (session.model_name, session.result) == ("small", odd)
    assert session.layers.record_of(odd) == record
    assert session.instant.strokes().token == token
    assert list(viewer.layers) == layers
    np.testing.assert_array_equal(odd.data, before)
    np.testing.assert_array_equal(session.correcting.corrections.layer.data, painted)
    assert not list(unsaved_folder().glob("*.safetensors"))


@pytest.fixture
def another_day(session, viewer, runner):
    """Save the model as 'mine', and open the image and its corrections anew; return the corrections."""

    def another_day():
        session.correcting.save_as("mine")
        image, painted = session.image.data, session.correcting.corrections.layer.data.copy()
        viewer.layers.clear()
        runner.finish()
        viewer.add_image(image, name="cells")
        viewer.dims.set_point(0, 0)
        session.correcting.paint_with(MEMBRANE)
        session.correcting.corrections.layer.data = painted
        session.correcting.corrections.look_at_all()
        runner.finish()
        return session.correcting.corrections.layer

    return another_day


class TestWhatStrokesPutRightAroundThemselves:
    """It is not in the network, and stays right on the image."""

    @pytest.fixture
    def answered(self, viewer, session, segment, section, runner, paint):
        """Two sections, segmented, with a stroke on the first that is answered; return the result."""
        viewer.add_image(np.stack([section, section[::-1], section[:, ::-1]]), name="cells")
        viewer.dims.set_point(0, 0)
        segment(Part((0, 1)))
        session.correcting.paint_with(CYTOPLASM)
        paint(session.correcting.corrections.layer, CYTOPLASM, 0, 40, 20, side=5)
        runner.finish()
        return session.result

    @pytest.fixture
    def around(self, session, answered):
        """Where that is, on the first section."""
        image, (_, learnt) = session.image.data[0], session.instant.learnt
        taught = napari_feedback_seg.segment(image, load_model("small"), strokes=learnt).labels
        around = (answered.data[0] != taught) & (session.correcting.corrections.labels(0) == 0)
        assert around.sum() > 100
        return around

    def test_segmented_again_it_is_there(self, session, runner, answered, permanent, segment, around):
        before = answered.data[0].copy()
        permanent()
        segment(Part((0,)))
        assert (session.result.data[0] == before)[around].all()
        session.correcting.save_as("mine")
        segment(Part((0, 1)))
        assert (session.result.data[0] == before)[around].all()

    def test_after_another_stroke_and_when_that_is_gone(
        self, session, viewer, runner, answered, permanent, paint, around
    ):
        before = answered.data[0].copy()
        permanent()
        layer = session.correcting.corrections.layer
        paint(layer, SYNAPSE, 0, 88, 2)
        runner.finish()
        assert session.layers.record_of(answered).last.strokes
        assert (answered.data[0] == before)[around].mean() > 0.9  # but for what the new one moves
        layer.undo()
        runner.finish()
        assert session.layers.record_of(answered).last.strokes == ""
        assert (answered.data[0] == before)[around].all()

    def test_why_tells_of_it(self, session, runner, answered, permanent, around):
        permanent()
        row, column = map(int, np.argwhere(around)[0])
        session.instant.ask(0, row, column)
        runner.finish()
        assert session.instant.why.settled
        assert "put right around a stroke" in why(session.instant.why)
        session.instant.ask(1, row, column)
        runner.finish()
        assert not session.instant.why.settled
        assert "No stroke changed" in why(session.instant.why)

    def test_it_goes_with_its_strokes(self, session, runner, answered, permanent, segment, around):
        before = answered.data[0].copy()
        permanent()
        session.correcting.corrections.layer.data[0] = 0
        session.correcting.corrections.look_at_all()
        runner.finish()
        segment(Part((0,)))
        alone = napari_feedback_seg.segment(session.image.data[0], session.entry.path).labels
        assert np.array_equal(session.result.data[0], alone)
        assert (alone != before)[around].all()

    def test_the_model_before_and_another_image_know_nothing_of_it(
        self, session, viewer, runner, answered, permanent, segment, around
    ):
        permanent()
        assert session.instant.strokes().settled
        session.image.data = session.image.data[:, ::-1].copy()  # the image is replaced
        runner.finish()
        assert not session.instant.strokes().settled
        session.correcting.undo()
        runner.finish()
        assert not session.instant.strokes().settled

    def test_a_fine_tuned_model_has_it_too(self, session, runner, answered, segment, around):
        before = answered.data[0].copy()
        little = FinetuneConfig(steps=1, batch=2, patch=32, checks=1, learning_rate=1e-9)
        session.correcting.set_config(little)  # so it is what the strokes taught, and no more
        assert session.correcting.fine_tune()
        runner.finish()
        session.correcting.keep()
        segment(Part((0,)))
        assert session.model_name != "small"
        assert session.instant.strokes().token == ""
        assert (session.result.data[0] == before)[around].all()
        alone = napari_feedback_seg.segment(session.image.data[0], session.entry.path).labels
        assert (alone != before)[around].any()

    def test_it_is_found_again_another_day(
        self, session, runner, answered, permanent, another_day, segment, paint, around
    ):
        before = answered.data[0].copy()
        permanent()
        layer = another_day()
        assert not session.instant.strokes().settled
        segment(Part((0, 1)))
        assert (session.result.data[0] == before)[around].all()
        paint(layer, SYNAPSE, 0, 88, 2)  # and kept from then on
        runner.finish()
        assert (session.result.data[0] == before)[around].mean() > 0.9

    def test_of_two_beside_each_other_one_goes_with_its_stroke(
        self, session, runner, answered, permanent, paint, around
    ):
        layer = session.correcting.corrections.layer
        paint(layer, CYTOPLASM, 0, 20, 70, side=5)
        runner.finish()
        permanent()
        settled = session.instant.strokes().settled[0]
        owners = settled.owners.toarray()
        first = int(owners[42, 22])
        assert owners[22, 72] not in (0, first)
        paint(layer, 0, 0, 40, 20, side=5)
        runner.finish()
        still = session.instant.strokes().settled_on(0) > 0
        assert still.sum() > 100
        assert np.array_equal(still, (owners != first) & (owners > 0) & (layer.data[0] == 0))

    def test_permanent_on_permanent_keeps_both(self, session, runner, answered, permanent, paint, around):
        permanent()
        kept = session.instant.strokes().settled_on(0)
        paint(session.correcting.corrections.layer, SYNAPSE, 0, 8, 8, side=5)
        runner.finish()
        permanent()
        assert session.model_name == "small corrected 2"
        now = session.instant.strokes().settled_on(0)
        painted = session.correcting.corrections.labels(0)
        assert ((now > 0) | (painted > 0))[kept > 0].all()
        assert (now == CYTOPLASM).sum() > 100


class TestWhatTheModelHasLearnt:
    """Its card tells."""

    def test_its_strokes_are_not_learnt_again_another_day(
        self, session, runner, answered, permanent, another_day, segment
    ):
        permanent()
        another_day()
        image = session.image.data
        segment(Part((0, 1)))
        alone = napari_feedback_seg.segment(image[1], load_model("mine")).labels
        assert np.array_equal(session.result.data[1], alone)
        assert session.instant.strokes().known
        assert not session.permanent.make()
        assert "knows these strokes already" in session.correcting.status
        session.model_name = "small"
        runner.finish()
        assert not session.instant.strokes().known

    def test_what_is_muted_meanwhile_was_learnt(self, session, runner, answered):
        assert session.permanent.make()
        runner.step()
        session.instant.mute_class(SYNAPSE, True)
        runner.finish()
        assert session.model_name == "small corrected"
        assert not session.instant.strokes().known
        session.instant.mute_class(SYNAPSE, False)
        runner.finish()
        assert session.instant.strokes().known

    def test_so_does_that_of_a_model_of_a_terminal(self, session, runner, answered, tmp_path):
        labels = session.correcting.corrections.layer.data
        learnt = adapt(load_model("small"), [(session.image.data, labels)])
        sections = corrected_sections(session.image.data, labels, load_model("small").card.classes)
        model = corrected_model(load_model("small"), learnt, sections)
        assert model.card.recipe["painted"] == session.instant.strokes().painted

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.plugin.session.drafts import unsaved_folder
from napari_feedback_seg.plugin.session.jobs import State
from napari_feedback_seg.plugin.session.regions import Part


@pytest.fixture
def correcting(session):
    """What corrects, in as few steps as can be: whether they help is tested where they are taken."""
    session.correcting.set_config(FinetuneConfig(steps=2, batch=2, patch=32, checks=1))
    return session.correcting


@pytest.fixture
def corrected(correcting):
    """Paint strokes all over a section of the image."""

    def corrected(z=0):
        correcting.paint_with(1)
        layer = correcting.corrections.layer
        plane = layer.data[z] if layer.ndim == 3 else layer.data
        for number, row in enumerate(range(8, 90, 22)):
            for column in range(8, 70, 22):
                plane[row : row + 5, column : column + 5] = (number + column) % 4 + 1
        correcting.corrections.look_at_all()
        return layer

    return corrected


@pytest.fixture
def single(viewer, session, runner, corrected, section):
    """An image, segmented and corrected."""
    image = viewer.add_image(section, name="cells")
    session.segmenting.segment(Part((0,)))
    runner.finish()
    corrected()
    return image


@pytest.fixture
def stack(viewer, session, runner, corrected, section):
    """The result of three sections, of which the middle one is segmented and corrected."""
    viewer.add_image(np.stack([section[::-1], section, section[:, ::-1]]), name="cells")
    viewer.dims.set_point(0, 1)
    session.segmenting.segment(Part((1,)))
    runner.finish()
    corrected(1)
    return session.result


@pytest.fixture
def tuned(correcting, runner):
    """Fine-tune, and wait for all that follows."""

    def tuned():
        assert correcting.fine_tune()
        runner.finish()

    return tuned


class TestWhatIsMissing:
    @pytest.mark.parametrize(
        ("strokes", "sentence"),
        [
            ([], "Nothing is corrected yet"),
            ([(1, 20, 1)], "too little to learn from"),
            ([(2, 20, 6), (77, 40, 6)], "no class are painted (77)"),
        ],
    )
    def test_a_sentence_says_so(self, viewer, session, section, stroke, said, strokes, sentence):
        viewer.add_image(section)
        for value, place, side in strokes:
            stroke(value, place, place, side=side)
        assert not session.correcting.fine_tune()
        assert sentence in said()
        assert sentence in session.correcting.status
        stroke(1, 60, 60)
        assert session.correcting.status == ""

    def test_without_an_image(self, session, said):
        assert not session.correcting.fine_tune()
        assert "There is no image" in said()

    def test_while_something_else_runs(self, session, runner, correcting, single, said):
        session.segmenting.segment(Part((0,)))
        assert not correcting.fine_tune()
        assert "still running" in said()
        assert not correcting.is_tuning
        runner.finish()

    def test_a_section_without_contents(self, viewer, session, runner, correcting, stroke, said):
        viewer.add_image(np.full((96, 80), np.nan, np.float32), name="empty")
        stroke(1, 20, 20)
        stroke(2, 60, 60)
        assert correcting.fine_tune()
        runner.finish()
        assert "Section 0 has corrections, but" in said()
        assert "Section 0 has corrections, but" in correcting.status


class TestFinetune:
    def test_from_a_result_to_a_saved_model(self, session, runner, correcting, single, tuned, said):
        before = session.result.data.copy()
        tuned()
        proposal = correcting.proposal
        assert (proposal.parent, proposal.tuned) == ("small", "small fine-tuned")
        assert proposal.sentence.startswith("Keep" if proposal.keep else "Go back")
        assert any(line.startswith("membrane:") for line in proposal.details)
        assert proposal.sections == (0,)
        assert correcting.losses.training
        assert correcting.losses.held_out
        assert not correcting.journal.draft.checkpoint.exists()
        assert session.model_name == "small fine-tuned"
        after = session.result.data.copy()
        assert (after != before).any()
        # before and after
        correcting.show_before(True)
        np.testing.assert_array_equal(session.result.data, before)
        correcting.show_before(False)
        np.testing.assert_array_equal(session.result.data, after)
        correcting.show_before(True)
        session.last_run.undo()  # the tab Segment has an undo of its own
        assert not correcting.shows_before
        np.testing.assert_array_equal(session.result.data, before)
        session.last_run.undo()
        np.testing.assert_array_equal(session.result.data, after)
        # back, and forth
        correcting.go_back()
        assert session.last_run.writer is None
        assert session.model_name == "small"
        np.testing.assert_array_equal(session.result.data, before)
        assert (correcting.proposal, session.layers.record_of(session.result).last.model) == (None, "small")
        assert "Redo brings 'small fine-tuned' back" in correcting.status
        correcting.redo()
        np.testing.assert_array_equal(session.result.data, after)
        assert session.layers.record_of(session.result).last.model == "small fine-tuned"
        assert correcting.status == ""  # what was said of the model before is no longer about this one
        # it is among the models, whatever reads the library
        session.refresh_models()
        assert session.model_name == "small fine-tuned"
        # saved, and in the library
        correcting.save_as("")
        assert "Give the model a name" in said()
        correcting.save_as("mine")
        assert session.model_name == "mine"
        card = load_model("mine").card
        assert (card.name, card.parent) == ("mine", load_model("small").digest)
        assert card.data[-1].name == "corrections of cells"
        assert not list(unsaved_folder().glob("*.safetensors"))
        assert not correcting.models.unsaved
        correcting.undo()
        assert session.model_name == "small"
        np.testing.assert_array_equal(session.result.data, before)

    def test_before_and_after_are_shown_here_and_on_another_section(
        self, session, runner, correcting, stack, tuned
    ):
        tuned()
        assert correcting.proposal.sections == (0, 1)
        after = stack.data.copy()
        assert after[0].any()
        assert not after[2].any()
        assert correcting.shown_section == 1
        correcting.go_to_section(0)
        assert correcting.shown_section == 0
        correcting.show_before(True)
        assert (stack.data != after).any(axis=(1, 2)).tolist() == [True, True, False]
        assert stack.data[0].any()  # the model before was asked, too
        correcting.keep()
        np.testing.assert_array_equal(stack.data, after)
        assert correcting.proposal is None
        assert "'small fine-tuned' is in use" in correcting.status
        # the rest is only that
        assert correcting.rest == (2,)
        correcting.segment_rest()
        assert session.jobs.title == "Segmenting the rest"
        runner.finish()
        np.testing.assert_array_equal(stack.data[:2], after[:2])
        assert stack.data[2].any()
        assert correcting.rest == ()
        correcting.undo()
        assert not stack.data[2].any()
        assert {run.model for run in session.layers.record_of(stack).runs} == {"small"}
        correcting.redo()
        assert stack.data[2].any()

    def test_it_is_busy_and_can_be_cancelled_from_the_beginning_to_the_end(
        self, session, runner, correcting, stack
    ):
        ended = []
        session.jobs.ended.connect(lambda: ended.append(session.jobs.title))
        correcting.fine_tune()
        assert correcting.is_tuning
        while session.model_name == "small":
            assert session.jobs.busy
            runner.step()
        assert session.jobs.busy
        assert not ended
        assert session.segmenting.state is not State.IDLE
        session.jobs.cancel()
        runner.finish()
        assert not session.jobs.busy
        assert correcting.proposal is not None

    def test_stopped_it_goes_back(self, session, runner, correcting, single):
        correcting.fine_tune()
        said = set()
        while not correcting.losses.training:
            runner.step()
            said.add(correcting.status)
        assert not any("of 0" in status for status in said)
        assert ": step" in correcting.status
        correcting.stop()
        assert correcting.status == "Stopping..."
        runner.finish()
        assert "stays as it was" in correcting.status
        assert (session.model_name, correcting.is_tuning) == ("small", False)
        assert not correcting.journal.draft.checkpoint.exists()

    def test_or_keeps_the_best(self, session, runner, correcting, single):
        correcting.set_config(replace(correcting.config, steps=8, checks=4))
        correcting.fine_tune()
        while not correcting.losses.held_out:
            runner.step()
        assert correcting.journal.draft.checkpoint.exists()
        correcting.stop(keep_best=True)
        runner.finish()
        assert session.model_name == "small fine-tuned"
        assert correcting.proposal is not None

    def test_stopped_before_anything_was_learnt_there_is_no_best(self, session, runner, correcting, single):
        correcting.fine_tune()
        runner.step()
        correcting.stop(keep_best=True)
        assert correcting.status == "Stopping..."
        runner.finish()
        assert "before anything was learnt" in correcting.status
        assert session.model_name == "small"

    def test_what_learnt_and_was_not_saved_comes_back_with_the_corrections(
        self, session, correcting, single, tuned
    ):
        tuned()
        draft = correcting.journal.draft
        correcting.journal.flush()
        assert draft.models == [unsaved_folder() / "small fine-tuned.safetensors"]
        correcting.save_as("mine")
        correcting.journal.flush()
        assert draft.noted_models == []

    def test_models_of_an_earlier_time_are_in_nobodys_way(self, session, correcting, single, tuned):
        earlier = unsaved_folder() / "small fine-tuned.safetensors"
        earlier.parent.mkdir(exist_ok=True)
        earlier.write_bytes(b"of an earlier time")
        tuned()
        assert session.model_name == "small fine-tuned 2"
        assert earlier.read_bytes() == b"of an earlier time"
        correcting.undo()
        tuned()
        assert (correcting.models.earlier, correcting.models.current) == ("small", "small fine-tuned 3")
        session.model_name = "small fine-tuned 2"  # of another branch
        correcting.save_as("the first")
        assert session.model_name == "the first"

    def test_a_class_that_was_added_is_learnt(self, viewer, session, runner, correcting, single, tuned):
        result = session.result
        correcting.add_class("nucleus", "#56b4e9")
        layer = correcting.corrections.layer
        for row in range(10, 90, 25):
            layer.data[row : row + 8, 60:70] = 5
        tuned()
        assert "nucleus" in [each.name for each in session.card.classes]
        assert correcting.corrections.added == []
        assert session.result == result
        session.model_name = "small"
        session.segmenting.segment(Part((0,)))
        runner.finish()
        assert [each for each in viewer.layers if "feedback-seg" in each.metadata] == [result]


class TestAnotherModel:
    def test_sections_that_only_the_later_one_has_segmented_are_said_to_be_empty(
        self, session, runner, correcting, stack, tuned
    ):
        tuned()
        correcting.keep()
        correcting.segment_rest()
        runner.finish()
        assert stack.data.any(axis=(1, 2)).all()
        correcting.undo()
        empty = np.flatnonzero(~stack.data.any(axis=(1, 2))).tolist()
        assert empty == [2]  # section 0 was segmented for the comparison
        sentence = "'small' has not segmented section 2: it is empty until you segment it."
        assert correcting.status == sentence
        correcting.redo()
        assert correcting.status == ""
        correcting.undo()
        correcting.segment_rest()
        assert correcting.status == ""
        runner.finish()

    def test_what_is_said_of_a_fine_tune_goes_with_its_models(
        self, session, correcting, single, tuned, small_model, models_folder
    ):
        save_model(small_model, models_folder / "other.safetensors")
        session.refresh_models()
        tuned()
        correcting.keep()
        assert "is in use" in correcting.status
        correcting.undo()
        correcting.redo()
        correcting.save_as("mine")
        assert correcting.losses.training
        correcting.undo()
        assert correcting.losses.training
        correcting.say("Stopped: the model stays as it was.")
        session.model_name = "other"
        assert correcting.status == ""
        assert not correcting.losses.training


class TestMeanwhile:
    def test_the_image_is_deleted(self, viewer, session, runner, correcting, single, said):
        correcting.fine_tune()
        runner.step()
        viewer.layers.remove(single)
        runner.finish()
        assert "image is no longer there" in said()
        assert session.model_name == "small fine-tuned"

    def test_the_corrections_are_deleted(self, viewer, session, runner, correcting, single):
        correcting.fine_tune()
        runner.step()
        viewer.layers.remove(correcting.corrections.layer)
        runner.finish()
        assert session.model_name == "small fine-tuned"
        assert correcting.corrections.counts == {}

    def test_another_image_and_model_are_chosen(
        self, viewer, session, runner, correcting, single, section, said
    ):
        draft = correcting.journal.draft
        other = viewer.add_image(section, name="other")
        session.image = single
        correcting.fine_tune()
        session.image, session.model_name = other, "unet-w16"
        runner.finish()
        correcting.journal.flush()
        assert session.image == other
        assert "go to 'cells' and segment" in said()
        assert draft.models[0].name == "small fine-tuned.safetensors"
        assert (correcting.models.earlier, correcting.models.current) == ("small", "small fine-tuned")

    def test_something_is_painted_while_all_is_segmented(self, session, runner, correcting, stack, paint):
        session.segmenting.segment(Part((0, 1, 2)))
        runner.step(2)
        value = 3
        paint(stack, value, 2, 20, 20)
        runner.finish()
        assert correcting.corrections.layer.data[2, 20, 20] == value
        labels = session.layers.plane(stack, 2)
        assert session.result == stack
        assert labels.all()
        assert correcting.corrections.of_result(stack)[2][20, 20] == value


class TestBefore:
    def test_it_is_gone_when_another_image_is_shown(
        self, viewer, session, correcting, single, tuned, section
    ):
        tuned()
        result, after = session.result, session.result.data.copy()
        correcting.show_before(True)
        assert (result.data != after).any()
        session.image = viewer.add_image(section, name="another")
        np.testing.assert_array_equal(result.data, after)
        assert not correcting.shows_before
        session.image = single
        correcting.show_before(True)
        correcting.forget()  # as the dock closes
        np.testing.assert_array_equal(result.data, after)

    def test_not_while_something_runs(self, session, runner, correcting, single, tuned):
        tuned()
        after = session.result.data.copy()
        session.segmenting.segment(Part((0,)))
        correcting.show_before(True)
        assert not correcting.shows_before
        runner.finish()
        assert correcting.can_show_before
        np.testing.assert_array_equal(session.result.data != 0, after != 0)

    def test_a_model_that_is_chosen_by_hand_ends_the_question(self, session, correcting, single, tuned):
        tuned()
        session.model_name = "unet-w16"
        assert correcting.proposal is None
        assert correcting.models.earlier is None
        session.model_name = "small fine-tuned"
        assert correcting.models.earlier == "small"


def test_segment_the_rest_goes_by_what_is_done_with_the_model_in_use(session, runner, correcting, stack):
    record = session.layers.record_of(stack)
    assert correcting.rest == (0, 2)
    partly = replace(record.last, sections=(0,), region=((0, 50), (0, 80)))
    session.layers.write_record(stack, replace(record, runs=(*record.runs, partly)))
    assert correcting.rest == (0, 2)  # a part of a section is not all of it
    session.model_name = "unet-w16"
    assert correcting.rest == (0, 1, 2)


def test_a_segmentation_after_a_fine_tune_is_as_the_one_before(session, runner, correcting, stack):
    session.segmenting.set(overlap=0.5)
    session.segmenting.segment(Part((1,)))
    runner.finish()
    session.segmenting.set(overlap=0.1)
    correcting.segment_rest()
    runner.finish()
    runs = session.layers.record_of(stack).runs
    assert {run.settings.overlap for run in runs[1:]} == {0.5}
    assert json.dumps(session.layers.record_of(stack).to_json())

"""Answers to strokes at once: what the session does, without a window."""

from __future__ import annotations

import contextlib
import json
import shlex

import numpy as np
import pytest
import tifffile
from napari.layers import Layer
from typer.testing import CliRunner

import napari_feedback_seg
from napari_feedback_seg.cli import app
from napari_feedback_seg.correction.adaptation import load_adaptation
from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.correction.seen import Seen
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.models.model_file import load_model_file, save_model
from napari_feedback_seg.networks.residual import AdaptedNetwork
from napari_feedback_seg.plugin.contributions.reader import read_result
from napari_feedback_seg.plugin.layers.changes import CHANGES_KEY
from napari_feedback_seg.plugin.session.jobs import State
from napari_feedback_seg.plugin.session.regions import Part
from napari_feedback_seg.plugin.session.segment.exporting import export_result
from napari_feedback_seg.segmentation import predict

MEMBRANE, SYNAPSE, CYTOPLASM = 1, 3, 4


@pytest.fixture
def instant(session):
    return session.instant


@pytest.fixture
def single(viewer, session, segment, section):
    """An image, segmented."""
    viewer.add_image(section, name="cells")
    segment(Part((0,)))
    return session.image


@pytest.fixture
def stack(viewer, session, segment, section):
    """Four sections, of which the first three are segmented, and the second is shown."""
    viewer.add_image(np.stack([section, section[::-1], section[:, ::-1], section]), name="cells")
    viewer.dims.set_point(0, 1)
    segment(Part((0, 1, 2)))
    return session.image


@pytest.fixture
def strokes(session, runner, section):
    """Paint what is dark as synapse and what is bright as cytoplasm, in the upper part of a section.

    Return the layer.
    """

    def strokes(*z):
        session.correcting.paint_with(SYNAPSE)
        layer = session.correcting.corrections.layer
        image = np.asarray(session.image.data)[z] if z else session.image.data
        dark = image[:40] < np.percentile(section, 20)
        for value, where in ((SYNAPSE, dark), (CYTOPLASM, ~dark)):
            rows, columns = np.nonzero(where)
            layer.data_setitem((*(np.full(rows.size, each) for each in z), rows, columns), value)
        runner.finish()
        return layer

    return strokes


def plain(image):
    return predict.segment(image, load_model("small")).labels


class TestAnswers:
    def test_a_stroke_mends_what_is_in_view_without_a_button(self, session, single, strokes):
        before = session.result.data.copy()
        painted = strokes().data
        after = session.result.data
        assert (after != before)[painted == 0].sum() > 100
        composed = np.asarray(session.correcting.corrections.of_result(session.result))
        assert np.array_equal(composed[painted > 0], painted[painted > 0])
        assert np.array_equal(composed[painted == 0], after[painted == 0])
        assert session.instant.shown.changed_pixels[0]
        record = session.layers.record_of(session.result)
        assert [bool(run.strokes) for run in record.runs] == [False, True]
        assert not session.jobs.busy

    def test_so_it_does_on_all_sections_that_are_segmented(self, session, stack, strokes):
        before = session.result.data.copy()
        strokes(1)
        moved = (session.result.data != before).any(axis=(1, 2)).tolist()
        assert moved == [True, True, True, False]  # the last one was not segmented
        assert sorted(session.instant.shown.changed_pixels) == [0, 1, 2]

    def test_the_shown_section_comes_first_and_then_those_next_to_it(
        self, session, runner, stack, paint, viewer
    ):
        viewer.dims.set_point(0, 2)
        runner.finish()
        session.correcting.paint_with(SYNAPSE)
        layer = session.correcting.corrections.layer
        paint(layer, SYNAPSE, 2, 8, 8)
        order, before = [], session.result.data.copy()
        while runner.running or runner.waiting:
            while runner.waiting:
                runner.waiting.pop(0)()
            if runner.running:
                runner.step()
            moved = np.flatnonzero((session.result.data != before).any(axis=(1, 2)))
            order += [z for z in moved.tolist() if z not in order]
        assert order == [2, 1, 0]

    def test_what_it_changed_is_forgotten_with_its_result(self, session, viewer, single, strokes):
        strokes()
        assert session.instant.shown.changed_pixels
        told = []
        session.changed.connect(told.append)
        viewer.layers.remove(session.result)
        assert not session.instant.shown.changed_pixels
        assert "instant" in told

    def test_its_undo_gives_back_exactly_what_was_there(self, session, runner, single, stroke):
        before = session.result.data.copy()
        layer = stroke(SYNAPSE, 20, 20, side=12)
        assert (session.result.data != before).any()
        layer.undo()
        runner.finish()
        assert not layer.data.any()
        np.testing.assert_array_equal(session.result.data, before)
        assert session.instant.shown.changed_pixels == {}
        record = session.layers.record_of(session.result)
        assert record.speaks_of(0, ((0, 96), (0, 80)), record.last.model_file, "")

    def test_and_so_does_the_eraser(self, session, single, stroke):
        before = session.result.data.copy()
        stroke(SYNAPSE, 20, 20, side=12)
        stroke(0, 20, 20, side=12)
        np.testing.assert_array_equal(session.result.data, before)

    def test_a_newer_stroke_replaces_the_answer_to_the_older_one(self, session, runner, single, paint):
        session.correcting.paint_with(SYNAPSE)
        layer = session.correcting.corrections.layer
        paint(layer, SYNAPSE, 8, 8)
        while session.instant.state is State.IDLE:
            runner.waiting.pop(0)()
        runner.step(2)
        paint(layer, MEMBRANE, 60, 60)
        while runner.waiting:
            runner.waiting.pop(0)()
        assert session.instant.state is State.CANCELLING
        runner.finish()
        assert session.instant.state is State.IDLE
        record = session.layers.record_of(session.result)
        assert record.last.strokes == session.instant.strokes().token

    def test_an_image_that_is_not_segmented_stays_so(self, session, viewer, section, strokes, runner):
        viewer.add_image(section)
        strokes()
        assert session.result is None
        assert not runner.started

    def test_a_result_that_is_only_looked_at_stays_as_it_is(self, session, viewer, runner, stack):
        before = session.result.data.copy()
        count = len(runner.started)
        viewer.dims.set_point(0, 0)
        session.instant.look()
        runner.finish()
        assert len(runner.started) == count
        np.testing.assert_array_equal(session.result.data, before)

    def test_many_strokes_leave_two_runs(self, session, single, stroke):
        for column in range(0, 60, 10):
            stroke(SYNAPSE, 20, column)
        assert len(session.layers.record_of(session.result).runs) == 2

    def test_a_new_class_is_learnt_from_strokes_alone(self, session, runner, single, stroke):
        session.correcting.add_class("nucleus", "#56b4e9")
        stroke(5, 20, 20, side=20)
        stroke(MEMBRANE, 70, 20, side=8)
        assert (session.result.data == 5).sum() > 400  # more than what is painted
        names = [each.name for each in session.layers.classes_of(session.result)]
        assert "nucleus" in names

    def test_the_outline_shows_what_changed_and_goes(self, session, viewer, single, strokes):
        strokes()
        (layer,) = [each for each in viewer.layers if CHANGES_KEY in each.metadata]
        assert layer.data.any()
        assert layer not in session.images
        session.instant.end_flash()
        assert not layer.visible
        assert session.instant.shown.outlines > 0

    def test_the_outline_stays_on_what_is_in_view(self, session, viewer, single, strokes):
        single.corner_pixels = np.array([[0, 0], [60, 70]])
        rows, columns = session.layers.visible_region(single)
        strokes()
        (layer,) = [each for each in viewer.layers if CHANGES_KEY in each.metadata]
        assert layer.data.shape == (rows.stop - rows.start, columns.stop - columns.start)
        assert layer.data.any()


class TestGivesWay:
    def test_to_a_segmentation_which_takes_the_strokes_too(self, session, runner, stack, strokes, segment):
        strokes(1)
        answered = session.result.data.copy()
        segment(Part((0, 1, 2, 3)))
        same = (session.result.data == answered)[:3].mean()
        assert same > 0.999  # the maps are kept in 16 bits
        assert session.result.data[3].any()
        record = session.layers.record_of(session.result)
        assert record.last.strokes == session.instant.strokes().token

    def test_in_the_middle_and_goes_on_afterwards(self, session, runner, stack, paint):
        session.correcting.paint_with(SYNAPSE)
        paint(session.correcting.corrections.layer, SYNAPSE, 1, 8, 8, side=10)
        while session.instant.state is State.IDLE:
            runner.waiting.pop(0)()
        runner.step()
        assert session.segmenting.segment(Part((3,)))
        assert session.instant.state is State.CANCELLING
        runner.finish()
        token = session.instant.strokes().token
        record = session.layers.record_of(session.result)
        file = record.last.model_file
        assert all(record.speaks_of(z, ((0, 96), (0, 80)), file, token) for z in range(4))

    def test_a_fine_tune_begins_with_the_answer_and_then_nothing_else_is_answered(
        self, session, runner, single, strokes
    ):
        strokes()
        before = session.result.data.copy()
        session.correcting.set_config(FinetuneConfig(steps=2, batch=2, patch=32, checks=1))
        assert session.correcting.fine_tune()
        runner.finish()
        last = session.layers.record_of(session.result).last
        assert (last.model, last.strokes) == ("small fine-tuned", "")
        tuned = load_model_file(session.entry.path).network
        assert isinstance(tuned, AdaptedNetwork)  # what the strokes taught is in it
        session.correcting.show_before(True)
        np.testing.assert_array_equal(session.result.data, before)  # with the strokes, too
        session.correcting.show_before(False)
        session.correcting.keep()
        runner.finish()
        assert session.instant.strokes().token == ""
        # another stroke is answered with the new model
        session.correcting.save_as("mine")
        painted = session.correcting.corrections.layer
        painted.data_setitem((np.arange(40, 46), np.arange(40, 46)), SYNAPSE)
        runner.finish()
        last = session.layers.record_of(session.result).last
        assert (last.model, bool(last.strokes)) == ("mine", True)


class TestChoices:
    def test_switched_off_it_shows_what_the_model_says(self, session, runner, single, strokes, stroke):
        before = session.result.data.copy()
        strokes()
        session.instant.set_on(False)
        runner.finish()
        np.testing.assert_array_equal(session.result.data, before)
        stroke(SYNAPSE, 40, 40)
        np.testing.assert_array_equal(session.result.data, before)
        session.instant.set_on(True)
        runner.finish()
        assert (session.result.data != before).any()

    def test_before_and_after(self, session, runner, stack, strokes):
        before = session.result.data.copy()
        assert not session.instant.can_show_before
        strokes(1)
        after = session.result.data.copy()
        session.instant.show_before(True)
        runner.finish()
        np.testing.assert_array_equal(session.result.data, before)
        assert session.layers.record_of(session.result).last.strokes == ""
        session.instant.show_before(False)
        runner.finish()
        np.testing.assert_array_equal(session.result.data, after)
        assert session.layers.record_of(session.result).last.strokes

    def test_it_is_not_known_on_sections_that_were_segmented_with_the_strokes(
        self, session, runner, stack, strokes, segment
    ):
        strokes(1)
        segment(Part((3,)))
        assert session.instant.shown.unknown == [3]
        assert session.instant.can_show_before
        session.instant.show_before(True)
        assert session.instant.shown.unknown == [3]
        record = session.layers.record_of(session.result)
        assert {z for run in record.runs if run.strokes for z in run.sections} == {3}
        session.instant.show_before(False)
        segment(Part((0, 1, 2, 3)))
        assert session.instant.shown.unknown == [0, 1, 2, 3]
        assert not session.instant.can_show_before

    def test_without_strokes_there_is_nothing_to_compare(self, session, runner, single, stroke):
        stroke(SYNAPSE, 20, 20, side=12)
        assert session.instant.can_show_before
        stroke(0, 20, 20, side=12)
        assert not session.instant.can_show_before
        assert session.instant.shown.unknown == []

    def test_a_stroke_while_the_before_is_shown_is_answered(self, session, runner, single, strokes, stroke):
        strokes()
        session.instant.show_before(True)
        before = session.result.data.copy()
        stroke(SYNAPSE, 40, 40)
        assert not session.instant.shows_before
        assert (session.result.data != before).any()

    def test_a_muted_class_teaches_nothing_and_stays_right(self, session, runner, single, strokes):
        before = session.result.data.copy()
        painted = strokes().data
        with_all = session.result.data.copy()
        for value in (SYNAPSE, CYTOPLASM):
            session.instant.mute_class(value, True)
        runner.finish()
        np.testing.assert_array_equal(session.result.data, before)  # what is painted lies on top
        composed = np.asarray(session.correcting.corrections.of_result(session.result))
        assert np.array_equal(composed[painted > 0], painted[painted > 0])
        for value in (SYNAPSE, CYTOPLASM):
            session.instant.mute_class(value, False)
        runner.finish()
        assert (session.result.data == with_all).mean() > 0.98

    def test_why_names_strokes_and_a_muted_one_moves_nothing(self, session, runner, single, strokes):
        painted = strokes().data
        session.instant.ask(0, 10, 10)
        runner.finish()
        why = session.instant.why
        assert (why.section, why.row, why.column) == (0, 10, 10)
        first = why.reasons[0].stroke
        assert first.value == painted[10, 10]
        assert [10, 10] in first.pixels.tolist()
        assert why.reasons[0].moved != 0
        assert len(why.reasons) > 4
        session.instant.mute(first, True)
        session.instant.ask(0, 10, 10)
        runner.finish()
        again = session.instant.why.reasons
        assert again[0].stroke.key == first.key  # it lies there
        assert again[0].moved == 0
        assert [each.value for each in session.instant.teaching.muted] == [first.value]
        assert session.instant.teaching.is_muted(first)
        session.instant.mute(first, False)
        assert not session.instant.teaching.muted

    def test_the_answer_to_why_follows_the_strokes(self, session, runner, single, strokes, paint):
        layer = strokes()
        session.instant.ask(0, 60, 60)
        runner.finish()
        first = session.instant.why.speak_for[0].stroke
        session.instant.mute(first, True)
        runner.finish()
        assert first.key not in {each.stroke.key for each in session.instant.why.reasons}
        session.instant.mute(first, False)
        runner.finish()
        assert first.key in {each.stroke.key for each in session.instant.why.reasons}
        session.instant.mute_class(first.value, True)
        runner.finish()
        assert first.value not in {each.stroke.value for each in session.instant.why.reasons}
        paint(layer, MEMBRANE, 58, 58)
        runner.finish()
        assert session.instant.why.reasons[0].stroke.value == MEMBRANE

    def test_strokes_that_speak_for_the_class_are_those_above_zero_and_the_one_that_lies_there(
        self, session, runner, single, strokes
    ):
        strokes()
        session.instant.ask(0, 10, 10)
        runner.finish()
        why = session.instant.why
        session.instant.mute(why.reasons[0].stroke, True)
        runner.finish()
        why = session.instant.why
        assert min(each.moved for each in why.reasons) < 0
        on_it, *others = why.speak_for
        assert (on_it.moved, on_it.stroke.lies_on(0, 10, 10)) == (0, True)
        assert others
        assert all(round(each.moved, 1) > 0 for each in others)

    def test_a_muted_stroke_stays_muted_as_it_grows_and_when_the_image_is_replaced(
        self, session, runner, single, strokes, section
    ):
        strokes()
        session.instant.ask(0, 10, 10)
        runner.finish()
        first = session.instant.why.reasons[0].stroke
        session.instant.mute(first, True)
        rows, columns = first.pixels.T
        layer = session.correcting.corrections.layer
        layer.data_setitem((rows, np.minimum(columns + 1, 79)), first.value)
        session.image.data = section[:, ::-1].copy()
        runner.finish()
        session.instant.ask(0, *first.centre)
        runner.finish()
        grown = session.instant.why.reasons[0]
        assert len(grown.stroke.pixels) > len(first.pixels)
        assert (grown.moved, session.instant.teaching.is_muted(grown.stroke)) == (0, True)

    def test_it_goes_to_a_stroke(self, session, runner, viewer, stack, strokes):
        strokes(1)
        session.instant.ask(1, 10, 10)
        runner.finish()
        viewer.dims.set_point(0, 0)
        session.instant.go_to(session.instant.why.reasons[0].stroke)
        assert session.layers.displayed_section(session.image) == 1

    def test_a_click_asks_while_it_is_switched_on(self, session, runner, viewer, single, strokes):
        strokes()
        session.attention.set_picking(True)
        session.instant.set_picking(True)
        assert not session.attention.picking
        session.layers.changes.pointed.emit((10.2, 9.8), False)
        runner.finish()
        assert (session.instant.why.row, session.instant.why.column) == (10, 10)
        session.correcting.paint_with(SYNAPSE)  # a tool in hand
        assert not session.instant.picking


def test_segmented_again_it_is_the_same_around_the_strokes_too(
    session, runner, single, strokes, segment, section
):
    strokes()
    before, (_, learnt) = session.result.data.copy(), session.instant.learnt
    taught = napari_feedback_seg.segment(section, load_model("small"), strokes=learnt).labels
    assert (before != taught)[40:].any()  # what was put right
    segment(Part((0,)))
    assert (session.result.data == before)[40:].mean() > 0.999


def test_cancelled_while_it_is_put_right_the_result_stays(
    session, runner, single, strokes, segment, monkeypatch
):
    strokes()
    before = session.result.data.copy()
    found = []

    def stop(*_):  # in the middle of what a run puts right
        found.append(session.jobs.busy)
        session.jobs.cancel()
        return None

    monkeypatch.setattr(Seen, "look_at", stop)
    assert session.segmenting.segment(Part((0,)))
    runner.finish()
    assert found
    assert found[0]
    assert not session.jobs.busy
    np.testing.assert_array_equal(session.result.data, before)


class TestExport:
    def test_it_carries_what_was_learnt_and_the_command_that_repeats_it(
        self, session, runner, single, strokes, tmp_path
    ):
        strokes()
        assert export_result(session, tmp_path)
        runner.finish()
        (record,) = tmp_path.glob("*/*-run.json")
        run = json.loads(record.read_text())
        command = run["commands"][0]
        assert "--strokes cells.strokes --strokes cells.tif cells-corrections.tif" in command
        tifffile.imwrite(record.with_name("cells.tif"), single.data)
        with contextlib.chdir(record.parent):
            words = shlex.split(command)[1:]
            words[words.index("-o") + 1] = "again.tif"
            assert CliRunner().invoke(app, words).exit_code == 0
        again = tifffile.imread(record.with_name("again.tif"))
        assert (again == tifffile.imread(record.with_name("cells-labels.tif"))).mean() > 0.999
        model = load_model("small")
        learnt = load_adaptation(record.with_name("cells.strokes"))
        alone = napari_feedback_seg.segment(single.data, model, strokes=learnt).labels
        assert (again != alone).mean() > 0.01  # more is right than what is painted and taught

    def test_what_is_muted_comes_back(self, session, viewer, runner, single, strokes, tmp_path):
        strokes()
        session.instant.ask(0, 10, 10)
        runner.finish()
        first = session.instant.why.reasons[0].stroke
        session.instant.mute(first, True)
        session.instant.mute_class(CYTOPLASM, True)
        runner.finish()
        answer, token = session.result.data.copy(), session.instant.strokes().token
        assert export_result(session, tmp_path)
        runner.finish()
        image = session.image.data
        viewer.layers.clear()
        runner.finish()
        viewer.add_image(image, name="cells")
        (record,) = tmp_path.glob("*/*-run.json")
        for data, attributes, kind in read_result(str(record)):
            viewer.add_layer(Layer.create(data, attributes, kind))
        runner.finish()
        assert session.instant.teaching.is_muted(first)
        assert session.instant.teaching.muted_classes == (CYTOPLASM,)
        assert session.instant.strokes().token == token
        session.instant.set_on(False)
        runner.finish()
        session.instant.set_on(True)
        runner.finish()
        assert (session.result.data == answer)[40:].mean() > 0.98  # a fit begins at the one before

    def test_after_the_dock_was_closed_the_command_learns_from_the_corrections(
        self, session, runner, single, strokes, tmp_path
    ):
        strokes()
        session.rest()
        assert export_result(session, tmp_path)
        runner.finish()
        (record,) = tmp_path.glob("*/*-run.json")
        command = json.loads(record.read_text())["commands"][0]
        assert "--strokes cells.tif cells-corrections.tif" in command
        assert not list(tmp_path.glob("*/*.strokes"))


class TestBadInput:
    def test_nothing_is_answered_on_an_image_without_contents(
        self, session, viewer, runner, add_result, stroke, said
    ):
        viewer.add_image(np.full((96, 80), np.nan, np.float32), name="empty")
        add_result(np.ones((96, 80), np.uint8))
        session.layers.write_record(session.result, _of_model(session))
        stroke(SYNAPSE, 20, 20)
        assert session.instant.state is State.IDLE
        assert not said()

    def test_a_model_that_is_gone_is_said_once(self, session, runner, single, stroke, models_folder, said):
        (models_folder / "small.safetensors").unlink()
        stroke(SYNAPSE, 20, 20)
        session.instant.look()
        runner.finish()
        assert said().count("is gone") == 1
        assert session.instant.state is State.IDLE

    def test_the_model_switched_in_the_middle(
        self, session, runner, single, paint, models_folder, small_model
    ):
        save_model(small_model, models_folder / "other.safetensors")
        session.refresh_models()
        before = session.result.data.copy()
        session.correcting.paint_with(SYNAPSE)
        paint(session.correcting.corrections.layer, SYNAPSE, 8, 8, side=10)
        while session.instant.state is State.IDLE:
            runner.waiting.pop(0)()
        runner.step()
        session.model_name = "other"
        runner.finish()
        np.testing.assert_array_equal(session.result.data, before)  # what another model said is left alone
        session.model_name = "small"
        runner.finish()
        assert (session.result.data != before).any()

    def test_a_sentence_says_why_the_labels_of_another_model_stay(
        self, session, runner, single, stroke, segment, models_folder, small_model
    ):
        save_model(small_model, models_folder / "other.safetensors")
        session.refresh_models()
        session.model_name = "other"
        runner.finish()
        assert session.instant.status == ""
        before = session.result.data.copy()
        stroke(SYNAPSE, 20, 20)
        np.testing.assert_array_equal(session.result.data, before)
        assert "These labels are from 'small': choose that model" in session.instant.status
        session.instant.set_on(False)
        runner.finish()
        assert session.instant.status == ""
        session.instant.set_on(True)
        runner.finish()
        assert "These labels are from 'small'" in session.instant.status
        session.model_name = "small"
        runner.finish()
        assert session.instant.status == ""
        assert (session.result.data != before).any()

    def test_a_sentence_says_that_there_is_nothing_to_answer(
        self, session, viewer, runner, single, stroke, segment
    ):
        viewer.layers.remove(session.result)
        layer = stroke(SYNAPSE, 20, 20)
        assert session.instant.status == "Segment the image first: then strokes are answered."
        layer.undo()
        runner.finish()
        assert session.instant.status == ""
        stroke(SYNAPSE, 20, 20)
        assert session.instant.status
        segment()
        assert session.instant.status == ""

    def test_another_model_over_a_part_leaves_the_rest_alone(
        self, session, runner, stack, strokes, stroke, segment, models_folder, small_model
    ):
        save_model(small_model, models_folder / "other.safetensors")
        session.refresh_models()
        strokes(1)
        session.model_name = "other"
        runner.finish()
        before, part = session.result.data.copy(), np.s_[20:60, 10:50]
        segment(Part((1,), part))
        inside = np.zeros(before.shape, bool)
        inside[1][part] = True
        np.testing.assert_array_equal(session.result.data[~inside], before[~inside])
        stroke(SYNAPSE, 1, 70, 60)  # and goes on to answer what it said itself
        after = session.result.data
        np.testing.assert_array_equal(after[~inside], before[~inside])
        assert session.layers.record_of(session.result).last.strokes == session.instant.strokes().token
        session.model_name = "small"  # which answers what it said, and not that part
        here = after.copy()
        stroke(SYNAPSE, 1, 70, 40)
        assert (session.result.data != here)[~inside].any()
        np.testing.assert_array_equal(session.result.data[inside], here[inside])

    def test_the_image_replaced(self, session, runner, single, strokes, section):
        strokes()
        session.image.data = section[::-1].copy()
        runner.finish()
        expected = plain(section[::-1])
        session.correcting.corrections.layer.data[:] = 0
        session.correcting.corrections.look_at_all()
        runner.finish()
        np.testing.assert_array_equal(session.result.data, expected)

    @pytest.mark.parametrize("which", ["image", "result", "corrections"])
    def test_a_layer_deleted_in_the_middle(self, session, runner, viewer, single, paint, which, said):
        session.correcting.paint_with(SYNAPSE)
        layer = session.correcting.corrections.layer
        paint(layer, SYNAPSE, 8, 8, side=10)
        while session.instant.state is State.IDLE:
            runner.waiting.pop(0)()
        runner.step()
        viewer.layers.remove({"image": single, "result": session.result, "corrections": layer}[which])
        runner.finish()
        assert session.instant.state is State.IDLE
        assert "Traceback" not in said()
        assert (session.result is None) == (which != "corrections")

    def test_the_dock_closed_in_the_middle(self, session, runner, viewer, single, paint):
        session.correcting.paint_with(SYNAPSE)
        paint(session.correcting.corrections.layer, SYNAPSE, 8, 8, side=10)
        while session.instant.state is State.IDLE:
            runner.waiting.pop(0)()
        runner.step()
        session.rest()
        runner.finish()
        assert session.instant.state is State.IDLE
        before = session.result.data.copy()
        session.instant.wake()
        runner.finish()
        assert (session.result.data != before).any()

    def test_many_sections_with_strokes_on_some(self, session, viewer, runner, segment, section):
        image = np.stack([np.roll(section, 3 * z, axis=1) for z in range(60)])
        viewer.add_image(image, name="many")
        viewer.dims.set_point(0, 30)
        segment(Part((29, 30, 31)))
        session.correcting.paint_with(SYNAPSE)
        layer = session.correcting.corrections.layer
        for z in range(0, 40):
            layer.data[z, 8:14, 8 : 8 + 6] = 1 + z % 3
        session.correcting.corrections.look_at_all()
        runner.finish()
        token = session.instant.strokes().token
        record = session.layers.record_of(session.result)
        done = [
            z for z in range(60) if record.speaks_of(z, ((0, 96), (0, 80)), record.last.model_file, token)
        ]
        assert done == [29, 30, 31]


def _of_model(session):
    """Return a record of a whole run of the model in use."""
    from dataclasses import replace

    record = session.layers.record_of(session.result)
    runs = tuple(replace(each, model_file=str(session.entry.path)) for each in record.runs)
    return replace(record, runs=runs)

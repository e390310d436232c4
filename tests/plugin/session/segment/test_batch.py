from __future__ import annotations

import shlex
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_feedback_seg.cli import app
from napari_feedback_seg.correction.adapt import segment as adapted_segment
from napari_feedback_seg.correction.adaptation import load_adaptation
from napari_feedback_seg.io import pixel_size
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.plugin.session.regions import Part
from napari_feedback_seg.segmentation.predict import segment as segment_array


@pytest.fixture
def files(tmp_path, section):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        tifffile.imwrite(folder / f"s{number}.tif", np.roll(section, 9 * number, axis=0))
    return folder


@pytest.fixture
def batch(session, files, tmp_path):
    session.batch.set(inputs=[str(files)], output=str(tmp_path / "labels"))
    return session.batch


def test_a_folder_is_segmented_into_a_folder(session, runner, batch, files, tmp_path):
    assert batch.start()
    runner.finish()
    for number in range(3):
        image = tifffile.imread(files / f"s{number}.tif")
        labels = tifffile.imread(tmp_path / "labels" / f"s{number}-labels.tif")
        np.testing.assert_array_equal(labels, segment_array(image, "small", device="cpu").labels)
    assert session.batch.status.startswith("Done. 3 of 3 images are done")


def test_cancelled_it_goes_on_with_the_others(session, runner, batch, files, tmp_path):
    batch.start()
    first = tmp_path / "labels" / "s0-labels.tif"
    events = runner.running[0].events
    while not first.exists():
        next(events)  # it is written while a person presses Cancel, and nobody hears of it
    session.jobs.cancel()
    runner.finish()
    assert "Cancelled. 1 of 3 images are done" in session.batch.status
    written = first.stat().st_mtime_ns
    batch.start()
    runner.finish()
    assert "Done. 3 of 3 images are done" in session.batch.status
    assert first.stat().st_mtime_ns == written
    assert not batch.start()
    assert "All 3 images are done" in session.batch.status


def test_a_damaged_file_is_named_and_passed_over(session, runner, batch, files, tmp_path):
    (files / "s1.tif").write_bytes(b"II*\0broken")
    levels = []
    session.said.connect(lambda _, level: levels.append(level))
    batch.start()
    runner.finish()
    assert batch.status.startswith("2 of 3 images are done by small; s1.tif could not be segmented.")
    assert session.status == ""  # which is about the image
    assert levels == ["warning"]


def test_the_line_shown_does_the_same(session, batch, runner, files, tmp_path):
    session.segmenting.set(overlap=0.5, flips=True)
    batch.set(rescale=False)
    batch.start()
    runner.finish()
    words = shlex.split(batch.command_line)
    assert words[:2] == ["feedback-seg", "segment"]
    words[words.index("-o") + 1] = str(tmp_path / "again")
    answer = CliRunner().invoke(app, words[1:])
    assert answer.exit_code == 0, answer.output
    for path in (tmp_path / "labels").iterdir():
        np.testing.assert_array_equal(tifffile.imread(path), tifffile.imread(tmp_path / "again" / path.name))


def test_files_are_segmented_with_the_strokes(
    session, viewer, batch, runner, files, tmp_path, section, segment, stroke
):
    viewer.add_image(section, name="cells")
    segment(Part((0,)))
    stroke(3, 20, 20, side=12)
    assert batch.start()
    runner.finish()
    learnt = load_adaptation(tmp_path / "labels" / "learnt.strokes")
    assert learnt.strokes == 1
    image = tifffile.imread(files / "s1.tif")
    labels = tifffile.imread(tmp_path / "labels" / "s1-labels.tif")
    expected = adapted_segment(image, "small", strokes=learnt, device="cpu").labels
    np.testing.assert_array_equal(labels, expected)
    assert (labels != segment_array(image, "small", device="cpu").labels).any()
    words = shlex.split(batch.command_line)
    words[words.index("-o") + 1] = str(tmp_path / "again")
    answer = CliRunner().invoke(app, words[1:])
    assert answer.exit_code == 0, answer.output
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "again" / "s1-labels.tif"), labels)


@pytest.fixture
def other_model(models_folder, small_model):
    """A model named ``other``."""
    card = replace(small_model.card, name="other")
    save_model(replace(small_model, card=card), models_folder / "other.safetensors")


def written(tmp_path):
    return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "labels").glob("*.tif")}


def test_labels_of_another_model_are_no_labels_of_this_one(
    session, runner, batch, tmp_path, other_model, said
):
    batch.start()
    runner.finish()
    before = written(tmp_path)
    session.refresh_models("other")
    assert "3 of 3 images have labels" in batch.made_otherwise
    assert batch.made_otherwise.endswith("already, made with small.")
    assert not batch.start()
    assert "Done" not in batch.status
    assert "made with small. Make them again, or choose another folder." in said()
    assert written(tmp_path) == before
    assert batch.start(again=True)
    runner.finish()
    assert batch.status.startswith("Done. 3 of 3 images are done by other.")
    assert all(time > before[name] for name, time in written(tmp_path).items())
    assert not batch.made_otherwise


def test_after_cancel_another_model_or_other_settings_do_not_go_on_unasked(
    session, runner, batch, tmp_path, other_model
):
    batch.start()
    while not (tmp_path / "labels" / "s0-labels.tif").exists():
        next(runner.running[0].events)
    session.jobs.cancel()
    runner.finish()
    session.refresh_models("other")
    assert not batch.start()
    assert len(written(tmp_path)) == 1
    session.refresh_models("small")
    session.segmenting.set(overlap=0.5)
    assert batch.made_otherwise.endswith("made with other settings or strokes.")
    assert "1 of 3 images has labels" in batch.made_otherwise
    session.segmenting.set(overlap=0.25)
    assert batch.start()
    runner.finish()
    assert "Done. 3 of 3" in batch.status


def test_labels_that_do_not_note_what_made_them_are_not_replaced_unasked(session, batch, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "s1-labels.tif").write_bytes(b"by hand")
    assert batch.made_otherwise.endswith("made with something that they do not note.")
    assert not batch.start()
    assert (tmp_path / "labels" / "s1-labels.tif").read_bytes() == b"by hand"


def test_labels_of_the_command_line_are_done_too(session, batch, tmp_path):
    (tmp_path / "labels").mkdir()
    answer = CliRunner().invoke(app, shlex.split(batch.command_line)[1:])
    assert answer.exit_code == 0, answer.output
    assert not batch.start()
    assert "All 3 images are done" in batch.status
    again = CliRunner().invoke(app, shlex.split(batch.command_line)[1:])
    assert again.exit_code == 0, again.output
    assert again.output.count("kept ") == 3  # and are done for it, too
    assert "wrote" not in again.output


@pytest.fixture
def typed(session, viewer, section):
    """Open a file, and type its pixel size."""

    def typed(path, size):
        image = viewer.add_image(section)
        image.source.__dict__["path"] = str(path)
        session.pixel_sizes.typed = size

    return typed


def test_files_that_say_no_pixel_size_take_the_one_that_was_typed_in_their_folder(
    session, runner, batch, files, tmp_path, typed
):
    typed(files / "s1.tif", 9.2)
    assert batch.command_line.endswith("--pixel-size 9.2")
    assert batch.start()
    runner.finish()
    for number in range(3):
        image = tifffile.imread(files / f"s{number}.tif")
        expected = segment_array(image, "small", device="cpu", pixel_size_nm=9.2).labels
        path = tmp_path / "labels" / f"s{number}-labels.tif"
        np.testing.assert_array_equal(tifffile.imread(path), expected)
        assert pixel_size(path).y == pytest.approx(9.2)
    assert "unknown" not in batch.status


def test_each_typed_size_has_a_line_of_its_own_that_does_the_same(
    session, runner, batch, files, tmp_path, typed, section
):
    tifffile.imwrite(files / "s3.tif", section, resolution=(1e7 / 6, 1e7 / 6), resolutionunit="CENTIMETER")
    typed(files / "s0.tif", 5.5)
    typed(files / "s1.tif", 9.2)
    assert batch.start()
    runner.finish()
    lines = batch.command_line.splitlines()
    assert len(lines) == 3
    (tmp_path / "again").mkdir()
    for line in lines:
        words = shlex.split(line)
        words[words.index("-o") + 1] = str(tmp_path / "again")
        answer = CliRunner().invoke(app, words[1:])
        assert answer.exit_code == 0, answer.output
    for number in range(4):
        both = (tmp_path / each / f"s{number}-labels.tif" for each in ("labels", "again"))
        np.testing.assert_array_equal(*map(tifffile.imread, both))
    assert pixel_size(tmp_path / "labels" / "s3-labels.tif").y == pytest.approx(6)


def test_it_says_how_many_sizes_are_unknown(runner, batch):
    batch.start()
    runner.finish()
    assert "The pixel size of 3 is unknown: they were not rescaled." in batch.status


def test_without_a_choice_a_sentence_says_what_is_missing(session, said):
    assert session.batch.command_line == ""
    assert not session.batch.start()
    assert "Choose the images" in said()

from __future__ import annotations

import shlex

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_feedback_seg.cli import app
from napari_feedback_seg.correction.adapt import segment as adapted_segment
from napari_feedback_seg.correction.adaptation import load_adaptation
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
    assert session.status.startswith("Done. 3 of 3 images are done")


def test_cancelled_it_goes_on_with_the_others(session, runner, batch, files, tmp_path):
    batch.start()
    first = tmp_path / "labels" / "s0-labels.tif"
    events = runner.running[0].events
    while not first.exists():
        next(events)  # it is written while a person presses Cancel, and nobody hears of it
    session.jobs.cancel()
    runner.finish()
    assert "Cancelled. 1 of 3 images are done" in session.status
    written = first.stat().st_mtime_ns
    batch.start()
    runner.finish()
    assert "Done. 3 of 3 images are done" in session.status
    assert first.stat().st_mtime_ns == written
    assert not batch.start()
    assert "All 3 images are done" in session.status


def test_a_damaged_file_is_named_and_passed_over(session, runner, batch, files, tmp_path):
    (files / "s1.tif").write_bytes(b"II*\0broken")
    batch.start()
    runner.finish()
    assert "2 of 3 images are done" in session.status
    assert "s1.tif" in session.status


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


def test_without_a_choice_a_sentence_says_what_is_missing(session, said):
    assert session.batch.command_line == ""
    assert not session.batch.start()
    assert "Choose the images" in said()

"""Strokes on the command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_feedback_seg.cli import app
from napari_feedback_seg.correction import mistakes
from napari_feedback_seg.correction.adapt import adapt, segment
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.models.model_file import save_model

if TYPE_CHECKING:
    from pathlib import Path

    from napari_feedback_seg.models.model import Model

STACK = np.stack([builtin_section(96, seed=seed).image for seed in (3, 4)])
CORRECTIONS = np.zeros_like(STACK)
CORRECTIONS[0, 9:15, 9:15], CORRECTIONS[1, 60:66, 60:66] = 3, 1


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu"])
    assert result.exit_code == code, result.output
    if result.exception is not None:
        assert isinstance(result.exception, SystemExit), result.exception
    return " ".join(result.output.split())


@pytest.fixture
def files(tmp_path: Path, small_model: Model) -> tuple[Path, Path, Path]:
    paths = tmp_path / "in.tif", tmp_path / "corrections.tif", tmp_path / "small.safetensors"
    tifffile.imwrite(paths[0], STACK)
    tifffile.imwrite(paths[1], CORRECTIONS)
    save_model(small_model, paths[2])
    return paths


def test_strokes_on_the_input_itself(
    files: tuple[Path, Path, Path], tmp_path: Path, small_model: Model
) -> None:
    image, corrections, model = files
    out = tmp_path / "labels.tif"
    said = run("segment", image, "-o", out, "-m", model, "--strokes", image, corrections)
    assert "learnt from 2 strokes" in said
    labels = tifffile.imread(out)
    assert np.array_equal(labels[CORRECTIONS > 0], CORRECTIONS[CORRECTIONS > 0])
    assert np.array_equal(labels, segment(STACK, small_model, strokes=[(STACK, CORRECTIONS)]).labels)


def test_strokes_of_several_images(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    image, corrections, model = files
    other, more = tmp_path / "other.tif", tmp_path / "more.tif"
    tifffile.imwrite(other, STACK[1])
    tifffile.imwrite(more, CORRECTIONS[1])
    (tmp_path / "out").mkdir()
    pairs = ["--strokes", image, corrections, "--strokes", other, more]
    assert "learnt from 3 strokes" in run(
        "segment", image, other, *pairs, "-o", tmp_path / "out", "-m", model
    )
    labels = tifffile.imread(tmp_path / "out" / "other-labels.tif")
    assert (labels[60:66, 60:66] == 1).all()


def test_what_was_learnt_goes_through_a_file(
    files: tuple[Path, Path, Path], tmp_path: Path, small_model: Model
) -> None:
    image, corrections, model = files
    strokes, out = tmp_path / "cells.strokes", tmp_path / "labels.tif"
    assert "wrote" in run("adapt", model, image, corrections, "-o", strokes)
    run("segment", image, "-o", out, "-m", model, "--strokes", strokes)
    learnt = adapt(small_model, [(STACK, CORRECTIONS)])
    assert np.array_equal(tifffile.imread(out), segment(STACK, small_model, strokes=learnt).labels)
    both = "--strokes", strokes, "--strokes", image, corrections  # and right where it is painted
    said = run("segment", image, "-o", tmp_path / "both.tif", "-m", model, *both)
    assert re.search(r"learnt from \d+ strokes?; no others are learnt from", said)
    expected = segment(STACK, small_model, strokes=[(STACK, CORRECTIONS)]).labels
    assert np.array_equal(tifffile.imread(tmp_path / "both.tif"), expected)
    knows = tmp_path / "knows.safetensors"
    assert "wrote" in run("adapt", model, image, corrections, "-o", knows)  # as a model
    run("segment", image, "-o", tmp_path / "again.tif", "-m", knows)
    assert np.array_equal(tifffile.imread(tmp_path / "again.tif"), tifffile.imread(out))
    said = run("segment", image, "-o", out, "--overwrite", "-m", "unet-w16", "--strokes", strokes, code=1)
    assert "learnt for another model, 'small'" in said
    assert "there already" in run("adapt", model, image, corrections, "-o", strokes, code=1)


def test_a_model_that_has_learnt_them_does_not_learn_them_twice(
    files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    image, corrections, model = files
    mine, out = tmp_path / "mine.safetensors", tmp_path / "labels.tif"
    run("adapt", model, image, corrections, "-o", mine)
    said = run("segment", image, "-o", out, "-m", mine, "--strokes", image, corrections)
    assert "has learnt these strokes already" in said
    expected = np.where(CORRECTIONS > 0, CORRECTIONS, segment(STACK, mine, device="cpu").labels)
    assert np.array_equal(tifffile.imread(out), expected)
    fewer = np.where(CORRECTIONS == CORRECTIONS.max(), 0, CORRECTIONS)
    tifffile.imwrite(corrections, fewer)
    said = run("segment", image, "-o", tmp_path / "b.tif", "-m", mine, "--strokes", image, corrections)
    assert "learnt from 1 stroke" in said


def test_around_strokes_only_an_image_that_is_segmented_is_looked_at(
    files: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, corrections, model = files
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, STACK[1])
    looked, place = [], mistakes._Place
    monkeypatch.setattr(mistakes, "_Place", lambda *given: looked.append(given) or place(*given))
    arguments = ["-m", model, "--strokes", image, corrections]
    run("segment", other, "-o", tmp_path / "a.tif", *arguments)
    assert not looked
    run("segment", image, "-o", tmp_path / "b.tif", *arguments)
    assert len(looked) == len(STACK)


def test_a_new_class(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    image, corrections, model = files
    tifffile.imwrite(corrections, np.where(CORRECTIONS == 3, 5, CORRECTIONS))
    out = tmp_path / "labels.tif"
    arguments = ["segment", image, "-o", out, "-m", model, "--strokes", image, corrections]
    assert "no class" in run(*arguments, code=1)
    run(*arguments, "--new-class", "nucleus=#56b4e9")
    assert (tifffile.imread(out)[0, 9:15, 9:15] == 5).all()


def test_what_does_not_go_together_is_said(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    image, corrections, model = files
    out = ["-o", tmp_path / "labels.tif", "-m", model]
    assert "an image and its corrections" in run("segment", image, *out, "--strokes", image, code=2)
    new = ["--new-class", "nucleus"]
    assert "A new class needs --strokes" in run("segment", image, *out, *new, code=2)
    learnt = ["--strokes", tmp_path / "a.strokes", *new]
    assert "stays as it is: name a new class" in run("segment", image, *out, *learnt, code=2)
    assert "ends in .strokes" in run("adapt", model, image, corrections, "-o", tmp_path / "a.tif", code=2)
    (tmp_path / "bad.strokes").write_bytes(b"no strokes")
    assert "holds no strokes" in run("segment", image, *out, "--strokes", tmp_path / "bad.strokes", code=1)
    tifffile.imwrite(corrections, np.zeros_like(CORRECTIONS))
    assert "nothing was learnt" in run("adapt", model, image, corrections, "-o", tmp_path / "none.strokes")

"""``feedback-seg run`` and ``feedback-seg info``."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_feedback_seg import __version__
from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.cli import app
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.models.model_file import load_model_file, save_model
from napari_feedback_seg.segmentation.export import Result, export
from napari_feedback_seg.segmentation.predict import segment

if TYPE_CHECKING:
    from napari_feedback_seg.models.model import Model

SHAPE = (70, 80)
STEPS = [
    ["segment", "{image}", "-o", "{output}/{name}-labels.tif", "--model", "unet-w16", "--device", "cpu"],
    [
        "objects",
        "{output}/{name}-labels.tif",
        "-o",
        "{output}/{name}-m.tif",
        "--table",
        "{output}/{name}.csv",
    ],
]


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "first one.tif", tmp_path / "second.tif"]
    for seed, path in enumerate(paths):
        section = builtin_section(SHAPE, seed=seed).image
        tifffile.imwrite(path, section, photometric="minisblack")
    return paths


@pytest.fixture(autouse=True)
def _library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "library").mkdir()
    monkeypatch.setenv("NAPARI_FEEDBACK_SEG_MODELS", str(tmp_path / "library"))


def recipe(folder: Path, steps: Any, **others: object) -> Path:
    path = folder / "recipe.json"
    data = {"format": "napari-feedback-seg recipe", "format_version": 1, "steps": steps, **others}
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


class TestRecipe:
    def test_its_steps_are_done_with_each_image(self, images, tmp_path):
        text = run("run", recipe(tmp_path, STEPS), *images, "-o", tmp_path / "out")
        names = sorted(os.listdir(tmp_path / "out"))
        assert names == sorted(
            f"{path.stem}{end}" for path in images for end in ("-labels.tif", "-m.tif", ".csv")
        )
        expected = segment(tifffile.imread(images[1]), "unet-w16", device="cpu").labels
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "second-labels.tif"), expected)
        assert text.count("feedback-seg segment") == 2

    def test_a_dry_run_prints_lines_and_does_nothing(self, images, tmp_path):
        text = run("run", recipe(tmp_path, STEPS), images[0], "-o", tmp_path / "out", "--dry-run")
        assert not (tmp_path / "out").exists()
        line = shlex.split(text[: text.index("feedback-seg objects")])
        assert line[:3] == ["feedback-seg", "segment", str(images[0])]
        assert line[4] == f"{tmp_path / 'out'}/first one-labels.tif"

    def test_it_replaces_nothing_unless_that_is_asked_for(self, images, tmp_path):
        arguments = ("run", recipe(tmp_path, STEPS[:1]), images[1], "-o", tmp_path)
        (tmp_path / "second-labels.tif").write_text("mine")
        run(*arguments, code=1)
        assert (tmp_path / "second-labels.tif").read_text() == "mine"
        run(*arguments, "--overwrite")
        assert tifffile.imread(tmp_path / "second-labels.tif").shape == SHAPE

    def test_a_step_that_fails_is_the_last(self, images, tmp_path):
        steps = [["segment", "{image}", "-o", "{output}/a.tif", "--model", "nobody"], STEPS[1]]
        text = run("run", recipe(tmp_path, steps), images[0], "-o", tmp_path / "out", code=1)
        assert "There is no model 'nobody'" in text
        assert "feedback-seg objects" not in text

    @pytest.mark.parametrize(
        ("step", "reason"),
        [
            (["rm", "-rf", "/"], "Step 2 is 'rm'. A recipe may have the steps segment"),
            (["train", "--help"], "Step 2 is 'train'"),
            (["segment", "--help"], "asks for help"),
            (["segment", "{image}", "-o", "{output}/a.tif", "--modle", "x"], "cannot be run. No such option"),
            (
                ["objects", "{output}/a.tif", "-o", "{output}/b.tif", "--split", "much"],
                "cannot be run. Invalid",
            ),
            (["segment", "{image}", "-o", "/etc/passwd"], "writes to '/etc/passwd'"),
            (["segment", "{image}", "-o", "{output}/../a.tif"], "writes to {output}/ alone"),
            (["segment", "{image}", "-o", "{output}"], "writes to {output}/ alone"),
            (["objects", "a", "-o", "{output}/a.tif", "--table", "a.csv"], "writes to 'a.csv'"),
            (["segment", "{image}", "-o", "{output}/a.tif", "--overwrite"], "has --overwrite"),
            (["segment", "a.zarr", "--into"], "has --into"),
            (["segment", "a.zarr", "-o", "{output}/b.zarr", "--scheduler=tcp://far:1"], "has --scheduler"),
            (["segment", "{picture}", "-o", "{output}/a.tif"], "holds {picture}, which stands for nothing"),
            (["segment", 7], "not a list of words"),
            ("segment a.tif", "not a list of words"),
        ],
    )
    def test_what_no_recipe_may_have_is_refused_before_anything_runs(self, images, tmp_path, step, reason):
        text = run("run", recipe(tmp_path, [STEPS[0], step]), images[0], "-o", tmp_path / "out", code=1)
        assert reason in text
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            ("{", "cannot be read as a recipe"),
            ("[]", "is no recipe"),
            ('{"format": "napari-feedback-seg recipe", "format_version": 1}', "no list of steps"),
            ('{"format": "napari-feedback-seg recipe", "format_version": 2}', "by a newer version"),
            ('{"format": "napari-feedback-seg recipe", "format_version": "1"}', "is damaged"),
            (
                '{"format": "napari-feedback-seg recipe", "format_version": 1, "shell": "x"}',
                "what no recipe has",
            ),
        ],
    )
    def test_what_is_no_recipe_is_refused(self, images, tmp_path, data, reason):
        path = tmp_path / "a.json"
        path.write_text(data)
        assert reason in run("run", path, images[0], code=1)

    def test_an_image_is_needed_and_two_of_one_name_are_refused(self, images, tmp_path):
        assert "Name an image" in run("run", recipe(tmp_path, STEPS), code=1)
        other = tmp_path / "other" / "second.png"
        assert "Two images are called 'second'" in run(
            "run", recipe(tmp_path, STEPS), images[1], other, code=1
        )


@pytest.fixture
def model_file(small_model: Model, tmp_path: Path) -> Path:
    return save_model(small_model, tmp_path / "small.safetensors")


@pytest.fixture
def record(model_file: Path, images: list[Path], tmp_path: Path) -> Path:
    """Return the record of a part of an image, and of mitochondria in it, as the dock exports it."""
    settings = {"overlap": 0.5, "flips": False, "rescaled_from_nm": [5, 5], "probabilities": False}
    settings["remove_specks"] = True
    noted = {
        "model": "small",
        "model_file": str(model_file),
        "model_sha256": load_model_file(model_file).digest,
        "settings": settings,
        "pixel_size_nm": [5, 5],
    }
    run = {**noted, "sections": [0], "region": [[8, 72 - 8], [0, SHAPE[1]]]}
    options = {
        "through": "auto",
        "split": 0.25,
        "least_nm": 10.0,
        "gap": 1,
        "holes_nm": 20.0,
        "threshold": 0.5,
    }
    result = Result(
        labels=np.ones(SHAPE, np.uint8),
        record={**noted, "image": "first one", "classes": [e.to_json() for e in EM_CLASSES], "runs": [run]},
        layers={"labels": {}, "probabilities": []},
        image_path=str(images[0]),
        objects=[
            {
                "what": "mitochondria",
                "options": options,
                "from_probabilities": False,
                "in_cells": False,
                "near": ["membrane"],
                "spacing_nm": None,
            }
        ],
    )
    steps = export(result, tmp_path / "exported")
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return Path(stop.value)


class TestRecord:
    def test_it_is_repeated_as_it_was(self, record, images, model_file, tmp_path):
        run("run", record, "-o", tmp_path / "out")
        region = slice(8, 64), slice(0, 80)
        image = tifffile.imread(images[0])
        found = segment(image, model_file, overlap=0.5, pixel_size_nm=5, region=region)
        labels = tifffile.imread(tmp_path / "out" / "first one-labels.tif")
        np.testing.assert_array_equal(labels[region], found.labels)
        assert not labels[:8].any()
        assert (tmp_path / "out" / "first one-mitochondria.csv").is_file()

    def test_another_image_is_segmented_as_a_whole(self, record, images, model_file, tmp_path):
        text = run("run", record, images[1], "-o", tmp_path / "out")
        assert "on all of the image" in text
        found = segment(tifffile.imread(images[1]), model_file, overlap=0.5, pixel_size_nm=5)
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "second-labels.tif"), found.labels)
        for words in ("--split 0.25", "--holes 20", "--least 10", "--distance-to membrane", "--through auto"):
            assert words in text

    def test_the_pixel_size_of_another_image_is_its_own(self, record, tmp_path):
        size = 1e7 / 8  # pixels a cm
        section = builtin_section(SHAPE).image
        path = tmp_path / "sized.tif"
        tifffile.imwrite(path, section, resolution=(size, size), resolutionunit="CENTIMETER")
        text = run("run", record, path, "--dry-run")
        assert "--pixel-size" not in text
        assert "--no-rescale" not in text

    def test_the_model_is_found_by_what_it_is(self, record, model_file, tmp_path):
        model_file.rename(tmp_path / "library" / "moved.safetensors")
        assert "--model moved" in run("run", record, "--dry-run")

    def test_another_model_of_that_name_is_told(self, record, model_file, small_model, tmp_path):
        model_file.unlink()
        assert "is not here" in run("run", record, "--dry-run", code=1)
        small_model.network.unet.classifier.bias.data += 1
        save_model(small_model, tmp_path / "library" / "small.safetensors")
        assert "is another one than that of the record" in run("run", record, "--dry-run")

    def test_strokes_that_are_not_beside_it_are_missed(self, record, model_file, tmp_path):
        data = json.loads(record.read_text())
        data["result"]["runs"][0]["strokes"] = data["strokes"] = "abc"
        record.write_text(json.dumps(data))
        assert "learnt from strokes, which are not beside it" in run("run", record, "--dry-run", code=1)
        data["files"]["strokes"] = "cells.strokes"
        record.write_text(json.dumps(data))
        assert f"--strokes {record.parent}/cells.strokes" in run("run", record, "--dry-run")

    def test_a_damaged_one_is_refused(self, record):
        data = json.loads(record.read_text())
        del data["result"]["runs"][0]["settings"]
        record.write_text(json.dumps(data))
        assert "cannot be read as the record" in run("run", record, "--dry-run", code=1)


def test_info_names_versions_and_nothing_of_the_user(tmp_path, small_model):
    save_model(small_model, tmp_path / "library" / "grandmother.safetensors")
    text = run("info")
    assert f"napari-feedback-seg {__version__}" in text
    for pattern in (r"torch \d", r"numpy \d", r"Python 3\.", "CPU", "auto is", "unet-w16: U-Net", "own: 1"):
        assert re.search(pattern, text), pattern
    assert "chosen by the user" in text
    for secret in (str(Path.home()), str(tmp_path), "grandmother", os.sep + "library"):
        assert secret not in text

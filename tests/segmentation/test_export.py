from __future__ import annotations

import json
import os
import shlex
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_feedback_seg import __version__
from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.cli import app
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.io import label_writer, new_folder, open_image
from napari_feedback_seg.models.model_file import load_model_file, save_model
from napari_feedback_seg.segmentation import command_line
from napari_feedback_seg.segmentation.command_line import command_lines, shell_line
from napari_feedback_seg.segmentation.export import (
    Exported,
    Result,
    SectionExported,
    export,
    file_name,
    is_export,
    read_export,
)
from napari_feedback_seg.segmentation.predict import segment

if TYPE_CHECKING:
    from pathlib import Path

    from napari_feedback_seg.models.model import Model

SHAPE = (3, 70, 80)


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    return np.stack([builtin_section(SHAPE[1:], seed=seed).image for seed in range(3)])


@pytest.fixture
def model_file(small_model: Model, tmp_path: Path) -> Path:
    return save_model(small_model, tmp_path / "small.safetensors")


@pytest.fixture
def image_file(stack: np.ndarray, tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "my image.tif", stack, photometric="minisblack")
    return tmp_path / "my image.tif"


def run_of(model_file: Path, **changes: object) -> dict[str, object]:
    """Return what the dock notes about a run."""
    settings = {"overlap": 0.25, "flips": False, "rescaled_from_nm": None, "probabilities": True}
    settings["remove_specks"] = True
    noted = {
        "model": "small",
        "model_file": str(model_file),
        "model_sha256": load_model_file(model_file).digest,
        "settings": settings,
        "pixel_size_nm": [4.6, 4.6],
        "sections": [0, 1, 2],
        "region": [[0, SHAPE[1]], [0, SHAPE[2]]],
    }
    if "settings" in changes:
        changes["settings"] = settings | changes["settings"]
    return noted | changes


@pytest.fixture
def result(stack: np.ndarray, model_file: Path, image_file: Path) -> Result:
    prediction = segment(stack, load_model_file(model_file), device="cpu", probabilities=True)
    run = run_of(model_file)
    record = {
        **{name: run[name] for name in ("model", "model_file", "model_sha256", "settings", "pixel_size_nm")},
        "image": "my image",
        "classes": [each.to_json() for each in EM_CLASSES],
        "runs": [run],
        "digests": {0: 5, 2: 7},
        "messages": ["A sentence."],
    }
    names = [each.name for each in EM_CLASSES]
    planes = np.moveaxis(prediction.probabilities, 1, 0)
    return Result(
        labels=prediction.labels,
        record=record,
        layers={"labels": {"name": "my image labels"}, "probabilities": [{"name": name} for name in names]},
        probabilities=dict(zip(names, planes, strict=True)),
        pixel_size_nm=(4.6, 9.2),
        image_path=str(image_file),
    )


def finish(events) -> tuple[list[SectionExported], Path]:
    seen = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as stop:
            return seen, stop.value


def written(result: Result, folder: Path, **options: object) -> dict[str, object]:
    _, run = finish(export(result, folder, **options))
    return json.loads(run.read_text(encoding="utf-8"))


def test_a_record_with_a_byte_order_mark_is_read(result, tmp_path):
    _, run = finish(export(result, tmp_path / "out"))
    run.write_bytes(b"\xef\xbb\xbf" + run.read_bytes())
    assert is_export(run)
    np.testing.assert_array_equal(read_export(run).labels, result.labels)


def test_the_folder_has_all_and_nothing_else(result, tmp_path):
    seen, run = finish(export(result, tmp_path / "out"))
    assert seen == [SectionExported(n, 3) for n in (1, 2, 3)]
    assert run == tmp_path / "out" / "my-image-run.json"
    names = [f"my-image-{what}" for what in ("labels.tif", "measures.csv", "probabilities.tif", "run.json")]
    assert sorted(os.listdir(tmp_path / "out")) == names
    assert is_export(run)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "my-image-labels.tif"), result.labels)
    with tifffile.TiffFile(tmp_path / "out" / "my-image-probabilities.tif") as tiff:
        assert tiff.asarray().shape == (3, 4, 70, 80)
        tags = tiff.pages.first.tags
        sides = [units / pixels for pixels, units in (tags["YResolution"].value, tags["XResolution"].value)]
    np.testing.assert_allclose(sides, [4.6, 9.2], rtol=1e-4)
    assert open_image(tmp_path / "out" / "my-image-labels.tif").pixel_size_nm == pytest.approx(
        (4.6, 9.2), rel=1e-4
    )
    table = (tmp_path / "out" / "my-image-measures.csv").read_text()
    assert table.count("\n") == 1 + 4 * 4


def test_the_record_tells_what_was_done(result, model_file, image_file, tmp_path):
    run = written(result, tmp_path / "out", edited=[2], least=0.01)
    assert run["image"] == {"name": "my image", "path": str(image_file)}
    assert run["version"] == __version__
    assert run["model"]["sha256"] == load_model_file(model_file).digest
    assert run["model"]["card"]["pixel_size_nm"] == 4.6
    assert run["model"]["card"]["spec"]["width"] == 4
    assert run["result"]["settings"]["overlap"] == 0.25
    assert run["result"]["classes"][1]["name"] == "mitochondria"
    assert run["measures"]["least_profile_px"] == -(-0.01 * 1e6 // (4.6 * 9.2))
    assert run["messages"] == ["A sentence."]
    assert run["sections_edited_by_hand"] == [2]
    assert "by hand" in run["notes"][0]
    assert run["written"][:2] == "20"


@pytest.mark.parametrize("shape", [SHAPE, (1, *SHAPE[1:]), SHAPE[1:]])
def test_what_is_read_back_is_what_was_written(result, shape, tmp_path):
    cut = (slice(shape[0]),) if len(shape) == 3 else (0,)
    result = replace(
        result,
        labels=result.labels[cut],
        probabilities={name: each[cut] for name, each in result.probabilities.items()},
    )
    _, run = finish(export(result, tmp_path / "out"))
    back = read_export(run)
    assert isinstance(back, Exported)
    assert back.labels.dtype == np.uint8
    np.testing.assert_array_equal(back.labels, result.labels)
    assert len(back.probabilities) == 4
    for found, expected in zip(back.probabilities, result.probabilities.values(), strict=True):
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, expected)
    assert back.record == {key: each for key, each in result.record.items() if key != "digests"}  # of before
    assert back.layers == result.layers


def test_without_probabilities_there_is_no_such_file(result, tmp_path):
    layers = {**result.layers, "probabilities": []}
    run = written(replace(result, probabilities={}, layers=layers), tmp_path / "out")
    assert "probabilities" not in run["files"]
    assert not (tmp_path / "out" / "my-image-probabilities.tif").exists()
    assert "--probabilities" not in run["commands"][0]
    assert read_export(tmp_path / "out" / "my-image-run.json").probabilities == ()


def test_a_folder_that_is_there_is_left_alone(result, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        finish(export(result, tmp_path / "out"))
    assert os.listdir(tmp_path / "out") == ["mine.txt"]


def test_what_stops_on_the_way_leaves_nothing(result, tmp_path):
    before = sorted(os.listdir(tmp_path))
    events = export(result, tmp_path / "out")
    next(events)
    assert len(os.listdir(tmp_path)) == len(before) + 1
    events.close()
    assert sorted(os.listdir(tmp_path)) == before
    with pytest.raises(InputError, match="no pixel is segmented"):
        finish(export(replace(result, labels=np.zeros(SHAPE, np.uint8)), tmp_path / "out"))
    assert sorted(os.listdir(tmp_path)) == before


def test_a_folder_that_comes_up_in_the_meantime_stays(tmp_path):
    with pytest.raises(OutputError, match="is there already"), new_folder(tmp_path / "out"):
        (tmp_path / "out").mkdir()
    assert os.listdir(tmp_path) == ["out"]


def test_where_nothing_can_be_written_it_says_so(result, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        finish(export(result, tmp_path / "file" / "out"))


def execute(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command line as a shell would, in a folder."""
    program, *arguments = shlex.split(line)
    assert program == "feedback-seg"
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
    assert done.exit_code == 0, done.output


class TestCommandLine:
    def test_it_gives_the_same_labels_and_probabilities(self, result, tmp_path, monkeypatch):
        [line] = written(result, tmp_path / "out")["commands"]
        execute(line, tmp_path, monkeypatch)
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "my-image-labels.tif"), result.labels)
        probabilities = tifffile.imread(tmp_path / "my-image-labels-probabilities.tif")
        for channel, expected in enumerate(result.probabilities.values()):
            np.testing.assert_array_equal(probabilities[:, channel], expected)

    def test_it_gives_the_same_part(self, result, stack, model_file, tmp_path, monkeypatch):
        region = slice(5, 60), slice(8, 71)
        model, size = load_model_file(model_file), (9.2, 4.6)
        options = {"device": "cpu", "overlap": 0.5, "flips": True}
        one = segment(stack[1], model, region=region, pixel_size_nm=size, **options)
        labels = np.zeros(SHAPE, np.uint8)
        labels[1][region] = one.labels
        run = run_of(
            model_file,
            settings={"overlap": 0.5, "flips": True, "rescaled_from_nm": size, "remove_specks": True},
            pixel_size_nm=list(size),
            region=[[5, 60], [8, 71]],
            sections=[1],
        )
        [line] = command_lines({"runs": [run]}, SHAPE, result.image_path, "part")
        execute(line, tmp_path, monkeypatch)
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "part-labels.tif"), labels)

    def test_an_odd_name_is_quoted(self, model_file):
        path = '/data/it\'s; $(rm) "here".tif'
        [line] = command_lines({"runs": [run_of(model_file)]}, SHAPE, path, "a")
        assert shlex.split(line)[2] == path

    def test_all_is_said_and_no_more(self, model_file):
        [line] = command_lines({"runs": [run_of(model_file)]}, SHAPE, "a.tif", "a")
        assert line == (
            f"feedback-seg segment a.tif -o a-labels.tif --model {model_file} --no-rescale --pixel-size 4.6 "
            "--overlap 0.25"
        )
        run = run_of(model_file, sections=[0, 2], region=[[0, 70], [1, 80]], pixel_size_nm=None)
        [line] = command_lines({"runs": [run]}, SHAPE, "a.tif", "a", True)
        assert line.endswith("--no-rescale --overlap 0.25 --probabilities --region 0:70,1:80 --sections 0,2")
        older = {"overlap": 0.25, "flips": False, "rescaled_from_nm": None, "remove_specks": False}
        [line] = command_lines({"runs": [run_of(model_file, settings=older)]}, SHAPE, "a.tif", "a")
        assert line.endswith("--overlap 0.25 --keep-specks")

    def test_a_model_of_the_library_is_named(self, model_file, monkeypatch):
        monkeypatch.setenv("NAPARI_FEEDBACK_SEG_MODELS", str(model_file.parent))
        [line] = command_lines({"runs": [run_of(model_file)]}, SHAPE, "a.tif", "a")
        assert "--model small --no" in line

    def test_one_line_for_each_run_that_is_left_to_see(self, model_file):
        whole, part = run_of(model_file), run_of(model_file, sections=[1], region=[[0, 9], [0, 9]])
        assert len(command_lines({"runs": [part, whole]}, SHAPE, "a.tif", "a")) == 1
        lines = command_lines({"runs": [whole, part]}, SHAPE, "a.tif", "a")
        assert ["a-run1-labels.tif" in lines[0], "a-run2-labels.tif" in lines[1]] == [True, True]

    def test_the_record_says_where_a_line_alone_is_not_enough(self, result, tmp_path, model_file):
        run = written(replace(result, image_path=None), tmp_path / "a")
        assert "came from no file: save it as my-image.tif" in run["notes"][0]
        assert shlex.split(run["commands"][0])[2] == "my-image.tif"
        tifffile.imwrite(tmp_path / "other.tif", np.zeros((9, 9), np.uint8))
        run = written(replace(result, image_path=str(tmp_path / "other.tif")), tmp_path / "b")
        assert "is not in its file" in run["notes"][0]
        runs = [run_of(model_file), run_of(model_file, sections=[1])]
        run = written(replace(result, record={**result.record, "runs": runs}), tmp_path / "c")
        assert len(run["commands"]) == 2
        assert "several runs" in run["notes"][0]

    def test_a_model_that_is_gone_is_still_named(self, result, model_file, tmp_path):
        model_file.unlink()
        run = written(result, tmp_path / "out")
        assert run["model"]["card"] is None
        assert run["model"]["name"] == "small"
        assert str(model_file) in run["commands"][0]


class TestReading:
    @pytest.fixture
    def run(self, result, tmp_path) -> Path:
        return finish(export(result, tmp_path / "out"))[1]

    @pytest.mark.parametrize("which", ["labels", "probabilities"])
    def test_a_file_that_is_missing_or_damaged_is_named(self, run, which):
        file = run.with_name(f"my-image-{which}.tif")
        whole = file.read_bytes()
        file.unlink()
        with pytest.raises(InputError, match=f"There is no file .*{which}"):
            read_export(run)
        file.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match=which):
            read_export(run)
        tifffile.imwrite(file, np.zeros(SHAPE[1:], np.uint8))
        with pytest.raises(InputError, match=f"{which}.* is incomplete"):
            read_export(run)
        tifffile.imwrite(file, np.zeros((30, 9, 9), np.uint8), photometric="minisblack")
        with pytest.raises(InputError, match=f"{which}.* is not the file"):
            read_export(run)
        tifffile.imwrite(file, np.zeros((13, *SHAPE[1:]), np.uint8), photometric="minisblack")
        with pytest.raises(InputError, match=f"{which}.* is not the file"):
            read_export(run)

    @pytest.mark.parametrize(
        "changes",
        [
            {"format": "other"},
            {"shape": [70]},
            {"shape": [3, 70, -80]},
            {"shape": "large"},
            {"files": {}},
            {"result": None},
            {"layers": {}},
            {"layers": {"labels": {}, "probabilities": []}},
            {"probabilities": {"a": "no type"}},
        ],
        ids=str,
    )
    def test_a_record_that_cannot_be_used_is_a_sentence(self, run, changes):
        run.write_text(json.dumps(json.loads(run.read_text()) | changes))
        with pytest.raises(InputError, match=r"my-image-run\.json' cannot be read"):
            read_export(run)

    def test_what_is_no_record(self, run, tmp_path):
        for text in ("", "{", "[]", '"text"', "{}", '{"format": "other"}', "\udc80"):
            run.write_text(text, errors="surrogateescape")
            assert not is_export(run)
            with pytest.raises(InputError, match="cannot be read"):
                read_export(run)
        assert not is_export(tmp_path)
        assert not is_export(tmp_path / "nowhere-run.json")

    def test_a_newer_record_asks_for_a_newer_version(self, run):
        run.write_text(json.dumps(json.loads(run.read_text()) | {"format_version": 99}))
        with pytest.raises(InputError, match="newer version"):
            read_export(run)

    def test_files_are_looked_for_in_the_same_folder_only(self, run, tmp_path):
        record = json.loads(run.read_text())
        record["files"]["labels"] = f"../{record['files']['labels']}"
        (tmp_path / "my-image-labels.tif").write_text("of somebody else")
        run.write_text(json.dumps(record))
        assert read_export(run).labels.any()


def test_an_ome_file_has_the_height_and_width_of_a_pixel(tmp_path):
    with label_writer(tmp_path / "a.ome.tif", (8, 9), pixel_size_nm=(4, 8), flavour="ome") as write:
        write(np.ones((8, 9), np.uint8))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeY"], pixels["PhysicalSizeX"]) == (4, 8)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("section 3", "section-3"),
        ("a/b\\c:d", "a-b-c-d"),
        ("../..", "image"),
        ("-rf", "rf"),
        ("Zürich [1]", "Zürich-1"),
        ("", "image"),
        ("x" * 300, "x" * 50),
    ],
)
def test_names_become_names_of_files(name, plain):
    assert file_name(name) == plain


@pytest.mark.parametrize("name", ["con", "AUX", "nul.1", "com1"])
def test_no_file_is_named_as_a_device(name):
    assert file_name(name) == f"_{name}"
    assert file_name(f"x{name}") == f"x{name}"


def test_composed_letters_stay_whole():
    assert file_name(unicodedata.normalize("NFD", "Zellkörper 1")) == "Zellkörper-1"


def test_a_line_for_the_terminals_of_windows(monkeypatch):
    words = ["feedback-seg", "segment", "C:\\R&D\\a (1).tif", "--region", "0:5,0:5"]
    assert shell_line(words) == "feedback-seg segment 'C:\\R&D\\a (1).tif' --region 0:5,0:5"
    monkeypatch.setattr(command_line.os, "name", "nt")
    assert shell_line(["-o", "D:\\my data\\"]) == '-o "D:\\my data\\\\"'
    assert shell_line(words) == 'feedback-seg segment "C:\\R&D\\a (1).tif" --region "0:5,0:5"'

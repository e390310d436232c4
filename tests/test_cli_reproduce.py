from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from skimage.io import imsave
from typer.testing import CliRunner

from napari_feedback_seg.cli import app
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.evaluation.reproduce import RECIPES
from napari_feedback_seg.io.claim import claim
from napari_feedback_seg.networks import NetworkSpec

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ["--recipe", "ours", "--width", "2", "--epochs", "1", "--folds", "0", "--device", "cpu"]


def run(*arguments: object, code: int = 0) -> str:
    """Run the command; return what it printed, all on one line."""
    result = CliRunner().invoke(app, ["reproduce", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


SPEC = NetworkSpec(depth=2, query_channels=2, norm_per_round=True)
PATCHES = {"patches": 4, "batch": 2, "tile": 64, "precision": "fp32"}


@pytest.fixture(autouse=True)
def _small_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "ours", replace(RECIPES["ours"], spec=SPEC, **PATCHES))


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number in range(2):
        made = builtin_section(64, seed=number)
        for name, array in (("images", made.image), ("labels", made.labels)):
            (folder / name).mkdir(exist_ok=True)
            imsave(folder / name / f"{number}.png", array, check_contrast=False)
    return folder


def imsave_other(data_set: Path, folder: Path) -> Path:
    """Copy a data set with its sections in another order; return the folder."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
        for number in range(2):
            shutil.copy(data_set / name / f"{number}.png", folder / name / f"{1 - number}.png")
    return folder


def given(data_set: Path, results: Path) -> list[object]:
    return ["--dataset", data_set, "--pixel-size", 4.6, "--results", results, *SMALL]


def test_the_table_of_a_few_runs_and_no_run_twice(data_set: Path, tmp_path: Path) -> None:
    few = ["--table", 1, "--networks", "self,unet", "--seeds", "0-1", *given(data_set, tmp_path)]
    text = run(*few, "--key-pooling", 8)
    assert "4 runs, of which 0 are in" in text
    assert "Table 1, recipe ours, width 2, 1 epochs, fp32, validation sections" in text
    assert "(2 pairs)" in text
    names = [f"{name}-ours-e1-f0-s{seed}" for name in ("self-w2-kp8", "unet-w2") for seed in (0, 1)]
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == names
    record = json.loads((tmp_path / f"{names[0]}.json").read_text())
    for value in (*record["validation"]["iou"].values(), record["validation"]["mean_iou"]):
        assert isinstance(value, float)
    again = run(*few, "--key-pooling", 8)
    assert "4 runs, of which 4 are in" in again
    assert again.split("###")[1] == text.split("###")[1]
    assert run("--table", 1, "--results", tmp_path, "--report").split("###")[1] == text.split("###")[1]
    assert "first output" in run("--table", 4, "--results", tmp_path, "--report")
    assert "Add" not in run("--table", 2, "--results", tmp_path, "--report")
    other = imsave_other(data_set, tmp_path / "other data")
    told = run(*few, "--key-pooling", 8, "--dataset", other, code=1)
    assert "holds runs on other data than other data" in told


@pytest.mark.parametrize("table", [1, 2, 3])
def test_every_system_of_the_paper(table: int, data_set: Path, tmp_path: Path) -> None:
    text = run("--table", table, "--seeds", 0, "--key-pooling", 8, *given(data_set, tmp_path))
    systems = {
        1: ("RU-Net", "Feedback U-Net", "Feedback Attention (ST)", "Feedback Attention (Self)"),
        2: ("Add", "1x1 conv", "SE-Net", "Light attention", "Feedback Attention (Self)"),
        3: ("ST, one conv", "Feedback Attention (ST)", "Self, one conv"),
    }
    for title in ("U-Net", *systems[table]):
        assert f"| {title}" in text
        assert f"*paper, {title}*" in text


def test_what_another_machine_is_at_is_left_out_and_the_others_are_done(
    data_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    with claim(tmp_path / "results" / ".unet-w2-ours-e1-f0-s0.lock"):
        text = run(
            *("--table", 1, "--networks", "unet", "--seeds", "0-1", *given(data_set, tmp_path / "results"))
        )
    assert "Left out: unet-w2-ours-e1-f0-s0 is being run by another process" in text
    assert [path.stem for path in (tmp_path / "results").glob("*.json")] == ["unet-w2-ours-e1-f0-s1"]


def test_a_run_that_fails_does_not_keep_the_others_back(data_set: Path, tmp_path: Path) -> None:
    (tmp_path / "unet-w2-ours-e1-f0-s0").mkdir()
    (tmp_path / "unet-w2-ours-e1-f0-s0" / "job.json").write_text("{")
    text = run(
        *("--table", 1, "--networks", "unet", "--seeds", "0-1", *given(data_set, tmp_path)),
        code=1,
    )
    assert "unet-w2-ours-e1-f0-s0: " in text
    assert "cannot be read as the settings of a training" in text
    assert [path.stem for path in tmp_path.glob("*.json")] == ["unet-w2-ours-e1-f0-s1"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--networks", "add"], "networks of table 1 are unet, recurrent_unet, feedback_unet"),
        (["--recipe", "theirs"], "paper or ours"),
        (["--folds", "5"], "There are folds 0 to 4, not 5"),
        (["--seeds", "x"], "Seeds read like"),
        (["--width", "2000"], "width is a whole number"),
        (
            ["--table", "5"],
            "less than or equal to 4|5 is not in the range 1<=x<=4",
        ),  # as typer's version says
    ],
)
def test_wrong_use(options: list[str], told: str, tmp_path: Path) -> None:
    text = run("--table", 1, "--results", tmp_path / "new", *options, code=2)
    assert re.search(told, text.replace("│ ", "").replace(" │", ""))
    assert not (tmp_path / "new").exists()


def test_nothing_to_report(tmp_path: Path) -> None:
    assert "holds no finished run of table 1" in run("--table", 1, "--results", tmp_path, "--report")


def test_ctrl_c_keeps_the_last_epoch_and_the_same_command_goes_on(data_set: Path, tmp_path: Path) -> None:
    arguments = ["--table", 1, "--networks", "unet", "--seeds", 0, *given(data_set, tmp_path)]
    arguments[arguments.index("1", 5)] = "30"  # epochs
    code = (
        "from dataclasses import replace; from napari_feedback_seg.evaluation.reproduce import RECIPES; "
        "from napari_feedback_seg.cli import main; from napari_feedback_seg.networks import NetworkSpec; "
        f"RECIPES['ours'] = replace(RECIPES['ours'], spec={SPEC!r}, **{PATCHES!r}); "
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "reproduce", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    last = tmp_path / "unet-w2-ours-e30-f0-s0" / "last.pt"
    until = time.monotonic() + 120
    while not last.exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert "Give the same command again to go on" in errors
    assert "Traceback" not in errors
    done = torch.load(last, weights_only=True)["progress"]["epoch"]
    assert done >= 1
    assert not list(tmp_path.glob("*.json"))
    epochs = re.findall("epoch ([0-9]+)/30", run(*arguments))
    assert [int(each) for each in epochs] == list(range(done + 1, 31))
    assert len(list(tmp_path.glob("*.json"))) == 1

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from napari_feedback_seg.cli import app
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.models.model_file import load_model_file, read_card

if TYPE_CHECKING:
    from pathlib import Path

FAST = ["--device", "cpu", "--steps", "2"]
SAMPLE = builtin_section(160, seed=3)


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["finetune", *map(str, arguments)])
    assert result.exit_code == code, result.output
    if result.exception is not None:
        assert isinstance(result.exception, SystemExit), result.exception
    return " ".join(result.output.split())


@pytest.fixture
def small(small_model_file: Path) -> list[object]:
    """Return a model that is tuned in no time, and is written whatever is recommended."""
    return [small_model_file, "--keep", "always"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    labels = np.zeros_like(SAMPLE.labels)
    for row in range(10, 150, 40):
        labels[row : row + 8, 10:18] = SAMPLE.labels[row : row + 8, 10:18]
        labels[row : row + 8, 90:98] = SAMPLE.labels[row : row + 8, 90:98]
    image, corrections = tmp_path / "a.tif", tmp_path / "corrections.tif"
    tifffile.imwrite(image, np.stack([255 - SAMPLE.image] * 2))
    tifffile.imwrite(corrections, np.stack([labels, np.zeros_like(labels)]))
    return image, corrections


def test_a_better_model_is_written(files: tuple[Path, Path], tmp_path: Path) -> None:
    new = tmp_path / "new.safetensors"
    said = run("unet-w16", *files, "-o", new, "--half", *FAST)
    assert "wrote" in said
    assert "Keep: " in said
    assert torch.float16 in {each.dtype for each in load_file(new).values()}
    card = load_model_file(new).card
    assert card.data[-1].sections["corrected"] == [0]
    assert "a.tif" in card.data[-1].name
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert "is there already" in run("unet-w16", *files, "-o", new, *FAST, code=1)
    run("unet-w16", *files, "-o", new, "--overwrite", *FAST)
    assert not list(tmp_path.glob(".*"))  # no checkpoint either


def test_what_is_written_is_up_to_keep(
    small_model_file: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    labels = tifffile.imread(files[1])
    wrong = np.where(labels > 0, np.random.default_rng(0).integers(1, 5, labels.shape), 0)
    tifffile.imwrite(files[1], wrong.astype(np.uint8))
    new = tmp_path / "new.safetensors"
    said = run(small_model_file, *files, "-o", new, *FAST, code=1)
    assert "Go back: " in said
    assert "The same command with --keep always writes it" in said
    assert not new.exists()
    assert "is not written" in run(small_model_file, *files, "-o", new, "--keep", "never", *FAST)
    assert not new.exists()
    said = run(small_model_file, *files, "-o", new, "--keep", "always", *FAST)
    assert "Go back: " in said  # the advice stays what it was
    assert load_model_file(new).card.scores["held_out_corrections"]["recommendation"] == "go back"
    assert not list(tmp_path.glob(".*"))  # no checkpoint either


def test_a_better_model_is_not_written_if_never_asked_for(files: tuple[Path, Path], tmp_path: Path) -> None:
    new = tmp_path / "new.safetensors"
    said = run("unet-w16", *files, "-o", new, "--keep", "never", *FAST)
    assert "Keep: " in said
    assert "is not written" in said
    assert not new.exists()


def test_folders_go_together_by_name(small: list[object], files: tuple[Path, Path], tmp_path: Path) -> None:
    images, corrections = tmp_path / "images", tmp_path / "corrections"
    images.mkdir()
    corrections.mkdir()
    for name in ("one", "two"):
        (images / f"{name}.tif").write_bytes(files[0].read_bytes())
    (corrections / "two.tif").write_bytes(files[1].read_bytes())
    new = tmp_path / "new.safetensors"
    run(*small, images, corrections, "-o", new, *FAST)
    assert "two.tif" in read_card(new).data[-1].name
    (corrections / "three.tif").write_bytes(files[1].read_bytes())
    assert "three" in run("unet-w16", images, corrections, "-o", new, "--overwrite", *FAST, code=1)
    assert "both be" in run("unet-w16", images, files[1], "-o", tmp_path / "b.safetensors", *FAST, code=1)


def test_a_new_class_is_in_the_card(small: list[object], files: tuple[Path, Path], tmp_path: Path) -> None:
    labels = tifffile.imread(files[1])
    labels[0, 10:18, 90:98] = 5
    tifffile.imwrite(files[1], labels)
    new = tmp_path / "new.safetensors"
    assert "no class (5)" in run("unet-w16", *files, "-o", new, *FAST, code=1)
    run(*small, *files, "-o", new, "--new-class", "nucleus=#56B4E9", *FAST)
    assert read_card(new).classes[-1].to_json() | {"opacity": 0} == {
        "value": 5,
        "name": "nucleus",
        "color": "#56b4e9",
        "opacity": 0,
    }
    run("unet-w16", *files, "-o", tmp_path / "x.safetensors", "--new-class", "nucleus", *FAST, code=2)


def test_wrong_use(files: tuple[Path, Path], tmp_path: Path) -> None:
    assert ".safetensors" in run("unet-w16", *files, "-o", tmp_path / "new.pt", *FAST, code=2)
    run("unet-w16", *files, "-o", tmp_path / "new.safetensors", "--steps", "0", code=2)
    empty = tmp_path / "empty.tif"
    tifffile.imwrite(empty, np.zeros((2, 160, 160), np.uint8))
    said = run("unet-w16", files[0], empty, "-o", tmp_path / "new.safetensors", *FAST, code=1)
    assert "Nothing is corrected" in said
    said = run("unet-w16", files[0], tmp_path / "no.tif", "-o", tmp_path / "new.safetensors", *FAST, code=1)
    assert "There is no file" in said

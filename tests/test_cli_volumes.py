from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from napari_feedback_seg.cli import app
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.segmentation.predict import segment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def sections() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(2, 75, 90)).cumsum(axis=2)
    return np.clip(128 + 10 * noise, 0, 255).astype(np.uint8)


@pytest.fixture
def store(tmp_path: Path, sections: np.ndarray) -> Path:
    zarr.create_array(str(tmp_path / "em.zarr"), data=sections, chunks=(1, 64, 64))
    return tmp_path / "em.zarr"


@pytest.fixture
def run(tmp_path: Path, small_model):
    save_model(small_model, tmp_path / "small.safetensors")

    def call(*arguments: object):
        model = ["--model", str(tmp_path / "small.safetensors")]
        return CliRunner().invoke(app, ["segment", *map(str, arguments), *model], terminal_width=200)

    return call


def labels_of(output: Path) -> np.ndarray:
    return zarr.open_array(str(output / "labels" / "feedback-seg" / "0"), mode="r")[:]


def test_a_plain_array_with_its_pixel_size(tmp_path, run, store, sections, small_model):
    output = tmp_path / "out.zarr"
    result = run(store, "-o", output, "--pixel-size", "40x5x6", "--region", "1:2,10:70,:")
    assert result.exit_code == 0, result.output
    assert "wrote" in result.output
    assert "1 blocks" in result.output
    expected = segment(sections, small_model, pixel_size_nm=(5.0, 6.0)).labels
    np.testing.assert_array_equal(labels_of(output), expected[1:2, 10:70])
    about = zarr.open_group(str(output / "labels/feedback-seg"), mode="r").attrs["ome"]["multiscales"][0]
    transforms = about["datasets"][0]["coordinateTransformations"]
    assert [each[each["type"]] for each in transforms] == [[40.0, 5.0, 6.0], [40.0, 50.0, 0.0]]
    again = run(store, "-o", output, "--pixel-size", "40x5x6", "--region", "1:2,10:70,:")
    assert "1 of 1 blocks were done before" in again.output
    other = run(store, "-o", output, "--pixel-size", "40x5x6")
    assert other.exit_code == 1
    assert "was begun with the region from 1 x 10 x 0" in other.output


def test_what_is_unknown_is_said(tmp_path, run, store):
    result = run(store, "-o", tmp_path / "out.zarr", "--pixel-size", "5")
    assert "does not say how far its sections are apart" in result.output
    result = run(store, "-o", tmp_path / "two.zarr")
    assert "The pixel size of the model, 4.6 nm, was taken" in result.output


def test_into(run, store, sections, small_model, tmp_path):
    result = run(store, "--into")
    assert result.exit_code == 1
    assert "no group that labels can be written into" in result.output
    group = zarr.open_group(str(tmp_path / "ome.zarr"), mode="w")
    group.create_array("0", data=sections, chunks=(1, 64, 64))
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    transforms = [{"type": "scale", "scale": [40, 4.6, 4.6]}]
    one = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": transforms}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [one]}
    result = run(tmp_path / "ome.zarr", "--into", "--probabilities")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(labels_of(tmp_path / "ome.zarr"), segment(sections, small_model).labels)


def test_a_block_that_cannot_be_read_gives_exit_code_1(tmp_path, run, store):
    chunk = store / "c/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:50])
    result = run(store, "-o", tmp_path / "out.zarr")
    assert result.exit_code == 1
    assert "1 of 2 blocks could not be segmented; the others are done" in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sections", "1"], "--sections is for files"),
        (["--first-round"], "--first-round is for files"),
        (["--region", "1-2"], "The region of a volume reads"),
        (["--region", "0:9,:,:"], "reaches from 0 to 9"),
        (["--block", "1,2"], "A block reads"),
        (["--block", "1,100,100"], "a multiple of 256 pixels"),
        (["--pixel-size", "1x2x3x4"], "The pixel size of a volume"),
        (["--level", "3"], "no level 3"),
        (["--into"], "name it as the output, too"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_said(tmp_path, run, store, arguments, sentence):
    result = run(store, "-o", tmp_path / "out.zarr", *arguments)
    assert result.exit_code in (1, 2)
    assert sentence in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "out.zarr" / "labels").exists()


def test_the_output_is_an_ome_zarr(tmp_path, run, store):
    result = run(store, "-o", tmp_path / "out.tif")
    assert result.exit_code == 2
    assert "something.zarr" in result.output
    assert run(tmp_path / "a.tif").exit_code == 2

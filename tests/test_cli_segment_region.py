"""``feedback-seg segment`` of a part of an image: a region, some sections, another pixel size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_feedback_seg.cli import app
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.models.model_file import save_model

if TYPE_CHECKING:
    from pathlib import Path

    from napari_feedback_seg.models.model import Model


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    return np.stack([builtin_section((100, 90), seed=seed).image for seed in range(4)])


@pytest.fixture
def folder(tmp_path: Path, small_model: Model, stack: np.ndarray) -> Path:
    save_model(small_model, tmp_path / "small.safetensors")
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    tifffile.imwrite(tmp_path / "section.tif", stack[0])
    return tmp_path


def segment(folder: Path, source: str, *arguments: object, code: int = 0) -> str:
    """Segment a file to ``out.tif``; return what was printed, all on one line."""
    line = ["segment", folder / source, "-o", folder / "out.tif", "-m", folder / "small.safetensors"]
    line += ["--device", "cpu", "--overwrite", *arguments]
    result = CliRunner().invoke(app, [str(each) for each in line], env={"COLUMNS": "400"})
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def labels_of(folder: Path, source: str, *arguments: object) -> np.ndarray:
    segment(folder, source, *arguments)
    return tifffile.imread(folder / "out.tif")


def test_a_region_is_as_in_the_whole_section_and_0_around_it(folder):
    # One tile holds the region and its neighbourhood, whatever is asked for.
    whole = labels_of(folder, "section.tif", "--overlap", 0)
    part = labels_of(folder, "section.tif", "--overlap", 0, "--region", "10:60,5:64", "--probabilities")
    assert part.shape == whole.shape
    inside = np.zeros(whole.shape, bool)
    inside[10:60, 5:64] = True
    assert part[inside].all()
    assert not part[~inside].any()
    assert (part == whole)[inside].mean() > 0.99
    probabilities = tifffile.imread(folder / "out-probabilities.tif")
    assert probabilities.shape == (4, *whole.shape)
    assert not probabilities[:, ~inside].any()
    np.testing.assert_allclose(probabilities.sum(axis=0)[inside], 1, atol=5e-3)


def test_sections_are_as_in_the_whole_stack_and_the_others_0(folder):
    whole = labels_of(folder, "stack.tif")
    assert whole.all()
    part = labels_of(folder, "stack.tif", "--sections", "1,3")
    np.testing.assert_array_equal(part[[1, 3]], whole[[1, 3]])
    assert not part[[0, 2]].any()
    np.testing.assert_array_equal(labels_of(folder, "stack.tif", "--sections", "0-2,2,3"), whole)


def test_a_region_of_some_sections(folder):
    text = segment(folder, "stack.tif", "--sections", "2", "--region", "0:20,70:90", "--first-round")
    assert "wrote" in text
    for name in ("out.tif", "out-first-round.tif"):
        found = tifffile.imread(folder / name)
        assert np.argwhere(found).min(axis=0).tolist() == [2, 0, 70]
        assert np.argwhere(found).max(axis=0).tolist() == [2, 19, 89]
        assert np.count_nonzero(found) == 400


def test_a_blank_section_is_named_by_its_number_in_the_stack(folder, stack):
    blank = stack * (np.arange(4) != 2)[:, None, None].astype(np.uint8)
    tifffile.imwrite(folder / "stack.tif", blank, photometric="minisblack")
    text = segment(folder, "stack.tif", "--sections", "1-2")
    assert "Section 2: The section has one grey value everywhere" in text


def test_one_section_of_a_single_image(folder):
    whole = labels_of(folder, "section.tif")
    np.testing.assert_array_equal(labels_of(folder, "section.tif", "--sections", "0"), whole)


def test_pixels_of_unequal_sides(folder):
    square = labels_of(folder, "section.tif")
    other = labels_of(folder, "section.tif", "--pixel-size", "4.6x9.2")
    assert other.shape == square.shape
    assert (other != square).any()
    with tifffile.TiffFile(folder / "out.tif") as tiff:
        sides = [tiff.pages.first.tags[name].value for name in ("YResolution", "XResolution")]
    np.testing.assert_allclose([units / pixels for pixels, units in sides], [4.6, 9.2], rtol=1e-4)


def test_without_rescaling_the_size_is_only_written(folder):
    as_it_is = labels_of(folder, "section.tif")
    kept = labels_of(folder, "section.tif", "--pixel-size", 9.2, "--no-rescale")
    np.testing.assert_array_equal(kept, as_it_is)
    with tifffile.TiffFile(folder / "out.tif") as tiff:
        pixels, units = tiff.pages.first.tags["XResolution"].value
    assert units / pixels == pytest.approx(9.2, rel=1e-4)
    size = {"resolution": (1e7 / 9.2, 1e7 / 9.2), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(folder / "section.tif", tifffile.imread(folder / "section.tif"), **size)
    said = segment(folder, "section.tif")
    assert "it was rescaled" in said
    assert "rescaled" not in segment(folder, "section.tif", "--no-rescale")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--region", "0:10"], "TOP:BOTTOM,LEFT:RIGHT"),
        (["--region", "0:10,a:5"], "TOP:BOTTOM,LEFT:RIGHT"),
        (["--region", "-5:10,0:5"], "TOP:BOTTOM,LEFT:RIGHT"),
        (["--region", "10:10,0:5"], "low to high"),
        (["--region", "0:10,5:2"], "low to high"),
        (["--sections", ""], "3-5,8"),
        (["--sections", "one"], "3-5,8"),
        (["--sections", "5-3"], "low to high"),
        (["--sections", "1,,2"], "3-5,8"),
        (["--sections", "0-99999999999"], "3-5,8"),
        (["--pixel-size", "big"], "4.6"),
        (["--pixel-size", "1x2x3"], "8x4"),
        (["--pixel-size", "-1"], "above 0"),
        (["--pixel-size", "nan"], "above 0"),
    ],
)
def test_wrong_use_is_a_sentence_and_exit_code_2(folder, arguments, word):
    text = segment(folder, "stack.tif", *arguments, code=2)
    assert word in text
    assert not (folder / "out.tif").exists()


@pytest.mark.parametrize(
    ("source", "arguments", "sentence"),
    [
        ("stack.tif", ["--region", "0:101,0:5"], "which has 100 rows (0 to 99)"),
        ("stack.tif", ["--region", "0:5,90:91"], "which has 90 columns (0 to 89)"),
        ("stack.tif", ["--sections", "2-4"], "It has the sections 0 to 3, and no section 4."),
        ("section.tif", ["--sections", "1"], "It has one section, number 0, and no section 1."),
    ],
)
def test_what_lies_beyond_the_image_is_an_error_of_that_image(folder, source, arguments, sentence):
    text = segment(folder, source, *arguments, code=1)
    assert f"{source}: " in text
    assert sentence in text
    assert not (folder / "out.tif").exists()

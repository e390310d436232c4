from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from napari_feedback_seg import load_model
from napari_feedback_seg.attention_maps.files import AttentionJob, write_attention
from napari_feedback_seg.attention_maps.maps import SectionAttention
from napari_feedback_seg.cli import app
from napari_feedback_seg.errors import InputError, ModelError, OutputError
from napari_feedback_seg.io import open_image
from napari_feedback_seg.models.model_file import save_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_feedback_seg.models.model import Model


@pytest.fixture
def image(section: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "section.tif"
    tifffile.imwrite(path, section, imagej=True, resolution=(1 / 4.6, 1 / 4.6), metadata={"unit": "nm"})
    return path


@pytest.fixture
def stack(section: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.stack([section, section[::-1]]))
    return path


@pytest.fixture
def model(make_model: Callable[..., Model]) -> Model:
    return make_model(key_pooling=4)


def job(image: Path, *pixels: tuple[int, int], **options: Any) -> AttentionJob:
    return AttentionJob(image, pixels or ((40, 30),), image.with_name("map.tif"), **options)


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["attention", *(str(each) for each in arguments)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_map_is_written_at_its_place_in_the_section(image: Path, model: Model, section: np.ndarray) -> None:
    ((name, found),) = write_attention(job(image), [model], device="cpu")
    written = tifffile.imread(image.with_name("map.tif"))
    assert open_image(image.with_name("map.tif")).pixel_size_nm == pytest.approx((4.6, 4.6), rel=1e-4)
    tile = SectionAttention(section, model, device="cpu").at(40, 30)
    assert name == "small self"
    assert written.shape == section.shape
    assert written.dtype == np.float32
    assert np.array_equal(written[tile.frame.region], tile.pixel(40, 30).map)
    assert np.array_equal(written[tile.frame.region], found.map)
    outside = np.ones(section.shape, bool)
    outside[tile.frame.region] = False
    assert np.isnan(written[outside]).all()


def test_file_says_its_pixel_size_and_what_each_page_is(
    image: Path, model: Model, make_model: Callable[..., Model]
) -> None:
    models = [model, make_model(mode="source_target", key_pooling=4)]
    found = write_attention(job(image, (40, 30), (45, 25)), models, device="cpu")
    assert [(name, pixel.y) for name, pixel in found] == [
        ("small self", 40),
        ("small self", 45),
        ("small source_target", 40),
        ("small source_target", 45),
    ]
    with tifffile.TiffFile(image.with_name("map.tif")) as file:
        assert file.series[0].shape[0] == 4
        metadata = file.imagej_metadata
    assert metadata["unit"] == "nm"
    assert metadata["Labels"][3].startswith("small source_target: ")
    assert metadata["Labels"][3].endswith(" at 45, 25")


def test_pixel_size_of_the_file_is_used(section: np.ndarray, tmp_path: Path, model: Model) -> None:
    path = tmp_path / "fine.tif"
    tifffile.imwrite(path, section, imagej=True, resolution=(1 / 2.3, 1 / 2.3), metadata={"unit": "nm"})
    write_attention(job(path, recentre=True), [model], device="cpu")
    seen = np.isfinite(tifffile.imread(tmp_path / "map.tif"))
    assert seen.sum(axis=1).max() == 64  # a tile of 32 pixels of 4.6 nm
    again = AttentionJob(path, ((40, 30),), tmp_path / "again.tif", recentre=True)
    write_attention(again, [model], device="cpu", pixel_size_nm=4.6)
    assert np.isfinite(tifffile.imread(tmp_path / "again.tif")).sum(axis=1).max() == 32


def test_recentred_tile_lies_around_the_pixel(image: Path, model: Model) -> None:
    write_attention(job(image, recentre=True), [model], device="cpu")
    rows, columns = np.nonzero(np.isfinite(tifffile.imread(image.with_name("map.tif"))))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (24, 55, 14, 45)


def test_section_of_a_stack(stack: Path, model: Model, section: np.ndarray) -> None:
    ((_, found),) = write_attention(job(stack, section=1), [model], device="cpu")
    tile = SectionAttention(section[::-1], model, device="cpu").at(40, 30)
    assert np.array_equal(found.map, tile.pixel(40, 30).map)


def test_figure_has_a_membrane_and_a_cytoplasm_pixel(image: Path, model: Model) -> None:
    figure = image.with_name("map.png")
    ((_, found),) = write_attention(job(image, figure=figure), [model], device="cpu")
    wanted = {"membrane", "cytoplasm", found.label_class.name}
    with Image.open(figure) as picture:
        panels = round(picture.width / 332)
    assert panels == 2 + len(wanted)  # image, output, and the maps


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"section": None}, "has 2 sections: say which"),
        ({"section": 2}, "has no section 2: they go from 0 to 1"),
        ({"section": -1}, "has no section -1"),
    ],
)
def test_section_that_is_not_there_is_refused(
    stack: Path, model: Model, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        write_attention(job(stack, **options), [model])
    assert not stack.with_name("map.tif").exists()


def test_pixel_of_another_tile_than_the_first_is_refused(image: Path, model: Model) -> None:
    with pytest.raises(InputError, match="outside of the tile"):
        write_attention(job(image, (5, 5), (70, 80)), [model], device="cpu")
    assert list(image.parent.iterdir()) == [image]


def test_output_that_is_there_stays(image: Path, model: Model) -> None:
    image.with_name("map.tif").write_bytes(b"mine")
    with pytest.raises(OutputError, match="is there already"):
        write_attention(job(image), [model], device="cpu")
    assert image.with_name("map.tif").read_bytes() == b"mine"


def test_model_without_attention_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unet-w16 looks at the image once"):
        write_attention(job(tmp_path / "none.tif"), [load_model("unet-w16")])


def test_ground_truth_of_another_shape_is_refused(image: Path, model: Model) -> None:
    truth = image.with_name("truth.tif")
    tifffile.imwrite(truth, np.ones((9, 9), np.uint8))
    with pytest.raises(InputError, match="take labels of the same image"):
        write_attention(job(image, truth=truth), [model], device="cpu")


class TestCommand:
    @pytest.fixture
    def model_file(self, make_model: Callable[..., Model], tmp_path_factory: pytest.TempPathFactory) -> Path:
        return save_model(make_model(key_pooling=4), tmp_path_factory.mktemp("m") / "small.safetensors")

    def test_writes_map_and_figure(self, image: Path, model_file: Path) -> None:
        out = image.parent / "new" / "map.tif"
        truth = image.with_name("truth.tif")
        tifffile.imwrite(truth, np.ones((75, 90), np.uint8))
        said = run(image, "--at", "40,30", "-m", model_file, "-o", out, "--figure", "--truth", truth)
        assert "small self: the pixel 40,30 is " in said
        assert said.count("wrote ") == 2
        assert sorted(path.name for path in out.parent.iterdir()) == ["map.png", "map.tif"]
        assert tifffile.imread(out).shape == (75, 90)

    def test_two_models_and_two_pixels(self, image: Path, model_file: Path) -> None:
        out = image.with_name("map.tif")
        run(image, "--at", "40,30", "--at", "41, 31", "-m", model_file, "-m", model_file, "-o", out)
        assert tifffile.imread(out).shape == (4, 75, 90)

    @pytest.mark.parametrize(
        ("arguments", "sentence", "code"),
        [
            (["--at", "40"], "--at is a row and a column", 2),
            (["--at", "4.5,3"], "--at is a row and a column", 2),
            (["--at", "75,0"], "The pixel (75, 0) is outside of the image", 1),
            (["--at", "-1,0"], "The pixel (-1, 0) is outside of the image", 1),
            (["--at", "4,4", "--section", "1"], "has no section 1", 1),
            (["--at", "4,4", "--overlap", "1"], "--overlap is a fraction", 2),
            (["--at", "4,4", "--truth", "t.tif"], "give --figure too", 2),
            (["--at", "4,4", "-m", "nothing"], "There is no model 'nothing'", 1),
            (["--at", "4,4", "-m", "unet-w16"], "has no feedback, and so no attention", 1),
            (["--at", "4,4", "--pixel-size", "1000"], "more than 16 times away", 1),
        ],
    )
    def test_wrong_use_gives_a_sentence_and_no_file(
        self, image: Path, model_file: Path, arguments: list[str], sentence: str, code: int
    ) -> None:
        if "-m" not in arguments:
            arguments = [*arguments, "-m", str(model_file)]
        said = run(image, *arguments, "-o", image.with_name("map.tif"), code=code)
        assert sentence in said.replace("│ ", "").replace(" │", "")
        assert list(image.parent.iterdir()) == [image]

    def test_output_is_a_tiff(self, image: Path) -> None:
        said = run(image, "--at", "4,4", "-o", image.with_name("map.png"), code=2)
        assert "name it something.tif" in said.replace("│ ", "").replace(" │", "")

    def test_image_is_never_written_to(self, image: Path) -> None:
        before = image.read_bytes()
        link = image.with_name("link.tif")
        link.symlink_to(image)
        at = ("--at", "4,4", "--figure", "--overwrite")
        for given in (
            (image, "-o", image),
            (image, "-o", link),
            (os.path.relpath(image), "-o", image),
            (image, "-o", image.with_name("truth.tif"), "--truth", image.with_name("truth.tif")),
        ):
            text = run(*given, *at, code=2).replace("│ ", "").replace(" │", "")
            assert "Choose another output" in text
        assert image.read_bytes() == before


def test_command_says_which_pixel_size_it_took(
    image: Path, stack: Path, model: Model, tmp_path: Path
) -> None:
    path = save_model(model, tmp_path / "m.safetensors")
    shared = ("--at", "40,30", "-m", path, "-o", tmp_path / "map.tif", "--device", "cpu", "--overwrite")
    taken = "does not say its pixel size: that of the model, 4.6 nm, was taken"
    assert taken in run(stack, "--section", 1, *shared)
    assert "pixel size" not in run(image, *shared)
    assert "pixel size" not in run(stack, "--section", 1, "--pixel-size", 4.6, *shared)

"""napari shows the sections that the command line reads, where they are and as large as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import mrcfile
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from npe2 import PluginManifest

import napari_feedback_seg
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import open_image
from napari_feedback_seg.plugin.contributions import image_reader
from napari_feedback_seg.plugin.contributions.image_reader import get_reader
from napari_feedback_seg.plugin.layers.image import pixel_size_nm, spacing_nm

MANIFEST = Path(napari_feedback_seg.__file__).with_name("napari.yaml")
RNG = np.random.default_rng(0)
SECTION = RNG.integers(0, 100, (40, 50), np.uint8)
STACK = RNG.integers(0, 100, (5, 40, 50), np.uint8)


@pytest.fixture
def viewer(npe2pm) -> ViewerModel:
    with npe2pm.tmp_plugin(manifest=PluginManifest.from_file(MANIFEST)):
        yield ViewerModel()


def imagej(path: Path, data: np.ndarray, spacing: float | None = None) -> Path:
    metadata: dict[str, Any] = {"unit": "nm", "axes": "ZYX"[-data.ndim :]}
    metadata |= {"spacing": spacing} if spacing else {}
    tifffile.imwrite(path, data, imagej=True, resolution=(1 / 4, 1 / 8), metadata=metadata)
    return path


def with_thumbnail(path: Path) -> None:
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(SECTION[::4, ::4], subfiletype=1, metadata=None)
        tiff.write(SECTION, metadata=None)


def opened(viewer: ViewerModel, path: Path) -> Any:
    [layer] = viewer.open(str(path), plugin="napari-feedback-seg")
    return layer


@pytest.mark.parametrize("data", [SECTION, STACK], ids=["section", "stack"])
@pytest.mark.parametrize("name", ["a.tif", "a.TIFF"])
def test_a_tiff_has_its_scale_and_units(viewer, tmp_path, data, name):
    layer = opened(viewer, imagej(tmp_path / name, data, 40))
    np.testing.assert_array_equal(layer.data, data)
    assert layer.name == "a"
    assert layer.axis_labels == ("z", "y", "x")[-data.ndim :]
    assert pixel_size_nm(layer) == (8, 4)
    assert spacing_nm(layer) == (40 if data.ndim == 3 else None)
    assert layer.source.path == str(tmp_path / name)


def test_an_unknown_distance_of_sections_is_not_made_up(viewer, tmp_path):
    layer = opened(viewer, imagej(tmp_path / "a.tif", STACK))
    assert pixel_size_nm(layer) == (8, 4)
    assert spacing_nm(layer) is None


def test_without_a_pixel_size_there_is_no_unit(viewer, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", SECTION)
    layer = opened(viewer, tmp_path / "a.tif")
    assert pixel_size_nm(layer) is None
    np.testing.assert_array_equal(layer.scale, (1, 1))


def test_an_mrc(viewer, tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(STACK.astype(np.int16))
        file.voxel_size = (40, 80, 500)
    layer = opened(viewer, tmp_path / "a.mrc")
    np.testing.assert_array_equal(layer.data, STACK)
    assert (pixel_size_nm(layer), spacing_nm(layer)) == ((8, 4), 50)


def test_all_images_of_an_hdf5(viewer, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"], file["labels"], file["table"] = STACK, SECTION, np.zeros((9, 3))
    layers = viewer.open(str(tmp_path / "a.h5"), plugin="napari-feedback-seg")
    assert [layer.name for layer in layers] == ["labels", "raw"]
    np.testing.assert_array_equal(layers[1].data, STACK)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: tifffile.imwrite(path, STACK[:3], photometric="rgb", planarconfig="separate"),
        lambda path: tifffile.imwrite(path, SECTION, photometric="miniswhite"),
        lambda path: tifffile.imwrite(path, SECTION[..., None]),
        lambda path: tifffile.imwrite(path, STACK[:, :, :3], photometric="minisblack"),
        with_thumbnail,
    ],
    ids=["planes", "inverted", "one sample", "narrow", "thumbnail"],
)
def test_what_is_shown_is_what_the_command_line_reads(viewer, tmp_path, write):
    write(tmp_path / "a.tif")
    image = open_image(tmp_path / "a.tif")
    layer = opened(viewer, tmp_path / "a.tif")
    assert layer.data.shape == image.shape
    assert not layer.rgb
    np.testing.assert_array_equal(np.reshape(layer.data, (-1, *image.shape[-2:])), list(image.sections))


def test_a_large_stack_is_read_section_by_section(viewer, tmp_path, monkeypatch):
    monkeypatch.setattr(image_reader, "LAZY_BYTES", STACK.nbytes - 1)
    layer = opened(viewer, imagej(tmp_path / "a.tif", STACK))
    assert isinstance(layer.data, da.Array)
    assert layer.data.chunks == ((1,) * 5, (40,), (50,))
    np.testing.assert_array_equal(layer.data[3], STACK[3])
    np.testing.assert_array_equal(layer.data, STACK)


def test_of_a_stack_of_large_sections_no_more_is_read_than_what_is_looked_at(viewer, tmp_path, monkeypatch):
    for name, value in (("LAZY_BYTES", STACK.nbytes - 1), ("LARGEST_READ", 100), ("BLOCK_SIDE", 32)):
        monkeypatch.setattr(image_reader, name, value)
    layer = opened(viewer, imagej(tmp_path / "a.tif", STACK))
    assert layer.data.chunks == ((1,) * 5, (32, 8), (32, 18))
    np.testing.assert_array_equal(layer.data, STACK)


def test_several_files_become_a_stack(viewer, tmp_path):
    paths = [str(imagej(tmp_path / f"{z}.tif", STACK[z])) for z in range(5)]
    [layer] = viewer.open(paths, stack=True, plugin="napari-feedback-seg")
    np.testing.assert_array_equal(layer.data, STACK)
    assert pixel_size_nm(layer) == (8, 4)
    imagej(tmp_path / "1.tif", SECTION[:30])
    with pytest.raises(InputError, match=r"1\.tif' is \(30, 50\)"):
        get_reader(paths)(paths)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: tifffile.imwrite(path, np.zeros((40, 50, 3), np.uint8), photometric="rgb"),
        lambda path: tifffile.imwrite(path, np.zeros((2, 3, 40, 50), np.uint8), imagej=True),
        lambda path: path.write_text("no image"),
    ],
    ids=["photograph", "four axes", "text"],
)
def test_another_image_is_left_to_another_reader(tmp_path, write):
    write(tmp_path / "a.tif")
    imagej(tmp_path / "b.tif", SECTION)
    assert get_reader(str(tmp_path / "a.tif")) is None
    assert get_reader([str(tmp_path / "b.tif"), str(tmp_path / "a.tif")]) is None


def test_a_damaged_file_is_said_to_be_that(tmp_path):
    path = imagej(tmp_path / "a.tif", STACK)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(InputError, match="cut off"):
        get_reader(str(path))(str(path))

from __future__ import annotations

import functools
import http.server
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import open_image, open_images
from napari_feedback_seg.io.level import Grid
from napari_feedback_seg.io.volume import is_volume, open_volume

if TYPE_CHECKING:
    from pathlib import Path

DATA = np.arange(3 * 40 * 50, dtype=np.uint16).reshape(3, 40, 50)


def ome(path: Path, data: np.ndarray, axes: str, version: str = "0.4", **more: Any) -> Path:
    """Write an OME-Zarr of one level."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    chunks = tuple(min(16, length) for length in data.shape)
    if data.size:
        group.create_array("s0", data=data, chunks=chunks, shards=more.get("shards"))
    else:
        group.create_array(
            "s0", shape=data.shape, chunks=tuple(max(1, each) for each in chunks), dtype=data.dtype
        )
    unit = more.get("unit", "micrometer")
    described = [{"name": axis, "type": "space", **({"unit": unit} if unit else {})} for axis in axes]
    scale = more.get("scale", [{"z": 0.04, "y": 0.005, "x": 0.006}.get(axis, 1) for axis in axes])
    datasets = [{"path": "s0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}]
    multiscales = [{"axes": described, "datasets": datasets, **more.get("multiscales", {})}]
    group.attrs.put(
        {"multiscales": multiscales}
        if version == "0.4"
        else {"ome": {"version": "0.5", "multiscales": multiscales}}
    )
    return path


class TestOmeZarr:
    @pytest.mark.parametrize(
        ("version", "shards"), [("0.4", None), ("0.5", None), ("0.5", (16, 32, 32))], ids=str
    )
    def test_of_any_version(self, tmp_path, version, shards):
        data = np.repeat(DATA, 6, axis=0)
        volume = open_volume(ome(tmp_path / "v.zarr", data, "zyx", version, shards=shards))
        level = volume.levels[0]
        assert level.shape == (18, 40, 50)
        assert level.dtype == np.uint16
        assert volume.version == version
        size = volume.grids[0].pixel_size
        assert (size.z, size.y, size.x) == (40.0, 5.0, 6.0)
        np.testing.assert_array_equal(level[7, 3:20, 10:33], data[7, 3:20, 10:33])
        np.testing.assert_array_equal(level[2:5, 3:20, 10:33], data[2:5, 3:20, 10:33])

    @pytest.mark.parametrize("axes", ["tczyx", "czyx", "zcyx", "xyz", "yx", "cyx"])
    def test_axes_go_by_their_names(self, tmp_path, axes):
        data = DATA if "z" in axes else DATA[:1]
        named = {"z": data.shape[0], "y": 40, "x": 50}
        order = [axis for axis in axes if axis in "zyx"]
        moved = data.transpose(["zyx".index(axis) for axis in order]) if "z" in axes else data[0]
        stored = moved.reshape([named.get(axis, 1) for axis in axes])
        volume = open_volume(ome(tmp_path / "v.zarr", stored, axes))
        assert volume.levels[0].shape == data.shape
        assert volume.flat == ("z" not in axes)
        np.testing.assert_array_equal(volume.levels[0][0, 3:20, 10:33], data[0, 3:20, 10:33])
        np.testing.assert_array_equal(volume.levels[0][0:2, 3:20, 10:33], data[0:2, 3:20, 10:33])

    @pytest.mark.parametrize(
        ("axes", "shape", "sentence"),
        [
            ("czyx", (2, 3, 20, 20), "has 2 channels"),
            ("tzyx", (4, 3, 20, 20), "has 4 time points"),
            ("tczyx", (2, 1, 3, 20, 20), "has 2 time points"),
            ("abyx", (1, 3, 20, 20), "an axis 'b' of 3"),
            ("zyx", (0, 20, 20), r"has no pixels: its shape is \(0, 20, 20\)"),
            ("abc", (3, 20, 20), "it needs y and x"),
        ],
        ids=str,
    )
    def test_what_cannot_be_segmented(self, tmp_path, axes, shape, sentence):
        with pytest.raises(InputError, match=sentence):
            open_volume(ome(tmp_path / "v.zarr", np.zeros(shape, np.uint8), axes))

    @pytest.mark.parametrize(
        ("unit", "scale", "said"),
        [
            (None, None, "does not say in which unit"),
            ("pixel", None, "0.005 pixel high"),
            ("meter", [1, 1, 1], "1 meter high, which|1 meter high: no size"),
        ],
        ids=str,
    )
    def test_units_that_are_missing_or_wrong_are_said(self, tmp_path, unit, scale, said):
        more = {"unit": unit, **({"scale": scale} if scale else {})}
        volume = open_volume(ome(tmp_path / "v.zarr", DATA, "zyx", **more))
        assert volume.grids[0].pixel_size is None
        with pytest.raises(AssertionError, match=said):
            raise AssertionError(volume.messages[0])
        known = volume.with_pixel_size((40, 4, 4))
        assert known.grids[0] == Grid((40, 4, 4), (0, 0, 0), ("nanometer",) * 3)

    def test_transformations_of_the_image_come_after_those_of_the_level(self, tmp_path):
        more = {
            "coordinateTransformations": [
                {"type": "scale", "scale": [2, 2, 2]},
                {"type": "translation", "translation": [1, 2, 3]},
            ]
        }
        volume = open_volume(
            ome(tmp_path / "v.zarr", DATA, "zyx", scale=[3, 4, 5], unit="nanometer", multiscales=more)
        )
        assert volume.grids[0].scale == (6, 8, 10)
        assert volume.grids[0].translation == (1, 2, 3)

    @pytest.mark.filterwarnings("error::UserWarning")
    def test_without_multiscales_its_parts_are_named(self, tmp_path):
        zarr.open_group(str(tmp_path / "v.zarr"), mode="w").create_array("raw", data=DATA)
        (tmp_path / "v.zarr" / ".lock").touch()
        with pytest.raises(InputError, match=r"no multiscales metadata. Name one of its parts: .*v.zarr/raw"):
            open_volume(tmp_path / "v.zarr")

    def test_an_array_that_is_missing(self, tmp_path):
        path = ome(tmp_path / "v.zarr", DATA, "zyx")
        (path / "s0").rename(tmp_path / "elsewhere")
        with pytest.raises(InputError, match="its array 's0' is missing"):
            open_volume(path)

    def test_of_bioformats2raw(self, tmp_path):
        zarr.open_group(str(tmp_path / "v.zarr"), mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
        ome(tmp_path / "v.zarr" / "0", DATA, "zyx")
        assert open_volume(tmp_path / "v.zarr").levels[0].shape == DATA.shape
        ome(tmp_path / "v.zarr" / "1", DATA, "zyx")
        with pytest.raises(InputError, match="holds several images"):
            open_volume(tmp_path / "v.zarr")


def test_as_an_image_it_is_read_section_by_section(tmp_path):
    image = open_image(ome(tmp_path / "v.zarr", DATA[None], "czyx"))
    assert image.shape == DATA.shape
    assert (image.pixel_size_nm, image.spacing_nm) == ((5.0, 6.0), 40.0)
    np.testing.assert_array_equal(image.sections[1], DATA[1])
    assert len(open_images(tmp_path / "v.zarr")) == 1
    assert open_image(ome(tmp_path / "flat.zarr", DATA[0], "yx")).shape == DATA.shape[1:]


class TestOthers:
    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_a_plain_array(self, tmp_path, zarr_format):
        zarr.create_array(
            str(tmp_path / "v.zarr"), data=DATA[None], chunks=(1, 2, 16, 16), zarr_format=zarr_format
        )
        volume = open_volume(tmp_path / "v.zarr")
        assert volume.levels[0].shape == DATA.shape
        assert volume.levels[0].chunks == (2, 16, 16)
        assert volume.grids[0].pixel_size is None
        assert volume.version == {2: "0.4", 3: "0.5"}[zarr_format]

    def test_missing_chunks_are_counted(self, tmp_path):
        zarr.create_array(str(tmp_path / "v.zarr"), data=DATA + 1, chunks=(1, 16, 16))
        (tmp_path / "v.zarr/c/1/0/1").unlink()
        level = open_volume(tmp_path / "v.zarr").levels[0]
        assert level.missing((slice(0, 3), slice(0, 40), slice(0, 50))) == 1
        assert level.missing((slice(0, 1), slice(0, 40), slice(0, 50))) == 0

    def test_a_stack_and_a_folder(self, tmp_path):
        tifffile.imwrite(
            tmp_path / "stack.tif",
            DATA,
            imagej=True,
            resolution=(250000, 200000),
            metadata={"axes": "ZYX", "spacing": 0.03, "unit": "um"},
            resolutionunit=1,
        )
        (tmp_path / "sections").mkdir()
        for z in (0, 1, 2):
            tifffile.imwrite(tmp_path / "sections" / f"s{z}.tif", DATA[z])
        for name in ("stack.tif", "sections"):
            level = open_volume(tmp_path / name).levels[0]
            np.testing.assert_array_equal(level[0:3, 2:9, 4:7], DATA[:, 2:9, 4:7])
            np.testing.assert_array_equal(level[1, 2:9, 4:7], DATA[1, 2:9, 4:7])
        assert not open_volume(tmp_path / "sections").flat
        assert open_volume(tmp_path / "sections" / "s1.tif").flat

    def test_a_folder_of_images_of_several_shapes(self, tmp_path):
        for z, width in enumerate((50, 50, 40)):
            tifffile.imwrite(tmp_path / f"s{z}.tif", DATA[0, :, :width])
        with pytest.raises(InputError, match=r"s2.tif' has the shape \(40, 40\)"):
            open_volume(tmp_path)

    @pytest.mark.parametrize(
        ("name", "sentence"), [("none.zarr", "There is no"), ("empty.zarr", "is no Zarr"), ("v.n5", "is N5")]
    )
    def test_no_store(self, tmp_path, name, sentence):
        (tmp_path / "empty.zarr").mkdir()
        (tmp_path / "v.n5").mkdir()
        (tmp_path / "v.n5" / "attributes.json").write_text('{"n5": "2.5.0"}')
        with pytest.raises(InputError, match=sentence):
            open_volume(tmp_path / name)

    def test_damaged_metadata(self, tmp_path):
        path = ome(tmp_path / "v.zarr", DATA, "zyx")
        (path / "s0" / ".zarray").write_text('{"zarr_format": 2, "shape"')
        with pytest.raises(InputError, match=r"v\.zarr"):
            open_volume(path)


@pytest.fixture
def served(tmp_path):
    """A web server on this computer, for the files of ``tmp_path``."""
    pytest.importorskip("aiohttp")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_url(tmp_path, served, version):
    ome(tmp_path / "v.zarr", DATA, "zyx", version)
    volume = open_volume(f"{served}/v.zarr")
    np.testing.assert_array_equal(volume.levels[0][1, 3:20, 10:33], DATA[1, 3:20, 10:33])
    with pytest.raises(InputError, match=r"none\.zarr' is no Zarr"):
        open_volume(f"{served}/none.zarr")


def test_a_server_that_does_not_answer():
    pytest.importorskip("aiohttp")
    with pytest.raises(InputError, match=r"'http://127\.0\.0\.1:9/v\.zarr' cannot be read"):
        open_volume("http://127.0.0.1:9/v.zarr")


def test_what_is_a_volume(tmp_path):
    zarr.create_array(str(tmp_path / "plain"), data=DATA)
    assert is_volume(tmp_path / "plain")
    for name in ("a.zarr", "a.ome.zarr", "a.zarr/0", "s3://bucket/a", "https://host/a.zarr"):
        assert is_volume(name)
    for name in ("a.tif", "folder", "zarr.tif", "C:\\data\\a.tif"):
        assert not is_volume(name)

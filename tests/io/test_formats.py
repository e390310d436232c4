"""MRC, DM3, DM4 and HDF5, each written here, by its library or byte by byte."""

from __future__ import annotations

import re
import struct
import sys
from typing import TYPE_CHECKING, Any

import h5py
import mrcfile
import numpy as np
import pytest

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import PixelSize, images_in, open_image, open_images, pixel_size

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
SECTION = RNG.integers(0, 100, (40, 50), np.uint8)
STACK = RNG.integers(0, 100, (5, 40, 50), np.uint8)


def sections(path: Path | str, shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(list(open_image(path).sections)).reshape(shape)


def refused(path: Path | str, *words: str) -> None:
    with pytest.raises(InputError) as error:
        list(open_image(path).sections)
    for word in words:
        assert word in str(error.value)


def mrc(path: Path, data: np.ndarray, voxel: tuple[float, float, float] | None = None) -> Path:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(data)
        if voxel:
            file.voxel_size = voxel
    return path


class TestMrc:
    @pytest.mark.parametrize("data", [SECTION, STACK], ids=["section", "stack"])
    @pytest.mark.parametrize(("dtype", "mode"), [("i1", 0), ("i2", 1), ("f4", 2), ("u2", 6), ("f2", 12)])
    def test_modes(self, tmp_path, data, dtype, mode):
        path = mrc(tmp_path / "a.mrc", data.astype(dtype))
        with mrcfile.open(path) as file:
            assert file.header.mode == mode
        image = open_image(path)
        assert (image.shape, image.dtype, image.flavour) == (data.shape, np.dtype(dtype), "mrc")
        np.testing.assert_array_equal(sections(path, data.shape), data)

    def test_a_block(self, tmp_path):
        sections = open_image(mrc(tmp_path / "a.mrc", STACK.astype(">i2"))).sections
        np.testing.assert_array_equal(sections.block(3, slice(5, 20), slice(7, 9)), STACK[3, 5:20, 7:9])

    def test_one_row(self, tmp_path):
        assert open_image(mrc(tmp_path / "a.mrc", SECTION[:1].view(np.int8))).shape == (1, 50)

    def test_big_endian_and_behind_a_longer_header(self, tmp_path):
        path = mrc(tmp_path / "a.mrc", STACK.astype(">i2"))
        with mrcfile.open(path, "r+") as file:
            file.set_extended_header(np.zeros(100, "V1"))
        np.testing.assert_array_equal(sections(path, STACK.shape), STACK)
        assert open_image(path).sections[0].dtype.isnative

    @pytest.mark.parametrize(("stamp", "flags", "unsigned"), [(1146047817, 0, True), (1146047817, 1, False)])
    def test_bytes_of_imod(self, tmp_path, stamp, flags, unsigned):
        bright = (STACK + 100).astype(np.uint8)
        path = mrc(tmp_path / "a.mrc", bright.view(np.int8))
        whole = bytearray(path.read_bytes())
        whole[152:160] = struct.pack("<ii", stamp, flags)
        path.write_bytes(whole)
        expected = bright if unsigned else bright.view(np.int8)
        np.testing.assert_array_equal(sections(path, STACK.shape), expected)
        assert open_image(path).dtype == expected.dtype

    def test_bytes_without_a_stamp_go_by_their_range(self, tmp_path):
        bright = (STACK + 100).astype(np.uint8)
        path = mrc(tmp_path / "a.mrc", bright.view(np.int8))
        with mrcfile.open(path, "r+") as file:
            file.header.dmin, file.header.dmax = 100, 199
        np.testing.assert_array_equal(sections(path, STACK.shape), bright)
        np.testing.assert_array_equal(
            sections(mrc(path, STACK.view(np.int8) - 50), STACK.shape), STACK - 50.0
        )

    def test_an_old_file_without_its_mark_is_known_by_its_name(self, tmp_path):
        path = mrc(tmp_path / "a.st", STACK.astype(np.int16))
        whole = bytearray(path.read_bytes())
        whole[208:216] = bytes(8)
        path.write_bytes(whole)
        np.testing.assert_array_equal(sections(path, STACK.shape), STACK)

    def test_pixel_size_of_each_axis(self, tmp_path):
        path = mrc(tmp_path / "a.mrc", STACK.view(np.int8), (40, 80, 500))
        assert pixel_size(path) == open_image(path).pixel_size == PixelSize(y=8, x=4, z=50)

    @pytest.mark.parametrize("voxel", [None, (1, 1, 1), (0, 0, 0), (-4, -4, -4)])
    def test_none_is_none(self, tmp_path, voxel):
        assert pixel_size(mrc(tmp_path / "a.mrc", STACK.view(np.int8), voxel)) is None

    def test_one_section_at_a_time(self, tmp_path):
        image = open_image(mrc(tmp_path / "a.mrc", STACK.view(np.int8)))
        with (tmp_path / "a.mrc").open("r+b") as file:  # all but the last section are gone
            file.seek(1024)
            file.write(bytes(4 * 40 * 50))
        np.testing.assert_array_equal(image.sections[4], STACK[4])

    @pytest.mark.parametrize("length", [300, 1024, 3000])
    def test_cut_off(self, tmp_path, length):
        path = mrc(tmp_path / "a.mrc", STACK.view(np.int8))
        path.write_bytes(path.read_bytes()[:length])
        refused(path, "a.mrc")

    def test_complex(self, tmp_path):
        refused(mrc(tmp_path / "a.mrc", STACK.astype(np.complex64)), "complex64")


def dm(
    path: Path, data: np.ndarray, units: tuple[str, ...], scales: tuple[float, ...], version: int = 3
) -> Path:
    """Write a file of DigitalMicrograph: groups of named tags, one of them the pixels."""
    size = ">q" if version == 4 else ">i"

    def name(text: str) -> bytes:
        return struct.pack(">h", len(text)) + text.encode()

    def info(*numbers: int) -> bytes:
        head = bytes(8) if version == 4 else b""
        return (
            head + b"%%%%" + struct.pack(size, len(numbers)) + b"".join(struct.pack(size, n) for n in numbers)
        )

    def tag(text: str, *numbers: int, data: bytes) -> bytes:
        return b"\x15" + name(text) + info(*numbers) + data

    def group(text: str, *tags: bytes) -> bytes:
        head = bytes(8) if version == 4 else b""
        return b"\x14" + name(text) + b"\0\0" + head + struct.pack(size, len(tags)) + b"".join(tags)

    def unit(text: str) -> bytes:
        return tag("Units", 20, 4, len(text), data=text.encode("utf-16-le"))

    def calibration(scale: float, text: str) -> bytes:
        origin = tag("Origin", 6, data=struct.pack("<f", 0))
        return group("", origin, tag("Scale", 6, data=struct.pack("<f", scale)), unit(text))

    code, kind = {"uint8": (6, 10), "uint16": (10, 4), "int16": (1, 2), "float32": (2, 6)}[data.dtype.name]
    axes = zip(scales[::-1], units[::-1], strict=True)
    brightness = (tag(each, 6, data=struct.pack("<f", 1)) for each in ("Origin", "Scale"))
    image = group(
        "ImageData",
        group(
            "Calibrations",
            group("Brightness", *brightness, unit("")),
            group("Dimension", *(calibration(*each) for each in axes)),
        ),
        tag("Data", 20, kind, data.size, data=data.astype(data.dtype.newbyteorder("<")).tobytes()),
        tag("DataType", 5, data=struct.pack("<I", code)),
        group("Dimensions", *(tag("", 5, data=struct.pack("<I", length)) for length in data.shape[::-1])),
        tag("PixelDepth", 5, data=struct.pack("<I", data.dtype.itemsize)),
    )
    images = group("ImageList", group("", image, group("ImageTags"), tag("Name", 20, 4, 0, data=b"")))
    root = b"\0\0" + struct.pack(size, 1) + images
    path.write_bytes(
        struct.pack(">i", version) + struct.pack(size, len(root)) + struct.pack(">i", 1) + root + bytes(8)
    )
    return path


class TestDigitalMicrograph:
    @pytest.mark.parametrize("version", [3, 4])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
    @pytest.mark.parametrize("data", [SECTION, STACK], ids=["section", "stack"])
    def test_what_was_written(self, tmp_path, version, dtype, data):
        units, scales = ("nm", "\u00b5m", "nm"), (40.0, 0.008, 4.0)
        path = dm(tmp_path / "a.dm", data.astype(dtype), units[-data.ndim :], scales[-data.ndim :], version)
        image = open_image(path)
        assert (image.shape, image.dtype, image.flavour) == (data.shape, np.dtype(dtype), "dm")
        np.testing.assert_array_equal(sections(path, data.shape), data)
        size = pixel_size(path)
        assert size == image.pixel_size
        assert size is not None
        assert (size.y, size.x) == pytest.approx((8, 4))
        assert size.z == (40 if data.ndim == 3 else None)

    def test_without_units(self, tmp_path):
        assert pixel_size(dm(tmp_path / "a.dm3", SECTION, ("", ""), (1.0, 1.0))) is None

    def test_a_spectrum_is_no_image(self, tmp_path):
        path = dm(tmp_path / "a.dm3", SECTION[:1].ravel(), ("eV",), (1.0,))
        refused(path, "no grey section")

    @pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
    def test_cut_off(self, tmp_path, part):
        path = dm(tmp_path / "a.dm3", STACK, ("nm",) * 3, (4.0,) * 3)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * part)])
        refused(path, "a.dm3")


def hdf5(path: Path, **data: Any) -> Path:
    with h5py.File(path, "w") as file:
        for key, array in data.items():
            file.create_dataset(key.replace("__", "/"), data=array, chunks=True, compression="gzip")
    return path


class TestHdf5:
    def test_the_only_image_needs_no_name(self, tmp_path):
        path = hdf5(tmp_path / "a.h5", volumes__raw=STACK, positions=np.zeros((100, 3)), names=np.zeros(5))
        image = open_image(path)
        assert (image.shape, image.dtype, image.flavour) == (STACK.shape, np.uint8, "hdf5")
        np.testing.assert_array_equal(sections(path, STACK.shape), STACK)
        block = image.sections.block(3, slice(5, 20), slice(7, 9))
        np.testing.assert_array_equal(block, STACK[3, 5:20, 7:9])
        assert [each.shape for each in open_images(path)] == [STACK.shape]

    @pytest.mark.parametrize("key", ["volumes/raw", "/volumes/raw"])
    def test_an_image_by_its_name(self, tmp_path, key):
        path = hdf5(tmp_path / "a.h5", volumes__raw=STACK, other=SECTION)
        np.testing.assert_array_equal(sections(f"{path}:{key}", STACK.shape), STACK)
        np.testing.assert_array_equal(sections(f"{path}:other", SECTION.shape), SECTION)

    def test_several_are_listed(self, tmp_path):
        path = hdf5(tmp_path / "a.h5", volumes__raw=STACK, other=SECTION)
        refused(path, "2 images: /other, /volumes/raw", "a.h5:/other")
        refused(f"{path}:rwa", "no data set 'rwa'", "/other, /volumes/raw")
        refused(f"{path}:volumes", "no data set 'volumes'")
        assert pixel_size(path) is None
        assert [str(each.path) for each in open_images(path)] == [f"{path}:/other", f"{path}:/volumes/raw"]
        assert [each.shape for each in open_images(f"{path}:other")] == [SECTION.shape]

    @pytest.mark.parametrize("shape", [(1, 5, 40, 50, 1), (5, 40, 50, 1), (1, 5, 40, 50)])
    def test_axes_of_one_are_left_out(self, tmp_path, shape):
        path = hdf5(tmp_path / "a.h5", exported_data=STACK.reshape(shape))
        assert open_image(path).shape == STACK.shape
        np.testing.assert_array_equal(sections(path, STACK.shape), STACK)

    @pytest.mark.parametrize("data", [np.zeros(20), np.zeros((2, 3, 40, 50)), np.zeros((20, 20), complex)])
    def test_no_image(self, tmp_path, data):
        path = hdf5(tmp_path / "a.h5", raw=data)
        refused(path, "holds no image")
        refused(f"{path}:raw", "no grey section and no stack")

    @pytest.mark.parametrize(
        ("attribute", "value"),
        [("element_size_um", (0.05, 0.008, 0.004)), ("resolution", (50, 8, 4)), ("voxel_size", (50, 8, 4))],
    )
    def test_pixel_size(self, tmp_path, attribute, value):
        path = hdf5(tmp_path / "a.h5", raw=STACK)
        assert pixel_size(path) is None
        with h5py.File(path, "r+") as file:
            file["raw"].attrs[attribute] = value
        assert pixel_size(path) == pixel_size(f"{path}:raw") == PixelSize(y=8, x=4, z=50)

    def test_big_endian(self, tmp_path):
        path = hdf5(tmp_path / "a.h5", raw=STACK.astype(">i2"))
        assert open_image(path).sections[0].dtype.isnative
        np.testing.assert_array_equal(sections(path, STACK.shape), STACK)

    def test_only_what_a_section_needs_is_read(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            data = file.create_dataset("raw", (10**6, 100, 100), "u1", chunks=(1, 100, 100))
            data[999_999] = 7
        image = open_image(tmp_path / "a.h5")
        assert (image.sections[999_999] == 7).all()
        assert not image.sections[5].any()

    @pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
    def test_cut_off(self, tmp_path, part):
        path = hdf5(tmp_path / "a.h5", raw=STACK)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * part)])
        refused(path, "a.h5")


class TestLibraries:
    @pytest.mark.parametrize(
        ("library", "line"),
        [("mrcfile", "mrcfile"), ("h5py", "h5py"), ("rsciio.digitalmicrograph", "rosettasciio")],
    )
    def test_one_that_is_missing_is_named_with_its_line(self, tmp_path, monkeypatch, library, line):
        mrc(tmp_path / "a.mrc", SECTION.view(np.int8))
        hdf5(tmp_path / "a.h5", raw=SECTION)
        dm(tmp_path / "a.dm3", SECTION, ("nm", "nm"), (4.0, 4.0))
        path = tmp_path / {"mrcfile": "a.mrc", "h5py": "a.h5"}.get(library, "a.dm3")
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(InputError, match=re.escape(f"pip install {line}")):
            open_image(path)
        assert pixel_size(path) is None

    def test_a_folder_of_all_kinds(self, tmp_path):
        names = ["a.dm3", "b.dm4", "c.h5", "d.hdf5", "e.MRC", "f.rec", "g.st", "h.tif"]
        for name in [*names, "i.txt"]:
            (tmp_path / name).touch()
        assert [path.name for path in images_in(tmp_path)] == names

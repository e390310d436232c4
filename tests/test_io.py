from __future__ import annotations

import errno
import gc
import lzma
import os
import re
import resource
import signal
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.io import (
    Sections,
    atomic,
    check_output,
    images_in,
    label_writer,
    new_folder,
    open_image,
    probability_writer,
    replacing,
)

RNG = np.random.default_rng(0)
SECTION = RNG.integers(0, 255, (40, 50), np.uint8)
STACK = RNG.integers(0, 60000, (5, 40, 50), np.uint16)


def refused(path: Path, *words: str) -> None:
    """Opening or reading the file fails with a sentence that names it and says why."""
    with pytest.raises(InputError, match=re.escape(path.name)) as error:
        list(open_image(path).sections)
    for word in words:
        assert word in str(error.value)


def ome_of_two_files(folder: Path, compression: str | None) -> list[Path]:
    """Write two positions as Micro-Manager does: a file each, and the description of both in either."""
    names = ["pos0.ome.tif", "pos1.ome.tif"]
    images = "".join(
        f"""<Image ID="Image:{number}"><Pixels ID="Pixels:{number}" DimensionOrder="XYCZT" Type="uint8"
        SizeX="50" SizeY="40" SizeC="1" SizeZ="1" SizeT="1" PhysicalSizeX="4" PhysicalSizeXUnit="nm"
        PhysicalSizeY="4" PhysicalSizeYUnit="nm"><Channel ID="Channel:{number}:0"/>
        <TiffData IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{number}</UUID></TiffData>
        </Pixels></Image>"""
        for number, name in enumerate(names)
    )
    schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    for number, name in enumerate(names):
        xml = f'<?xml version="1.0"?><OME xmlns="{schema}" UUID="urn:uuid:{number}">{images}</OME>'
        section = SECTION if number == 0 else 255 - SECTION
        tifffile.imwrite(folder / name, section, description=xml, metadata=None, compression=compression)
    return [folder / name for name in names]


class TestReadingTiff:
    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_of_an_ome_set_of_several_files_each_gives_its_own_pixels(self, tmp_path, compression):
        one, other = (open_image(path) for path in ome_of_two_files(tmp_path, compression))
        np.testing.assert_array_equal(one.sections[0], SECTION)
        np.testing.assert_array_equal(other.sections[0], 255 - SECTION)
        assert (one.pixel_size_nm, other.pixel_size_nm) == (4, 4)

    def test_what_is_known_of_pages_does_not_grow_with_them(self, tmp_path):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, np.zeros((20, 600, 8), np.uint8), rowsperstrip=1, compression="zlib")
        open_image(path)
        tracemalloc.start()
        image = open_image(path)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < 100_000
        assert image.sections[19].shape == (600, 8)

    @pytest.mark.parametrize("suffix", ["tif", "png"])
    def test_labels_with_a_colour_table_are_its_indices(self, tmp_path, suffix):
        path, colours = tmp_path / f"a.{suffix}", RNG.integers(0, 65535, (3, 256)).astype(np.uint16)
        labels = SECTION % 5
        if suffix == "tif":
            tifffile.imwrite(path, labels, photometric="palette", colormap=colours)
        else:
            picture = Image.fromarray(labels, "P")
            picture.putpalette((colours.T // 256).astype(np.uint8).ravel().tolist())
            picture.save(path)
        refused(path, "colour image")
        np.testing.assert_array_equal(open_image(path, labels=True).sections[0], labels)

    def test_a_folder_in_the_order_of_its_numbers(self, tmp_path):
        names = ["1_s3.png", "s1.tif", "s2.tif", "s2b.tif", "s10.tif", "s0010.tif", "t1.tif"]
        for name in names:
            (tmp_path / name).touch()
        assert [path.name for path in images_in(tmp_path)] == [*names[:4], "s0010.tif", "s10.tif", "t1.tif"]

    def test_a_folder_without_what_macos_leaves_in_it(self, tmp_path):
        for name in ("b.tif", "a.PNG", "._b.tif", "notes.txt"):
            (tmp_path / name).touch()
        assert [path.name for path in images_in(tmp_path)] == ["a.PNG", "b.tif"]

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"imagej": True},
            {"ome": True},
            {"bigtiff": True},
            {"byteorder": ">"},
            {"tile": (16, 16)},
            {"compression": "zlib"},
            {"compression": "lzw", "predictor": True},
            {"rowsperstrip": 7},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("data", [SECTION, STACK], ids=["section", "stack"])
    def test_reads_what_was_written(self, tmp_path, data, options):
        tifffile.imwrite(tmp_path / "image.tif", data, **{"photometric": "minisblack", **options})
        image = open_image(tmp_path / "image.tif")
        assert image.shape == data.shape
        assert image.dtype == data.dtype
        assert image.sections.shape == (data.shape if data.ndim == 3 else (1, *data.shape))
        sections = list(image.sections)
        assert sections[0].dtype == data.dtype
        np.testing.assert_array_equal(np.stack(sections).reshape(data.shape), data)
        assert image.flavour == ("imagej" if "imagej" in options else "ome" if "ome" in options else "plain")

    @pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "f2", "f4", "f8"])
    def test_dtypes(self, tmp_path, dtype):
        tifffile.imwrite(tmp_path / "image.tif", SECTION.astype(dtype))
        np.testing.assert_array_equal(open_image(tmp_path / "image.tif").sections[0], SECTION.astype(dtype))

    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 1, 9)])
    def test_smallest(self, tmp_path, shape):
        tifffile.imwrite(tmp_path / "image.tif", np.ones(shape, np.uint8), photometric="minisblack")
        image = open_image(tmp_path / "image.tif")
        assert image.shape == shape
        assert image.sections[-1].shape == shape[-2:]

    def test_pages_written_one_by_one(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "image.tif") as tiff:
            for section in STACK:
                tiff.write(section, contiguous=False, metadata=None, compression="zlib")
        image = open_image(tmp_path / "image.tif")
        assert image.shape == STACK.shape
        np.testing.assert_array_equal(image.sections[3], STACK[3])
        np.testing.assert_array_equal(np.stack(image.sections[1:3]), STACK[1:3])

    def test_one_section_at_a_time(self, tmp_path):
        large = np.zeros((16, 512, 512), np.uint8)
        for name, options in (("plain.tif", {}), ("zlib.tif", {"compression": "zlib"})):
            tifffile.imwrite(tmp_path / name, large, photometric="minisblack", **options)
            image = open_image(tmp_path / name)
            image.sections[0]
            tracemalloc.start()
            for z in range(len(image.sections)):
                image.sections[z]
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 4 * large[0].nbytes

    def test_leaves_no_file_open(self, tmp_path):
        tifffile.imwrite(tmp_path / "image.tif", STACK, photometric="minisblack", compression="zlib")
        image = open_image(tmp_path / "image.tif")
        image.sections[2]
        opened = {os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")}
        assert str(tmp_path / "image.tif") not in opened

    def test_many_channels_are_sections(self, tmp_path):
        tifffile.imwrite(tmp_path / "image.tif", STACK, imagej=True, metadata={"axes": "CYX"})
        image = open_image(tmp_path / "image.tif")
        assert image.shape == STACK.shape
        assert "5 channels" in image.messages[0]

    @pytest.mark.parametrize("compression", [None, "zlib"])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
    def test_white_stored_as_0_is_inverted_and_said(self, tmp_path, dtype, compression):
        data = STACK.astype(dtype)
        tifffile.imwrite(tmp_path / "image.tif", data, photometric="miniswhite", compression=compression)
        image = open_image(tmp_path / "image.tif")
        limits = np.iinfo(dtype)
        expected = (limits.max + limits.min - data.astype(int)).astype(dtype)
        np.testing.assert_array_equal(np.stack(list(image.sections)), expected)
        [message] = image.messages
        assert "was inverted" in message

    def test_a_grey_palette(self, tmp_path):
        ramp = np.tile(np.arange(256, dtype=np.uint16) * 256, (3, 1))
        tifffile.imwrite(tmp_path / "image.tif", SECTION, photometric="palette", colormap=ramp)
        np.testing.assert_array_equal(open_image(tmp_path / "image.tif").sections[0], SECTION)

    def test_index_beyond_the_end(self, tmp_path):
        tifffile.imwrite(tmp_path / "image.tif", STACK, photometric="minisblack")
        with pytest.raises(IndexError):
            open_image(tmp_path / "image.tif").sections[5]


class TestPixelSize:
    @pytest.mark.parametrize(
        ("unit", "per_pixel"),
        [
            ("nm", 4.6),
            ("um", 0.0046),
            ("micron", 0.0046),
            (r"\u00B5m", 0.0046),
            ("mm", 4.6e-6),
            ("inch", 4.6 / 25.4e6),
        ],
    )
    def test_imagej(self, tmp_path, unit, per_pixel):
        resolution = (1 / per_pixel, 1 / per_pixel)
        tifffile.imwrite(
            tmp_path / "image.tif", SECTION, imagej=True, resolution=resolution, metadata={"unit": unit}
        )
        assert open_image(tmp_path / "image.tif").pixel_size_nm == pytest.approx(4.6, rel=1e-4)

    @pytest.mark.parametrize(("unit", "size"), [("nm", 4.6), ("µm", 0.0046), ("Å", 46.0)])
    def test_ome(self, tmp_path, unit, size):
        keys = {
            f"PhysicalSize{axis}{end}": value for axis in "XY" for end, value in (("", size), ("Unit", unit))
        }
        tifffile.imwrite(tmp_path / "image.ome.tif", SECTION, metadata=keys)
        assert open_image(tmp_path / "image.ome.tif").pixel_size_nm == pytest.approx(4.6)

    def test_ome_without_unit_is_in_micrometres(self, tmp_path):
        tifffile.imwrite(
            tmp_path / "image.ome.tif", SECTION, metadata={"PhysicalSizeX": 0.01, "PhysicalSizeY": 0.01}
        )
        assert open_image(tmp_path / "image.ome.tif").pixel_size_nm == pytest.approx(10)

    def test_plain_in_centimetres(self, tmp_path):
        resolution = (1e7 / 8, 1e7 / 8)
        tifffile.imwrite(
            tmp_path / "image.tif", SECTION, resolution=resolution, resolutionunit="CENTIMETER", metadata=None
        )
        assert open_image(tmp_path / "image.tif").pixel_size_nm == pytest.approx(8, rel=1e-4)

    def test_a_printer_resolution_is_none(self, tmp_path):
        tifffile.imwrite(tmp_path / "image.tif", SECTION, resolution=(300, 300), resolutionunit="INCH")
        assert open_image(tmp_path / "image.tif").pixel_size_nm is None

    def test_unequal_sides_are_averaged_and_said(self, tmp_path):
        tifffile.imwrite(
            tmp_path / "image.tif", SECTION, imagej=True, resolution=(1 / 4, 1 / 9), metadata={"unit": "nm"}
        )
        image = open_image(tmp_path / "image.tif")
        assert image.pixel_size_nm == pytest.approx(6)
        assert "4 x 9 nm" in image.messages[0]

    def test_unknown_unit(self, tmp_path):
        tifffile.imwrite(tmp_path / "image.tif", SECTION, imagej=True, metadata={"unit": "furlong"})
        assert open_image(tmp_path / "image.tif").pixel_size_nm is None


class TestPictures:
    @pytest.mark.parametrize("data", [SECTION, STACK[0]], ids=["uint8", "uint16"])
    def test_png(self, tmp_path, data):
        Image.fromarray(data).save(tmp_path / "image.png")
        image = open_image(tmp_path / "image.png")
        assert (image.shape, image.dtype, image.flavour) == (data.shape, data.dtype, "png")
        np.testing.assert_array_equal(image.sections[0], data)

    def test_jpeg(self, tmp_path):
        Image.fromarray(np.full((8, 9), 77, np.uint8)).save(tmp_path / "image.jpg")
        image = open_image(tmp_path / "image.jpg")
        assert image.flavour == "jpeg"
        np.testing.assert_allclose(image.sections[0], 77, atol=1)

    def test_no_limit_on_the_size(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        Image.fromarray(SECTION).save(tmp_path / "image.png")
        assert open_image(tmp_path / "image.png").sections[0].shape == SECTION.shape

    def test_known_by_content(self, tmp_path):
        Image.fromarray(SECTION).save(tmp_path / "image.png")
        (tmp_path / "image.png").rename(tmp_path / "image.tif")
        assert open_image(tmp_path / "image.tif").flavour == "png"

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
    def test_colour(self, tmp_path, mode):
        Image.fromarray(SECTION).convert(mode).save(tmp_path / "image.png")
        refused(tmp_path / "image.png", "colour", "grey")

    def test_cut_off(self, tmp_path):
        Image.fromarray(SECTION).save(tmp_path / "image.png")
        whole = (tmp_path / "image.png").read_bytes()
        for length in (12, 40, len(whole) // 2):
            (tmp_path / "image.png").write_bytes(whole[:length])
            refused(tmp_path / "image.png")


class TestBadFiles:
    def test_missing(self, tmp_path):
        refused(tmp_path / "image.tif", "no file")

    def test_folder(self, tmp_path):
        refused(tmp_path, "folder")

    def test_empty(self, tmp_path):
        (tmp_path / "image.tif").touch()
        refused(tmp_path / "image.tif", "0 bytes")

    def test_text(self, tmp_path):
        (tmp_path / "image.tif").write_text("This is no image.")
        refused(tmp_path / "image.tif", "no TIFF, PNG or JPEG")

    @pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
    @pytest.mark.parametrize("count", [3, 4])
    def test_colour(self, tmp_path, photometric, count):
        data = np.zeros((20, 30, count), np.uint8)
        tifffile.imwrite(tmp_path / "image.tif", data, photometric=photometric, planarconfig="contig")
        refused(tmp_path / "image.tif", "colour", "grey")

    @pytest.mark.parametrize("change", ["coloured", "inverted", "shuffled"])
    def test_palette(self, tmp_path, change):
        palette = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
        if change == "coloured":
            palette[1] = 0
        else:
            palette = palette[:, ::-1] if change == "inverted" else RNG.permuted(palette, axis=1)
        tifffile.imwrite(tmp_path / "image.tif", SECTION, photometric="palette", colormap=palette)
        refused(tmp_path / "image.tif", "colour", "grey")

    def test_white_as_the_smallest_float(self, tmp_path):
        tifffile.imwrite(tmp_path / "image.tif", SECTION.astype(np.float32), photometric="miniswhite")
        refused(tmp_path / "image.tif", "white", "MINISBLACK")

    def test_more_axes(self, tmp_path):
        data = np.zeros((2, 3, 20, 30), np.uint8)
        tifffile.imwrite(tmp_path / "image.tif", data, imagej=True, metadata={"axes": "TZYX"})
        refused(tmp_path / "image.tif", "T 2, Z 3, Y 20, X 30")

    def test_channels(self, tmp_path):
        data = np.zeros((2, 20, 30), np.uint8)
        tifffile.imwrite(tmp_path / "image.tif", data, imagej=True, metadata={"axes": "CYX"})
        refused(tmp_path / "image.tif", "C 2, Y 20, X 30")

    @pytest.mark.parametrize(
        "options", [{}, {"compression": "zlib"}, {"imagej": True}, {"ome": True}, {"tile": (16, 16)}], ids=str
    )
    @pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9])
    def test_cut_off(self, tmp_path, options, part):
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, STACK, photometric="minisblack", **options)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * part)])
        refused(path)

    @pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
    def test_a_writer_that_was_stopped(self, tmp_path, part):
        path = tmp_path / "image.tif"
        with tifffile.TiffWriter(path) as tiff:
            for section in STACK:
                tiff.write(section, contiguous=False, metadata=None)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * part)])
        refused(path, "cut off")

    @pytest.mark.parametrize("compression", ["zlib", "lzma"])
    def test_damaged_compressed_data(self, tmp_path, compression):
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, STACK[0], compression=compression, metadata=None)
        with tifffile.TiffFile(path) as tiff:
            offset = tiff.pages.first.dataoffsets[0]
        whole = bytearray(path.read_bytes())
        whole[offset : offset + 50] = bytes(50)
        path.write_bytes(whole)
        refused(path, "damaged")

    @pytest.mark.parametrize("error", [EOFError("the data ended"), lzma.LZMAError("corrupt")], ids=repr)
    def test_what_the_decoders_raise(self, tmp_path, error):
        def fail(z: int) -> np.ndarray:
            raise error

        with pytest.raises(InputError, match=r"image\.tif' is damaged"):
            Sections(tmp_path / "image.tif", (1, 4, 5), np.dtype(np.uint8), fail)[0]

    def test_unknown_compression(self, tmp_path):
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, SECTION, compression="zlib", metadata=None)
        with tifffile.TiffFile(path) as tiff:
            position = tiff.pages.first.tags["Compression"].valueoffset
        whole = bytearray(path.read_bytes())
        whole[position : position + 2] = struct.pack("<H", 34926)
        path.write_bytes(whole)
        refused(path)


class TestWriting:
    @pytest.mark.parametrize("flavour", ["imagej", "ome"])
    @pytest.mark.parametrize("shape", [(40, 50), (5, 40, 50), (1, 1), (1, 7)])
    def test_labels_come_back(self, tmp_path, shape, flavour):
        labels = RNG.integers(0, 5, shape).astype(np.uint8)
        path = tmp_path / "new" / "labels.tif"
        with label_writer(path, shape, pixel_size_nm=4.6, flavour=flavour) as write:
            for section in labels.reshape(-1, *shape[-2:]):
                write(section)
        image = open_image(path)
        assert (image.shape, image.dtype, image.flavour) == (shape, np.uint8, flavour)
        assert image.pixel_size_nm == pytest.approx(4.6, rel=1e-5)
        np.testing.assert_array_equal(tifffile.imread(path), labels)
        assert sorted(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("flavour", ["imagej", "ome"])
    @pytest.mark.parametrize("stack", [(), (3,)])
    def test_probabilities_come_back(self, tmp_path, stack, flavour):
        names = [each.name for each in EM_CLASSES]
        probabilities = RNG.random((*stack, 4, 30, 20)).astype(np.float16)
        path = tmp_path / "probabilities.tif"
        with probability_writer(path, (*stack, 30, 20), names, pixel_size_nm=8, flavour=flavour) as write:
            for section in probabilities.reshape(-1, 4, 30, 20):
                write(section)
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            assert series.axes == ("ZCYX" if stack else "CYX")
            assert series.dtype == np.float32
            np.testing.assert_array_equal(series.asarray(), probabilities)
            if flavour == "ome":
                assert all(f'Name="{name}"' in tiff.ome_metadata for name in names)
            else:
                assert tiff.imagej_metadata["Labels"] == names * (stack[0] if stack else 1)

    @pytest.mark.parametrize("flavour", ["imagej", "ome"])
    def test_the_distance_of_sections_comes_back(self, tmp_path, flavour):
        path, shape = tmp_path / "labels.tif", (2, *SECTION.shape)
        sizes = {"pixel_size_nm": 4.6, "spacing_nm": 50.0}
        with label_writer(path, shape, flavour=flavour, **sizes) as write:
            for _ in range(2):
                write(SECTION)
        image = open_image(path)
        assert (image.pixel_size_nm, image.spacing_nm) == (4.6, 50)
        with probability_writer(tmp_path / "p.tif", shape, ["a", "b"], flavour=flavour, **sizes) as write:
            for _ in range(2):
                write(np.zeros((2, *SECTION.shape), np.float32))
        with tifffile.TiffFile(tmp_path / "p.tif") as tiff:
            said = tiff.ome_metadata if flavour == "ome" else str(tiff.imagej_metadata)
        assert ('PhysicalSizeZ="50.0"' if flavour == "ome" else "'spacing': 50.0") in said

    def test_a_name_that_is_no_text(self, tmp_path):
        path = tmp_path / os.fsdecode(b"caf\xe9.tif")
        with label_writer(path, SECTION.shape, flavour="ome", pixel_size_nm=4.6) as write:
            write(SECTION)
        assert open_image(path).pixel_size_nm == 4.6

    def test_no_pixel_size(self, tmp_path):
        with label_writer(tmp_path / "labels.tif", (4, 5)) as write:
            write(np.zeros((4, 5), np.uint8))
        assert open_image(tmp_path / "labels.tif").pixel_size_nm is None

    def test_imagej_shows_the_colours(self, tmp_path):
        with label_writer(tmp_path / "labels.tif", (4, 5)) as write:
            write(np.zeros((4, 5), np.uint8))
        with tifffile.TiffFile(tmp_path / "labels.tif") as tiff:
            colours = tiff.imagej_metadata["LUTs"]
        for each in EM_CLASSES:
            assert tuple(colours[:, each.value]) == each.rgb

    def test_more_than_4_gb_is_a_big_ome_tiff(self, tmp_path, monkeypatch):
        monkeypatch.setattr("napari_feedback_seg.io.writing._BIG", 1000)
        with label_writer(tmp_path / "labels.tif", (40, 50)) as write:
            write(SECTION)
        with tifffile.TiffFile(tmp_path / "labels.tif") as tiff:
            assert tiff.is_bigtiff
            assert tiff.is_ome

    def test_a_wide_section_is_converted_strip_by_strip(self, tmp_path):
        probabilities = np.zeros((2, 1024, 2048), np.float16)
        tracemalloc.start()
        with probability_writer(tmp_path / "p.tif", (1024, 2048), ["a", "b"]) as write:
            write(probabilities)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6e6  # the 8 MB of a whole float32 page never exist

    def test_too_few_sections(self, tmp_path):
        with (
            pytest.raises(OutputError, match="1 of its 2"),
            label_writer(tmp_path / "a.tif", (2, 4, 5)) as write,
        ):
            write(np.zeros((4, 5), np.uint8))
        assert list(tmp_path.iterdir()) == []


class TestReplacing:
    def test_moves_when_complete(self, tmp_path):
        with replacing(tmp_path / "new" / "out.txt") as temporary:
            temporary.write_text("whole")
            assert not (tmp_path / "new" / "out.txt").exists()
            assert temporary.parent == tmp_path / "new"
        assert [each.name for each in (tmp_path / "new").iterdir()] == ["out.txt"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
    def test_keeps_what_was_there(self, tmp_path, error):
        path = tmp_path / "labels.tif"
        path.write_text("old")

        def stopped() -> None:
            with label_writer(path, (2, 4, 5), overwrite=True) as write:
                write(np.zeros((4, 5), np.uint8))
                raise error

        with pytest.raises(error):
            stopped()
        assert [each.name for each in tmp_path.iterdir()] == ["labels.tif"]
        assert path.read_text() == "old"

    def test_overwrites_only_when_asked(self, tmp_path):
        path = tmp_path / "out.txt"
        path.write_text("old")
        with pytest.raises(OutputError, match="already"):
            check_output(path)
        with pytest.raises(OutputError, match="already"), replacing(path):
            pytest.fail("the work had begun")
        with replacing(path, overwrite=True) as temporary:
            temporary.write_text("new")
        assert path.read_text() == "new"

    def test_what_another_program_has_open_on_windows_gets_a_name_beside_it(self, tmp_path, monkeypatch):
        path, replace = tmp_path / "labels.tif", os.replace
        path.write_text("old")
        tries = []

        def held(source, target):
            tries.append(target)
            if len(tries) < 4:
                raise PermissionError(errno.EACCES, "in use")
            replace(source, target)

        monkeypatch.setattr(atomic, "_WINDOWS", True)
        monkeypatch.setattr(os, "replace", held)
        with replacing(path, overwrite=True) as temporary:
            temporary.write_text("new")
        assert path.read_text() == "new"
        monkeypatch.setattr(atomic, "_PATIENCE", 2)
        tries.clear()
        message = r"open in another program .* The new file is '.*labels-1\.tif'"
        with pytest.raises(OutputError, match=message), replacing(path, overwrite=True) as temporary:
            temporary.write_text("newer")
        assert path.read_text() == "new"
        assert (tmp_path / "labels-1.tif").read_text() == "newer"
        tries.clear()
        with (
            pytest.raises(OutputError, match=r"labels\.tif' cannot be written"),
            replacing(path, overwrite=True, beside=False) as temporary,
        ):
            temporary.write_text("newest")
        assert path.read_text() == "new"
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_folder_that_cannot_get_its_name_is_not_lost(self, tmp_path, monkeypatch):
        rename, tries = os.rename, []

        def held(source, target):
            tries.append(target)
            if len(tries) < 4:
                raise PermissionError(errno.EACCES, "in use")
            rename(source, target)

        monkeypatch.setattr(atomic, "_WINDOWS", True)
        monkeypatch.setattr(os, "rename", held)
        with new_folder(tmp_path / "first") as folder:
            (folder / "labels.tif").touch()
        assert (tmp_path / "first" / "labels.tif").is_file()
        monkeypatch.setattr(atomic, "_PATIENCE", 2)
        tries.clear()
        with (
            pytest.raises(OutputError, match="is complete, but") as caught,
            new_folder(tmp_path / "two") as folder,
        ):
            (folder / "labels.tif").touch()
        assert str(folder) in str(caught.value)
        assert (folder / "labels.tif").is_file()
        with pytest.raises(ValueError, match="mine"), new_folder(tmp_path / "three") as folder:
            raise ValueError("mine")
        assert not folder.exists()

    def test_windows_says_of_every_folder_that_it_may_be_written(self, tmp_path, monkeypatch):
        def refused(*_, **__):
            raise PermissionError(errno.EACCES, "denied")

        monkeypatch.setattr(atomic, "_WINDOWS", True)
        check_output(tmp_path / "out.tif")
        assert list(tmp_path.iterdir()) == []
        monkeypatch.setattr(Path, "touch", refused)
        with pytest.raises(OutputError, match="may not write"):
            check_output(tmp_path / "out.tif")

    def test_overwrites_nothing_that_came_meanwhile(self, tmp_path):
        path = tmp_path / "out.txt"

        def late() -> None:
            with replacing(path) as temporary:
                temporary.write_text("ours")
                path.write_text("theirs")

        with pytest.raises(OutputError, match="already"):
            late()
        assert path.read_text() == "theirs"
        assert list(tmp_path.iterdir()) == [path]

    def test_folder_in_the_way(self, tmp_path):
        with pytest.raises(OutputError, match="is a folder"):
            check_output(tmp_path, overwrite=True)

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_device_or_a_pipe_is_no_file(self, tmp_path, overwrite):
        os.mkfifo(tmp_path / "pipe.tif")
        (tmp_path / "link.tif").symlink_to("/dev/null")
        for path in ("/dev/null", tmp_path / "pipe.tif", tmp_path / "link.tif"):
            with pytest.raises(OutputError, match="a device, a pipe or a socket"):
                check_output(path, overwrite)

    @pytest.mark.parametrize("dangling", [False, True])
    def test_a_link_is_written_through(self, tmp_path, dangling):
        target, link = tmp_path / "folder" / "real.txt", tmp_path / "link.txt"
        link.symlink_to(target)
        if not dangling:
            target.parent.mkdir()
            target.write_text("old")
        with pytest.raises(OutputError, match="already"):
            check_output(link)
        with replacing(link, overwrite=True) as temporary:
            temporary.write_text("new")
        assert link.is_symlink()
        assert target.read_text() == "new"
        assert list(target.parent.iterdir()) == [target]

    def test_file_instead_of_a_folder(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="is a file and not a folder"):
            check_output(tmp_path / "file" / "out.tif")

    def test_folder_that_may_not_be_written(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda *_: False)  # the system's word; root may write anywhere
        with pytest.raises(OutputError, match="may not write"):
            check_output(tmp_path / "out.tif")

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    def test_full_disk_by_its_error(self, tmp_path, code):
        def full() -> None:
            with replacing(tmp_path / "out.txt") as temporary:
                temporary.write_text("half")
                raise OSError(code, os.strerror(code))

        with pytest.raises(OutputError, match="disk is full"):
            full()
        assert list(tmp_path.iterdir()) == []

    def test_full_disk(self, tmp_path):
        """A limit on the size of files is a disk that becomes full while writing."""
        noise = RNG.integers(0, 255, (1000, 1000), np.uint8)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limit[1]))
        try:
            with (
                pytest.raises(OutputError, match="disk is full"),
                label_writer(tmp_path / "labels.tif", noise.shape) as write,
            ):
                write(noise)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            signal.signal(signal.SIGXFSZ, handler)
        assert list(tmp_path.iterdir()) == []

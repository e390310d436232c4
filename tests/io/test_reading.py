from __future__ import annotations

import errno
import gc
import lzma
import os
import re
import struct
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import (
    PixelSize,
    Sections,
    images_in,
    open_image,
    pixel_size,
)

if TYPE_CHECKING:
    from pathlib import Path

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
        assert one.pixel_size_nm == other.pixel_size_nm == (4, 4)

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


class TestOddTiff:
    """Files that are right, and that not every program reads alike."""

    @pytest.mark.parametrize(
        "options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"metadata": None}], ids=str
    )
    @pytest.mark.parametrize("count", [3, 4])
    def test_sections_that_tifffile_stores_as_planes_of_colour(self, tmp_path, count, options):
        stack = STACK[:count]
        how = {"photometric": "rgb", "planarconfig": "separate"}  # what tifffile takes by itself
        tifffile.imwrite(tmp_path / "image.tif", stack, **how, **options)
        image = open_image(tmp_path / "image.tif")
        assert image.shape == stack.shape
        np.testing.assert_array_equal(np.stack(list(image.sections)), stack)
        assert f"{count} planes of colour of 'image.tif' are taken as sections" in image.messages[0]

    @pytest.mark.parametrize("compression", [None, "zlib"])
    @pytest.mark.parametrize("odd", [1, 3, 9])
    @pytest.mark.parametrize("shape", [(30, 50), (40, 40)])
    def test_a_page_of_another_size_between_the_others_is_named(self, tmp_path, compression, odd, shape):
        path = tmp_path / "image.tif"
        with tifffile.TiffWriter(path) as tiff:
            for z in range(12):
                page = np.full(shape if z == odd else (40, 50), z, np.uint8)
                tiff.write(page, contiguous=False, metadata=None, compression=compression)
        refused(path, f"Page {odd}", "counted from 0", "another size")

    def test_pages_of_half_the_size_are_no_coarser_level(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "image.tif") as tiff:
            for side in (64, 32, 32, 64):
                tiff.write(np.zeros((side, side), np.uint8), contiguous=False, metadata=None)
        refused(tmp_path / "image.tif", "Page 1")

    def test_coarser_levels_that_are_marked_as_such_are(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "image.tif") as tiff:
            for section in STACK:
                tiff.write(section, contiguous=False, metadata=None)
                tiff.write(section[::2, ::2], contiguous=False, metadata=None, subfiletype=1)
        np.testing.assert_array_equal(np.stack(list(open_image(tmp_path / "image.tif").sections)), STACK)

    def test_fewer_strips_than_sizes_of_them(self, tmp_path):
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, SECTION, rowsperstrip=7, compression="zlib", metadata=None)
        with tifffile.TiffFile(path) as tiff:
            tag = tiff.pages.first.tags["StripOffsets"]
        whole = bytearray(path.read_bytes())
        whole[tag.offset + 4 : tag.offset + 8] = (2).to_bytes(4, "little")
        path.write_bytes(whole)
        refused(path)

    def test_a_page_of_another_type_between_the_others_is_named(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "image.tif") as tiff:
            for z in range(12):
                page = np.full((40, 50), z, np.uint16 if z == 4 else np.uint8)
                tiff.write(page, contiguous=False, metadata=None, compression="zlib")
        refused(tmp_path / "image.tif", "Page 4")

    def test_a_page_of_another_size_at_the_end_is_said(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "image.tif") as tiff:
            for shape in ((40, 50), (40, 50), (8, 9)):
                tiff.write(np.zeros(shape, np.uint8), contiguous=False, metadata=None)
        image = open_image(tmp_path / "image.tif")
        assert image.shape == (2, 40, 50)
        assert "without page 2" in image.messages[0]

    @pytest.mark.parametrize("data", [SECTION, STACK], ids=["section", "stack"])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_a_thumbnail_as_the_first_page_is_passed_over(self, tmp_path, data, compression):
        path = tmp_path / "image.tif"
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(SECTION[::4, ::4], subfiletype=1, metadata=None)
            for page in data.reshape(-1, 40, 50):
                tiff.write(
                    page,
                    contiguous=False,
                    metadata=None,
                    compression=compression,
                    resolution=(1e7 / 8, 1e7 / 8),
                    resolutionunit="CENTIMETER",
                )
        image = open_image(path)
        np.testing.assert_array_equal(np.stack(list(image.sections)).reshape(data.shape), data)
        assert image.messages == ()
        assert image.pixel_size == pixel_size(path) == PixelSize(8, 8)

    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_without_a_photometric_tag_nothing_is_inverted(self, tmp_path, compression):
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, SECTION, metadata=None, compression=compression, photometric="minisblack")
        whole = bytearray(path.read_bytes())
        with tifffile.TiffFile(path) as tiff:
            tag = tiff.pages.first.tags["PhotometricInterpretation"]
        whole[tag.offset : tag.offset + 2] = struct.pack("<H", 65000)  # the number of no tag
        path.write_bytes(whole)
        image = open_image(path)
        np.testing.assert_array_equal(image.sections[0], SECTION)
        assert image.messages == ()

    @pytest.mark.parametrize(
        "options",
        [{"tile": (2, 16, 16)}, {"tile": (4, 32, 16), "compression": "zlib"}, {"volumetric": True}],
        ids=str,
    )
    def test_a_volume_in_tiles(self, tmp_path, options):
        tifffile.imwrite(tmp_path / "image.tif", STACK, photometric="minisblack", **options)
        image = open_image(tmp_path / "image.tif")
        assert image.shape == STACK.shape
        np.testing.assert_array_equal(np.stack([image.sections[z] for z in range(5)]), STACK)

    @pytest.mark.parametrize(
        "shape", [(40, 50, 1), (1, 40, 50, 1), (1, 1, 40, 50), (1, 5, 40, 50), (5, 40, 50, 1)]
    )
    def test_axes_of_one_are_left_out(self, tmp_path, shape):
        data = (STACK if 5 in shape else STACK[0]).reshape(shape)
        tifffile.imwrite(tmp_path / "image.tif", data)
        image = open_image(tmp_path / "image.tif")
        assert image.shape[-2:] == (40, 50)
        np.testing.assert_array_equal(np.stack(list(image.sections)), data.reshape(-1, 40, 50))

    def test_a_folder_named_as_an_image_is_none(self, tmp_path):
        (tmp_path / "x.tif").mkdir()
        (tmp_path / "y.tif").touch()
        assert images_in(tmp_path) == [tmp_path / "y.tif"]
        assert pixel_size(tmp_path / "x.tif") is None
        refused(tmp_path / "x.tif", "is a folder")


class TestBlocks:
    """Rows and columns of a section, of which little more is read."""

    ROWS, COLUMNS = slice(21, 50), slice(35, 70)

    @pytest.mark.parametrize("options", [
        {},
        {"byteorder": ">"},
        {"photometric": "miniswhite"},
        {"compression": "zlib", "rowsperstrip": 16},
        {"compression": "zlib", "photometric": "miniswhite"},
        {"tile": (16, 32)},
        {"tile": (16, 32), "compression": "zlib", "predictor": 2},
        {"tile": (2, 16, 32), "volumetric": True},
        {"photometric": "rgb", "planarconfig": "separate"},
        {"photometric": "rgb", "planarconfig": "separate", "tile": (16, 32), "compression": "zlib"},
    ], ids=str)  # fmt: skip
    def test_are_those_of_the_section(self, tmp_path, options):
        stack = RNG.integers(0, 60_000, (3, 75, 90), np.uint16)
        tifffile.imwrite(tmp_path / "a.tif", stack, **{"photometric": "minisblack", **options})
        sections = open_image(tmp_path / "a.tif").sections
        for z in (0, 2):
            found = sections.block(z, self.ROWS, self.COLUMNS)
            np.testing.assert_array_equal(found, sections[z][self.ROWS, self.COLUMNS])
            assert found.dtype == np.uint16
        np.testing.assert_array_equal(sections.block(1, slice(70, 99), slice(None)), sections[1][70:])
        assert sections.block(1, slice(9, 3), slice(2, 4)).shape == (0, 2)

    @pytest.mark.parametrize("options", [{"rowsperstrip": 16}, {"tile": (16, 32)}], ids=str)
    def test_nothing_else_is_decoded(self, tmp_path, options):
        path = tmp_path / "a.tif"
        section = RNG.integers(0, 255, (75, 90), np.uint8)
        tifffile.imwrite(path, section, photometric="minisblack", compression="zlib", **options)
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            last = page.dataoffsets[-1], page.databytecounts[-1]
        data = bytearray(path.read_bytes())
        data[last[0] : sum(last)] = b"x" * last[1]
        path.write_bytes(data)
        sections = open_image(path).sections
        np.testing.assert_array_equal(sections.block(0, slice(0, 30), slice(0, 60)), section[:30, :60])
        with pytest.raises(InputError):
            sections[0]

    def test_of_an_uncompressed_file_no_whole_section_is_held(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((4000, 4000), np.uint8), photometric="minisblack")
        sections = open_image(tmp_path / "a.tif").sections
        tracemalloc.start()
        sections.block(0, slice(100, 200), slice(100, 200))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1_000_000


class TestWhatTheSystemSays:
    def read(self, tmp_path: Path, error: BaseException) -> None:
        def fail(z: int) -> np.ndarray:
            raise error

        Sections(tmp_path / "image.tif", (1, 4, 5), np.dtype(np.uint8), fail)[0]

    @pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT])
    def test_a_drive_that_has_gone(self, tmp_path, code):
        with pytest.raises(InputError, match=r"image\.tif' cannot be read. .* was disconnected") as caught:
            self.read(tmp_path, OSError(code, os.strerror(code)))
        assert "Errno" not in str(caught.value)
        assert "damaged" not in str(caught.value)

    def test_too_little_memory(self, tmp_path):
        with pytest.raises(InputError, match=r"image\.tif' does not fit into the memory"):
            self.read(tmp_path, MemoryError("Unable to allocate 3.2 GiB"))

    def test_more_pixels_than_any_memory(self, tmp_path):
        tifffile.imwrite(tmp_path / "image.tif", SECTION, compression="zlib", metadata=None)
        whole = bytearray((tmp_path / "image.tif").read_bytes())
        with tifffile.TiffFile(tmp_path / "image.tif") as tiff:
            tags = tiff.pages.first.tags
            for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                start = tags[name].valueoffset
                whole[start : start + tags[name].valuebytecount] = (2**30).to_bytes(
                    tags[name].valuebytecount, "little"
                )
        (tmp_path / "image.tif").write_bytes(whole)
        refused(tmp_path / "image.tif")

    @pytest.mark.parametrize(
        ("bug", "kind"),
        [
            (lambda z: np.zeros(3).no_such_name, AttributeError),
            (lambda z: int("three"), ValueError),
            (lambda z: len(z), TypeError),
            (lambda z: {}[z], KeyError),
        ],
    )
    def test_a_mistake_in_our_own_code_is_no_damaged_file(self, tmp_path, bug, kind):
        with pytest.raises(kind):
            Sections(tmp_path / "image.tif", (1, 4, 5), np.dtype(np.uint8), bug)[0]

    def test_a_decoder_s_is(self, tmp_path):
        def read(z: int) -> np.ndarray:
            return tifffile.TiffFile(None)  # what is no file has no attributes of one

        with pytest.raises(InputError, match="damaged"):
            Sections(tmp_path / "image.tif", (1, 4, 5), np.dtype(np.uint8), read)[0]


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
        refused(tmp_path / "image.tif", "no TIFF, PNG, JPEG, MRC, DM or HDF5")

    @pytest.mark.parametrize("start", [b"II*\0", b"MM\0*"])
    def test_the_frame_of_a_file_without_pages(self, tmp_path, start):
        (tmp_path / "image.tif").write_bytes(start + bytes(4))
        refused(tmp_path / "image.tif")

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

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_feedback_seg.io import PixelSize, open_image, pixel_size

if TYPE_CHECKING:
    from pathlib import Path

SECTION = np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)
PRINTER = {"resolution": (72, 72), "resolutionunit": "INCH"}


def said(path: Path) -> PixelSize | None:
    """Return what a file says, which is the same opened and looked at."""
    size = pixel_size(path)
    image = open_image(path)
    assert image.pixel_size == size
    assert image.pixel_size_nm == ((size.y, size.x) if size else None)
    return size


def imagej(path: Path, *lines: str, resolution: tuple[float, float], data: np.ndarray = SECTION) -> Path:
    """Write a file as ImageJ does, its description line by line."""
    text = "\n".join(["ImageJ=1.53t", f"images={len(data) if data.ndim > 2 else 1}", *lines, ""])
    tifffile.imwrite(
        path, data, description=text.encode(), metadata=None, resolution=resolution, photometric="minisblack"
    )
    return path


def with_tag(path: Path, code: int, text: bytes | str, **options: Any) -> Path:
    """Write a file with a tag of a microscope's maker, beside the resolution of a printer."""
    data = text if isinstance(text, bytes) else text.encode("latin-1")
    tags = [(code, 1, len(data), data, True)]
    tifffile.imwrite(path, SECTION, metadata=None, extratags=tags, **{**PRINTER, **options})
    return path


class TestImageJ:
    @pytest.mark.parametrize(
        ("unit", "per_pixel"),
        [
            ("nm", 4.6),
            ("NM", 4.6),
            ("um", 0.0046),
            ("micron", 0.0046),
            ("microns", 0.0046),
            ("\u00b5m", 0.0046),
            ("\u03bcm", 0.0046),
            (r"\u00B5m", 0.0046),
            (r"\u00b5m", 0.0046),
            (r"\u03BCm", 0.0046),
            (r"\u00C5", 46),
            (r"\u212B", 46),
            ("\u00c5", 46),
            ("Angstrom", 46),
            ("A", 46),
            ("mm", 4.6e-6),
            ("cm", 4.6e-7),
            ("inch", 4.6 / 25.4e6),
            ("m", 4.6e-9),
        ],
    )
    def test_units(self, tmp_path, unit, per_pixel):
        # As two whole numbers: tifffile before 2026 rounds the numbers of small units more.
        exact = (
            Fraction(1 / per_pixel).limit_denominator(min(10**6, int(2**32 * per_pixel))).as_integer_ratio()
        )
        path = imagej(tmp_path / "a.tif", f"unit={unit}", resolution=(exact, exact))
        size = said(path)
        assert size is not None
        assert (size.y, size.x) == pytest.approx((4.6, 4.6), rel=1e-4)

    def test_each_axis_has_its_own_unit(self, tmp_path):
        data = np.zeros((3, 40, 50), np.uint8)
        lines = ("slices=3", "unit=nm", "yunit=micron", r"zunit=\u00C5", "spacing=400.0")
        path = imagej(tmp_path / "a.tif", *lines, resolution=(1 / 4, 1 / 0.008), data=data)
        assert said(path) == PixelSize(y=8, x=4, z=40)

    def test_an_axis_without_a_unit_has_that_of_the_image(self, tmp_path):
        data = np.zeros((3, 40, 50), np.uint8)
        lines = ("slices=3", "unit=um", "yunit=pixel", "spacing=0.05")
        path = imagej(tmp_path / "a.tif", *lines, resolution=(125, 125), data=data)
        assert said(path) == PixelSize(8, 8, 50)

    @pytest.mark.parametrize("unit", ["pixel", "furlong", "", "1"])
    def test_no_length(self, tmp_path, unit):
        path = imagej(tmp_path / "a.tif", f"unit={unit}", resolution=(1 / 4, 1 / 4))
        assert said(path) is None

    @pytest.mark.parametrize("spacing", ["0.0", "-3.0", "nan", "1e30", "?"])
    def test_a_distance_of_sections_that_makes_no_sense_is_none(self, tmp_path, spacing):
        data = np.zeros((3, 40, 50), np.uint8)
        lines = ("slices=3", "unit=nm", f"spacing={spacing}")
        path = imagej(tmp_path / "a.tif", *lines, resolution=(1 / 4, 1 / 4), data=data)
        assert said(path) == PixelSize(4, 4)

    def test_a_section_alone_has_no_distance_to_the_next(self, tmp_path):
        path = imagej(tmp_path / "a.tif", "unit=nm", "spacing=40.0", resolution=(1 / 4, 1 / 4))
        assert pixel_size(path) == PixelSize(4, 4, 40)
        assert open_image(path).spacing_nm is None


class TestOme:
    @pytest.mark.parametrize(
        ("unit", "size"), [("nm", 4.6), ("\u00b5m", 0.0046), ("\u00c5", 46.0), ("mm", 4.6e-6)]
    )
    def test_units(self, tmp_path, unit, size):
        keys = {
            f"PhysicalSize{axis}{end}": value for axis in "XY" for end, value in (("", size), ("Unit", unit))
        }
        tifffile.imwrite(tmp_path / "image.ome.tif", SECTION, metadata=keys)
        assert said(tmp_path / "image.ome.tif") == PixelSize(4.6, 4.6)

    def test_each_axis_apart(self, tmp_path):
        keys = {"axes": "ZYX", "PhysicalSizeX": 4, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.008}
        keys |= {"PhysicalSizeZ": 500, "PhysicalSizeZUnit": "\u00c5"}
        data = np.zeros((3, 40, 50), np.uint8)
        tifffile.imwrite(
            tmp_path / "a.ome.tif", data, photometric="minisblack", metadata={"axes": "ZYX", **keys}
        )
        assert said(tmp_path / "a.ome.tif") == PixelSize(8, 4, 50)

    def test_without_unit_it_is_in_micrometres(self, tmp_path):
        keys = {"PhysicalSizeX": 0.01, "PhysicalSizeY": 0.01}
        tifffile.imwrite(tmp_path / "image.ome.tif", SECTION, metadata=keys)
        assert said(tmp_path / "image.ome.tif") == PixelSize(10, 10)

    def test_without_size_the_tags_count(self, tmp_path):
        resolution = {"resolution": (1e7 / 8, 1e7 / 8), "resolutionunit": "CENTIMETER"}
        tifffile.imwrite(tmp_path / "image.ome.tif", SECTION, metadata={"Name": "a"}, **resolution)
        assert said(tmp_path / "image.ome.tif") == PixelSize(8, 8)


class TestResolution:
    @pytest.mark.parametrize(("unit", "nm"), [("CENTIMETER", 1e7), ("INCH", 25.4e6)])
    def test_plain_tags(self, tmp_path, unit, nm):
        options = {"resolution": (nm / 4, nm / 8), "resolutionunit": unit}
        tifffile.imwrite(tmp_path / "image.tif", SECTION, metadata=None, **options)
        size = said(tmp_path / "image.tif")
        assert size is not None
        assert (size.y, size.x) == pytest.approx((8, 4), rel=1e-4)
        assert size.z is None

    @pytest.mark.parametrize("dpi", [1, 72, 96, 300, 1200])
    def test_a_printer_s_is_none(self, tmp_path, dpi):
        tifffile.imwrite(tmp_path / "image.tif", SECTION, resolution=(dpi, dpi), resolutionunit="INCH")
        assert said(tmp_path / "image.tif") is None

    @pytest.mark.parametrize("resolution", [(0, 0), (0, 1e6), (1e6, 0), (1e15, 1e15)])
    def test_what_makes_no_sense_is_none(self, tmp_path, resolution):
        tags = [
            (code, 5, 1, struct.pack("<II", min(int(value), 2**32 - 1), 1), True)
            for code, value in zip((282, 283), resolution, strict=True)
        ]
        tags.append((296, 3, 1, 3, True))
        tifffile.imwrite(tmp_path / "image.tif", SECTION, metadata=None, extratags=tags)
        assert said(tmp_path / "image.tif") is None

    def test_without_a_unit_it_is_none(self, tmp_path):
        options = {"resolution": (1e7 / 8, 1e7 / 8), "resolutionunit": "NONE"}
        tifffile.imwrite(tmp_path / "image.tif", SECTION, metadata=None, **options)
        assert said(tmp_path / "image.tif") is None


class TestMakers:
    @pytest.mark.parametrize("code", [34680, 34682])
    @pytest.mark.parametrize("group", ["Scan", "EScan"])
    def test_fei(self, tmp_path, code, group):
        text = f"[User]\r\nUser=me\r\n[{group}]\r\nPixelWidth=8e-09\r\nPixelHeight=4e-09\r\n"
        assert said(with_tag(tmp_path / "a.tif", code, text)) == PixelSize(y=4, x=8)

    @pytest.mark.parametrize("unit", ["nm", "pm", "\u00b5m"])
    def test_zeiss(self, tmp_path, unit):
        number = {"nm": 8, "pm": 8000, "\u00b5m": 0.008}[unit]
        text = f"1\r\n2\r\n0\r\n5e-7\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = {number} {unit}\r\n"
        assert said(with_tag(tmp_path / "a.tif", 34118, text)) == PixelSize(8, 8)

    def test_zeiss_of_an_older_version_has_it_unnamed_of_1024_columns(self, tmp_path):
        text = f"1\r\n2\r\n0\r\n{8e-9 * 50 / 1024}\r\nAP_MAG\r\nMag = 100 X\r\n"
        assert said(with_tag(tmp_path / "a.tif", 34118, text)) == PixelSize(8, 8)

    def test_gatan(self, tmp_path):
        tags = [(code, 2, 0, unit, True) for code, unit in ((65003, "nm"), (65004, "um"), (65005, "nm"))]
        tags += [(code, 12, 1, scale, True) for code, scale in ((65009, 8.0), (65010, 0.004), (65011, 40.0))]
        tifffile.imwrite(tmp_path / "a.tif", SECTION, metadata=None, extratags=tags, **PRINTER)
        assert said(tmp_path / "a.tif") == PixelSize(y=4, x=8, z=40)

    def test_gatan_of_a_diffraction_pattern_is_none(self, tmp_path):
        tags = [(code, 2, 0, "1/nm", True) for code in (65003, 65004)]
        tags += [(code, 12, 1, 0.5, True) for code in (65009, 65010)]
        tifffile.imwrite(tmp_path / "a.tif", SECTION, metadata=None, extratags=tags, **PRINTER)
        assert said(tmp_path / "a.tif") is None

    def test_tescan(self, tmp_path):
        text = b"[MAIN]\r\nMagnification=1000\r\nPixelSizeX=8e-009\r\nPixelSizeY=4e-9\r\n\0"
        assert said(with_tag(tmp_path / "a.tif", 50431, b"\x01\xff\xd8 thumbnail \x02" + text)) == PixelSize(
            y=4, x=8
        )

    def test_olympus(self, tmp_path):
        general = struct.pack("<10xhdd8xd2x34s32s", -9, 8.0, 4.0, 1000.0, b"camera", b"picture")

        def header(offset: int) -> bytes:
            start = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 0, 12, 1, 1, 120, b"image", 1)
            return start + struct.pack("<hhI", 1, 1, offset) + general

        path = with_tag(tmp_path / "a.tif", 33560, header(0))
        with tifffile.TiffFile(path) as tiff:
            offset = tiff.pages.first.tags[33560].valueoffset
        with_tag(path, 33560, header(offset + 68))
        assert said(path) == PixelSize(y=4, x=8)

    def test_tvips(self, tmp_path):
        with tifffile.TiffFile(imagej(tmp_path / "b.tif", resolution=(1, 1))):
            formats = tifffile.TIFF
        header = np.zeros(1, np.dtype(formats.TVIPS_HEADER_V1).newbyteorder("<"))
        header["Version"] = 2
        more = np.zeros(1, np.dtype(formats.TVIPS_HEADER_V2).newbyteorder("<"))
        more["PixelSizeX"], more["PixelSizeY"], more["Magic"] = 8, 4, 0xAAAAAAAA
        path = with_tag(tmp_path / "a.tif", 37706, header.tobytes() + more.tobytes())
        assert said(path) == PixelSize(y=4, x=8)

    @pytest.mark.parametrize("side", ["0", "-8e-09", "nan", "inf", "1e-15", "0.00035", "", "wide"])
    def test_what_makes_no_sense_is_passed_over(self, tmp_path, side):
        text = f"[Scan]\r\nPixelWidth={side}\r\nPixelHeight={side}\r\n"
        options = {"resolution": (1e7 / 8, 1e7 / 8), "resolutionunit": "CENTIMETER"}
        assert said(with_tag(tmp_path / "a.tif", 34682, text, **options)) == PixelSize(8, 8)

    @pytest.mark.parametrize("scan", [
        "<FOV_X>9</FOV_X><FOV_Y>9</FOV_Y><Ux>0.008</Ux><Uy>0</Uy><Vx>0</Vx><Vy>-0.004</Vy>",
        "<Ux>0.0048</Ux><Uy>0.0064</Uy><Vx>-0.0032</Vx><Vy>0.0024</Vy>",  # of a scan that was turned
        "<FOV_X units='um'>0.4</FOV_X><FOV_Y units='um'>0.16</FOV_Y>",
    ], ids=["steps", "turned", "field of view"])  # fmt: skip
    def test_fibics(self, tmp_path, scan):
        start = '<?xml version="1.0" encoding="iso-8859-1"?>\r\n<Fibics version="1.0">'
        text = f"{start}<Scan>{scan}</Scan></Fibics>\0"
        assert said(with_tag(tmp_path / "a.tif", 51023, text)) == PixelSize(y=4, x=8)

    @pytest.mark.parametrize("text", ["<Fibics/>", "<Fibics><Scan><Ux>1</Ux></Scan></Fibics>", "<Fib"])
    def test_fibics_without_a_size(self, tmp_path, text):
        assert said(with_tag(tmp_path / "a.tif", 51023, text)) is None

    @pytest.mark.parametrize("code", [34680, 34682, 34118, 50431, 33560, 37706, 65003, 51023])
    def test_a_tag_of_something_else_is_passed_over(self, tmp_path, code):
        options = {"resolution": (1e7 / 8, 1e7 / 8), "resolutionunit": "CENTIMETER"}
        assert said(with_tag(tmp_path / "a.tif", code, b"something else", **options)) == PixelSize(8, 8)

    def test_the_maker_comes_before_the_resolution(self, tmp_path):
        text = "[Scan]\r\nPixelWidth=8e-09\r\nPixelHeight=8e-09\r\n"
        options = {"resolution": (1e7 / 5, 1e7 / 5), "resolutionunit": "CENTIMETER"}
        assert said(with_tag(tmp_path / "a.tif", 34682, text, **options)) == PixelSize(8, 8)


class TestBeside:
    """What a microscope writes into a text file beside the image."""

    TESCAN = "[MAIN]\r\nMagnification=1000\r\n[SEM]\r\nPixelSizeX=8e-009\r\nPixelSizeY=4e-9\r\n"
    HITACHI = "[SemImageFile]\r\nImageName=a.tif\r\nDataSize=50x40\r\nPixelSize=8.0\r\n"
    JEOL = "$CM_MAG 1600\r\n$$SM_MICRON_BAR 125\r\n$$SM_MICRON_MARKER 1um\r\n"

    @pytest.mark.parametrize("image", ["a.tif", "a.png", "a.TIF"])
    @pytest.mark.parametrize(
        ("beside", "text", "size"),
        [
            ("a.hdr", TESCAN, PixelSize(y=4, x=8)),
            ("a-{kind}.hdr", TESCAN, PixelSize(y=4, x=8)),
            ("a.txt", HITACHI, PixelSize(8, 8)),
            ("a.txt", JEOL, PixelSize(8, 8)),
            ("a.TXT", JEOL, PixelSize(8, 8)),
        ],
        ids=["tescan", "tescan, named after the kind", "hitachi", "jeol", "in capitals"],
    )
    def test_is_read(self, tmp_path, image, beside, text, size):
        path = tmp_path / image
        if image == "a.png":
            Image.fromarray(SECTION).save(path)
        else:
            tifffile.imwrite(path, SECTION, metadata=None, **PRINTER)
        assert said(path) is None
        (tmp_path / beside.format(kind=image[-3:].lower())).write_text(text)
        assert said(path) == size

    def test_the_file_itself_comes_first(self, tmp_path):
        (tmp_path / "a.txt").write_text(self.HITACHI)
        assert said(imagej(tmp_path / "a.tif", "unit=nm", resolution=(1 / 5, 1 / 5))) == PixelSize(5, 5)

    @pytest.mark.parametrize(
        "text", ["", "notes", "PixelSize=none", "PixelSize=0", "$$SM_MICRON_BAR 0\n$$SM_MICRON_MARKER 1um"]
    )
    def test_another_text_says_nothing(self, tmp_path, text):
        tifffile.imwrite(tmp_path / "a.tif", SECTION, metadata=None, **PRINTER)
        (tmp_path / "a.txt").write_text(text)
        assert said(tmp_path / "a.tif") is None


class TestPixelSize:
    def test_only_the_header_of_a_large_stack_is_read(self, tmp_path, monkeypatch):
        path = tmp_path / "a.tif"
        tifffile.imwrite(
            path,
            np.zeros((50, 40, 50), np.uint8),
            imagej=True,
            resolution=(1 / 8, 1 / 8),
            metadata={"unit": "nm"},
        )
        read = []
        seen = tifffile.FileHandle.read
        monkeypatch.setattr(
            tifffile.FileHandle, "read", lambda self, size=-1: read.append(size) or seen(self, size)
        )
        assert pixel_size(path) == PixelSize(8, 8)
        assert 0 < sum(read) < 5000

    @pytest.mark.parametrize("content", [None, b"", b"no image", b"II*\0", b"II*\0\xff\xff\xff\x7f"])
    def test_what_cannot_be_read_says_none(self, tmp_path, content):
        if content is not None:
            (tmp_path / "a.tif").write_bytes(content)
        assert pixel_size(tmp_path / "a.tif") is None
        assert pixel_size(tmp_path) is None

    @pytest.mark.parametrize(
        ("size", "text"), [(PixelSize(8, 8, 40), "8 nm"), (PixelSize(9, 4.6), "9 x 4.6 nm")]
    )
    def test_in_words(self, size, text):
        assert str(size) == text

"""The pixel size of a TIFF file: of OME, of ImageJ, of the makers of microscopes, or of the plain tags."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from napari_feedback_seg.io.sizes import PixelSize, in_nanometres, sensible

if TYPE_CHECKING:
    from collections.abc import Callable

    import tifffile

_RESOLUTION_UNITS = {2: "inch", 3: "cm"}
_NO_UNITS = ("", "pixel", "pixels", "None")
_DIGITAL_MICROGRAPH = {"x": (65003, 65009), "y": (65004, 65010), "z": (65005, 65011)}
_TESCAN, _FIBICS = 50431, 51023


def tiff_pixel_size(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> PixelSize | None:
    """Return the pixel size that a TIFF file says.

    OME and ImageJ come before the tags of the microscope's maker, and these before the plain resolution,
    which is often that of a printer. What makes no sense is passed over.

    Parameters
    ----------
    tiff : tifffile.TiffFile
        The file; only its header is read.
    page : tifffile.TiffPage
        The page whose tags count: the first of the image.
    """
    for said in _SAID:
        try:
            size = said(tiff, page)
        except (LookupError, TypeError, ValueError, ArithmeticError, ElementTree.ParseError):
            continue  # a tag that is not what it should be says nothing
        if size is not None:
            return size
    return None


def _ome(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> PixelSize | None:
    if not (tiff.is_ome and tiff.ome_metadata):
        return None
    pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")
    if pixels is None:
        return None

    def side(axis: str) -> float | None:
        return in_nanometres(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))

    return sensible(side("Y"), side("X"), side("Z"))


def _imagej(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> PixelSize | None:
    metadata = tiff.imagej_metadata or {}
    unit = str(metadata.get("unit", ""))
    if unit in _NO_UNITS:
        return None

    def unit_of(axis: str) -> str:
        own = str(metadata.get(f"{axis}unit", ""))
        return unit if own in _NO_UNITS else own

    height, width = _sides(page)
    return sensible(
        in_nanometres(height, unit_of("y")),
        in_nanometres(width, unit),
        in_nanometres(metadata.get("spacing"), unit_of("z")),
    )


def _fei(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> PixelSize | None:
    """Read FEI's and Thermo Fisher's tags; the group is Scan, or EScan and IScan in older files."""
    metadata = _tables(page, 34680, 34682)
    for group in (metadata.get("Scan"), *metadata.values()):
        if isinstance(group, dict) and {"PixelWidth", "PixelHeight"} <= group.keys():
            return _metres(group["PixelHeight"], group["PixelWidth"])
    return None


def _zeiss(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> PixelSize | None:
    metadata = _tables(page, 34118)
    named = metadata.get("ap_image_pixel_size")
    if named is not None and len(named) > 2:  # its name, the number, the unit
        side = in_nanometres(named[1], str(named[2]))
        return sensible(side, side)
    # The fourth unnamed number is the pixel in metres of an image of 1024 columns.
    side = float(metadata.get("", ())[3]) * 1024 / page.imagewidth
    return _metres(side, side)


def _digital_micrograph(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> PixelSize | None:
    """Read what Gatan's DigitalMicrograph writes: a unit and a scale for each axis."""
    sides = {
        axis: in_nanometres(page.tags.valueof(scale), str(page.tags.valueof(unit, "")))
        for axis, (unit, scale) in _DIGITAL_MICROGRAPH.items()
    }
    return sensible(**sides)


def _tescan(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> PixelSize | None:
    """Read Tescan's tag: lines of text, in metres, among thumbnails."""
    data = page.tags.valueof(_TESCAN, b"")
    text = data.decode("latin-1") if isinstance(data, bytes) else str(data)
    found = dict(re.findall(r"PixelSize([XY])=([0-9.eE+-]+)", text))
    return _metres(found["Y"], found["X"])


def _olympus(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> PixelSize | None:
    metadata = _tables(page, 33471, 33560)
    return _metres(metadata["pixelsizey"], metadata["pixelsizex"])


def _tvips(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> PixelSize | None:
    metadata = _tables(page, 37706)
    return sensible(float(metadata["PixelSizeY"]), float(metadata["PixelSizeX"]))


def _fibics(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> PixelSize | None:
    """Read the XML of Fibics' ATLAS: the steps of the scan, or how wide it is, in micrometres."""
    data = page.tags.valueof(_FIBICS, b"")
    text = data.decode("latin-1") if isinstance(data, bytes) else str(data)
    scan = ElementTree.fromstring(text.strip(" \0\r\n")).find(".//Scan")
    if scan is None:
        return None
    along_x, along_y = (
        math.hypot(*(float(scan.findtext(f"{axis}{part}", "nan")) for part in "xy")) for axis in "UV"
    )
    if math.isfinite(along_x + along_y):
        return sensible(in_nanometres(along_y, "um"), in_nanometres(along_x, "um"))
    height, width = (
        float(scan.findtext(f"FOV_{axis}", "nan")) / pixels
        for axis, pixels in (("Y", page.imagelength), ("X", page.imagewidth))
    )
    return sensible(in_nanometres(height, "um"), in_nanometres(width, "um"))


def _resolution(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> PixelSize | None:
    """Read the plain tags; IMOD, like others, writes pixels per centimetre there."""
    unit = _RESOLUTION_UNITS.get(int(page.tags.valueof("ResolutionUnit", 1)), "")
    height, width = _sides(page)
    return sensible(in_nanometres(height, unit), in_nanometres(width, unit))


def _tables(page: tifffile.TiffPage, *codes: int) -> dict[str, Any]:
    """Return what tifffile made of tags that hold names and values."""
    tables = (page.tags.valueof(code) for code in codes)
    return {name: value for table in tables if isinstance(table, dict) for name, value in table.items()}


def _sides(page: tifffile.TiffPage) -> tuple[float, float]:
    """Return the height and width of a pixel in the unit of the resolution, NaN if the tags lack it."""
    sides = []
    for name in ("YResolution", "XResolution"):
        pixels, units = page.tags.valueof(name, (0, 1))
        sides.append(units / pixels if pixels else math.nan)
    return sides[0], sides[1]


def _metres(y: Any, x: Any) -> PixelSize | None:
    return sensible(in_nanometres(y, "m"), in_nanometres(x, "m"))


_SAID: tuple[Callable[[tifffile.TiffFile, tifffile.TiffPage], PixelSize | None], ...] = (
    _ome,
    _imagej,
    _fei,
    _zeiss,
    _digital_micrograph,
    _tescan,
    _olympus,
    _tvips,
    _fibics,
    _resolution,
)

"""The pixel size that a file says, in nanometres and for each axis."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass

SMALLEST_NM = 0.01
LARGEST_NM = 1000.0
"""Pixels beyond these are no electron microscopy: 72 dpi, which many programs write, are 352,778 nm."""

LARGEST_SPACING_NM = 100_000.0

_NANOMETRES = {
    "pm": 1e-3,
    **dict.fromkeys(("a", "å", "ang", "angstrom", "angstroms", "ångström", "ångstrom"), 0.1),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1.0),
    **dict.fromkeys(("um", "u", "micron", "microns", "micrometer", "micrometers"), 1e3),
    **dict.fromkeys(("micrometre", "micrometres"), 1e3),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1e6),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 1e7),
    **dict.fromkeys(("inch", "inches", "in"), 25.4e6),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e9),
}


@dataclass(frozen=True)
class PixelSize:
    """The sides of a pixel, and the distance of the sections, in nm.

    Attributes
    ----------
    y, x : float
        Height and width of a pixel.
    z : float or None
        Distance of the sections, if the file says it.
    """

    y: float
    x: float
    z: float | None = None

    def __str__(self) -> str:
        sides = (
            f"{self.x:.4g}" if math.isclose(self.y, self.x, rel_tol=0.01) else f"{self.y:.4g} x {self.x:.4g}"
        )
        return f"{sides} nm"


def in_nanometres(length: object, unit: str) -> float | None:
    r"""Return a length in nm; None if it is no number, or its unit no length that is known.

    Units are taken in any case and spelling, with the escapes of ImageJ (``\u00B5m``).
    """
    escaped = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), unit)
    # NFKC has one sign for each that Unicode has twice: micro and mu, Angstrom and A with a ring.
    plain = unicodedata.normalize("NFKC", escaped).strip(" \0").casefold().replace("μ", "u")
    try:
        value = float(length) * _NANOMETRES[plain]  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def sensible(y: float | None, x: float | None, z: float | None = None) -> PixelSize | None:
    """Return the pixel size of sides in nm; None, or no ``z``, where they make no sense."""
    if not all(side is not None and SMALLEST_NM <= side < LARGEST_NM for side in (y, x)):
        return None
    assert y is not None
    assert x is not None
    spacing = float(f"{z:.6g}") if z is not None and SMALLEST_NM <= z < LARGEST_SPACING_NM else None
    return PixelSize(float(f"{y:.6g}"), float(f"{x:.6g}"), spacing)

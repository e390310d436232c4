"""The pixel size that a microscope writes into a text file beside the image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_feedback_seg.io.sizes import PixelSize, in_nanometres, sensible

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST = 2**16
_NUMBER = r"\s*([0-9.eE+-]+)"


def sidecar_pixel_size(path: Path) -> PixelSize | None:
    """Return what the file beside an image says of its pixel size; None if there is no such file.

    Tescan writes ``image.hdr`` or ``image-tif.hdr``, Hitachi and JEOL write ``image.txt``.
    """
    kind = path.suffix.lower().removeprefix(".")
    for name in (f"{path.stem}-{kind}.hdr", f"{path.stem}.hdr", f"{path.stem}.txt"):
        for beside in (path.with_name(name), path.with_name(name).with_suffix(name[-4:].upper())):
            try:
                with beside.open(encoding="latin-1") as file:
                    size = _said(file.read(_LONGEST))
            except (OSError, ValueError, ArithmeticError):
                continue
            if size is not None:
                return size
    return None


def _said(text: str) -> PixelSize | None:
    tescan = dict(re.findall(rf"^PixelSize([XY])={_NUMBER}", text, re.MULTILINE))
    if len(tescan) == 2:
        return sensible(in_nanometres(tescan["Y"], "m"), in_nanometres(tescan["X"], "m"))
    if hitachi := re.search(rf"^PixelSize={_NUMBER}\s*$", text, re.MULTILINE):
        side = in_nanometres(hitachi[1], "nm")
        return sensible(side, side)
    # JEOL says how many pixels long the scale bar is, and what it stands for.
    bar = re.search(rf"\$SM_MICRON_BAR{_NUMBER}", text)
    marker = re.search(rf"\$SM_MICRON_MARKER{_NUMBER}\s*([^\d\s]+)", text)
    if bar and marker:
        length = in_nanometres(marker[1], marker[2])
        side = None if length is None else length / float(bar[1])
        return sensible(side, side)
    return None

"""A picture of a segmentation: the section, the classes over it, and a legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from napari_feedback_seg.segmentation.sections import statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.classes import LabelClass

_ROW = 30
_SWATCH = 18


def overlay(
    section: npt.NDArray[np.generic],
    labels: npt.NDArray[np.uint8],
    classes: Sequence[LabelClass],
    strength: float = 0.6,
) -> Image.Image:
    """Return the section beside itself with its classes, and a legend with their share of the area.

    Parameters
    ----------
    section : array
        (Y, X) grey values.
    labels : array of uint8
        (Y, X) class values.
    classes : sequence of LabelClass
        Names, colours and opacities.
    strength : float
        What the opacities are multiplied by, 0 to 1.
    """
    grey = np.repeat(_display(section)[..., None], 3, axis=2)
    colours = np.zeros((256, 3), np.float32)
    opacities = np.zeros((256, 1), np.float32)
    for each in classes:
        colours[each.value], opacities[each.value] = each.rgb, each.opacity * strength
    covered = grey * (1 - opacities[labels]) + colours[labels] * opacities[labels]
    height, width = labels.shape
    picture = Image.new("RGB", (max(2 * width + 8, 640), height + _ROW), "white")
    picture.paste(Image.fromarray(grey.astype(np.uint8)), (0, 0))
    picture.paste(Image.fromarray(covered.round().astype(np.uint8)), (width + 8, 0))
    _legend(picture, labels, classes)
    return picture


def _display(section: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    levels = statistics(np.asarray(section))
    span = (levels.high - levels.low) or 1.0
    shown: npt.NDArray[np.float32] = np.clip((np.nan_to_num(section) - levels.low) / span * 255, 0, 255)
    return shown.astype(np.float32)


def _legend(picture: Image.Image, labels: npt.NDArray[np.uint8], classes: Sequence[LabelClass]) -> None:
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=16)
    top = picture.height - _ROW + (_ROW - _SWATCH) // 2
    left = 8
    for each in classes:
        draw.rectangle((left, top, left + _SWATCH, top + _SWATCH), fill=each.rgb, outline="#444444")
        text = f"{each.name} {(labels == each.value).mean():.1%}"
        draw.text((left + _SWATCH + 6, top), text, fill="black", font=font)
        left += _SWATCH + 6 + round(draw.textlength(text, font=font)) + 22

"""A picture in the manner of the paper's Figure 4: image, output, and where pixels looked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from napari_feedback_seg.attention_maps.colours import colour_table, coloured, contrast_limits
from napari_feedback_seg.segmentation.sections import statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.attention_maps.tile import PixelAttention, TileAttention
    from napari_feedback_seg.classes import LabelClass

_SIDE = 320
_GAP = 12
_TITLE = 26
_SCALE = 30
_LEGEND = 34
_MARK = "#00d0ff"
_MODES = {"self": "Self", "source_target": "ST"}


@dataclass(frozen=True)
class FigureRow:
    """What one model contributes.

    Attributes
    ----------
    name, mode : str
        Of the model, and how its feedback attends.
    tile : TileAttention
        The tile that is shown.
    pixels : sequence of PixelAttention
        A map for each.
    """

    name: str
    mode: str
    tile: TileAttention
    pixels: Sequence[PixelAttention]


def attention_figure(
    section: np.ndarray, rows: Sequence[FigureRow], truth: np.ndarray | None = None
) -> Image.Image:
    """Return the figure: a row a model, with the image or the ground truth at its left.

    Parameters
    ----------
    section : ndarray
        (Y, X) grey values.
    rows : sequence of FigureRow
        One model, or several beside each other.
    truth : ndarray, optional
        (Y, X) labels of the section.
    """
    # As in the paper, image and ground truth share the first column if there are two rows for them.
    leading = ["image"] if truth is None else ["image", "truth"]
    columns = -(-len(leading) // len(rows))
    width = columns + 1 + max(len(row.pixels) for row in rows)
    height = _TITLE + _SIDE + _SCALE
    picture = Image.new(
        "RGB", (width * (_SIDE + _GAP) + _GAP, len(rows) * (height + _GAP) + _LEGEND), "white"
    )
    for number, row in enumerate(rows):
        top = number * (height + _GAP)
        for column, what in enumerate(leading[number * columns : (number + 1) * columns]):
            _paste(picture, _leading(what, section, truth, row), column, top)
        _paste(picture, _output(row), columns, top)
        for column, pixel in enumerate(row.pixels, start=columns + 1):
            _paste(picture, _map(row, pixel), column, top)
    _legend(picture, rows[0].tile.classes)
    return picture


def _leading(what: str, section: np.ndarray, truth: np.ndarray | None, row: FigureRow) -> Image.Image:
    region = row.tile.frame.region
    if what == "truth":
        assert truth is not None
        return _panel("Ground truth", _class_colours(truth[region], row.tile.classes), row.tile)
    levels = statistics(section)
    span = (levels.high - levels.low) or 1.0
    grey = np.clip((np.nan_to_num(section[region]) - levels.low) / span * 255, 0, 255).astype(np.uint8)
    return _panel("Image", np.repeat(grey[..., None], 3, axis=2), row.tile, row.pixels)


def _output(row: FigureRow) -> Image.Image:
    colours = _class_colours(row.tile.labels, row.tile.classes)
    return _panel(f"Output ({_name(row)})", colours, row.tile, row.pixels)


def _map(row: FigureRow, pixel: PixelAttention) -> Image.Image:
    limits = contrast_limits(pixel.map)
    title = f"{pixel.label_class.name.capitalize()} at {pixel.y}, {pixel.x} ({_mode(row)})"
    panel = _panel(title, coloured(pixel.map, limits), row.tile, [pixel])
    scale = Image.fromarray(np.repeat(colour_table()[None], 10, axis=0)).resize((_SIDE // 3, 10))
    panel.paste(scale, (_SIDE // 3, _TITLE + _SIDE + 8))
    draw = ImageDraw.Draw(panel)
    low, high = (f"{each:.2f}" for each in limits)
    middle = _TITLE + _SIDE + 13
    draw.text((_SIDE // 3 - 6, middle), low, fill="black", font=_font(14), anchor="rm")
    draw.text((2 * _SIDE // 3 + 6, middle), f"{high} x average", fill="black", font=_font(14), anchor="lm")
    return panel


def _panel(
    title: str, colours: np.ndarray, tile: TileAttention, pixels: Sequence[PixelAttention] = ()
) -> Image.Image:
    """Return a picture (Y, X, 3) with a title above and marks at pixels of the section."""
    panel = Image.new("RGB", (_SIDE, _TITLE + _SIDE + _SCALE), "white")
    zoom = _SIDE / max(colours.shape[:2])
    size = (max(1, round(colours.shape[1] * zoom)), max(1, round(colours.shape[0] * zoom)))
    panel.paste(Image.fromarray(colours).resize(size, Image.Resampling.NEAREST), (0, _TITLE))
    draw = ImageDraw.Draw(panel)
    draw.text((0, _TITLE // 2), title, fill="black", font=_font(16), anchor="lm")
    rows, columns = tile.frame.region
    for pixel in pixels:
        x = (pixel.x - columns.start + 0.5) * zoom
        y = _TITLE + (pixel.y - rows.start + 0.5) * zoom
        for radius, colour in ((7, "black"), (6, _MARK), (5, _MARK), (4, "black")):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour)
    return panel


def _paste(picture: Image.Image, panel: Image.Image, column: int, top: int) -> None:
    picture.paste(panel, (_GAP + column * (_SIDE + _GAP), top))


def _class_colours(labels: np.ndarray, classes: Sequence[LabelClass]) -> np.ndarray:
    table = np.full((256, 3), 255, np.uint8)
    for each in classes:
        table[each.value] = each.rgb
    colours: np.ndarray = table[labels]
    return colours


def _legend(picture: Image.Image, classes: Sequence[LabelClass]) -> None:
    draw = ImageDraw.Draw(picture)
    middle = picture.height - _LEGEND // 2
    left = _GAP
    for each in classes:
        draw.rectangle((left, middle - 8, left + 16, middle + 8), fill=each.rgb, outline="#444444")
        draw.text((left + 22, middle), each.name, fill="black", font=_font(16), anchor="lm")
        left += 44 + round(draw.textlength(each.name, font=_font(16)))


def _name(row: FigureRow) -> str:
    return row.name if len(row.name) <= 24 else f"{row.name[:23]}…"


def _mode(row: FigureRow) -> str:
    return _MODES[row.mode]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)

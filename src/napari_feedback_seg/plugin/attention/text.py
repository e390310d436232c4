"""What a person reads about attention in the panel, as rich text."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_feedback_seg.attention_maps.changes import FeedbackChange
    from napari_feedback_seg.attention_maps.tile import PixelAttention, TileAttention

HINT = "Switch Pick on, and click a pixel of the image. Dragging follows the mouse."
UNITS = (
    "Numbers are times uniform attention: 1 is what every place would get if the network looked "
    "everywhere alike."
)


def pixel_text(pixel: PixelAttention, tile: TileAttention, section: int | None) -> str:
    """Return what a pixel is and where it looked; ``section`` is that of a stack."""
    where = "" if section is None else f", section {section}"
    rows = "".join(
        f"<tr><td>{rank}&nbsp;&nbsp;</td><td align='right'>{each.times:.2f} x&nbsp;&nbsp;</td>"
        f"<td>{escape(each.label_class.name)} at {each.y}, {each.x}</td></tr>"
        for rank, each in enumerate(pixel.strongest, start=1)
    )
    height, width = tile.key.shape[:2]
    place = "one pixel" if tile.place == 1 else f"{tile.place} x {tile.place} pixels"
    return (
        f"<b>{escape(pixel.label_class.name)}</b> at row {pixel.y}, column {pixel.x}{where}.<br>"
        f"It looked most at<table>{rows}</table>"
        f"<small>{height} x {width} places of {place} of the model in this tile</small>"
    )


def change_text(change: FeedbackChange) -> str:
    """Return how many pixels the feedback moved, as a table."""
    known = change.classes[0].to_right is not None
    rows: list[tuple[str, list[int]]] = []
    for each in change.classes:
        truth = [each.to_right or 0, each.to_wrong or 0] if known else []
        rows.append((each.label_class.name, [each.left, each.joined, *truth]))
    rows.append(("all", [sum(column) for column in zip(*(counts for _, counts in rows), strict=True)]))
    heads = ["pixels", "left", "joined", *(["to right", "to wrong"] if known else [])]
    lines = [heads, *([name, *map(str, counts)] for name, counts in rows)]
    cells = "".join(
        "<tr>" + "".join(f"<td align='right'>&nbsp;&nbsp;{escape(cell)}</td>" for cell in line) + "</tr>"
        for line in lines
    )
    return f"<table>{cells}</table>"

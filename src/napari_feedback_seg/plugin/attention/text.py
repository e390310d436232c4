"""What a person reads about attention in the panel, as rich text."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from napari_feedback_seg.plugin.session.attention.view import View

if TYPE_CHECKING:
    from napari_feedback_seg.attention_maps.changes import FeedbackChange
    from napari_feedback_seg.plugin.session.attention.view import Found

HINT = "Switch Pick on, and click a pixel of the image. Dragging follows the mouse."

_MEANINGS = {
    View.PIXEL: "How much each place was looked at: 1 is as much as the average place.",
    View.CLASS: "Where the pixels of this class looked: the mean over the tile, in times the average place.",
    View.RECEIVED: "How much each place was looked at by all pixels of the tile, in times the average place.",
    View.CHANGED: (
        "The labels are those of round 2 where they differ from round 1. The map is the share of the "
        "probability, 0 to 1, that went to another class."
    ),
    View.FIRST: "What the network said at its first look at this tile.",
    View.SECOND: "What the network said at its second look at this tile.",
}


def meaning(view: View) -> str:
    """Return what is seen in a view."""
    return _MEANINGS[view]


def found_text(found: Found | None) -> str:
    """Return what a pixel is and where it looked, or what to do to see that."""
    if found is None:
        return HINT
    pixel, tile = found.pixel, found.tile
    where = "" if found.source.image.ndim < 3 else f", section {found.source.section}"
    rows = "".join(
        f"<tr><td>{rank}&nbsp;&nbsp;</td><td align='right'>{each.times:.1f} x&nbsp;&nbsp;</td>"
        f"<td>{escape(each.label_class.name)} at {each.y}, {each.x}</td></tr>"
        for rank, each in enumerate(pixel.strongest, start=1)
    )
    most = f"It looked most, in times the average place, at<table>{rows}</table>" if rows else ""
    height, width = tile.key.shape[:2]
    place = "one pixel" if tile.place == 1 else f"{tile.place} x {tile.place} pixels"
    return (
        f"<b>{escape(pixel.label_class.name)}</b> at row {pixel.y}, column {pixel.x}{where}.<br>{most}"
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

"""What the tab Correct says about the corrections that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_feedback_seg.correction.corrections import LEAST_PIXELS
from napari_feedback_seg.plugin.session.counts import summed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.plugin.session.counts import Count

ENOUGH_STROKES = 4
GOOD_STROKES = 12


def where(counts: dict[int, dict[int, Count]], stack: bool) -> str:
    """Return on which sections of a stack there are corrections."""
    if not stack or not counts:
        return ""
    sections = sorted(counts)
    named = ", ".join(map(str, sections[:8])) + (
        f" and {len(sections) - 8} more" if len(sections) > 8 else ""
    )
    return f"On section{'s' * (len(sections) > 1)} {named}. "


def missing(counts: dict[int, dict[int, Count]], classes: Sequence[LabelClass], odd: Sequence[int]) -> str:
    """Return what is still missing for a fine-tune to be useful."""
    total = summed(counts.values())
    pixels = sum(each.pixels for each in total.values())
    strokes = sum(each.strokes for each in total.values())
    if odd:
        values = ", ".join(map(str, odd))
        return f"Labels that are no class are painted ({values}): erase them, or add the class."
    if not pixels:
        return "Choose a class and paint over a mistake, a stroke for each."
    if pixels < LEAST_PIXELS:
        return f"{pixels} px are too little to learn from: paint a few strokes."
    if len(total) == 1:
        (value,) = total
        name = next((each.name for each in classes if each.value == value), str(value))
        return f"Only {name} so far: also paint what is wrongly taken for it, so that less of it is found."
    if strokes < ENOUGH_STROKES:
        return "A few more strokes in other places, and it can be judged whether the model has learnt."
    if strokes < GOOD_STROKES:
        return "Enough to try. More strokes, in several places, make it surer."
    return "Enough to learn from."

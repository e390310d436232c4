"""What the tab Correct says about the corrections that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_feedback_seg.correction.corrections import LEAST_PIXELS
from napari_feedback_seg.plugin.session.correct.painted.counts import summed
from napari_feedback_seg.segmentation.prediction import name_sections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.correction.strokes import Stroke
    from napari_feedback_seg.plugin.session.correct.instant.engine import Why
    from napari_feedback_seg.plugin.session.correct.painted.counts import Count

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
        return (
            "Enough to try. After about ten strokes, in several places, similar mistakes are corrected too."
        )
    return "Enough to learn from."


def changes(changed: dict[int, dict[int, int]], classes: Sequence[LabelClass]) -> str:
    """Return how many pixels have become of which class by the strokes, and on how many sections."""
    total: dict[int, int] = {}
    for of_section in changed.values():
        for value, count in of_section.items():
            total[value] = total.get(value, 0) + count
    names = {each.value: each.name for each in classes}
    parts = [
        f"{count:,} px now {names.get(value, value)}"
        for value, count in sorted(total.items(), key=lambda each: -each[1])
    ]
    if not parts:
        return "The strokes change nothing beside themselves." if changed else ""
    sections = sum(any(each.values()) for each in changed.values())
    return f"Changed: {', '.join(parts)}; on {sections} section{'s' * (sections != 1)}."


def unknown(sections: Sequence[int]) -> str:
    """Return that it is not known what the model says of these sections without the strokes."""
    if not sections:
        return ""
    were = "were" if len(sections) > 1 else "was"
    return (
        f"{name_sections(sections)} {were} segmented with the strokes: what the model says without them is "
        "not known there."
    )


def why(found: Why) -> str:
    """Return what is known of a place, over the strokes that moved it."""
    place = f"row {found.row}, column {found.column} of section {found.section}"
    if not found.speak_for:
        if found.settled:
            return f"What is at {place} was put right around a stroke that the model has learnt since."
        return f"No stroke changed the class at {place}."
    return f"The class at {place} comes mostly from:"


def reason(stroke: Stroke, moved: float, classes: Sequence[LabelClass]) -> str:
    """Return which stroke that is, and how much it speaks for what is said."""
    name = next((each.name for each in classes if each.value == stroke.value), str(stroke.value))
    row, column = stroke.centre
    how = f" ({moved:+.1f})" if round(moved, 1) > 0 else ""  # below it is painted so, and no more
    return f"{name}, section {stroke.section[1]}, {row}, {column}{how}"

"""Which places of a result strokes change: what is in view, and the rest. No Qt, no napari."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.plugin.session.correct.instant.engine import Blank, Place
from napari_feedback_seg.plugin.session.regions import common, region_from, spans_of, whole, without

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari.layers import Image

    from napari_feedback_seg.plugin.session.records import ResultRecord, RunRecord
    from napari_feedback_seg.plugin.session.regions import Region, Spans
    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.plugin.session.strokes import Strokes

BLOCK = 1024
"""Side in pixels of the blocks in which a larger view is answered, the one nearest to the stroke first."""

LARGEST = 2**25
"""Pixels of a section from which on only what is in view is answered."""


def in_view(session: Session, image: Image, last: tuple[int, int] | None = None) -> list[Place]:
    """Return what of an image is in view, in blocks, the one nearest to the last stroke first."""
    section, shape = session.layers.displayed_section(image), session.layers.sections(image).section_shape
    region: Region | None = whole(shape)
    with suppress(FeedbackSegError):
        region = session.layers.visible_region(image)
    part = session.layers.region_of(session.result)
    if part is not None and region is not None:
        region = common(region, part)
    if region is None:
        return []
    centre = last or ((region[0].start + region[0].stop) // 2, (region[1].start + region[1].stop) // 2)
    return [Place(section, block) for block in _blocks(region, centre)]


def stale(
    session: Session, strokes: Strokes, record: ResultRecord, view: list[Place], blank: Collection[Blank]
) -> list[Place]:
    """Return what of a view was made with other strokes.

    What another model said is left alone.
    """
    entry = session.entry
    if entry is None or not view or Blank(strokes.image, view[0].section) in blank:
        return []
    section, model = view[0].section, str(entry.path)
    parts = [_parts(record, section, place.region, model) for place in view]
    if _of_another(parts, record, model):
        return []
    painted = section in strokes.labels and bool(strokes.token)
    found = []
    for place in (Place(section, region) for each in parts for region in each.left):
        said = record.speaks_of(place.section, spans_of(place.region), model, strokes.token)
        if said is False or (said is None and painted):
            found.append(place)
    return found


def unanswered(session: Session, strokes: Strokes, record: ResultRecord | None, view: list[Place]) -> str:
    """Return why strokes are not answered in the view, in a sentence; empty if they are, or without any."""
    if not strokes.labels or session.entry is None or not view:
        return ""
    if record is None or not record.sections:
        return "Segment the image first: then strokes are answered."
    section, model = view[0].section, str(session.entry.path)
    if not _of_another([_parts(record, section, place.region, model) for place in view], record, model):
        return ""
    runs = [run for run in record.runs if section in run.sections and run.model_file != model]
    name = (runs[-1] if runs else record.last).model
    return f"These labels are from '{name}': choose that model, or segment again."


def rest(
    session: Session, image: Image, strokes: Strokes, record: ResultRecord, blank: Collection[Blank]
) -> list[Place]:
    """Return what else was made with other strokes, the sections nearest to the one shown first.

    What another model said is left alone.
    """
    entry, shape = session.entry, session.layers.sections(image).section_shape
    if entry is None:
        return []
    shown, model = session.layers.displayed_section(image), str(entry.path)
    found = []
    for z in sorted(record.sections, key=lambda z: (abs(z - shown), z)):
        mine = [run for run in record.runs if z in run.sections and run.model_file == model]
        if not mine or Blank(strokes.image, z) in blank:
            continue
        largest = max((run.region or spans_of(whole(shape)) for run in mine), key=_area)
        for region in _parts(record, z, region_from(largest), model).left:
            spans = spans_of(region)
            if _area(spans) <= LARGEST and not record.speaks_of(z, spans, model, strokes.token):
                found.append(Place(z, region))
    return found


def last_run(record: ResultRecord, session: Session) -> RunRecord:
    """Return the last run of the model in use."""
    entry = session.entry
    mine = [run for run in record.runs if entry is not None and run.model_file == str(entry.path)]
    return mine[-1] if mine else record.last


def where_changed(before: np.ndarray | None, after: np.ndarray | None) -> tuple[int, int] | None:
    """Return row and column of a place where the painting has changed, or None."""
    if after is None or (before is not None and before.shape != after.shape):
        return None
    changed = after != (0 if before is None else before)
    rows = np.flatnonzero(changed.any(axis=1))
    if not rows.size:
        return None
    row = int(rows[len(rows) // 2])
    columns = np.flatnonzero(changed[row])
    return row, int(columns[len(columns) // 2])


@dataclass(frozen=True)
class _Parts:
    """What of a region which model said last."""

    mine: bool  # whether the model said any of it
    others: bool  # whether another one did
    left: list[Region]  # the parts that no other one said: the whole, or pieces


def _parts(record: ResultRecord, section: int, region: Region, model_file: str) -> _Parts:
    left, others = [region], False
    mine: list[Region] = []
    for run in reversed(record.runs):
        if section not in run.sections:
            continue
        over = region_from(run.region) if run.region else region
        said = [part for each in left if (part := common(each, over))]
        left = [piece for each in left for piece in without(each, over)]
        if run.model_file == model_file:
            mine += said
        elif said:
            others = True
    return _Parts(bool(mine), others, [*mine, *left] if others else [region])


def _of_another(parts: list[_Parts], record: ResultRecord, model: str) -> bool:
    """Return whether nothing of a view is of the model, but of another one."""
    others = any(each.others for each in parts) or record.last.model_file != model
    return others and not any(each.mine for each in parts)


def _blocks(region: Region, centre: tuple[int, int]) -> list[Region]:
    """Return a region in blocks, the one nearest to a place first; empty for an empty region."""
    spans = []
    for part in region:
        count = max(1, -(-(part.stop - part.start) // BLOCK))
        edges = np.linspace(part.start, part.stop, count + 1).round().astype(int).tolist()
        spans.append([slice(a, b) for a, b in pairwise(edges) if a < b])

    def away(block: Region) -> int:
        sides = zip(block, centre, strict=True)
        return sum(max(each.start - at, 0, at - each.stop + 1) ** 2 for each, at in sides)

    return sorted(((rows, columns) for rows in spans[0] for columns in spans[1]), key=away)


def _area(spans: Spans) -> int:
    return (spans[0][1] - spans[0][0]) * (spans[1][1] - spans[1][0])

"""Which places of a result strokes change: what is in view, and the rest. No Qt, no napari."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.plugin.session.correct.instant.engine import Blank, Place
from napari_feedback_seg.plugin.session.regions import common, region_from, spans_of, whole

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
    if not _is_of(record, view, str(entry.path)):
        return []
    painted = view[0].section in strokes.labels and bool(strokes.token)
    found = []
    for place in view:
        said = record.speaks_of(place.section, spans_of(place.region), str(entry.path), strokes.token)
        if said is False or (said is None and painted):
            found.append(place)
    return found


def rest(
    session: Session, image: Image, strokes: Strokes, record: ResultRecord, blank: Collection[Blank]
) -> list[Place]:
    """Return what else was made with other strokes, the sections nearest to the one shown first."""
    entry, shape = session.entry, session.layers.sections(image).section_shape
    if entry is None:
        return []
    shown, found = session.layers.displayed_section(image), []
    for z in sorted(record.sections, key=lambda z: (abs(z - shown), z)):
        runs = [run for run in record.runs if z in run.sections]
        if runs[-1].model_file != str(entry.path) or Blank(strokes.image, z) in blank:
            continue
        spans = max((run.region or spans_of(whole(shape)) for run in runs), key=_area)
        if _area(spans) <= LARGEST and not record.speaks_of(z, spans, str(entry.path), strokes.token):
            found.append(Place(z, region_from(spans)))
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


def _is_of(record: ResultRecord, view: list[Place], model_file: str) -> bool:
    """Return whether a model said what is in view."""
    for run in reversed(record.runs):
        if view[0].section in run.sections and any(run.over(spans_of(each.region)) for each in view):
            return run.model_file == model_file
    return record.last.model_file == model_file


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

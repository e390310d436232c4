"""Parts of a section: rows and columns, as slices where they are used and as numbers where they are noted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

Region = tuple[slice, slice]
"""Rows and columns."""

Span = tuple[int, int]
"""First row or column, and the one after the last."""

Spans = tuple[Span, Span]
"""Rows and columns as JSON can hold them."""


@dataclass(frozen=True)
class Part:
    """A part of an image: some sections, and of each the whole (None) or a region."""

    sections: tuple[int, ...]
    region: Region | None = None


def spans_of(region: Region) -> Spans:
    """Return a region as it is noted."""
    rows, columns = region
    return (rows.start, rows.stop), (columns.start, columns.stop)


def region_from(spans: Spans) -> Region:
    """Return a region that was noted."""
    return slice(*spans[0]), slice(*spans[1])


def whole(shape: Sequence[int]) -> Region:
    """Return all rows and columns of an array (..., Y, X)."""
    return slice(0, shape[-2]), slice(0, shape[-1])


def within(region: Region, part: Region | None) -> Region:
    """Return where a region of the image lies in an array of a part of it."""
    if part is None:
        return region
    rows, columns = (
        slice(one.start - outer.start, one.stop - outer.start)
        for one, outer in zip(region, part, strict=True)
    )
    return rows, columns


def contains(outer: Region, inner: Region) -> bool:
    """Return whether a region holds all of another."""
    return all(a.start <= b.start and b.stop <= a.stop for a, b in zip(outer, inner, strict=True))


def common(one: Region, other: Region) -> Region | None:
    """Return what two regions have in common; None if that is nothing."""
    rows, columns = (
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return None if rows.start >= rows.stop or columns.start >= columns.stop else (rows, columns)


def without(one: Region, other: Region) -> list[Region]:
    """Return a region without what it has in common with another, in up to four pieces."""
    inside = common(one, other)
    if inside is None:
        return [one]
    (top, bottom), (left, right) = spans_of(one)
    rows, columns = inside
    pieces = [
        (slice(top, rows.start), one[1]),
        (slice(rows.stop, bottom), one[1]),
        (rows, slice(left, columns.start)),
        (rows, slice(columns.stop, right)),
    ]
    return [each for each in pieces if all(side.start < side.stop for side in each)]


def places(section: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of all corrected pixels of a section (Y, X).

    Strokes are few and a section may be large: only the rows that have some are looked at closely.
    """
    rows = np.flatnonzero(section.any(axis=1))
    among, columns = np.nonzero(section[rows])
    return rows[among], columns

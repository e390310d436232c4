"""What of a section is no tissue: borders of one grey value, data bars, and pixels that are no numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]

LEAST_SIDE = 64

SHORTEST_RUN = 16
"""Pixels in a row of one value at the edge that make it worth a look; in tissue there are up to 5.

Of tissue with a tenth of its pixels saturated at either end, up to 57 (and 101 in one section).
"""

LONG_RUN = 0.25
"""Part of an edge that has one value where there is a border, however narrow it is."""

LEAST_AREA = 0.009
"""Part of the section that a border has that touches less of the edge than that."""

PATCH = 9
"""Side in pixels of the smallest square of one value that counts as flat."""

SQUARE = 33
FLAT = 0.8
"""Part of such a border that squares of this side fit into; saturated tissue is more ragged."""

FLAT_REACH = SQUARE - 1 + PATCH // 2
"""So many pixels around it say whether a pixel is flat."""

LARGEST_HOLE = 0.01
"""Part of the section that may be enclosed by a border and yet belong to it: the letters of a data bar."""

LEAST_BAR, LARGEST_BAR = 0.0005, 0.25
"""Part of the tissue that a burnt-in bar has; a smaller one does not move the statistics."""

RECTANGULAR = 0.95
"""Part of its box that a burnt-in bar fills; saturated tissue is more ragged."""

_MOST_VALUES = 4
_WHATEVER = 255


@dataclass(frozen=True, eq=False)
class Border:
    """Where a section has no tissue, as far as grey values tell.

    Parameters
    ----------
    cells : ndarray
        (h, w) uint8, a code for each cell of ``step`` pixels: 0 is tissue, 255 is outside, and
        ``k`` is outside where the pixel has the value ``values[k - 1]``.
    values : tuple of float
        Grey values of the border.
    step : (float, float)
        Height and width of a cell.
    origin : (int, int)
        Row and column of the section where the first cell begins.
    """

    cells: npt.NDArray[np.uint8]
    values: tuple[float, ...]
    step: tuple[float, float] = (1, 1)
    origin: tuple[int, int] = (0, 0)

    def mask(self, part: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Mask:
        """Return which pixels (n, m) are no tissue, of the part of the section at these rows and columns."""
        codes = self._codes(rows, columns)
        found: Mask = codes == _WHATEVER
        for code, value in enumerate(self.values, start=1):
            found |= (codes == code) & (part == value)
        return found

    def tissue_share(self, rows: np.ndarray, columns: np.ndarray) -> float:
        """Return in which part of these rows and columns there is tissue for sure."""
        return float((self._codes(rows, columns) == 0).mean())

    def enlarged(self, shape: tuple[int, int]) -> Border:
        """Return the border of the same section (Y, X) in another resolution."""
        height, width = (new / old for new, old in zip(shape, self.cells.shape, strict=True))
        return Border(_spread(self.cells), self.values, (height, width))

    def _codes(self, rows: np.ndarray, columns: np.ndarray) -> npt.NDArray[np.uint8]:
        at = (
            np.minimum(((places - first) / step).astype(np.intp), size - 1)
            for places, first, step, size in zip(
                (rows, columns), self.origin, self.step, self.cells.shape, strict=True
            )
        )
        return self.cells[np.ix_(*at)]


def find_border(section: np.ndarray, step: int = 1) -> Border | None:
    """Return the border of a section: what touches its edge, is large and has exactly one grey value.

    Saturated tissue that touches the edge is speckled or small, and stays. A data bar at
    the edge is a border, with all that is written in it. A section below 64 x 64 pixels is
    taken to have none.

    Parameters
    ----------
    section : ndarray
        (Y, X), integers or floats.
    step : int
        Every n-th row and column is looked at.
    """
    grid = section[::step, ::step]
    if min(grid.shape) < LEAST_SIDE:
        return None
    cells = np.zeros(grid.shape, np.uint8)
    values = []
    for value in _edge_values(grid):
        found = _flat_at_edge(grid == value)
        if found.any():
            values.append(value)
            cells[found & (cells == 0)] = len(values)
    if not values:
        return None
    cells[_holes(cells > 0)] = _WHATEVER
    return Border(cells if step == 1 else _spread(cells), tuple(values), (step, step))


def find_constants(blocks: Sequence[np.ndarray]) -> tuple[float, ...]:
    """Return the values of blocks (Y, X) that are flat on more than half of their pixels."""
    found = {}
    for block in blocks:
        middle = np.partition(block, block.size // 2, axis=None)[block.size // 2]
        if np.mean(_opened(block == middle, SQUARE)) > 0.5:
            found[middle.item()] = True
    return tuple(found)


def find_flat(part: np.ndarray, values: tuple[float, ...], origin: tuple[int, int]) -> Border:
    """Return the border of a part of a section: what is flat and has one of these values."""
    cells = np.zeros(part.shape, np.uint8)
    for code, value in enumerate(values, start=1):
        equal = part == value
        cells[equal & _largest(_opened(equal, SQUARE), PATCH)] = code
    return Border(cells, values, origin=origin)


@dataclass(frozen=True)
class Bar:
    """A bar and letters that were burnt into a section.

    Parameters
    ----------
    value : float
        Its grey value.
    apart : bool
        Whether the value is so far from all others that no tissue has it.
    """

    value: float
    apart: bool

    def mask(self, part: np.ndarray) -> Mask:
        """Return which pixels are of it or by it, for its rim may be smoothed."""
        equal = part == self.value
        return _largest(equal if self.apart else _opened(equal, PATCH), 5)


def find_bars(grid: np.ndarray, tissue: Mask) -> tuple[Bar, ...]:
    """Return the bars and letters that were burnt into a section.

    They have its lowest or its highest value. Such a value is burnt in if most of its pixels lie
    in flat squares, or if it is further from all others than those are spread.
    """
    values = grid[tissue]
    found = []
    for value in (values.min(), values.max()) if values.size else ():
        rest = values[values != value]
        count = values.size - rest.size
        if not max(PATCH**2, LEAST_BAR * values.size) <= count <= LARGEST_BAR * values.size:
            continue
        low, high = (float(each) for each in np.percentile(rest, (0.1, 99.9)))
        apart = max(low - float(value), float(value) - high) > high - low
        if apart or np.count_nonzero(_opened((grid == value) & tissue, PATCH)) > 0.5 * count:
            found.append(Bar(value.item(), apart))
    return tuple(found)


def with_bars(border: Border | None, grid: np.ndarray, bars: Sequence[Bar], step: int) -> Border | None:
    """Return a border to which the burnt-in bars belong that are rectangles.

    Where a bar has a grey value that tissue has too, as in 8 bits, its shape tells it.

    Parameters
    ----------
    border : Border or None
        As :func:`find_border` returns it.
    grid : ndarray
        (Y, X), every ``step``-th row and column of the section.
    bars : sequence of Bar
        As :func:`find_bars` returns them.
    step : int
        See there.
    """
    values = [] if border is None else list(border.values)
    cells = np.zeros(grid.shape, np.uint8) if border is None else border.cells.copy()
    for bar in bars:
        equal = grid == bar.value
        boxes = np.zeros(grid.shape, bool)
        for box in _rectangles(equal & (cells == 0)):
            boxes[box] = True
        if boxes.any():
            values = values if bar.value in values else [*values, bar.value]
            around = _largest(boxes, 3) & (cells == 0)
            cells[around] = values.index(bar.value) + 1
            cells[boxes & ~equal] = _WHATEVER  # what is written in it
    return Border(cells, tuple(values), (step, step)) if values else None


def _rectangles(equal: Mask) -> Iterator[tuple[slice, ...]]:
    """Yield the boxes of the flat parts of one value that fill them."""
    from scipy.ndimage import binary_fill_holes, find_objects, label

    parts, _ = label(_opened(equal, PATCH), np.ones((3, 3)))
    for number, box in enumerate(find_objects(parts), start=1):
        filled = binary_fill_holes(parts[box] == number)
        if filled.size >= LEAST_BAR * equal.size and filled.mean() >= RECTANGULAR:
            yield box


def mirror_into(values: np.ndarray, outside: Mask) -> np.ndarray:
    """Return (Y, X) with the pixels outside of the tissue replaced by the tissue, mirrored at its border.

    Where the mirror shows no tissue, the nearest pixel that is some is taken.
    """
    from scipy.ndimage import distance_transform_edt

    if not outside.any() or outside.all():
        return values
    nearest = distance_transform_edt(outside, return_distances=False, return_indices=True)
    last = np.array(outside.shape)[:, None, None] - 1
    beyond = np.clip(2 * nearest - np.indices(outside.shape), 0, last)
    rows, columns = np.where(outside[tuple(beyond)], nearest, beyond)
    result: np.ndarray = values[rows, columns]
    return result


def _edge_values(grid: np.ndarray) -> list[float]:
    """Return the values that are found many times in a row at the edges, the longest first."""
    longest: dict[float, int] = {}
    for edge in (grid[0], grid[-1], grid[:, 0], grid[:, -1]):
        for start, stop in _runs(edge):
            if stop - start >= SHORTEST_RUN:
                value = edge[start].item()
                longest[value] = max(longest.get(value, 0), stop - start)
    return sorted(longest, key=lambda value: -longest[value])[:_MOST_VALUES]


def _runs(line: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield where runs of one value start and stop."""
    changes = np.flatnonzero(line[1:] != line[:-1]) + 1
    yield from zip([0, *changes.tolist()], [*changes.tolist(), len(line)], strict=True)


def _flat_at_edge(equal: Mask) -> Mask:
    """Return which of the pixels of one value are border."""
    from scipy.ndimage import label

    found = np.zeros_like(equal)
    patches = _opened(equal, PATCH)
    parts, count = label(patches, np.ones((3, 3)))
    if count:
        areas = np.bincount(parts.ravel(), minlength=count + 1)
        flat = np.bincount(parts[_opened(patches, SQUARE)], minlength=count + 1) / np.maximum(areas, 1)
        run = np.zeros(count + 1)
        for turns in range(4):
            edge = np.rot90(parts, turns)[0]
            for start, stop in _runs(edge):
                run[edge[start]] = max(run[edge[start]], (stop - start) / len(edge))
        accepted = (run >= LONG_RUN) | (
            (run > 0) & (areas >= max(SQUARE**2, LEAST_AREA * equal.size)) & (flat >= FLAT)
        )
        accepted[0] = False
        found = equal & _largest(accepted[parts], PATCH)
    for turns in range(4):  # what is narrower than a patch
        edge, to = np.rot90(equal, turns)[:PATCH], np.rot90(found, turns)[:PATCH]
        for start, stop in _runs(edge[0]):
            if edge[0, start] and stop - start >= max(SHORTEST_RUN, LONG_RUN * edge.shape[1]):
                to[:, start:stop] |= np.logical_and.accumulate(edge[:, start:stop], axis=0)
    return found


def _spread(cells: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return cells of which those beside the border belong to it: it may end anywhere between them."""
    return np.where(cells == 0, _largest(cells, 3), cells)


def _holes(border: Mask) -> Mask:
    """Return the small parts that a border encloses."""
    from scipy.ndimage import label

    parts, count = label(~border)
    small = np.bincount(parts.ravel(), minlength=count + 1) <= LARGEST_HOLE * border.size
    for edge in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        small[edge] = False
    small[0] = False
    holes: Mask = small[parts]
    return holes


def _opened(mask: Mask, side: int) -> Mask:
    """Return the pixels of a mask that squares fit over; beyond the edge it goes on."""
    from scipy.ndimage import minimum_filter

    opened: Mask = _largest(minimum_filter(mask, side, mode="constant", cval=1), side)
    return opened


def _largest(values: np.ndarray, side: int) -> np.ndarray:
    """Return the largest value in a square around each pixel."""
    from scipy.ndimage import maximum_filter

    largest: np.ndarray = maximum_filter(values, side, mode="constant", cval=0)
    return largest

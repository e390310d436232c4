"""Cells from the probability of membrane: parts that it encloses, joined where the passage is wide."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import bioimage_cpp as bic
import numpy as np
from scipy import ndimage

from napari_feedback_seg.objects.blocks import FLAT_BLOCK
from napari_feedback_seg.objects.instances import basins_of, peaks_of
from napari_feedback_seg.objects.make import Method, number, way_through, without_detours
from napari_feedback_seg.objects.options import Through, least_voxels

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy.typing as npt

    from napari_feedback_seg.objects.blocks import BlockDone, Numbers, Shape
    from napari_feedback_seg.objects.make import Overlaps
    from napari_feedback_seg.objects.options import CellOptions, Voxel

NO_TISSUE = 255
"""What stands for a pixel that is not segmented, among probabilities as uint8; 254 is membrane for sure."""

SMOOTH_NM = 6.0
"""Width of the Gaussian on distances to the membrane, so that a cell has few parts."""

THRESHOLD = 0.25
"""Probability from which on a pixel is membrane, where the bias is 0.5: low, as weak membranes part cells."""

GAP_NM = 66.0
"""Half of the width from which on a passage is no gap, over the bias: 66 nm where it is 0.5."""

AS_WIDE = 0.5
"""A passage is within a cell if it is this much of the width of the narrower part."""

SAME_CELL = 0.25
"""Intersection over union from which on two profiles attract each other."""

MARGIN_NM = 1000.0
"""How far beyond a block cells are looked at."""


def find_cells(
    membrane: Any, options: CellOptions, voxel: Voxel, *, out: Any = None, size: Shape | None = None
) -> Generator[BlockDone, None, tuple[Any, int]]:
    """Find the cells that membranes enclose, closed over the gaps that a threshold leaves.

    Each cell reaches to the middle of the membrane around it: ``cells[labels == 1] = 0`` leaves that out.

    Parameters
    ----------
    membrane : array-like
        (Z, Y, X) or (Y, X), read section by section: how probable membrane, or what else parts cells, is,
        as uint8 from 0 to 254; :data:`NO_TISSUE` where nothing is segmented.
    options : CellOptions
        How.
    voxel : (float, float, float)
        Depth, height and width of a voxel in nm.
    out, size
        As for :func:`~napari_feedback_seg.objects.make.find_objects`.

    Yields
    ------
    BlockDone
        After each step.

    Returns
    -------
    tuple
        ``out``, numbered from 1 on in the order of the voxels, and the number of cells.

    Raises
    ------
    InputError
        If the shape is not that of a section or a stack.
    """
    return (yield from number(membrane, cell_method(options, voxel, membrane.shape, size), out))


def cell_method(
    options: CellOptions, voxel: Voxel, shape: tuple[int, ...], size: Shape | None = None
) -> Method:
    """Return how cells are made; see :func:`find_cells`."""
    height, width = (round(MARGIN_NM / side) for side in voxel[1:])
    through = way_through(options.through, voxel, shape)
    return Method(
        label=partial(_block, options=options, sides=voxel[1:]),
        size=(1, *(size or FLAT_BLOCK)[1:]),
        margin=(0, height, width),
        least=1,
        gap=options.gap,
        decide=None if through is Through.NONE else same_cell,
    )


def cells_of_section(membrane: np.ndarray, options: CellOptions, sides: Sequence[float]) -> Numbers:
    """Return the cells of a section (Y, X), numbered from 1; see :func:`find_cells`.

    Parts of cells are basins of the distance to membrane. Two are one cell where the passage between them is
    wide, or about as wide as the narrower of them, as within a thin process: what a gap in a membrane is not.
    Membrane goes to the cells at its sides.
    """
    tissue = membrane != NO_TISSUE
    border = (np.where(tissue, membrane, 254) / 254).astype(np.float32)
    odds = THRESHOLD / (1 - THRESHOLD) * (1 - options.bias) / options.bias
    within = tissue & (border < odds / (1 + odds))
    if not within.any():
        return np.asarray(tissue, np.uint32)
    distance = bic.distance.distance_transform(within, sampling=list(sides))
    width = ndimage.gaussian_filter(distance, [SMOOTH_NM / side for side in sides]).astype(np.float32)
    width *= within
    seeds = bic.segmentation.label(peaks_of(width, within), connectivity=2).astype(np.uint32)
    parts = basins_of(width, within, seeds, AS_WIDE, wide=GAP_NM * options.bias)
    least = least_voxels(options.least_nm, (1.0, sides[0], sides[1]), flat=True)
    sizes = np.bincount(parts.ravel().astype(np.int64))
    small = sizes < least
    small[0] = False
    if small[1:].all():
        small[:] = False
    kept = np.where(small[parts], 0, parts).astype(np.uint32)
    return np.asarray(bic.segmentation.watershed(border, kept, mask=tissue), np.uint32)


def same_cell(overlaps: Overlaps) -> npt.NDArray[np.int64]:
    """Return the profiles of neighbouring sections that are one cell.

    By agglomeration (GASP, mean linkage), so that one wrong overlap does not join two cells: profiles
    attract each other by what their intersection over union exceeds :data:`SAME_CELL`.
    """
    sizes = overlaps.sizes[overlaps.pairs].T
    excess = overlaps.counts / (sizes.sum(axis=0) - overlaps.counts) - SAME_CELL
    nearest = overlaps.steps == 1
    linked = excess >= 0
    if nearest.any():
        pairs = overlaps.pairs[nearest]
        graph = bic.graph.UndirectedGraph.from_unique_edges(len(overlaps.sizes), pairs.astype(np.uint64))
        policy = bic.graph.agglomeration.GaspClusterPolicy(linkage="mean")
        weights = np.ascontiguousarray(excess[nearest])
        cells = np.asarray(policy.optimize(graph, weights, edge_sizes=overlaps.counts[nearest].astype(float)))
        linked[nearest] = cells[pairs[:, 0]] == cells[pairs[:, 1]]
    return without_detours(overlaps, linked)


def _block(membrane: np.ndarray, options: CellOptions, sides: Sequence[float]) -> Numbers:
    return cells_of_section(membrane[0], options, sides)[None]

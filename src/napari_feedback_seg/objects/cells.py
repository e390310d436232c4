"""Cells from the probability of membrane: superpixels, their graph, and what of it is one cell."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import bioimage_cpp as bic
import numpy as np
from scipy import ndimage

from napari_feedback_seg.objects.blocks import FLAT_BLOCK
from napari_feedback_seg.objects.instances import peaks_of
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

SMOOTH_NM = 10.0
"""Width of the Gaussian on distances to the membrane, so that a cell has few superpixels."""

SAME_CELL = 0.25
"""Intersection over union from which on two profiles attract each other."""

MARGIN_NM = 1000.0
"""How far beyond a block cells are looked at."""


def find_cells(
    membrane: Any, options: CellOptions, voxel: Voxel, *, out: Any = None, size: Shape | None = None
) -> Generator[BlockDone, None, tuple[Any, int]]:
    """Find the cells that membranes enclose, closed over the gaps that a threshold leaves.

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
    """Return the cells of a section (Y, X), numbered from 1; see :func:`find_cells`."""
    tissue = membrane != NO_TISSUE
    if not tissue.any():
        return np.zeros(membrane.shape, np.uint32)
    border = (np.where(tissue, membrane, 254) / 254).astype(np.float32)
    pixels = superpixels(border, tissue, sides)
    if int(pixels.max()) < 2:
        return pixels
    cells = _cut(pixels, border, options.bias)
    least = least_voxels(options.least_nm, (1.0, sides[0], sides[1]), flat=True)
    sizes = np.bincount(cells.ravel())
    small = sizes < least
    small[0] = False
    if small.any() and not small[1:].all():
        cells = bic.segmentation.watershed(
            border, np.where(small[cells], 0, cells).astype(np.uint32), mask=tissue
        )
    return np.asarray(cells, np.uint32)


def superpixels(
    border: npt.NDArray[np.float32], tissue: npt.NDArray[np.bool_], sides: Sequence[float]
) -> Numbers:
    """Return parts of cells: basins around each place that is far from membrane.

    After Beier et al. (2017), Nature Methods 14:101.
    """
    within = (border < 0.5) & tissue
    if not within.any():
        return np.asarray(tissue, np.uint32)
    distance = bic.distance.distance_transform(within, sampling=list(sides))
    distance = ndimage.gaussian_filter(distance, [SMOOTH_NM / side for side in sides])
    seeds = bic.segmentation.label(peaks_of(distance, within), connectivity=2).astype(np.uint32)
    height = 0.8 * border + 0.2 * (1 - distance / max(float(distance.max()), 1e-6))
    found: Numbers = bic.segmentation.watershed(height.astype(np.float32), seeds, mask=tissue)
    return found


def _cut(pixels: Numbers, border: npt.NDArray[np.float32], bias: float) -> Numbers:
    """Join superpixels to cells where the membrane between them is weak (GASP, mean linkage)."""
    graph = bic.graph.region_adjacency_graph(pixels)
    if not graph.number_of_edges:
        return pixels
    features = bic.graph.features.edge_map_features_complex(graph, pixels, border)
    names = bic.graph.features.COMPLEX_EDGE_FEATURE_NAMES
    strength = np.clip(features[:, names.index("median")], 0.01, 0.99)
    costs = np.log((1 - strength) / strength) + np.log((1 - bias) / bias)
    policy = bic.graph.agglomeration.GaspClusterPolicy(linkage="mean")
    sizes = np.ascontiguousarray(features[:, names.index("size")], np.float64)
    joined = np.asarray(policy.optimize(graph, np.ascontiguousarray(costs, np.float64), edge_sizes=sizes))
    # The region without a number, where nothing is segmented, stays by itself.
    numbers = np.where(np.arange(len(joined)) > 0, joined.astype(np.int64) + 1, 0).astype(np.uint32)
    return np.asarray(numbers[pixels], np.uint32)


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

"""Measure single objects: mitochondria through a stack, cells of sections, seconds and memory.

    python benchmarks/objects.py mitochondria LABELS_OR_PROBABILITIES TRUTH
    python benchmarks/objects.py cells LABELS_OR_PROBABILITIES CELLS
    python benchmarks/objects.py speed

`mitochondria` finds them in a stack, and compares with the 3D components of the true mask (label 2 of
TRUTH), and in each section with its 2D components: F1 at an intersection over union above 0.5, and panoptic
quality. Once from the labels of a model or their probabilities, and once from the true mask itself, which
shows what cutting and linking alone cost.

`cells` compares with numbered cells, 0 not counted: adapted Rand error and variation of information in bits,
in sections (against the components of each true cell; `ids`: against its numbers, which no single section
can tell) and through z, beside plain components.

`speed` takes a stack that is made by code, and tells seconds and peak memory for each 10^8 voxels, beside
scikit-image and cc3d (pip install connected-components-3d).

TRUTH and CELLS are TIFF stacks, or folders of PNG sections.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bioimage_cpp as bic
import numpy as np
from skimage.io import imread
from skimage.metrics import adapted_rand_error, variation_of_information

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.generators import finish
from napari_feedback_seg.io import images_in, open_image
from napari_feedback_seg.objects.cells import find_cells
from napari_feedback_seg.objects.make import find_objects
from napari_feedback_seg.objects.measures import measure_objects
from napari_feedback_seg.objects.options import CellOptions, ObjectOptions, Through, voxel_of
from napari_feedback_seg.objects.sources import open_segmentation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MITOCHONDRIA = 2


def stack_of(path: Path) -> np.ndarray:
    """Return a stack of numbers from a TIFF, or from the sections of a folder."""
    if path.is_dir():
        return np.stack([imread(each) for each in images_in(path)])
    return np.stack(list(open_image(path, labels=True).sections))


def components(mask: np.ndarray) -> np.ndarray:
    """Return numbered components, over sides, edges and corners."""
    return bic.segmentation.label(np.ascontiguousarray(mask)).astype(np.int64)


def matched(truth: np.ndarray, found: np.ndarray) -> tuple[int, int, int, float]:
    """Return how many are true, found and matched at IoU above 0.5, and the sum of these IoUs."""
    width = int(found.max()) + 1
    keys, counts = np.unique(truth * width + found, return_counts=True)
    true, other = keys // width, keys % width
    both = (true > 0) & (other > 0)
    sizes, others = np.bincount(truth.ravel()), np.bincount(found.ravel())
    iou = counts[both] / (sizes[true[both]] + others[other[both]] - counts[both])
    hits = iou > 0.5
    return np.count_nonzero(sizes[1:]), np.count_nonzero(others[1:]), int(hits.sum()), float(iou[hits].sum())


def line(name: str, parts: Sequence[tuple[int, int, int, float]]) -> None:
    """Print a row: true, found, matched, F1 and panoptic quality."""
    true, found, hits, iou = (sum(each) for each in zip(*parts, strict=True))
    half = (true + found) / 2 or 1
    print(f"| {name} | {true} | {found} | {hits} | {hits / half:.3f} | {iou / half:.3f} |", flush=True)


def mitochondria(source: Path, truth: Path, spacing: float | None, count: int | None) -> None:
    """Print how well mitochondria are told apart."""
    segmentation, about = open_segmentation(source, EM_CLASSES)
    evidence = np.stack(list(segmentation.of_class(MITOCHONDRIA)))[:count]
    mask = stack_of(truth)[: len(evidence)] == MITOCHONDRIA
    size = about.pixel_size
    voxel = voxel_of((size.y, size.x) if size else None, spacing or (size.z if size else None))
    true = components(mask)
    flat = [components(section) for section in mask]
    print(f"{len(mask)} sections, voxel {voxel} nm\n")
    print("| | true | found | matched | F1 | PQ |\n|---|---|---|---|---|---|")
    for name, given in ((source.stem, evidence), ("true mask", mask)):
        plain = components(given > 127 if given.dtype == np.uint8 else given)
        line(f"{name}, 3D, plain components", [matched(true, plain)])
        for through in (Through.VOLUME, Through.OVERLAP):
            numbers, _ = finish(find_objects(given, ObjectOptions(through=through), voxel))
            line(f"{name}, 3D, {through.value}", [matched(true, numbers.astype(np.int64))])
        hard = given > 127 if given.dtype == np.uint8 else given
        line(
            f"{name}, 2D, plain components",
            [matched(a, components(b)) for a, b in zip(flat, hard, strict=True)],
        )
        numbers, _ = finish(find_objects(given, ObjectOptions(through=Through.NONE), voxel))
        line(f"{name}, 2D", [matched(a, b.astype(np.int64)) for a, b in zip(flat, numbers, strict=True)])


def difference(truth: np.ndarray, found: np.ndarray) -> tuple[float, float, float]:
    """Return adapted Rand error, and the split and merge parts of the variation of information in bits."""
    known = truth > 0
    error, _, _ = adapted_rand_error(truth[known], found[known], ignore_labels=())
    split, merge = variation_of_information(truth[known], found[known])
    return float(error), float(split), float(merge)


def nearest(found: np.ndarray) -> np.ndarray:
    """Give what is no cell to the nearest one, section by section."""
    grown = []
    for section in found:
        if not section.any():
            grown.append(section)
            continue
        where = bic.distance.distance_transform(section == 0, return_distances=False, return_indices=True)
        grown.append(section[tuple(where)])
    return np.stack(grown)


def cells(
    source: Path, truth: Path, spacing: float | None, biases: Sequence[float], count: int | None
) -> None:
    """Print how well cells are told apart."""
    segmentation, about = open_segmentation(source, EM_CLASSES)
    border = np.stack(list(segmentation.borders()))[:count]
    true = stack_of(truth)[: len(border)].astype(np.int64)
    size = about.pixel_size
    voxel = voxel_of((size.y, size.x) if size else None, spacing or (size.z if size else None))
    parts = [bic.segmentation.label(section.astype(np.uint32), connectivity=1) for section in true]
    print(f"{len(true)} sections, voxel {voxel} nm\n\n| | ARE | VI split | VI merge |\n|---|---|---|---|")

    def row(name: str, values: Sequence[float]) -> None:
        print(f"| {name} | {' | '.join(f'{each:.3f}' for each in values)} |", flush=True)

    inside = border < 127
    plain = np.stack([bic.segmentation.label(section, connectivity=1) for section in inside]).astype(np.int64)
    plain = nearest(plain)
    row(
        "2D, plain components",
        np.mean([difference(*each) for each in zip(parts, plain, strict=True)], axis=0),
    )
    row(
        "2D, plain components, ids",
        np.mean([difference(*each) for each in zip(true, plain, strict=True)], axis=0),
    )
    whole = bic.segmentation.label(np.ascontiguousarray(inside), connectivity=1).astype(np.int64)
    row("3D, plain components", difference(true, nearest(whole)))
    for bias in biases:
        flat, _ = finish(find_cells(border, CellOptions(through=Through.NONE, bias=bias), voxel))
        pairs = list(zip(parts, flat.astype(np.int64), strict=True))
        row(f"2D, bias {bias:g}", np.mean([difference(*each) for each in pairs], axis=0))
        pairs = list(zip(true, flat.astype(np.int64), strict=True))
        row(f"2D, bias {bias:g}, ids", np.mean([difference(*each) for each in pairs], axis=0))
        linked, _ = finish(find_cells(border, CellOptions(through=Through.OVERLAP, bias=bias), voxel))
        row(f"3D, bias {bias:g}", difference(true, linked.astype(np.int64)))


def volume() -> np.ndarray:
    """Return a stack of 96 x 1024 x 1024 with 1,500 balls, some of which touch."""
    rng = np.random.default_rng(0)
    mask = np.zeros((96, 1024, 1024), bool)
    z, y, x = np.ogrid[-14:15, -14:15, -14:15]
    ball = z**2 + y**2 + x**2 <= 14**2
    for corner in rng.integers((0, 0, 0), (67, 995, 995), (1500, 3)):
        mask[tuple(slice(at, at + 29) for at in corner)] |= ball
    return mask


def ours(mask: np.ndarray) -> None:
    """Find and measure objects."""
    numbers, count = finish(find_objects(mask, ObjectOptions(), (5.0, 5.0, 5.0)))
    finish(measure_objects(numbers, (5.0, 5.0, 5.0), count=count))


def ours_plain(mask: np.ndarray) -> None:
    """Find objects without cutting, and measure them."""
    numbers, count = finish(find_objects(mask, ObjectOptions(split=0.0), (5.0, 5.0, 5.0)))
    finish(measure_objects(numbers, (5.0, 5.0, 5.0), count=count))


def scikit_image(mask: np.ndarray) -> None:
    """Find components and measure them, with scikit-image."""
    from skimage.measure import label, regionprops_table

    regionprops_table(label(mask), properties=("area", "centroid", "bbox", "axis_major_length"))


def cc3d(mask: np.ndarray) -> None:
    """Find components and measure them, with cc3d."""
    import cc3d as library

    library.statistics(library.connected_components(mask))


def measured(work: Callable[[np.ndarray], None], queue: Any) -> None:
    """Put seconds of the processor and the additional peak memory of some work into a queue."""
    mask = volume()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    try:
        work(mask)
    except ImportError as error:
        queue.put(str(error))
        return
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    queue.put((seconds * 1e8 / mask.size, peak / 2**20 * 1e8 / mask.size))


def speed() -> None:
    """Print seconds and memory, each in a process of its own."""
    print("| for 10^8 voxels | seconds of a core | GB beside the mask |\n|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for work in (ours, ours_plain, scikit_image, cc3d):
        queue = context.Queue()
        process = context.Process(target=measured, args=(work, queue))
        process.start()
        found = queue.get()
        process.join()
        text = found if isinstance(found, str) else f"{found[0]:.1f} | {found[1]:.2f}"
        print(f"| {work.__name__} | {text} |", flush=True)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    for name in ("mitochondria", "cells"):
        command = commands.add_parser(name)
        command.add_argument("source", type=Path)
        command.add_argument("truth", type=Path)
        command.add_argument("--spacing", type=float)
        command.add_argument("--sections", type=int, help="only the first so many")
        if name == "cells":
            command.add_argument("--bias", type=float, nargs="+", default=[0.5])
    commands.add_parser("speed")
    options = parser.parse_args()
    if options.what == "mitochondria":
        mitochondria(options.source, options.truth, options.spacing, options.sections)
    elif options.what == "cells":
        cells(options.source, options.truth, options.spacing, options.bias, options.sections)
    else:
        speed()


if __name__ == "__main__":
    main()

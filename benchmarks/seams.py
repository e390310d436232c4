"""How much a prediction, and an attention map, depend on where the tiles lie.

    python benchmarks/seams.py --quick
    python benchmarks/seams.py --dataset sstem --sections 12-14 --model self-w16 unet-w16

Each section is predicted on the grid of tiles that ``segment`` uses, and again with the grid
moved along both axes by half the distance between tiles: half a tile, where they do not
overlap. The first table says what changed: the share of the pixels with another label, of all
and of those of each class on the first grid; the disagreement (half the sum over the classes
of the difference in probability); and the IoU of either grid. ``hard`` takes each pixel from
the tile whose centre is nearest, ``blended`` is what ``segment`` does. The outermost half tile
of the section does not count: there one grid sees more of the mirrored border than the other.

The second table compares the attention map of the same pixel in two tiles, one half a tile
from the other, over the part that both see.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari_feedback_seg.datasets.dataset import Dataset
    from napari_feedback_seg.models.model import Model

PIXELS = 20
"""Pixels of each section whose attention maps are compared."""


def main() -> None:
    """Print the tables."""
    from napari_feedback_seg import load_model
    from napari_feedback_seg.datasets.sstem import load_dataset

    options = parse()
    data = load_dataset(options.dataset)
    sections = numbers(options.sections)
    models = [load_model(name) for name in options.model]
    print(f"{data.name}, sections {options.sections}: what moving the tiles by half their distance changes\n")
    names = [each.name for each in data.classes]
    header = ["model, tiles", "pixels %", *(f"{name} %" for name in names), "disagreement", "mean IoU %"]
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for model in models:
        for overlap, blended in cases(options.overlaps):
            print(row(model, data, sections, overlap, blended), flush=True)
    header = ["model", "maps", "correlation, median (quartiles)", "strongest place is the same %"]
    print("\n| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for model in models:
        if model.card.spec.rounds > 1:
            print(map_row(model, data, sections), flush=True)


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="builtin", help="sstem, builtin, or the folder of a data set")
    parser.add_argument("--sections", default="0-2", help="like 12-14 (default: 0-2)")
    parser.add_argument("--model", nargs="+", default=["self-w16", "unet-w16"])
    parser.add_argument("--overlaps", type=float, nargs="+", default=[0.0, 0.25, 0.5])
    parser.add_argument("--quick", action="store_true", help="one section, one model, one overlap")
    options = parser.parse_args()
    if options.quick:
        options.sections, options.model, options.overlaps = "0", ["self-w16"], [0.25]
    return options


def numbers(text: str) -> list[int]:
    """Return 12, 13, 14 for ``12-14``."""
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def cases(overlaps: list[float]) -> list[tuple[float, bool]]:
    """Return the overlaps, each hard and blended; without overlap there is nothing to blend."""
    return [
        (overlap, blended) for overlap in overlaps for blended in ((False, True) if overlap else (False,))
    ]


def row(model: Model, data: Dataset, sections: list[int], overlap: float, blended: bool) -> str:
    """Return a line of the first table."""
    from napari_feedback_seg.metrics import confusion_matrix, iou_table

    values = np.array([each.value for each in model.card.classes], np.uint8)
    changed, total = np.zeros(256, np.int64), np.zeros(256, np.int64)
    disagreement = []
    confusions: list[Any] = [0, 0]
    for number in sections:
        grids = [predict(model, data.images[number], overlap, blended, moved) for moved in (False, True)]
        half = model.card.tile // 2
        grids = [each[:, half:-half, half:-half] for each in grids]
        labels = [values[each.argmax(axis=0)] for each in grids]
        other = labels[0] != labels[1]
        changed += np.bincount(labels[0][other], minlength=256)
        total += np.bincount(labels[0].ravel(), minlength=256)
        disagreement.append(0.5 * np.abs(grids[0] - grids[1]).sum(axis=0).mean())
        for grid, each in enumerate(labels):
            confusions[grid] += confusion_matrix(
                data.labels[number][half:-half, half:-half], each, data.classes
            )
    shares = [changed.sum() / total.sum(), *(changed[value] / max(1, total[value]) for value in values)]
    scores = [iou_table(each, data.classes)["mean_iou"] for each in confusions]
    kind = "" if not overlap else ", blended" if blended else ", hard"
    cells = [f"`{model.card.name}`, overlap {overlap:g}{kind}", *(f"{share:.2%}"[:-1] for share in shares)]
    cells += [f"{np.mean(disagreement):.4f}", f"{scores[0]:.2%} and {scores[1]:.2%}".replace("%", "")]
    return "| " + " | ".join(cells) + " |"


def predict(model: Model, section: np.ndarray, overlap: float, blended: bool, moved: bool) -> np.ndarray:
    """Return the probabilities (C, Y, X) of a section, its tiles moved by half their distance or not."""
    from napari_feedback_seg.segmentation.device import choose_device
    from napari_feedback_seg.segmentation.inference import Inference
    from napari_feedback_seg.segmentation.reader import TileReader
    from napari_feedback_seg.segmentation.tiles import Tile, gaussian_window, starts

    side = model.card.tile
    axes = []
    for length in section.shape:
        grid = starts(length, side, overlap, slice(0, length))
        if moved:
            stride = max(1, round(side * (1 - overlap)))
            grid = [start - stride // 2 for start in [*grid, grid[-1] + stride]]
        axes.append(grid)
    tiles = [Tile(y, x) for y in axes[0] for x in axes[1]]
    reader = TileReader(section, section.shape)
    inference = Inference(model, choose_device("auto"), 1, False, None)
    window = gaussian_window(side)
    padded = [length + 2 * side for length in section.shape]
    sums, weights = np.zeros((len(model.card.classes), *padded), np.float32), np.zeros(padded, np.float32)
    for tile, probabilities in zip(
        tiles, inference([reader.read(tile, side) for tile in tiles]), strict=True
    ):
        at = (slice(tile.y + side, tile.y + 2 * side), slice(tile.x + side, tile.x + 2 * side))
        if blended:
            sums[:, *at] += probabilities * window
            weights[at] += window
        else:
            nearer = window > weights[at]
            sums[:, *at] = np.where(nearer, probabilities * window, sums[:, *at])
            weights[at] = np.where(nearer, window, weights[at])
    inference.close()
    inside = tuple(slice(side, side + length) for length in section.shape)
    assert (weights[inside] > 0).all()
    result: np.ndarray = sums[:, *inside] / weights[inside]
    return result


def map_row(model: Model, data: Dataset, sections: list[int]) -> str:
    """Return a line of the second table."""
    from napari_feedback_seg.attention_maps.maps import SectionAttention

    random = np.random.default_rng(0)
    side, place = model.card.tile, model.card.spec.key_pooling
    half = side // 2 // place * place
    correlations, same = [], []
    for number in sections:
        section = data.images[number]
        engine = SectionAttention(section, model)
        for _ in range(PIXELS):
            corner = random.integers(0, np.array(section.shape) - side - half + 1)
            pixel = corner + random.integers(half, side, 2)  # in both tiles
            maps = []
            for shift in (0, half):
                middle = corner + shift + side // 2
                tile = engine.at(int(middle[0]), int(middle[1]), recentre=True)
                rows, columns = tile.frame.region
                common = (
                    slice(corner[0] + half - rows.start, corner[0] + side - rows.start, place),
                    slice(corner[1] + half - columns.start, corner[1] + side - columns.start, place),
                )
                maps.append(tile.pixel(int(pixel[0]), int(pixel[1])).map[common])
            correlations.append(np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1])
            same.append(maps[0].argmax() == maps[1].argmax())
    low, middle, high = np.percentile(correlations, (25, 50, 75))
    return (
        f"| `{model.card.name}` | {len(correlations)} | {middle:.2f} ({low:.2f} to {high:.2f}) | "
        f"{np.mean(same):.0%} |".replace("% |", " |")
    )


if __name__ == "__main__":
    main()

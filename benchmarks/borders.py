"""What borders and burnt-in bars change in the labels of a section.

    python benchmarks/borders.py DATA --sets sstem epfl --models general self-w16 --sections 3

DATA holds labelled sets, as ``labelled_sets.py`` reads them. A border is put around a section, or
beside it, or over its corners, as a rotation leaves it; it has the given part of all pixels. Bars
are burnt into a section with 8 bits, or with 12 bits in 16: a scale bar, a data bar at the lower
edge, and one with letters.

For each case: which part of the labels is as in the clean section, in the least of the sections
and on average, and what the mean IoU of the classes that the set labels becomes. Pixels of the
border or of the bar are not counted, those beside them are.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from labelled_sets import Section, class_counts, labelled_set, mean_iou

from napari_feedback_seg import load_model
from napari_feedback_seg.segmentation.predict import segment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_feedback_seg.models.model import Model

SHARES = (0.01, 0.1, 0.4, 0.9)
VALUES = {"black": 0, "grey": 128, "white": 255, "NaN": np.nan}
WHITE_16 = 65535
Case = tuple[str, np.ndarray, tuple[slice, slice], np.ndarray]
"""A name, the pixels, where in them the section is, and which pixels (Y, X) of it show no tissue."""


def main() -> None:
    """Print a table for each set and model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=["sstem", "epfl"])
    parser.add_argument("--models", nargs="+", default=["general", "self-w16"])
    parser.add_argument("--sections", type=int, default=3, help="sections of each set")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    options = parser.parse_args()
    for name in options.sets:
        given = labelled_set(options.data / name)
        step = max(1, len(given.names) // options.sections)
        sections = [given.read(each) for each in given.names[::step][: options.sections]]
        for model in map(load_model, options.models):
            print(f"\n{name}, {len(sections)} sections, `{model.card.name}`\n")
            print("| case | labels as in the clean section, least, % | mean, % | mean IoU | clean |")
            print("|---" * 5 + "|", flush=True)
            measure(sections, model, given.pixel_size_nm, options.only)


def measure(sections: list[Section], model: Model, pixel_size_nm: float, only: str) -> None:
    """Print a row for each case."""
    clean = [segment(each.image, model, pixel_size_nm=pixel_size_nm).labels for each in sections]
    found: dict[str, list[tuple[float, np.ndarray, np.ndarray]]] = {}
    for section, expected in zip(sections, clean, strict=True):
        for name, pixels, place, outside in cases(section.image):
            if only not in name:
                continue
            labels = segment(pixels, model, pixel_size_nm=pixel_size_nm).labels[place]
            seen = Section(section.image, section.possible & ~outside)
            counts = class_counts(seen, labels), class_counts(seen, expected)
            found.setdefault(name, []).append(((labels == expected)[~outside].mean(), *counts))
    for name, rows in found.items():
        equal, *scores = zip(*rows, strict=True)
        iou = [f"{mean_iou(np.sum(each, axis=0)):.2f}" for each in scores]
        print(
            f"| {name} | {100 * min(equal):.2f} | {100 * np.mean(equal):.2f} | {iou[0]} | {iou[1]} |",
            flush=True,
        )


def cases(image: np.ndarray) -> Iterator[Case]:
    """Yield an 8-bit section (Y, X) with each border and bar."""
    nowhere = np.zeros(image.shape, bool)
    height, width = image.shape
    for colour, value in VALUES.items():
        source = image.astype(np.float32) if np.isnan(value) else image
        for share in SHARES:
            # (h + 2 m) (w + 2 m) (1 - share) = h w
            total = height + width
            margin = round((np.sqrt(total**2 + 4 * height * width * share / (1 - share)) - total) / 4)
            place = slice(margin, margin + height), slice(margin, margin + width)
            yield (
                f"{colour}, {share:.0%} around",
                np.pad(source, margin, constant_values=value),
                place,
                nowhere,
            )
        beside = round(width / 9)
        yield (
            f"{colour}, 10% at the left",
            np.pad(source, ((0, 0), (beside, 0)), constant_values=value),
            (slice(0, height), slice(beside, beside + width)),
            nowhere,
        )
        down, across = np.indices(image.shape)
        corners = np.minimum(down, height - 1 - down) + np.minimum(across, width - 1 - across)
        outside = corners < np.quantile(corners, 0.1)
        yield (
            f"{colour}, 10% over the corners",
            np.where(outside, np.asarray(value, source.dtype), source),
            whole(),
            outside,
        )
    for name, outside in bars(image.shape).items():
        yield f"8 bits, {name}", np.where(outside, np.uint8(255), image), whole(), outside
        pixels = image.astype(np.uint16) << 4
        pixels[outside] = WHITE_16
        yield f"12 bits in 16, {name}", pixels, whole(), outside


def whole() -> tuple[slice, slice]:
    """Return where in a section all of it is."""
    return slice(None), slice(None)


def bars(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return which pixels (Y, X) bars cover, 2 % of the section each."""
    height, width = shape
    found = {name: np.zeros(shape, bool) for name in ("scale bar", "data bar", "scale bar and letters")}
    top, left = round(0.85 * height), round(0.08 * width)
    thick = round(0.05 * height)
    found["scale bar"][top : top + thick, left : left + round(0.4 * width)] = True
    found["data bar"][height - round(0.02 * height) :] = True
    both = found["scale bar and letters"]
    both[top : top + thick // 2, left : left + round(0.4 * width)] = True
    for number in range(12):  # strokes of letters, 3 pixels wide
        start = left + number * 24
        for part in (slice(start, start + 3), slice(start + 12, start + 15)):
            both[top - 60 : top - 20, part] = True
        both[top - 42 : top - 39, start : start + 15] = True
    return found


if __name__ == "__main__":
    main()

"""A simulated annotator, and the shifts of the domain that it has to cope with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric

from napari_feedback_seg.segmentation.sections import rescale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BRUSH = 4
"""Radius of the brush in pixels."""

LENGTH = 60
"""A stroke is no longer than so many pixels."""

LEAST = 40
"""Mistakes of fewer pixels are not worth a stroke."""

APART = 12
"""So many pixels around a stroke count as seen to."""

SSTEM_NM, COARSE_NM = 4.6, 8.0


@dataclass(frozen=True)
class Stroke:
    """One stroke of the brush: its section, its class value, and the (N, 2) pixels."""

    section: int
    value: int
    pixels: np.ndarray


def worst_first(
    truths: Sequence[np.ndarray], predictions: Sequence[np.ndarray], values: Sequence[int], count: int
) -> list[Stroke]:
    """Return strokes on the largest mistakes, the classes in turn.

    A stroke follows the middle of a mistake, the part of a class that was taken for another,
    and leaves no pixel outside of what is of that class. The strokes are those on one
    prediction, so that they are the same for every method.
    """
    left = {
        value: [(t == value) & (p != value) for t, p in zip(truths, predictions, strict=True)]
        for value in values
    }
    strokes: list[Stroke] = []
    turn = list(values)
    while turn and len(strokes) < count:
        for value in list(turn):
            found = _largest(left[value])
            if found is None:
                turn.remove(value)
                continue
            section, mistake = found
            painted = _stroke(mistake) & (truths[section] == value)
            strokes.append(Stroke(section, value, np.argwhere(painted)))
            left[value][section] &= ~ndimage.binary_dilation(painted, iterations=APART)
            if len(strokes) == count:
                break
    return strokes


def paint(strokes: Sequence[Stroke], shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Return the corrections (Y, X) of each section, 0 where nothing was painted."""
    corrections = [np.zeros(shape, np.uint8) for shape in shapes]
    for stroke in strokes:
        corrections[stroke.section][tuple(stroke.pixels.T)] = stroke.value
    return corrections


def _largest(masks: Sequence[np.ndarray]) -> tuple[int, np.ndarray] | None:
    best = (LEAST - 1, 0, 0, np.zeros(0))
    for section, mask in enumerate(masks):
        components, count = ndimage.label(mask)
        if count:
            sizes = np.bincount(components.ravel())[1:]
            number = int(sizes.argmax()) + 1
            if sizes[number - 1] > best[0]:
                best = (int(sizes[number - 1]), section, number, components)
    return None if best[0] < LEAST else (best[1], best[3] == best[2])


def _stroke(mistake: np.ndarray) -> np.ndarray:
    """Return what a brush paints from the widest place of a mistake to the farthest within reach."""
    rows, columns = np.nonzero(mistake)
    margin = BRUSH + 1
    top, left = max(0, rows.min() - margin), max(0, columns.min() - margin)
    box = (slice(top, rows.max() + margin + 1), slice(left, columns.max() + margin + 1))
    inside = np.pad(mistake[box], 1)
    depth = ndimage.distance_transform_edt(inside)
    start = np.unravel_index(depth.argmax(), depth.shape)
    distance, _ = MCP_Geometric(np.where(inside, 1.0, -1)).find_costs([start])
    distance[~np.isfinite(distance) | (distance > LENGTH)] = -1
    middle = MCP_Geometric(np.where(inside, 1 / np.maximum(depth, 0.5), -1))
    middle.find_costs([start])
    path = middle.traceback(np.unravel_index(distance.argmax(), distance.shape))[: LENGTH + 1]
    line = np.zeros(inside.shape, bool)
    line[tuple(np.array(path).T)] = True
    painted = np.zeros(mistake.shape, bool)
    painted[box] = (ndimage.distance_transform_edt(~line) <= BRUSH)[1:-1, 1:-1]
    return painted


# --- shifts: image and labels as another microscope would have given them


def unshifted(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as they are."""
    return image, labels


def inverted(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return bright membranes on a dark ground."""
    return 255 - image, labels


def coarse(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels of 8 nm instead of 4.6: everything is smaller."""
    factor = COARSE_NM / SSTEM_NM
    shape = (round(image.shape[0] / factor), round(image.shape[1] / factor))
    rows, columns = (((np.arange(length) + 0.5) * factor).astype(int) for length in shape)
    return rescale(image, shape).round().astype(np.uint8), labels[np.ix_(rows, columns)]


def blurred(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the image out of focus: a Gaussian of 3 pixels."""
    return ndimage.gaussian_filter(image.astype(np.float32), 3).round().astype(np.uint8), labels


def noisy(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the image of a short dwell time: noise as strong as the contrast."""
    noise = np.random.default_rng(0).normal(0, image.std(), image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), labels


def stained(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return another staining curve: flat greys in the middle, steep at both ends."""
    grey = image / 255 * 2 - 1
    return (255 * (0.5 + 0.5 * np.sign(grey) * np.abs(grey) ** 2.5)).round().astype(np.uint8), labels


SHIFTS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "unshifted": unshifted,
    "inverted": inverted,
    "8 nm": coarse,
    "8 nm, unsaid": coarse,
    "blurred": blurred,
    "noisy": noisy,
    "stain": stained,
}

PIXEL_SIZES = {"8 nm": COARSE_NM}
"""Side of a pixel in nm, where it differs from that of the set and the methods are told."""

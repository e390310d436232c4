"""Labelled EM of several labs, and scores where a pixel's label may be a set of classes.

Each set is a folder of ``image/NAME.png``, ``label/NAME.png`` and ``dataset.json``, which says for
each code of the labels which classes the pixel can be; ``sstem`` has the layout of the public set.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.datasets.sstem import read_sstem_section

if TYPE_CHECKING:
    from pathlib import Path

NAMES = tuple(each.name for each in EM_CLASSES)
SSTEM_NM = 4.6
UNSEEN = range(12, 20)
"""Sections of ssTEM that the bundled models have not learnt from."""


@dataclass(frozen=True)
class Section:
    """A section and what is known of it.

    Attributes
    ----------
    image : ndarray
        (Y, X) uint8.
    possible : ndarray
        (C, Y, X) bool, whether a pixel can be of a class; nothing is True where it is unlabelled.
    """

    image: np.ndarray
    possible: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        """(Y, X) uint8 class value where only one class is possible, else 0."""
        sure = self.possible.sum(axis=0) == 1
        return np.where(sure, self.possible.argmax(axis=0) + 1, 0).astype(np.uint8)

    def crop(self, side: int, random: np.random.Generator) -> Section:
        """Return a square of the section, or all of it along a shorter side."""
        corner = [int(random.integers(max(1, length - side + 1))) for length in self.image.shape]
        rows, columns = (slice(start, start + side) for start in corner)
        return Section(self.image[rows, columns], self.possible[:, rows, columns])


@dataclass(frozen=True)
class LabelledSet:
    """Names of the sections of a set, in the order of its volume, and the side of a pixel."""

    folder: Path
    names: tuple[str, ...]
    pixel_size_nm: float

    def read(self, name: str) -> Section:
        """Return a section."""
        return _read(self.folder, name)


def labelled_set(folder: Path, group: str = "") -> LabelledSet:
    """Return the set of a folder, or of it the sections whose names begin with a group."""
    if not (folder / "dataset.json").exists():
        return LabelledSet(folder, tuple(map(str, UNSEEN)), SSTEM_NM)
    size = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["pixel_size_nm"]
    names = sorted(each.stem for each in (folder / "image").glob(f"{group}*.png"))
    return LabelledSet(folder, tuple(names), float(size))


@cache
def _read(folder: Path, name: str) -> Section:
    if not (folder / "dataset.json").exists():
        image, labels = read_sstem_section(folder, int(name))
        codes = {each.value: [each.name] for each in EM_CLASSES}
    else:
        codes = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["codes"]
        image, labels = (np.array(Image.open(folder / kind / f"{name}.png")) for kind in ("image", "label"))
    possible = np.zeros((len(NAMES), *image.shape), bool)
    for code, classes in codes.items():
        for each in classes:
            possible[NAMES.index(each)] |= labels == int(code)
    return Section(image, possible)


def class_counts(section: Section, labels: np.ndarray) -> np.ndarray:
    """Return (C, 3) pixels of each class that are right, missed, and falsely said, of those known."""
    alone = section.possible.sum(axis=0) == 1
    known = section.possible.any(axis=0)
    counts = []
    for channel, possible in enumerate(section.possible):
        said = labels == channel + 1
        is_class, is_other = possible & alone, known & ~possible
        counts.append([(is_class & said).sum(), (is_class & ~said).sum(), (is_other & said).sum()])
    return np.array(counts)


def mean_iou(counts: np.ndarray) -> float:
    """Return the mean IoU, in %, over the classes of which any pixel is labelled."""
    right, missed, false = counts.T
    there = right + missed > 0
    return 100 * float((right[there] / (right + missed + false)[there]).mean())

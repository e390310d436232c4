"""Patches of whole sections, the same ones for the same seed, epoch and index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.segmentation.sections import normalise, rescale, statistics
from napari_feedback_seg.training.augment import (
    MARGIN,
    STRONG_MARGIN,
    augmentation,
    random_geometry,
    staining,
    turned,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_feedback_seg.datasets.dataset import Dataset


@dataclass(frozen=True)
class TrainingSet:
    """A data set and what a training does with it.

    Attributes
    ----------
    dataset : Dataset
        Labelled sections.
    training, validation : tuple of int
        Sections to learn from, and to choose the best epoch by.
    weight : float
        How often it is drawn from, beside other sets.
    zoom : float
        Pixels of the model to a pixel of the set.
    """

    dataset: Dataset
    training: tuple[int, ...]
    validation: tuple[int, ...]
    weight: float = 1.0
    zoom: float = 1.0


class Patches(TorchDataset[tuple[Tensor, Tensor]]):
    """Augmented patches of one epoch.

    A patch is a pure function of seed, epoch and index, so that a resumed training sees
    what an uninterrupted one would have seen.

    Parameters
    ----------
    sets : sequence of TrainingSet
        Labelled sections; each is normalised as a whole. Their classes are the same.
    size : int
        Side of a patch in pixels of the model.
    count : int
        Patches an epoch.
    seed : int
        Seed of the training.
    rare : float
        Share of the patches that are centred near a pixel of a class drawn evenly among
        all classes, which is how the rare synapse gets seen; the others lie anywhere.
    strong : bool
        Any angle, scale 0.6 to 1.6 and :func:`~napari_feedback_seg.training.augment.staining` instead of
        :func:`~napari_feedback_seg.training.augment.augmentation`.
    """

    def __init__(
        self,
        sets: Sequence[TrainingSet],
        size: int,
        count: int,
        seed: int,
        rare: float,
        *,
        strong: bool = False,
    ) -> None:
        self.size, self.count, self.seed, self.rare = size, count, seed, rare
        self.epoch = 0
        self._sets = [_Source(each, size * (STRONG_MARGIN if strong else MARGIN)) for each in sets]
        self._weights = np.array([each.weight for each in sets], float)
        count_of = len(sets[0].dataset.classes)
        self._present = [
            channel for channel in range(count_of) if any(each.places[channel] for each in self._sets)
        ]
        if not self._present:
            names = ", ".join(each.dataset.name for each in sets)
            raise InputError(f"No pixel of the training sections of {names} is labelled.")
        self._strong = strong
        self._augmentation = staining() if strong else augmentation(size)

    def __len__(self) -> int:
        """Return the number of patches an epoch."""
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image (1, size, size) and beliefs in the classes (classes, size, size), both float32."""
        if index >= self.count:
            raise IndexError(index)
        random = np.random.default_rng((self.seed, self.epoch, index))
        source, section, row, column = self._centre(random)
        image, label = source.window(section, row, column)
        self._augmentation.set_random_state(seed=int(random.integers(2**31)))
        zoom, angle, side = (source.zoom, source.zoom), 0.0, int(np.ceil(self.size * MARGIN))
        if self._strong:
            scale, angle = random_geometry(random)
            zoom, side = (scale[0] * source.zoom, scale[1] * source.zoom), self.size
        if self._strong or source.zoom != 1:
            image = turned(image, zoom, angle, side, "bilinear")
            label = turned(label, zoom, angle, side, "nearest")
        patch = self._augmentation({"image": image, "label": label})
        codes = torch.as_tensor(patch["label"])[0].to(torch.int64)
        image = patch["image"].as_tensor().to(torch.float32).contiguous()
        return image, source.beliefs[codes].movedim(-1, 0).contiguous()

    def _centre(self, random: np.random.Generator) -> tuple[_Source, int, int, int]:
        if random.random() < self.rare:
            channel = int(random.choice(self._present))
            source = self._draw(random, [bool(each.places[channel]) for each in self._sets])
            places = source.places[channel]
            sizes = np.array([each.size for each in places])
            section = int(random.choice(len(places), p=sizes / sizes.sum()))
            row, column = np.unravel_index(random.choice(places[section]), source.shapes[section])
            reach = int(self.size / source.zoom) // 3
            jitter = random.integers(-reach, reach + 1, 2)
        else:
            source = self._draw(random, [True] * len(self._sets))
            areas = np.array([height * width for height, width in source.shapes])
            section = int(random.choice(len(areas), p=areas / areas.sum()))
            row, column = (int(random.integers(length)) for length in source.shapes[section])
            jitter = np.zeros(2, np.int64)
        height, width = source.shapes[section]
        half = min(int(self.size / source.zoom) // 2, height // 2, width // 2)
        return (
            source,
            section,
            int(np.clip(row + jitter[0], half, height - half)),
            int(np.clip(column + jitter[1], half, width - half)),
        )

    def _draw(self, random: np.random.Generator, among: list[bool]) -> _Source:
        if len(self._sets) == 1:
            return self._sets[0]
        weights = self._weights * among
        return self._sets[int(random.choice(len(self._sets), p=weights / weights.sum()))]


class _Source:
    """The training sections of a set, padded so that a window fits around each of their pixels."""

    def __init__(self, of: TrainingSet, side: float) -> None:
        self.zoom = of.zoom
        self._reach = int(np.ceil(side / of.zoom / 2))
        images = [of.dataset.images[z] for z in of.training]
        labels = [of.dataset.labels[z] for z in of.training]
        self._statistics = [statistics(each) for each in images]
        self._images = [np.pad(each, self._reach, mode="symmetric") for each in images]
        # No label where the mirrored border begins: a mirrored synapse is not real.
        self._labels = [np.pad(each, self._reach, constant_values=UNLABELLED) for each in labels]
        self.shapes = [each.shape for each in labels]
        possible = of.dataset.possible
        self.beliefs = torch.from_numpy(of.dataset.beliefs)
        alone = possible & (possible.sum(axis=1) == 1)[:, None]
        self.places = []
        """For each class, the pixels of each section that are labelled as it, and as nothing else."""
        for channel in range(possible.shape[1]):
            found = [np.flatnonzero(alone[:, channel][each]).astype(np.int32) for each in labels]
            self.places.append(found if any(each.size for each in found) else [])

    def window(self, section: int, row: int, column: int) -> tuple[Tensor, Tensor]:
        """Return normalised image and labels (1, H, W) around a pixel."""
        inside = np.s_[row : row + 2 * self._reach, column : column + 2 * self._reach]
        image = normalise(self._images[section][inside], self._statistics[section])
        return torch.from_numpy(image)[None], torch.from_numpy(self._labels[section][inside])[None]


class GridCrops(TorchDataset[tuple[Tensor, Tensor]]):
    """Crops laid side by side without overlap, as they are, in a new order every epoch.

    So the paper's 192 crops of 12 sections are read. What is left over at the right and at the
    bottom of a section, and crops without a label, are not used.

    Parameters
    ----------
    sets, size, count, seed
        As for :class:`Patches`; weights have no say. If there are fewer crops than ``count``, they come
        again.

    Raises
    ------
    InputError
        If no section has room for a crop with a label.
    """

    def __init__(self, sets: Sequence[TrainingSet], size: int, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.epoch = 0
        self._crops = [crop for each in sets for crop in crops(each, each.training, size)]
        if not self._crops:
            names = ", ".join(each.dataset.name for each in sets)
            raise InputError(f"No training section of {names} has room for a labelled crop of {size} pixels.")

    def __len__(self) -> int:
        """Return the number of crops an epoch."""
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image (1, size, size) float32 and classes (classes, size, size) bool that are possible."""
        if index >= self.count:
            raise IndexError(index)
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self._crops))
        image, possible = self._crops[order[index % len(order)]]
        return torch.from_numpy(image.astype(np.float32))[None], torch.from_numpy(possible)


def crops(
    of: TrainingSet, sections: Sequence[int], size: int
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]:
    """Yield the crops with a label that lie side by side: image (Y, X) and possible classes (C, Y, X).

    Parameters
    ----------
    of : TrainingSet
        The set, zoomed to the pixels of the model.
    sections : sequence of int
        Which of its sections.
    size : int
        Side of a crop.
    """
    table = of.dataset.possible
    for z in sections:
        image, labels = normalise(of.dataset.images[z]), of.dataset.labels[z]
        if of.zoom != 1:
            image, labels = resized(image, labels, of.zoom)
        rows, columns = (range(0, length - size + 1, size) for length in labels.shape)
        for window in (np.s_[row : row + size, column : column + size] for row in rows for column in columns):
            if table[labels[window]].any():
                yield image[window], np.moveaxis(table[labels[window]], -1, 0)


def resized(
    image: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8], zoom: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Return a section and its labels at the pixel size of the model."""
    shape = tuple(max(1, round(length * zoom)) for length in labels.shape)
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(shape, labels.shape, strict=True)
    )
    return rescale(image, (shape[0], shape[1])), labels[np.ix_(rows, columns)]

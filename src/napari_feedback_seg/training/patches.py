"""Patches of whole sections, the same ones for the same seed, epoch and index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.segmentation.sections import normalise
from napari_feedback_seg.training.augment import MARGIN, augmentation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.datasets.dataset import Dataset


class Patches(TorchDataset[tuple[Tensor, Tensor]]):
    """Augmented patches of one epoch.

    A patch is a pure function of seed, epoch and index, so that a resumed training sees
    what an uninterrupted one would have seen.

    Parameters
    ----------
    dataset : Dataset
        Labelled sections; each is normalised as a whole.
    sections : sequence of int
        Those to draw from.
    size : int
        Side of a patch in pixels.
    count : int
        Patches an epoch.
    seed : int
        Seed of the training.
    rare : float
        Share of the patches that are centred near a pixel of a class drawn evenly among
        all classes, which is how the rare synapse gets seen; the others lie anywhere.
    """

    def __init__(
        self, dataset: Dataset, sections: Sequence[int], size: int, count: int, seed: int, rare: float
    ) -> None:
        self.size, self.count, self.seed, self.rare = size, count, seed, rare
        self.epoch = 0
        self._reach = int(np.ceil(size * MARGIN / 2))
        self._images = [np.pad(normalise(dataset.images[z]), self._reach, mode="symmetric") for z in sections]
        # No label where the mirrored border begins: a mirrored synapse is none.
        self._labels = [np.pad(dataset.labels[z], self._reach, constant_values=UNLABELLED) for z in sections]
        self._places = {
            each.value: [np.flatnonzero(dataset.labels[z] == each.value).astype(np.int32) for z in sections]
            for each in dataset.classes
        }
        self._present = [value for value, places in self._places.items() if any(each.size for each in places)]
        if not self._present:
            raise InputError(f"No pixel of the training sections of {dataset.name} is labelled.")
        self._shapes = [dataset.labels[z].shape for z in sections]
        self._augmentation = augmentation(size)

    def __len__(self) -> int:
        """Return the number of patches an epoch."""
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image (1, size, size) float32 and class values (size, size) int64."""
        if index >= self.count:
            raise IndexError(index)
        random = np.random.default_rng((self.seed, self.epoch, index))
        section, row, column = self._centre(random)
        window = (slice(row, row + 2 * self._reach), slice(column, column + 2 * self._reach))
        self._augmentation.set_random_state(seed=int(random.integers(2**31)))
        patch = self._augmentation(
            {"image": self._images[section][window][None], "label": self._labels[section][window][None]}
        )
        image = patch["image"].as_tensor().to(torch.float32).contiguous()
        label = patch["label"].as_tensor()[0].to(torch.int64).contiguous()
        return image, label

    def _centre(self, random: np.random.Generator) -> tuple[int, int, int]:
        if random.random() < self.rare:
            places = self._places[int(random.choice(self._present))]
            sizes = np.array([each.size for each in places])
            section = int(random.choice(len(places), p=sizes / sizes.sum()))
            row, column = np.unravel_index(random.choice(places[section]), self._shapes[section])
            jitter = random.integers(-self.size // 3, self.size // 3 + 1, 2)
        else:
            areas = np.array([height * width for height, width in self._shapes])
            section = int(random.choice(len(areas), p=areas / areas.sum()))
            row, column = (int(random.integers(length)) for length in self._shapes[section])
            jitter = np.zeros(2, np.int64)
        height, width = self._shapes[section]
        half = min(self.size // 2, height // 2, width // 2)
        return (
            section,
            int(np.clip(row + jitter[0], half, height - half)),
            int(np.clip(column + jitter[1], half, width - half)),
        )


class GridCrops(TorchDataset[tuple[Tensor, Tensor]]):
    """Crops laid side by side without overlap, as they are, in a new order every epoch.

    So the paper's 192 crops of 12 sections are read. What is left over at the right and at the
    bottom of a section, and crops without a label, are not used.

    Parameters
    ----------
    dataset, sections, size, count, seed
        As for :class:`Patches`. If there are fewer crops than ``count``, they come again.

    Raises
    ------
    InputError
        If no section has room for a crop with a label.
    """

    def __init__(self, dataset: Dataset, sections: Sequence[int], size: int, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.epoch = 0
        self._crops = []
        for z in sections:
            image, labels = normalise(dataset.images[z]), dataset.labels[z]
            rows, columns = (range(0, length - size + 1, size) for length in labels.shape)
            for window in (
                np.s_[row : row + size, column : column + size] for row in rows for column in columns
            ):
                if labels[window].any():
                    self._crops.append((image[window], labels[window]))
        if not self._crops:
            raise InputError(
                f"No training section of {dataset.name} has room for a labelled crop of {size} pixels."
            )

    def __len__(self) -> int:
        """Return the number of crops an epoch."""
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image (1, size, size) float32 and class values (size, size) int64."""
        if index >= self.count:
            raise IndexError(index)
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self._crops))
        image, label = self._crops[order[index % len(order)]]
        return torch.from_numpy(image.astype(np.float32))[None], torch.from_numpy(label.astype(np.int64))


def class_indices(labels: Tensor, values: npt.NDArray[np.int64]) -> Tensor:
    """Return the channel of each label value, or -1 where it is unlabelled or no class."""
    table = torch.full((256,), -1, dtype=torch.int64)
    table[torch.as_tensor(values)] = torch.arange(len(values))
    return table.to(labels.device)[labels]

"""What a fine-tune learns from: patches around corrections, and of what the model was sure of."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from napari_feedback_seg.correction.corrections import RegionKey, find_regions, region_map
from napari_feedback_seg.correction.rescaled import REACH, CachedPrediction, RescaledSection
from napari_feedback_seg.training.augment import MARGIN, augmentation

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from napari_feedback_seg.correction.config import FinetuneConfig
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.models.model import ModelCard
    from napari_feedback_seg.segmentation.inference import Inference

REHEARSALS = 12
"""Places away from corrections at which what was right is rehearsed."""

REHEARSED = 4
"""Every so many patches, one is of such a place."""


@dataclass(frozen=True)
class RehearsalPlace:
    """A place at which what was right is rehearsed: section, row and column."""

    section: int
    y: int
    x: int


class PatchSource:
    """Where patches are cut from: corrected sections, their regions, and what the model was sure of.

    Parameters
    ----------
    sections : sequence of CorrectedSection
        What a person labelled.
    card : ModelCard
        Of the model, with the new classes.
    config : FinetuneConfig
        Seed and rehearsal.

    Attributes
    ----------
    regions : dict
        RegionKey to class value to the (N, 2) rows and columns of its pixels, at the model's pixel size.
    places : list of RehearsalPlace
        Where what was right is rehearsed.
    patch : int
        Side of a patch: what was asked for, as far as it fits the network and its tile.
    """

    def __init__(
        self,
        sections: Sequence[CorrectedSection],
        card: ModelCard,
        config: FinetuneConfig,
    ) -> None:
        maps = [region_map(each.labels) for each in sections]
        self.rescaled = [
            RescaledSection(section, cells, card) for section, cells in zip(sections, maps, strict=True)
        ]
        self.regions = {
            key: {
                value: self.rescaled[key[0]].to_own(places) for value, places in sorted(region.places.items())
            }
            for key, region in find_regions(sections, maps).items()
        }
        self.channel = np.full(256, -1, np.int64)
        self.channel[[each.value for each in card.classes]] = np.arange(len(card.classes))
        self.names = tuple(each.name for each in card.classes)
        self.classes = len(card.classes)
        self.tile = card.tile
        multiple = card.spec.multiple
        self.patch = min(card.tile, -(-config.patch // multiple) * multiple)
        self._config = config
        self._predictions: list[CachedPrediction] = []
        self.places: list[RehearsalPlace] = []

    def choose_rehearsal(self, inference: Inference) -> None:
        """Let a network say what is to be rehearsed, and choose places for it.

        The places are of all the classes that it sees, in turn: of a class that is rare, random
        places would rehearse nothing.
        """
        self._predictions = [CachedPrediction(section, inference, self.tile) for section in self.rescaled]
        random = np.random.default_rng((self._config.seed, 1))
        found: dict[int, list[RehearsalPlace]] = {}
        for _ in range(REHEARSALS):
            place = self._anywhere(random)
            y, x, size = self.place_window(place)
            kept = self.rehearsal(place.section, y, x, size)
            sure, channels = kept.any(axis=0), kept.argmax(axis=0)
            for channel in np.unique(channels[sure]):
                rows, columns = np.nonzero(sure & (channels == channel))
                index = int(random.integers(rows.size))
                found.setdefault(int(channel), []).append(
                    RehearsalPlace(place.section, y + int(rows[index]), x + int(columns[index]))
                )
        turns = zip_longest(*(found[channel] for channel in sorted(found)))
        self.places = [place for turn in turns for place in turn if place is not None][:REHEARSALS]

    def window(self, key: RegionKey) -> tuple[int, int, int]:
        """Return row, column and side of the tile around a region."""
        places = np.concatenate(list(self.regions[key].values()))
        centre = (places.min(axis=0) + places.max(axis=0)) // 2
        return self._around(key[0], int(centre[0]), int(centre[1]))

    def place_window(self, place: RehearsalPlace) -> tuple[int, int, int]:
        """Return row, column and side of the tile around a place of rehearsal."""
        return self._around(place.section, place.y, place.x)

    def corrections(
        self, section: int, y: int, x: int, size: int, of: Collection[RegionKey]
    ) -> npt.NDArray[np.int64]:
        """Return the channel (size, size) of each pixel corrected in these regions, or -1."""
        labels, regions = self.rescaled[section].labels(y, x, size)
        wanted = np.isin(regions, [number for position, number in of if position == section])
        result: npt.NDArray[np.int64] = np.where(wanted, self.channel[labels], -1)
        return result

    def rehearsal(self, section: int, y: int, x: int, size: int) -> npt.NDArray[np.float32]:
        """Return the probabilities (C, size, size) to keep; 0 for corrected pixels and those in doubt."""
        kept = np.zeros((self.classes, size, size), np.float32)
        if self._predictions:
            said = self._predictions[section].window(y, x, size)
            sure = (said.max(axis=0) >= self._config.confidence) & self.unpainted(section, y, x, size)
            kept[: len(said)] = np.where(sure, said, 0)
        return kept

    def unpainted(self, section: int, y: int, x: int, size: int) -> npt.NDArray[np.bool_]:
        """Return which pixels (size, size) of a window lie in the section and away from all corrections."""
        wide, _ = self.rescaled[section].labels(y - REACH, x - REACH, size + 2 * REACH)
        near = ndimage.maximum_filter(wide, 2 * REACH + 1)[REACH : REACH + size, REACH : REACH + size]
        unpainted: npt.NDArray[np.bool_] = (near == 0) & self.rescaled[section].inside(y, x, size)
        return unpainted

    def anywhere(self, random: np.random.Generator) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return a tile (T, T) from anywhere, and which of its pixels are unpainted."""
        place = self._anywhere(random)
        window = self.place_window(place)
        return self.rescaled[place.section].image(*window), self.unpainted(place.section, *window)

    def _around(self, section: int, row: int, column: int) -> tuple[int, int, int]:
        corner = []
        for centre, length in zip((row, column), self.rescaled[section].shape, strict=True):
            last = length - self.tile
            corner.append(int(np.clip(centre - self.tile // 2, 0, last)) if last >= 0 else last // 2)
        return corner[0], corner[1], self.tile

    def _anywhere(self, random: np.random.Generator) -> RehearsalPlace:
        section = int(random.integers(len(self.rescaled)))
        row, column = (int(random.integers(length)) for length in self.rescaled[section].shape)
        return RehearsalPlace(section, row, column)


class TrainingPatches:
    """Augmented patches, a pure function of seed, phase and step, so that a cut-off fine-tune can go on.

    Parameters
    ----------
    source : PatchSource
        Where they are cut from.
    regions : collection of RegionKey
        The regions to learn from.
    places : sequence of RehearsalPlace
        The places to rehearse at.
    config : FinetuneConfig
        Size, number and seed.
    phase : int
        Makes the patches of one phase others than those of the next.
    """

    def __init__(
        self,
        source: PatchSource,
        regions: Collection[RegionKey],
        places: Sequence[RehearsalPlace],
        config: FinetuneConfig,
        phase: int,
    ) -> None:
        self.classes = source.classes
        self._source, self._regions, self._places = source, sorted(regions), list(places)
        self._config, self._phase = config, phase
        self._with: dict[int, list[RegionKey]] = {}
        for key in self._regions:
            for value in source.regions[key]:
                self._with.setdefault(value, []).append(key)
        self._values = sorted(self._with)
        self._augmentation = augmentation(source.patch)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return a batch.

        Returns
        -------
        tuple of Tensor
            Images (B, 1, P, P), corrected channels (B, P, P), -1 for none, and
            probabilities to keep (B, C, P, P), 0 for none.
        """
        parts = zip(*(self._patch(step, index) for index in range(self._config.batch)), strict=True)
        images, corrected, rehearsed = (torch.stack(part) for part in parts)
        return images, corrected, rehearsed

    def _patch(self, step: int, index: int) -> tuple[Tensor, Tensor, Tensor]:
        random = np.random.default_rng((self._config.seed, self._phase, step, index))
        reach = int(np.ceil(self._source.patch * MARGIN / 2))
        section, row, column = self._centre(random, index)
        window = (row - reach, column - reach, 2 * reach)
        corrected = self._source.corrections(section, *window, self._regions) + 1
        labels = np.concatenate([corrected[None], self._source.rehearsal(section, *window)], dtype=np.float32)
        self._augmentation.set_random_state(seed=int(random.integers(2**31)))
        image = self._source.rescaled[section].image(*window)
        patch = self._augmentation({"image": image[None], "label": labels})
        labelled = patch["label"].as_tensor()
        image = patch["image"].as_tensor().to(torch.float32)
        return image, labelled[0].to(torch.int64) - 1, labelled[1:]

    def _centre(self, random: np.random.Generator, index: int) -> tuple[int, int, int]:
        reach = self._source.patch // 3
        jitter = random.integers(-reach, reach + 1, 2)
        if self._places and index % REHEARSED == REHEARSED - 1:
            place = self._places[int(random.integers(len(self._places)))]
            return self._near(place.section, (place.y, place.x), jitter)
        value = int(random.choice(self._values))
        keys = self._with[value]
        key = keys[int(random.integers(len(keys)))]
        return self._near(key[0], random.choice(self._source.regions[key][value]), jitter)

    def _near(
        self, section: int, centre: npt.ArrayLike, jitter: npt.NDArray[np.int64]
    ) -> tuple[int, int, int]:
        shape = np.array(self._source.rescaled[section].shape)
        row, column = np.clip(np.asarray(centre) + jitter, 0, shape - 1)
        return section, int(row), int(column)

"""Held-out evaluation of a fine-tuned network: on corrections that it has not seen, and on what was right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_feedback_seg.metrics import iou
from napari_feedback_seg.segmentation.inference import Inference

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import torch

    from napari_feedback_seg.correction.corrections import RegionKey
    from napari_feedback_seg.correction.patches import PatchSource, RehearsalPlace
    from napari_feedback_seg.models.model import Model

COMPARED_TILES = 4
"""Tiles in which two models are compared."""


@dataclass(frozen=True)
class Scores:
    """Scores of a network on held-out corrections.

    Attributes
    ----------
    names : tuple of str
        Names of the classes.
    confusion : ndarray
        (classes + 1, classes + 1) pixels of the held-out corrections, true by predicted.
    right : ndarray
        (regions,) share of the pixels of each region that is right.
    kept : ndarray
        (classes, 2) for each class that the parent gave to pixels that were left alone: its
        confidence summed where the network says the same, and everywhere.
    loss : float
        Cross-entropy on the held-out corrections, the mean over the classes.
    """

    names: tuple[str, ...]
    confusion: npt.NDArray[np.int64]
    right: npt.NDArray[np.float64]
    kept: npt.NDArray[np.float64]
    loss: float

    @property
    def right_share(self) -> float:
        """Share of the corrected pixels that is right, the mean over the classes."""
        totals = self.confusion.sum(axis=1)
        there = totals > 0
        return float((np.diag(self.confusion)[there] / totals[there]).mean()) if there.any() else 0.0

    @property
    def wrong_share(self) -> float:
        """Share of the corrected pixels that is wrong, each pixel alike."""
        total = self.confusion.sum()
        return float(1 - np.trace(self.confusion) / total) if total else 0.0

    @property
    def kept_share(self) -> float:
        """Share of what the parent was sure of that is kept."""
        kept, everywhere = self.kept.T
        there = everywhere > 0
        # Between each pixel alike, where a rare class would not count, and each class alike.
        weights = np.sqrt(everywhere[there])
        return float(np.average(kept[there] / everywhere[there], weights=weights)) if there.any() else 1.0

    @property
    def iou(self) -> dict[str, float]:
        """Class name to IoU on the held-out corrections, of each class that has any."""
        there = self.confusion.sum(axis=1) > 0
        scores = zip(self.names, iou(self.confusion), there[:-1], strict=True)
        return {name: float(score) for name, score, known in scores if known}

    @staticmethod
    def pooled(scores: Iterable[Scores]) -> Scores:
        """Return the scores of several evaluations as if they were one."""
        scores = list(scores)
        return Scores(
            scores[0].names,
            np.sum([each.confusion for each in scores], axis=0),
            np.concatenate([each.right for each in scores]),
            np.sum([each.kept for each in scores], axis=0),
            float(np.mean([each.loss for each in scores])),
        )


class HeldOutEvaluation:
    """Tiles around held-out corrections and at places of rehearsal, and what should come out.

    Parameters
    ----------
    source : PatchSource
        Where they are cut from.
    regions : collection of RegionKey
        The held-out regions.
    places : sequence of RehearsalPlace
        The held-out places of rehearsal.

    Attributes
    ----------
    images : list of ndarray
        (T, T) float32, the tiles.
    """

    def __init__(
        self, source: PatchSource, regions: Collection[RegionKey], places: Sequence[RehearsalPlace]
    ) -> None:
        self._names = source.names
        self._classes = source.classes
        self._truths: list[npt.NDArray[np.int64]] = []
        self._rehearsed: list[npt.NDArray[np.float32]] = []
        self.images: list[npt.NDArray[np.float32]] = []
        for key in sorted(regions):
            window = source.window(key)
            self.images.append(source.rescaled[key[0]].image(*window))
            self._truths.append(source.corrections(key[0], *window, [key]))
        for place in places:
            window = source.place_window(place)
            self.images.append(source.rescaled[place.section].image(*window))
            self._rehearsed.append(source.rehearsal(place.section, *window))

    def score(self, model: Model, device: torch.device) -> Scores:
        """Return the scores of a model."""
        said = _probabilities(model, self.images, device)
        confusion = np.zeros((self._classes + 1, self._classes + 1), np.int64)
        loss, right = np.zeros((self._classes, 2)), []
        for truth, probabilities in zip(self._truths, said, strict=False):
            known = truth >= 0
            true, answer = truth[known], probabilities.argmax(axis=0)[known]
            np.add.at(confusion, (true, answer), 1)
            chance = np.maximum(probabilities[:, known][true, np.arange(true.size)], 1e-6)
            np.add.at(loss, true, np.stack([-np.log(chance), np.ones(true.size)], axis=1))
            right.append(float((true == answer).mean()) if true.size else 1.0)
        kept = np.zeros((self._classes, 2))
        for probabilities, rehearsed in zip(said[len(self._truths) :], self._rehearsed, strict=True):
            parents, sure = rehearsed.argmax(axis=0), rehearsed.max(axis=0)
            same = parents == probabilities.argmax(axis=0)
            for channel in range(self._classes):
                of_class = sure * (parents == channel)
                kept[channel] += (of_class * same).sum(), of_class.sum()
        there = loss[:, 1] > 0
        mean = float((loss[there, 0] / loss[there, 1]).mean()) if there.any() else 0.0
        return Scores(self._names, confusion, np.array(right), kept, mean)


def compare_unpainted(
    source: PatchSource, before: Model, after: Model, device: torch.device, seed: int
) -> tuple[float, float]:
    """Compare two models away from all corrections.

    Returns
    -------
    tuple of float
        The share of these pixels to which they give different classes, and the share that the
        first expects to have wrong: the mean of what its largest probability lacks to 1.
    """
    random = np.random.default_rng((seed, 3))
    tiles, unpainted = zip(*(source.anywhere(random) for _ in range(COMPARED_TILES)), strict=True)
    where = np.stack(unpainted)
    if not where.any():
        return 0.0, 0.0
    one, other = (np.stack(_probabilities(model, tiles, device)) for model in (before, after))
    changed = (one.argmax(axis=1) != other.argmax(axis=1))[where].mean()
    doubt = 1 - one.max(axis=1)[where].mean(dtype=np.float64)
    return float(changed), float(doubt)


def _probabilities(
    model: Model, tiles: Sequence[npt.NDArray[np.float32]], device: torch.device
) -> list[npt.NDArray[np.float32]]:
    inference = Inference(model, device, 1, False, None)
    said = list(inference(tiles))
    inference.close()
    return said

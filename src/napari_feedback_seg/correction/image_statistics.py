"""Batch norm with the statistics of the images in place of those of the training.

Grey values that are spread otherwise than in the training (another microscope, noise, blur,
another stain) upset batch norm all through the network. Statistics of the images themselves mend
that, or do harm where the image merely shows other things; the strokes tell which.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from napari_feedback_seg.models.model import Model
from napari_feedback_seg.segmentation.tiles import Tile

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from napari_feedback_seg.correction.fitting import Pixels
    from napari_feedback_seg.segmentation.reader import TileReader

SHARE = 0.6
"""Of the statistics that is the images', the rest is the training's."""

LEAST_STROKES = 10
"""Fewer do not tell what the statistics do to all of the image."""

MOVED = 0.024
"""Statistics count as others if their means differ by more standard deviations, the mean over all.

See ``benchmarks/start.py``: on validation sections other statistics gave
-1.6 to +0.9 points of mean IoU below it, and +3.5 to +18.1 above it."""

FAR = 0.015
"""As `MOVED`, of the mixed statistics of :func:`gather`.

The validation sections of ssTEM blurred, noisy and of another stain have 0.0157 to 0.0235, and gain 0.4
to 10.4 points. CDeep3M has 0.0118 to 0.0162, and loses 3.6 to 13.7. SNEMI and FlyEM have 0.0089 to
0.0154: -3.5 to +3.5."""

_BATCHES, _TILES = 3, 4
LIKELIER, MANY = 0.3, (40, 80)
"""By how much classes become likelier on their mean, in the logarithm: by a third; half with 80 strokes.

Each class counts alike. The more strokes there are, the smaller are the mistakes that they lie on."""

ERRORS = 2.0
"""By how many standard errors strokes become likelier.

Strokes lie where the model is wrong, the worst first: whatever changes puts some of them right. So this alone
says little: on CDeep3M it was up to 3.6, with a loss of 6 points, and a mean over the classes of 0.27."""

_FLOOR = 0.01


def norms_of(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Return all batch norm of a network, by name."""
    return {name: each for name, each in network.named_modules() if isinstance(each, nn.BatchNorm2d)}


def gather(
    model: Model, readers: Sequence[tuple[TileReader, tuple[int, int]]]
) -> Generator[None, None, dict[str, Tensor]]:
    """Return the statistics of images, mixed with those of a model; yield after each batch of tiles.

    Parameters
    ----------
    model : Model
        Its own network stays as it is.
    readers : sequence of tuple
        Of each section: its reader, and its shape at the model's pixel size.

    Returns
    -------
    dict
        ``mean.NAME`` and ``variance.NAME`` of each batch norm; empty for a network without batch norm.
    """
    network = copy.deepcopy(model.network)
    norms = norms_of(network)
    own = {name: (each.running_mean, each.running_var) for name, each in norms_of(model.network).items()}
    for each in norms.values():
        each.reset_running_stats()
        each.momentum = None  # the plain mean over all batches
    network.train()
    random, size = np.random.default_rng(0), model.card.tile
    for _ in range(_BATCHES if norms else 0):
        tiles = []
        for _ in range(_TILES):
            reader, shape = readers[int(random.integers(len(readers)))]
            y, x = (int(random.integers(max(1, length - size + 1))) for length in shape)
            tiles.append(torch.from_numpy(reader.read(Tile(y, x), size)))
        with torch.no_grad():
            network(torch.stack(tiles)[:, None])
        yield
    mixed: dict[str, Tensor] = {}
    for name, each in norms.items():
        for what, before, after in zip(
            ("mean", "variance"), own[name], (each.running_mean, each.running_var), strict=True
        ):
            assert before is not None
            assert after is not None
            mixed[f"{what}.{name}"] = torch.lerp(before.float(), after.float(), SHARE)
    return mixed


def with_statistics(model: Model, statistics: Mapping[str, Tensor]) -> Model:
    """Return a model with other statistics of batch norm.

    Raises
    ------
    ValueError
        If they do not fit the network.
    """
    if not statistics:
        return model
    network = copy.deepcopy(model.network)
    norms = norms_of(network)
    if set(statistics) != {f"{what}.{name}" for what in ("mean", "variance") for name in norms}:
        raise ValueError("These are the statistics of another network.")
    for name, each in norms.items():
        for what, kept in (("mean", each.running_mean), ("variance", each.running_var)):
            value = statistics[f"{what}.{name}"]
            if kept is None or kept.shape != value.shape:
                raise ValueError("These are the statistics of another network.")
            kept.copy_(value)
    return Model(model.card, network.eval())


def statistics_shift(model: Model, other: Model) -> float:
    """Return by how many standard deviations the means of batch norm differ, the mean over all of it."""
    means = []
    for before, after in zip(norms_of(model.network).values(), norms_of(other.network).values(), strict=True):
        assert before.running_mean is not None
        assert before.running_var is not None
        assert after.running_mean is not None
        way = (after.running_mean - before.running_mean).abs() / (before.running_var + before.eps).sqrt()
        means.append(float(way.mean()))
    return float(np.mean(means))


def explain(before: Pixels, after: Pixels, *, far: bool) -> bool:
    """Return whether the strokes say that an image wants its own statistics.

    There are two signs: strokes become likelier by `ERRORS`, and the classes on their mean by `LIKELIER`.

    Parameters
    ----------
    before, after : Pixels
        The painted pixels, as they are seen with the training's statistics and with the image's.
    far : bool
        Whether the two differ much. Then one of the signs is enough.
    """
    gain = _likelihoods(after) - _likelihoods(before)
    of_strokes = np.bincount(before.strokes, weights=gain) / np.bincount(before.strokes)
    error = of_strokes.std() / np.sqrt(len(of_strokes) - 1)
    channels = before.targets.argmax(axis=1)[np.unique(before.strokes, return_index=True)[1]]
    of_classes = [of_strokes[channels == channel].mean() for channel in np.unique(channels)]
    least = LIKELIER * np.interp(len(of_strokes), MANY, (1, 0.5))
    signs = bool(of_strokes.mean() > ERRORS * error), bool(np.mean(of_classes) > least)
    return any(signs) if far else all(signs)


def _likelihoods(pixels: Pixels) -> np.ndarray:
    logits = pixels.logits - pixels.logits.max(axis=1, keepdims=True)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    result: np.ndarray = np.log((p * pixels.targets).sum(axis=1) + _FLOOR)
    return result

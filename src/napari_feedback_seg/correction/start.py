"""Where a fine-tune begins: at the parent, or near it where small steps would not lead."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_feedback_seg.correction.corrections import MOST_HELD_OUT
from napari_feedback_seg.correction.held_out import HeldOutEvaluation, compare_unpainted
from napari_feedback_seg.correction.image_statistics import MOVED, norms_of, statistics_shift
from napari_feedback_seg.models.model import Model

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_feedback_seg.correction.corrections import RegionKey
    from napari_feedback_seg.correction.patches import PatchSource

_FIT_STEPS = 200
_MOST_PIXELS = 20_000

_CLEARLY = 0.8
"""The image counts as inverted if that brings the loss on the corrections below this part of it."""

_BATCHES, _TILES = 4, 4
"""How many places the statistics of an image are from."""


@dataclass(frozen=True)
class Start:
    """Where a fine-tune begins.

    Attributes
    ----------
    model : Model
        The parent, or one near it.
    differs : tuple of str
        In what it differs from the parent, in words.
    wrong_share : float
        Share of the corrected pixels that the parent has wrong.
    shift : float or None
        How far the statistics of the image are from the model's; None if that is not known.
    """

    model: Model
    differs: tuple[str, ...]
    wrong_share: float
    shift: float | None


def choose_start(parent: Model, source: PatchSource, device: torch.device, seed: int) -> Start:
    """Return where to begin.

    Two things about an image are no matter of small steps: bright membranes on a dark
    ground, and grey values that are spread otherwise (noise, blur, another stain), which
    batch norm takes amiss. For the first the parent sees the image inverted, if that alone
    explains the corrections far better, and if the parent is then surer of all that is not
    corrected: corrections lie where it is wrong, and there any other answer is better. For the
    second its batch norm gets the statistics of many places of the corrected sections, if these
    are others: corrections do not tell, for any change whatever puts some of them right.
    """
    evaluation = HeldOutEvaluation(source, sorted(source.regions)[:MOST_HELD_OUT], [])

    of_parent = evaluation.score(parent, device)
    start, differs = parent, []
    other = inverted(parent)
    if (
        other is not None
        and evaluation.score(other, device).loss < _CLEARLY * of_parent.loss
        and _doubt(other, source, device, seed) <= _doubt(parent, source, device, seed)
    ):
        start = other
        differs.append("image inverted")
    area = sum(section.shape[0] * section.shape[1] for section in source.rescaled)
    # Of less than a few tiles, statistics are those of what happens to lie there.
    other = with_image_statistics(start, source, device, seed) if area >= _TILES * source.tile**2 else None
    shift = None if other is None else statistics_shift(start, other)
    if other is not None and shift is not None and shift > MOVED:
        start = other
        differs.append("statistics of the image")
    return Start(start, tuple(differs), of_parent.wrong_share, shift)


def _doubt(model: Model, source: PatchSource, device: torch.device, seed: int) -> float:
    """Return the share of the unpainted pixels that a model expects to have wrong."""
    return compare_unpainted(source, model, model, device, seed)[1]


@torch.no_grad()
def with_image_statistics(model: Model, source: PatchSource, device: torch.device, seed: int) -> Model | None:
    """Return the model with batch-norm statistics of places all over the sections, if it has any."""
    network = copy.deepcopy(model.network).to(device)
    norms = list(norms_of(network).values())
    if not norms:
        return None
    momenta = [each.momentum for each in norms]
    for each in norms:
        each.reset_running_stats()
        each.momentum = None  # the plain mean over all batches
    network.train()
    random = np.random.default_rng((seed, 2))
    for _ in range(_BATCHES):
        tiles = torch.from_numpy(np.stack([source.anywhere(random)[0] for _ in range(_TILES)]))
        network(tiles[:, None].to(device))
    for each, momentum in zip(norms, momenta, strict=True):
        each.momentum = momentum
    return Model(model.card, network.cpu().eval())


def fit_new_classes(
    model: Model, known: int, source: PatchSource, regions: Collection[RegionKey], device: torch.device
) -> Model:
    """Return the model with the rows of its new classes fitted to the corrections, and nothing else changed.

    A logistic regression on the output-side maps, as they are: corrected pixels against those
    that were left alone, which stand for what the model says of them.

    Parameters
    ----------
    model : Model
        Its channels from ``known`` on are new.
    known : int
        Number of classes that it knew.
    source : PatchSource
        Its memory is of this model.
    regions : collection of RegionKey
        Those to learn from: held-out corrections are to be new to the model.
    device : torch.device
        Where to compute.
    """
    network = copy.deepcopy(model.network).to(device).eval()
    classifier = next(each for name, each in network.named_modules() if name.split(".")[-1] == "classifier")
    assert isinstance(classifier, nn.Conv2d)
    features, truths, weights = _pixels(network, classifier, source, regions, device)
    weight = classifier.weight.detach()[:, :, 0, 0]
    assert classifier.bias is not None
    bias = classifier.bias.detach()
    rows = torch.cat([weight[known:], bias[known:, None]], dim=1).requires_grad_(True)
    others = features @ weight[:known].T + bias[:known]
    optimiser = torch.optim.Adam([rows], 0.1)
    for _ in range(_FIT_STEPS):
        logits = torch.cat([others, features @ rows[:, :-1].T + rows[:, -1]], dim=1)
        loss = (functional.cross_entropy(logits, truths, reduction="none") * weights).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        classifier.weight[known:, :, 0, 0] = rows[:, :-1]
        classifier.bias[known:] = rows[:, -1]
    return Model(model.card, network.cpu())


@torch.inference_mode()
def inverted(model: Model) -> Model | None:
    """Return a model that answers for an image as this one does for its inverse, or None."""
    network = copy.deepcopy(model.network)
    convolutions = (each for each in network.modules() if isinstance(each, nn.Conv2d))
    first = next((each for each in convolutions if each.in_channels == model.card.spec.in_channels), None)
    if first is None:
        return None
    first.weight.neg_()
    side = 2 * model.card.spec.multiple
    image = torch.linspace(-2, 2, side * side).sin().reshape(1, 1, side, side)
    image = image.expand(-1, model.card.spec.in_channels, -1, -1)
    if not torch.allclose(network(image)[-1], model.network(-image)[-1], rtol=1e-3, atol=1e-3):
        return None  # the image goes in elsewhere, too
    return Model(model.card, network)


def _pixels(
    network: nn.Module,
    classifier: nn.Conv2d,
    source: PatchSource,
    regions: Collection[RegionKey],
    device: torch.device,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the classifier is given (N, width) for pixels, their channels, and their weights."""
    given: list[Tensor] = []
    hook = classifier.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    random = np.random.default_rng(0)
    parts: list[tuple[Tensor, Tensor, bool]] = []
    for key in sorted(regions):
        window = source.window(key)
        image = torch.from_numpy(source.rescaled[key[0]].image(*window))[None, None].to(device)
        given.clear()
        with torch.no_grad():
            network(image)
        kept = source.rehearsal(key[0], *window)
        left_alone = np.where(kept.any(axis=0), kept.argmax(axis=0), -1)
        for truth, taught in ((source.corrections(key[0], *window, [key]), True), (left_alone, False)):
            places = np.flatnonzero(truth.ravel() >= 0)
            most = _MOST_PIXELS // len(regions) + 1
            places = random.choice(places, most, replace=False) if places.size > most else places
            channels = torch.from_numpy(truth.ravel()[places]).to(device)
            for feature_map in given:
                parts.append(
                    (feature_map[0].flatten(1).T[torch.from_numpy(places).to(device)], channels, taught)
                )
    hook.remove()
    counts = {taught: sum(len(part[1]) for part in parts if part[2] is taught) for taught in (True, False)}
    weights = [torch.full((len(part[1]),), 1 / max(1, counts[part[2]])) for part in parts]
    return (
        torch.cat([part[0] for part in parts]).float().clone(),
        torch.cat([part[1] for part in parts]),
        torch.cat(weights).to(device),
    )

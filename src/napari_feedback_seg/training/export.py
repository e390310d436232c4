"""A finished training as a model: network and card."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_feedback_seg import __version__
from napari_feedback_seg.models.model import Model, ModelCard, TrainingData, descent
from napari_feedback_seg.segmentation.device import machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch

    from napari_feedback_seg.training.config import TrainConfig
    from napari_feedback_seg.training.loop import Trained
    from napari_feedback_seg.training.patches import TrainingSet

PAPER = "Tsuda, Shibuya, Hotta (2020): Feedback Attention for Cell Image Segmentation. arXiv 2008.06474"


def model_card(
    name: str,
    sets: Sequence[TrainingSet],
    pixel_size_nm: float,
    config: TrainConfig,
    device: torch.device,
    start: Model | None = None,
) -> ModelCard:
    """Return the card of a training, all but how it went: to be made before it begins.

    What the model ``start``, with whose weights it begins, asks for and learnt from, is on it too.

    Raises
    ------
    ModelError
        If the training could not end in a model.
    """
    datasets = [each.dataset for each in sets]
    recipe = {key: value for key, value in config.to_json().items() if key not in ("spec", "seed", "tile")}
    if len(sets) > 1:
        recipe["weights"] = {each.dataset.name: each.weight for each in sets}
    card = ModelCard(
        name=name,
        spec=config.spec,
        classes=datasets[0].classes,
        pixel_size_nm=pixel_size_nm,
        tile=config.tile,
        data=tuple(
            TrainingData(
                each.dataset.name,
                each.dataset.digest(),
                {
                    "train": list(each.training),
                    "validation": list(each.validation),
                    "test": list(each.dataset.test),
                },
                each.dataset.licence,
                each.dataset.citation,
            )
            for each in sets
        ),
        recipe=recipe,
        seed=config.seed,
        machine=machine(device),
        licence=_strictest(each.licence for each in datasets),
        citation=_joined((PAPER, *(each.citation for each in datasets))),
        version=__version__,
    )
    return _going_on(card, start) if start else card


def _going_on(card: ModelCard, start: Model) -> ModelCard:
    """Return the card of a training that begins with the weights of a model."""
    before = start.card
    return replace(
        card,
        description=f"{before.name}, trained further on {', '.join(each.name for each in card.data)}.",
        data=(*before.data, *card.data),
        recipe={**card.recipe, **descent(start)},
        parent=start.digest or before.parent,
        licence=_strictest((before.licence, card.licence)),
        citation=_joined((before.citation, card.citation)),
    )


def _joined(texts: Iterable[str]) -> str:
    """Return texts as one, each of their parts once."""
    return "; ".join(_parts(texts))


def _parts(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(part for text in texts for part in text.split("; ") if part))


def _strictest(texts: Iterable[str]) -> str:
    """Return licences as one, without one of Creative Commons that another of them includes."""
    parts = _parts(texts)
    asks = {each: set(each.split()[1].split("-")) for each in parts if each.startswith("CC BY")}
    included = {one for one in asks if any(asks[one] < other for other in asks.values())}
    return "; ".join(each for each in parts if each not in included)


def trained_model(card: ModelCard, trained: Trained) -> Model:
    """Return the model of a finished training."""
    recipe = {**card.recipe, "best_epoch": trained.epoch}
    machines = "; ".join(trained.machines) or card.machine
    duration = round(trained.seconds, 1)
    return Model(replace(card, recipe=recipe, duration_s=duration, machine=machines), trained.network)

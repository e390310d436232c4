"""A finished training as a model: network and card."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_feedback_seg import __version__
from napari_feedback_seg.models.model import Model, ModelCard, TrainingData
from napari_feedback_seg.segmentation.device import machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch

    from napari_feedback_seg.training.config import TrainConfig
    from napari_feedback_seg.training.loop import Trained
    from napari_feedback_seg.training.patches import TrainingSet

PAPER = "Tsuda, Shibuya, Hotta (2020): Feedback Attention for Cell Image Segmentation. arXiv 2008.06474"


def model_card(
    name: str, sets: Sequence[TrainingSet], pixel_size_nm: float, config: TrainConfig, device: torch.device
) -> ModelCard:
    """Return the card of a training, all but how it went: to be made before it begins.

    Raises
    ------
    ModelError
        If the training could not end in a model.
    """
    datasets = [each.dataset for each in sets]
    recipe = {key: value for key, value in config.to_json().items() if key not in ("spec", "seed", "tile")}
    if len(sets) > 1:
        recipe["weights"] = {each.dataset.name: each.weight for each in sets}
    return ModelCard(
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
        licence=_joined(each.licence for each in datasets),
        citation=_joined((PAPER, *(each.citation for each in datasets))),
        version=__version__,
    )


def _joined(texts: Iterable[str]) -> str:
    """Return texts as one, each once."""
    return "; ".join(dict.fromkeys(filter(None, texts)))


def trained_model(card: ModelCard, trained: Trained) -> Model:
    """Return the model of a finished training."""
    recipe = {**card.recipe, "best_epoch": trained.epoch}
    machines = "; ".join(trained.machines) or card.machine
    duration = round(trained.seconds, 1)
    return Model(replace(card, recipe=recipe, duration_s=duration, machine=machines), trained.network)

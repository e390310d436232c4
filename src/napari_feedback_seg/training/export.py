"""A finished training as a model: network and card."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_feedback_seg import __version__
from napari_feedback_seg.errors import TrainingError
from napari_feedback_seg.models.model import Model, ModelCard
from napari_feedback_seg.segmentation.device import machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from napari_feedback_seg.datasets.dataset import Dataset
    from napari_feedback_seg.training.config import TrainConfig
    from napari_feedback_seg.training.loop import Trained

PAPER = "Tsuda, Shibuya, Hotta (2020): Feedback Attention for Cell Image Segmentation. arXiv 2008.06474"


def model_card(
    name: str,
    dataset: Dataset,
    training: Sequence[int],
    validation: Sequence[int],
    config: TrainConfig,
    device: torch.device,
) -> ModelCard:
    """Return the card of a training, all but how it went: to be made before it begins.

    Raises
    ------
    TrainingError
        If the data set does not know its pixel size.
    ModelError
        If the training could not end in a model.
    """
    if dataset.pixel_size_nm is None:
        raise TrainingError(f"{dataset.name} does not say its pixel size; give it in nm with --pixel-size.")
    return ModelCard(
        name=name,
        spec=config.spec,
        classes=dataset.classes,
        pixel_size_nm=dataset.pixel_size_nm,
        tile=config.tile,
        data=dataset.name,
        data_digest=dataset.digest(),
        sections={"train": list(training), "validation": list(validation), "test": list(dataset.test)},
        recipe={key: value for key, value in config.to_json().items() if key not in ("spec", "seed", "tile")},
        seed=config.seed,
        machine=machine(device),
        licence=dataset.licence,
        citation="; ".join(filter(None, (PAPER, dataset.citation))),
        version=__version__,
    )


def trained_model(card: ModelCard, trained: Trained) -> Model:
    """Return the model of a finished training."""
    recipe = {**card.recipe, "best_epoch": trained.epoch}
    machines = "; ".join(trained.machines) or card.machine
    duration = round(trained.seconds, 1)
    return Model(replace(card, recipe=recipe, duration_s=duration, machine=machines), trained.network)

"""A finished training as a model: network and card."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from napari_feedback_seg import __version__
from napari_feedback_seg.errors import TrainingError
from napari_feedback_seg.models.model import Model, ModelCard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.samples.dataset import Dataset
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
    return Model(replace(card, recipe=recipe, duration_s=round(trained.seconds, 1)), trained.network)


def machine(device: torch.device) -> str:
    """Return what computed, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{platform.machine()} {device.type.upper()}, {threads} of {os.cpu_count()} threads"

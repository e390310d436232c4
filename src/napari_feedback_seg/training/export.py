"""A finished training as a model: network and card."""

from __future__ import annotations

import os
import platform
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


def trained_model(
    name: str,
    trained: Trained,
    dataset: Dataset,
    training: Sequence[int],
    validation: Sequence[int],
    config: TrainConfig,
    device: torch.device,
) -> Model:
    """Return the model of a training, its card filled in but for the scores.

    Raises
    ------
    TrainingError
        If the data set does not know its pixel size.
    """
    if dataset.pixel_size_nm is None:
        raise TrainingError(f"{dataset.name} does not say its pixel size; give it in nm.")
    recipe = {key: value for key, value in config.to_json().items() if key not in ("spec", "seed", "tile")}
    recipe["best_epoch"] = trained.epoch
    card = ModelCard(
        name=name,
        spec=config.spec,
        classes=dataset.classes,
        pixel_size_nm=dataset.pixel_size_nm,
        tile=config.tile,
        data=dataset.name,
        sections={"train": list(training), "validation": list(validation), "test": list(dataset.test)},
        recipe=recipe,
        seed=config.seed,
        duration_s=round(trained.seconds, 1),
        machine=machine(device),
        licence=dataset.licence,
        citation="; ".join(filter(None, (PAPER, dataset.citation))),
        version=__version__,
    )
    return Model(card=card, network=trained.network)


def machine(device: torch.device) -> str:
    """Return what computed, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{platform.machine()} {device.type.upper()}, {threads} of {os.cpu_count()} threads"

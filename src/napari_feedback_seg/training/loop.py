"""The training loop: a generator of events that checkpoints every epoch."""

from __future__ import annotations

import csv
import logging
import math
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from napari_feedback_seg.errors import TrainingError
from napari_feedback_seg.metrics import coded_iou_table, label_counts
from napari_feedback_seg.networks import build_network
from napari_feedback_seg.segmentation.device import (
    autocast,
    describe_device,
    is_out_of_memory,
    machine,
    release_memory,
)
from napari_feedback_seg.segmentation.sections import normalise
from napari_feedback_seg.training.checkpoint import Stateful, load_checkpoint, save_checkpoint
from napari_feedback_seg.training.events import EpochDone, StepDone
from napari_feedback_seg.training.losses import SegmentationLoss
from napari_feedback_seg.training.patches import GridCrops, Patches, TrainingSet, resized

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from napari_feedback_seg.datasets.dataset import Dataset
    from napari_feedback_seg.training.config import TrainConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What a finished training returns.

    Attributes
    ----------
    network : nn.Module
        The averaged weights of the best epoch, on the CPU, for inference.
    scores : dict
        As :func:`validate` gives them.
    epoch : int
        The best epoch, counted from 1.
    seconds : float
        Duration of all epochs, also of those before a resumption.
    machines : tuple of str
        What computed them, in the order in which it was taken up.
    """

    network: nn.Module
    scores: dict[str, Any]
    epoch: int
    seconds: float
    machines: tuple[str, ...]


def train(
    sets: Sequence[TrainingSet],
    config: TrainConfig,
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    resume: bool = False,
    start: nn.Module | None = None,
) -> Generator[StepDone | EpochDone, None, Trained]:
    """Train a network; yield after each step and each epoch; return the best epoch.

    After each epoch ``folder`` holds ``last.pt``, which a later call with ``resume`` goes
    on from as if it had never stopped, ``best.pt`` and ``log.csv``.

    Parameters
    ----------
    sets : sequence of TrainingSet
        Labelled sections to learn from and to choose the best epoch by.
    config : TrainConfig
        Network and recipe.
    folder : Path
        Where the checkpoints go.
    device : torch.device or str
        Where to compute.
    resume : bool
        Go on from ``last.pt``.
    start : nn.Module, optional
        Weights to begin with, of the same network; fresh ones if not given.

    Raises
    ------
    TrainingError
        If the checkpoint does not fit, the loss is not finite, or memory does not suffice.
    """
    device = torch.device(device)
    try:
        return (yield from _train(sets, config, folder, device, resume, start))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        problem = str(error).partition("\n")[0]
    release_memory(device)
    raise TrainingError(
        f"The memory of {describe_device(device)} does not suffice ({problem}). Train on another device, "
        "or a smaller network: a lower --width, or a higher --key-pooling."
    )


def _train(
    sets: Sequence[TrainingSet],
    config: TrainConfig,
    folder: Path,
    device: torch.device,
    resume: bool,
    start: nn.Module | None,
) -> Generator[StepDone | EpochDone, None, Trained]:
    torch.manual_seed(config.seed)
    network = channels_last(build_network(config.spec).to(device))
    if start is not None:
        network.load_state_dict(start.state_dict())
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
    optimiser, schedule = _optimiser(network, config)
    parts: dict[str, Stateful] = {
        "network": network,
        "average": average,
        "optimiser": optimiser,
        "schedule": schedule,
    }
    progress: dict[str, Any] = {"epoch": 0, "seconds": 0.0, "best_epoch": 0, "best_scores": {}, "log": []}
    if resume:
        progress = load_checkpoint(folder / "last.pt", config, parts)
    machines = progress.setdefault("machines", [])

    drawn = (sets, config.tile, config.patches, config.seed)
    strong = config.staining == "strong"
    patches = GridCrops(*drawn) if config.crops == "grid" else Patches(*drawn, config.rare, strong=strong)
    tiles = [ValidationTiles.of(each, config) for each in sets]
    weights = config.class_weights or (1.0,) * config.spec.classes
    loss_of = SegmentationLoss(weights, config.dice, config.first_round).to(device)
    folder.mkdir(parents=True, exist_ok=True)

    for epoch in range(progress["epoch"], config.epochs):
        started = time.perf_counter()
        if machine(device) not in machines:
            machines.append(machine(device))
        patches.epoch = epoch
        network.train()
        total = 0.0
        # A GPU would wait for augmentation in this process; a CPU has no core to spare for it.
        # On Windows and macOS each worker would load torch and the data anew, every epoch.
        apart = device.type != "cpu" and sys.platform == "linux"
        workers = min(8, len(os.sched_getaffinity(0))) if apart else 0
        batches = DataLoader(patches, config.batch, drop_last=True, num_workers=workers)
        for step, (images, possible) in enumerate(batches, start=1):
            images = images.to(device, memory_format=torch.channels_last)
            with autocast(device, config.precision):
                rounds = network(images)
            loss = loss_of(rounds, possible.to(device))
            if not math.isfinite(loss.item()):
                raise TrainingError(
                    f"The loss is not finite in epoch {epoch + 1}. Try a lower learning rate; "
                    f"the last good epoch is kept in {folder}."
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            average.update_parameters(network)
            total += loss.item()
            yield StepDone(epoch + 1, step, config.steps, loss.item())

        scores = validate(average.module, tiles, config, device)
        best = config.choose == "last" or (scores["mean_iou"] or 0.0) > (
            progress["best_scores"].get("mean_iou") or -1.0
        )
        progress["epoch"] = epoch + 1
        progress["seconds"] += time.perf_counter() - started
        if best:
            progress.update(best_epoch=epoch + 1, best_scores=scores)
        progress["log"].append(_log_row(epoch + 1, total / config.steps, scores, progress["seconds"]))
        if best:
            save_checkpoint(folder / "best.pt", config, {"average": average}, progress)
        save_checkpoint(folder / "last.pt", config, parts, progress)
        _write_log(folder / "log.csv", progress["log"])
        left = progress["seconds"] / (epoch + 1) * (config.epochs - epoch - 1)
        yield EpochDone(epoch + 1, config.epochs, total / config.steps, scores, best, left)

    best_of = load_checkpoint(folder / "best.pt", config, {"average": average})
    if best_of["epoch"] != progress["best_epoch"]:
        raise TrainingError(
            f"{folder / 'best.pt'} is of epoch {best_of['epoch']}, and the best was epoch "
            f"{progress['best_epoch']}: two trainings ran in this folder. Start in another one."
        )
    network = average.module.cpu().eval()
    scores, seconds = progress["best_scores"], progress["seconds"]
    return Trained(network, scores, progress["best_epoch"], seconds, tuple(machines))


@dataclass(frozen=True)
class ValidationTiles:
    """Tiles of a set, laid side by side, that choose the best epoch.

    Attributes
    ----------
    dataset : Dataset
        Where they are from.
    images : Tensor
        (N, 1, tile, tile) float32, normalised.
    labels : array of uint8
        (N, tile, tile) codes; 0 beyond the section.
    """

    dataset: Dataset
    images: Tensor
    labels: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, given: TrainingSet, config: TrainConfig) -> ValidationTiles:
        """Return the tiles of the validation sections that have a label."""
        images, labels = [], []
        for z in given.validation:
            section, truth = normalise(given.dataset.images[z]), given.dataset.labels[z]
            if given.zoom != 1:
                section, truth = resized(section, truth, given.zoom)
            padding = [(0, -length % config.tile) for length in truth.shape]
            images.append(_tiles(np.pad(section, padding, mode="symmetric"), config.tile))
            labels.append(_tiles(np.pad(truth, padding), config.tile))
        image, label = np.concatenate(images), np.concatenate(labels)
        used = np.flatnonzero(label.any(axis=(1, 2)))
        if config.validation_tiles and len(used) > config.validation_tiles:
            used = used[np.linspace(0, len(used) - 1, config.validation_tiles).round().astype(int)]
        return cls(given.dataset, torch.from_numpy(image[used])[:, None], label[used])


@torch.inference_mode()
def validate(
    network: nn.Module, sets: Sequence[ValidationTiles], config: TrainConfig, device: torch.device
) -> dict[str, Any]:
    """Return the scores that choose an epoch: no overlap, no blending.

    Returns
    -------
    dict
        ``iou`` and ``mean_iou``, of round 1 also under ``first_round``. Of several sets, ``mean_iou`` is
        the mean of the sets', a class's value that of the sets in which it is labelled, and ``sets`` has
        the table of each by its name.
    """
    network.eval()
    tables = {each.dataset.name: _validate(network, each, config, device) for each in sets}
    if len(tables) == 1:
        return next(iter(tables.values()))
    found = mean_table(list(tables.values()))
    if config.spec.rounds > 1:
        found["first_round"] = mean_table([each["first_round"] for each in tables.values()])
    return {**found, "sets": tables}


def _validate(
    network: nn.Module, tiles: ValidationTiles, config: TrainConfig, device: torch.device
) -> dict[str, Any]:
    classes, possible = tiles.dataset.classes, tiles.dataset.possible
    values = torch.tensor([each.value for each in classes], dtype=torch.uint8)
    counts = [np.zeros((256, len(classes) + 1), np.int64) for _ in range(config.spec.rounds)]
    for first in range(0, len(tiles.images), config.batch):
        batch = slice(first, first + config.batch)
        with autocast(device, config.precision):
            rounds = network(tiles.images[batch].to(device, memory_format=torch.channels_last))
        for index, logits in enumerate(rounds):
            predicted = values[logits.argmax(dim=1).cpu()].numpy()
            counts[index] += label_counts(tiles.labels[batch], predicted, classes)
    tables = [coded_iou_table(each, possible, classes) for each in counts]
    return {**tables[-1], "first_round": tables[0]} if len(tables) > 1 else tables[-1]


def mean_table(tables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of the mean IoU of sets, and of each class over the sets that have it."""
    names = list(dict.fromkeys(name for each in tables for name in each["iou"]))
    iou = {
        name: float(np.mean([each["iou"][name] for each in tables if name in each["iou"]])) for name in names
    }
    means = [each["mean_iou"] for each in tables if each["mean_iou"] is not None]
    return {"iou": iou, "mean_iou": float(np.mean(means)) if means else None}


def _optimiser(network: nn.Module, config: TrainConfig) -> tuple[Optimizer, LRScheduler]:
    """Return the optimiser, and the schedule of its learning rate."""
    given: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimiser == "adam":
        adam = torch.optim.Adam(network.parameters(), **given)
        return adam, ConstantLR(adam, factor=1.0)
    adamw = torch.optim.AdamW(network.parameters(), **given)
    steps = config.epochs * config.steps
    return adamw, OneCycleLR(adamw, config.learning_rate, total_steps=steps, pct_start=0.15)


def channels_last(network: nn.Module) -> nn.Module:
    """Lay the weights out as the processor likes them best: twice as fast on a CPU."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return network


def _tiles(image: npt.NDArray[Any], tile: int) -> npt.NDArray[Any]:
    rows, columns = (length // tile for length in image.shape)
    return image.reshape(rows, tile, columns, tile).swapaxes(1, 2).reshape(rows * columns, tile, tile)


def _log_row(epoch: int, loss: float, scores: dict[str, Any], seconds: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "epoch": epoch,
        "loss": round(loss, 5),
        "mean_iou": round(scores["mean_iou"] or 0.0, 5),
    }
    row.update({f"iou_{name}": round(value, 5) for name, value in scores["iou"].items()})
    for name, table in scores.get("sets", {}).items():
        row |= {f"{name}: {key}": round(value, 5) for key, value in table["iou"].items()}
    if "first_round" in scores:
        row["first_round_mean_iou"] = round(scores["first_round"]["mean_iou"] or 0.0, 5)
    row["seconds"] = round(seconds, 1)
    return row


def _write_log(path: Path, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(path)
    except OSError:  # a spreadsheet has it open; all of it is in the checkpoint, and the next epoch writes it
        temporary.unlink(missing_ok=True)

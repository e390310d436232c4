"""A training from data set to scored model file, as ``feedback-seg train`` runs it."""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from napari_feedback_seg.datasets.dataset import Dataset
from napari_feedback_seg.datasets.sstem import load_dataset
from napari_feedback_seg.errors import InputError, ModelError, OutputError, TrainingError
from napari_feedback_seg.evaluation.evaluate import score
from napari_feedback_seg.io import replacing
from napari_feedback_seg.io.claim import claim
from napari_feedback_seg.models.library import check_name, load_model
from napari_feedback_seg.models.model_file import SUFFIX, load_model_file, replace_card, save_model
from napari_feedback_seg.networks import build_network
from napari_feedback_seg.segmentation.device import choose_device, resolved_precision
from napari_feedback_seg.segmentation.prediction import SegmentOptions
from napari_feedback_seg.segmentation.sections import check_dtype, statistics
from napari_feedback_seg.training.config import TrainConfig
from napari_feedback_seg.training.export import model_card, trained_model
from napari_feedback_seg.training.loop import mean_table, train
from napari_feedback_seg.training.patches import TrainingSet

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from torch import nn

    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.segmentation.events import SectionDone, TileDone
    from napari_feedback_seg.training.events import EpochDone, StepDone


@dataclass(frozen=True)
class TrainJob:
    """What to train, as it stands in ``job.json`` of a run's folder.

    Attributes
    ----------
    name : str
        Name of the model.
    fold : int
        0 to 4: which fifth of the sections validates.
    config : TrainConfig
        Network and recipe.
    pixel_size_nm : float or None
        Pixel size of the model, that of the first data set if not given; images of another are zoomed to
        it. A data set that does not say its own is taken to have it.
    half : bool
        Store the weights of the convolutions in 16 bits.
    data, digest : str
        Names of the data sets and SHA-256 of their pixels, filled in when the training begins.
    weights : tuple of float
        How often each data set is drawn from; empty for all alike.
    start : str
        Name or file of a model whose weights the training begins with; empty for fresh ones.
    """

    name: str
    fold: int
    config: TrainConfig
    pixel_size_nm: float | None = None
    half: bool = False
    data: str = ""
    digest: str = ""
    weights: tuple[float, ...] = ()
    start: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the job as a JSON object."""
        return {**vars(self), "config": self.config.to_json(), "weights": list(self.weights)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainJob:
        """Return the job that a JSON object describes."""
        weights = tuple(data.get("weights", ()))
        return cls(**{**data, "config": TrainConfig.from_json(data["config"]), "weights": weights})


def run_training(
    sources: Sequence[str | Path | Dataset],
    folder: Path,
    job: TrainJob,
    *,
    device: str = "auto",
    resume: bool = False,
) -> Generator[StepDone | EpochDone | TileDone | SectionDone, None, tuple[Path, dict[str, Any]]]:
    """Train, score on the validation sections, and write the model into the run's folder.

    Parameters
    ----------
    sources : sequence of str, Path or Dataset
        Data sets as :func:`~napari_feedback_seg.datasets.sstem.load_dataset` takes them, or loaded.
    folder : Path
        Folder of the run.
    job : TrainJob
        What to train; with ``resume`` the job in the folder counts instead.
    device : str
        As :func:`~napari_feedback_seg.segmentation.device.choose_device` takes it.
    resume : bool
        Go on with the training in the folder.

    Returns
    -------
    tuple of Path and dict
        The model file, and its scores on the validation sections.

    Raises
    ------
    ClaimedError
        If another process is at this training.
    FeedbackSegError
        If the data, the folder or the checkpoint cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made ({error.strerror}).") from error
    with claim(folder / ".training.lock"):
        return (yield from _run_training(sources, folder, job, device, resume))


def _run_training(
    sources: Sequence[str | Path | Dataset], folder: Path, job: TrainJob, device: str, resume: bool
) -> Generator[StepDone | EpochDone | TileDone | SectionDone, None, tuple[Path, dict[str, Any]]]:
    record, begun = folder / "job.json", (folder / "last.pt").exists()
    check_name(job.name)
    if resume:
        job = read_job(record)
    _check_folder(folder, job, resume)
    datasets = [each if isinstance(each, Dataset) else load_dataset(each) for each in sources]
    names = "; ".join(each.name for each in datasets)
    if job.data not in ("", names):
        raise TrainingError(f"The training in {folder} is on {job.data}, not on {names}.")
    digest = _digest(datasets)
    if job.digest not in ("", digest):
        raise TrainingError(
            f"{names} has changed since the training in {folder} began; start in another folder."
        )
    target = choose_device(device)
    if not resume:
        config = replace(job.config, precision=resolved_precision(target, job.config.precision))
        job = replace(job, data=names, digest=digest, config=config)
    sets, pixel_size_nm = _training_sets(datasets, job)
    for each in sets:
        _check_sections(each)
    parent = load_model(job.start) if job.start else None
    card = model_card(job.name, sets, pixel_size_nm, job.config, target, parent)
    start = _start(job, parent) if parent else None
    write_job(record, job)
    trained = yield from train(sets, job.config, folder, device=target, resume=begun, start=start)
    model, path = trained_model(card, trained), folder / f"{job.name}{SUFFIX}"
    before = None
    if path.exists():
        with suppress(ModelError):
            before = load_model_file(path)
    save_model(model, path, half=job.half, overwrite=True)
    stored = load_model_file(path)
    options = SegmentOptions(device=device, first_round=job.config.spec.rounds > 1, remove_specks=False)
    scores = yield from _score(stored, sets, options)
    others = before.card.scores if before and _same_weights(before, stored) else {}
    replace_card(path, replace(model.card, scores={**others, "validation": scores}))
    return path, scores


def _check_folder(folder: Path, job: TrainJob, resume: bool) -> None:
    """Raise an error if something in the folder would be lost."""
    last, record, model = (folder / name for name in ("last.pt", "job.json", f"{job.name}{SUFFIX}"))
    if last.exists():
        if not resume:
            raise OutputError(
                f"{folder} holds a training already. Go on with --resume, or choose another folder."
            )
        return
    others = [folder / "log.csv", model]
    if record.exists():
        read_job(record)  # of a training that was stopped in its first epoch, at whose end comes best.pt
    else:
        others.append(folder / "best.pt")
    if found := [path.name for path in others if path.exists()]:
        raise OutputError(
            f"{folder} holds {', '.join(found)}, but no last.pt to go on from. Choose another folder."
        )


def _digest(datasets: Sequence[Dataset]) -> str:
    """Return the SHA-256 of data sets; of one, its own."""
    found = [each.digest() for each in datasets]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def _training_sets(datasets: Sequence[Dataset], job: TrainJob) -> tuple[list[TrainingSet], float]:
    """Return what is learnt from each data set, and the pixel size of the model."""
    weights = job.weights or (1.0,) * len(datasets)
    if len(weights) != len(datasets) or not all(0 < each < math.inf for each in weights):
        raise TrainingError(f"{len(datasets)} data sets need as many weights above 0, not {list(weights)}.")
    pixel_size_nm = job.pixel_size_nm or datasets[0].pixel_size_nm
    if pixel_size_nm is None:
        raise TrainingError(
            f"{datasets[0].name} does not say its pixel size; give it in nm with --pixel-size."
        )
    sets = [
        TrainingSet(each, *each.fold(job.fold), weight, (each.pixel_size_nm or pixel_size_nm) / pixel_size_nm)
        for each, weight in zip(datasets, weights, strict=True)
    ]
    return sets, pixel_size_nm


def _start(job: TrainJob, parent: Model) -> nn.Module:
    """Return the weights to begin with, in the network to train.

    Raises
    ------
    TrainingError
        If they do not fit it.
    """
    network = build_network(job.config.spec)
    try:
        network.load_state_dict(parent.network.state_dict())
    except RuntimeError as error:
        raise TrainingError(
            f"The weights of {job.start} do not fit this network. Leave out --network, --width and "
            "--depth, which are then those of this model."
        ) from error
    return network


def _score(
    model: Model, sets: Sequence[TrainingSet], options: SegmentOptions
) -> Generator[TileDone | SectionDone, None, dict[str, Any]]:
    """Score on the validation sections; of several sets, the mean of theirs and each under ``sets``."""
    tables = {}
    for each in sets:
        tables[each.dataset.name] = yield from score(model, each.dataset, each.validation, options)
    if len(tables) == 1:
        return next(iter(tables.values()))
    return {**mean_table(list(tables.values())), "sets": tables}


def _check_sections(of: TrainingSet) -> None:
    """Raise InputError unless there is something to see in every section, and something to learn."""
    data = of.dataset
    for z in (*of.training, *of.validation):
        try:
            check_dtype(data.images[z].dtype)
            constant = statistics(data.images[z]).constant
        except InputError as error:
            raise InputError(f"Section {z} of {data.name}: {error}") from error
        if constant:
            raise InputError(f"Section {z} of {data.name} has one grey value only: leave it out.")
    for part, sections in (("training", of.training), ("validation", of.validation)):
        if not any(data.labels[z].any() for z in sections):
            numbers = ", ".join(map(str, sections))
            raise InputError(
                f"Nothing is labelled in the {part} sections of {data.name} ({numbers}). "
                "Choose another --fold, or label them."
            )


def _same_weights(one: Model, other: Model) -> bool:
    ours, theirs = one.network.state_dict(), other.network.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def write_job(path: Path, job: TrainJob) -> None:
    """Write what to train into the ``job.json`` of a run's folder.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, overwrite=True, beside=False) as temporary:
            temporary.write_text(json.dumps(job.to_json(), indent=2), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}).") from error


def read_job(path: Path) -> TrainJob:
    """Return what the ``job.json`` of a run's folder asks for.

    Raises
    ------
    TrainingError
        If it is missing or cannot be read.
    """
    try:
        return TrainJob.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise TrainingError(f"{path.parent} holds no training to go on with; leave --resume out.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} cannot be read as the settings of a training ({error}).") from error

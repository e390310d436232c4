"""A training from data set to scored model file, as ``feedback-seg train`` runs it."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from napari_feedback_seg.datasets.dataset import Dataset
from napari_feedback_seg.datasets.sstem import load_dataset
from napari_feedback_seg.errors import InputError, ModelError, OutputError, TrainingError
from napari_feedback_seg.evaluation.claim import claim
from napari_feedback_seg.evaluation.evaluate import score
from napari_feedback_seg.io import replacing
from napari_feedback_seg.models.library import check_name
from napari_feedback_seg.models.model_file import SUFFIX, load_model_file, replace_card, save_model
from napari_feedback_seg.segmentation.device import choose_device
from napari_feedback_seg.segmentation.prediction import SegmentOptions
from napari_feedback_seg.segmentation.sections import check_dtype, statistics
from napari_feedback_seg.training.config import TrainConfig
from napari_feedback_seg.training.export import model_card, trained_model
from napari_feedback_seg.training.loop import resolved_precision, train

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from napari_feedback_seg.events import EpochDone, SectionDone, StepDone, TileDone
    from napari_feedback_seg.models.model import Model


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
        Pixel size of the images, instead of what the data set says.
    half : bool
        Store the weights of the convolutions in 16 bits.
    data, digest : str
        Name of the data set and SHA-256 of its pixels, filled in when the training begins.
    """

    name: str
    fold: int
    config: TrainConfig
    pixel_size_nm: float | None = None
    half: bool = False
    data: str = ""
    digest: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the job as a JSON object."""
        return {**vars(self), "config": self.config.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainJob:
        """Return the job that a JSON object describes."""
        return cls(**{**data, "config": TrainConfig.from_json(data["config"])})


def run_training(
    dataset: str | Path | Dataset,
    folder: Path,
    job: TrainJob,
    *,
    device: str = "auto",
    resume: bool = False,
) -> Generator[StepDone | EpochDone | TileDone | SectionDone, None, tuple[Path, dict[str, Any]]]:
    """Train, score on the validation sections, and write the model into the run's folder.

    Parameters
    ----------
    dataset : str, Path or Dataset
        As :func:`~napari_feedback_seg.datasets.sstem.load_dataset` takes it, or loaded.
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
    with (
        claim(folder / "training.claim") as renew,
        closing(_run_training(dataset, folder, job, device, resume)) as events,
    ):
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                result: tuple[Path, dict[str, Any]] = stop.value
                return result
            renew()
            yield event


def _run_training(
    dataset: str | Path | Dataset, folder: Path, job: TrainJob, device: str, resume: bool
) -> Generator[StepDone | EpochDone | TileDone | SectionDone, None, tuple[Path, dict[str, Any]]]:
    record, begun = folder / "job.json", (folder / "last.pt").exists()
    check_name(job.name)
    if resume:
        job = read_job(record)
    _check_folder(folder, job, resume)
    data = dataset if isinstance(dataset, Dataset) else load_dataset(dataset)
    if job.data not in ("", data.name):
        raise TrainingError(f"The training in {folder} is on {job.data}, not on {data.name}.")
    digest = data.digest()
    if job.digest not in ("", digest):
        raise TrainingError(
            f"{data.name} has changed since the training in {folder} began; start in another folder."
        )
    data = replace(data, pixel_size_nm=job.pixel_size_nm or data.pixel_size_nm)
    target = choose_device(device)
    if not resume:
        config = replace(job.config, precision=resolved_precision(target, job.config.precision))
        job = replace(job, data=data.name, digest=digest, config=config)
    training, validation = data.fold(job.fold)
    _check_sections(data, training, validation)
    card = model_card(job.name, data, training, validation, job.config, target)
    write_job(record, job)
    trained = yield from train(data, training, validation, job.config, folder, device=target, resume=begun)
    model, path = trained_model(card, trained), folder / f"{job.name}{SUFFIX}"
    before = None
    if path.exists():
        with suppress(ModelError):
            before = load_model_file(path)
    save_model(model, path, half=job.half, overwrite=True)
    stored = load_model_file(path)
    options = SegmentOptions(device=device, first_round=job.config.spec.rounds > 1)
    scores = yield from score(stored, data, validation, options)
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


def _check_sections(data: Dataset, training: Sequence[int], validation: Sequence[int]) -> None:
    """Raise InputError unless there is something to see in every section, and something to learn."""
    for z in (*training, *validation):
        try:
            check_dtype(data.images[z].dtype)
            constant = statistics(data.images[z]).constant
        except InputError as error:
            raise InputError(f"Section {z} of {data.name}: {error}") from error
        if constant:
            raise InputError(f"Section {z} of {data.name} has one grey value only: leave it out.")
    for part, sections in (("training", training), ("validation", validation)):
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

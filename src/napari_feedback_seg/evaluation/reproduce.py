"""The runs behind the paper's tables: what is to be trained, and how one is done.

A results folder holds a small JSON for each finished run, ``NAME.json``; the folder of each
training, ``NAME/``, as :mod:`napari_feedback_seg.evaluation.train` lays it out; and for each run
a lock, ``.NAME.lock``, so that several machines can share the folder.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import InputError, OutputError, TrainingError
from napari_feedback_seg.evaluation.evaluate import score
from napari_feedback_seg.evaluation.train import TrainJob, read_job, run_training, write_job
from napari_feedback_seg.io import replacing
from napari_feedback_seg.io.claim import claim
from napari_feedback_seg.models.model_file import load_model_file
from napari_feedback_seg.networks.spec import NetworkSpec
from napari_feedback_seg.segmentation.prediction import SegmentOptions
from napari_feedback_seg.training.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from napari_feedback_seg.datasets.dataset import Dataset
    from napari_feedback_seg.segmentation.events import SectionDone, TileDone
    from napari_feedback_seg.training.events import EpochDone, StepDone

RECIPES = {
    "paper": TrainConfig(
        NetworkSpec(),
        epochs=300,
        batch=8,
        learning_rate=1e-3,
        weight_decay=0.0,
        ema=0.0,
        rare=0.0,
        dice=0.0,
        first_round=0.0,
        crops="grid",
        optimiser="adam",
    ),
    "ours": TrainConfig(),
}
"""The paper's recipe, as it is read, and that of the bundled models; each with its network's fields."""

BLENDED = "_blended"
"""What the names of scores end in whose crops overlap."""

ONE_CONV = "_one_conv"
"""What the names of the networks of Table 3 end in."""

ATTENTION = ("self", "source_target", f"self{ONE_CONV}", f"source_target{ONE_CONV}")
"""The networks that pool keys, or not."""


@dataclass(frozen=True)
class Run:
    """One training of one network, and its scores.

    Attributes
    ----------
    network : str
        A name of :data:`~napari_feedback_seg.networks.spec.NETWORKS`, with ``_one_conv`` behind
        it for those of Table 3.
    recipe : str
        ``paper`` or ``ours``.
    width, epochs, fold, seed : int
        Channels of the first block, epochs, and what tells the repetitions apart.
    key_pooling : int or None
        Of the attention; None for a network that has none.
    precision : str
        ``bf16`` or ``fp32``, or ``auto``: the recipe's, which leaves it to the machine.
    """

    network: str
    recipe: str
    width: int
    key_pooling: int | None
    epochs: int
    fold: int
    seed: int
    precision: str = "auto"

    @property
    def name(self) -> str:
        """Name of the run's files, such as ``self-w16-kp16-ours-e80-f0-s1``."""
        pooling = [f"kp{self.key_pooling}"] if self.key_pooling else []
        last = [f"e{self.epochs}", f"f{self.fold}", f"s{self.seed}"]
        last += [self.precision] if self.precision != "auto" else []
        return "-".join([self.network, f"w{self.width}", *pooling, self.recipe, *last])

    @property
    def config(self) -> TrainConfig:
        """Network and recipe.

        Raises
        ------
        ModelError, TrainingError
            If they cannot be trained.
        """
        recipe = RECIPES[self.recipe]
        others = {key: value for key, value in vars(recipe.spec).items() if key not in ("kind", "mode")}
        others["width"] = self.width
        if self.key_pooling:
            others["key_pooling"] = self.key_pooling
        if self.network.endswith(ONE_CONV):
            others["tap"] = "one_conv"
        spec = NetworkSpec.named(self.network.removesuffix(ONE_CONV), **others)
        precision = recipe.precision if self.precision == "auto" else self.precision
        own = {"epochs": self.epochs, "seed": self.seed, "precision": precision}
        return TrainConfig(**{**vars(recipe), "spec": spec, **own})


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Attributes
    ----------
    run : Run
        What was run.
    record : dict
        What its JSON says besides: ``spec`` and ``settings`` of the training with ``best_epoch``; ``data``
        and ``digest``; the scores on the ``validation`` and the ``test`` sections, the latter None
        where a data set has none, of crops side by side, as the paper's; ``validation_blended`` and
        ``test_blended``, of crops that overlap and are blended, as a user would segment;
        ``seconds``, with all pauses, and ``epoch_seconds`` of the fastest epoch; ``machine``, ``version``.
    """

    run: Run
    record: dict[str, Any]


def plan(
    networks: Sequence[str],
    recipe: str,
    folds: Sequence[int],
    seeds: Sequence[int],
    *,
    width: int | None = None,
    key_pooling: int | None = None,
    epochs: int | None = None,
    precision: str = "auto",
) -> list[Run]:
    """Return the runs of a table; what is not given is the recipe's.

    One network after the other for each fold and seed, so that there are pairs to compare early.

    Raises
    ------
    ValueError
        If there is no such recipe.
    ModelError, TrainingError
        If one of them cannot be trained.
    """
    if recipe not in RECIPES:
        raise ValueError(f"The recipe is {' or '.join(RECIPES)}, not {recipe!r}.")
    usual = RECIPES[recipe]
    runs = [
        Run(
            network,
            recipe,
            width or usual.spec.width,
            (key_pooling or usual.spec.key_pooling) if network in ATTENTION else None,
            epochs or usual.epochs,
            fold,
            seed,
            precision,
        )
        for fold in folds
        for seed in seeds
        for network in networks
    ]
    for run in runs:
        _ = run.config
    return runs


def perform(
    run: Run, data: Dataset, results: Path, device: str = "auto"
) -> Generator[StepDone | EpochDone | TileDone | SectionDone, None, None]:
    """Train, or go on with a training, score it, and write its JSON.

    The test sections are scored once, at the end, and choose nothing. A run that is there is
    not repeated.

    Parameters
    ----------
    run : Run
        What to do.
    data : Dataset
        The labelled sections.
    results : Path
        The results folder.
    device : str
        As :func:`~napari_feedback_seg.segmentation.device.choose_device` takes it.

    Raises
    ------
    ClaimedError
        If another process is at this run.
    FeedbackSegError
        If the folder holds another training under this name, or the training fails.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {results} cannot be made ({error.strerror}).") from error
    check_data(results, data)
    with claim(results / f".{run.name}.lock"):
        if not result_path(results, run).exists():
            yield from _perform(run, data, results, device)


def _perform(
    run: Run, data: Dataset, results: Path, device: str
) -> Generator[StepDone | EpochDone | TileDone | SectionDone, None, None]:
    folder, job = results / run.name, TrainJob(run.name, run.fold, run.config)
    begun = (folder / "job.json").exists()
    if begun:
        found = read_job(folder / "job.json")
        _check_same(found, job, run, folder)
        if found.half:  # all runs are scored with the weights that they were trained with
            write_job(folder / "job.json", replace(found, half=False))
    path, _ = yield from run_training([data], folder, job, device=device, resume=begun)
    model = load_model_file(path)
    card = model.card
    # the network alone, as in the paper
    blended = SegmentOptions(device=device, first_round=card.spec.rounds > 1, remove_specks=False)
    side_by_side = replace(blended, overlap=0)
    scores: dict[str, Any] = {}
    for part, sections in (("validation", card.data[0].sections["validation"]), ("test", data.test)):
        for name, options in ((part, side_by_side), (f"{part}{BLENDED}", blended)):
            scores[name] = (yield from score(model, data, sections, options)) if sections else None
    record = {
        "spec": card.spec.to_json(),
        "settings": card.recipe,
        "data": data.name,
        "digest": data.digest(),
        **scores,
        "seconds": card.duration_s,
        "epoch_seconds": fastest_epoch(folder / "log.csv"),
        "machine": card.machine,
        "version": card.version,
    }
    with replacing(result_path(results, run)) as temporary:
        temporary.write_text(json.dumps({**asdict(run), **record}, indent=1) + "\n", encoding="utf-8")


def fastest_epoch(log: Path) -> float:
    """Return the seconds of the fastest epoch of a training, by its ``log.csv``."""
    with log.open(newline="", encoding="utf-8") as file:
        ends = [0.0, *(float(row["seconds"]) for row in csv.DictReader(file))]
    return round(min(end - start for start, end in pairwise(ends)), 1)


def _check_same(found: TrainJob, asked: TrainJob, run: Run, folder: Path) -> None:
    """Raise TrainingError if a folder holds another training; the machine's own choices say nothing."""
    config, wanted = found.config.to_json(), asked.config.to_json()
    other = [key for key in wanted if key not in _left_open(run) and config[key] != wanted[key]]
    if found.fold != asked.fold:
        other.append("fold")
    if other:
        raise TrainingError(f"The training in {folder} has another {', '.join(other)}; move it away.")


def result_path(results: Path, run: Run) -> Path:
    """Return the JSON of a finished run."""
    return results / f"{run.name}.json"


def check_data(results: Path, data: Dataset) -> None:
    """Raise InputError if a folder holds runs on other data, or with other test sections."""
    for found in read_results(results)[:1]:
        test = found.record["test"]["sections"] if found.record["test"] else []
        if (found.record["digest"], test) != (data.digest(), list(data.test)):
            raise InputError(f"{results} holds runs on other data than {data.name}; take another folder.")


def read_results(folder: Path) -> list[FinishedRun]:
    """Return the finished runs of a folder, ordered by name.

    Raises
    ------
    InputError
        If a file is no result of a run, or of one with other settings, or the runs are not on the
        same data.
    """
    results = [_read_result(path) for path in sorted(folder.glob("*.json"))]
    if len({each.record["digest"] for each in results}) > 1:
        names = sorted({each.record["data"] for each in results})
        raise InputError(f"{folder} holds runs on different data ({', '.join(names)}); keep them apart.")
    return results


def _read_result(path: Path) -> FinishedRun:
    names = [each.name for each in fields(Run)]
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        run = Run(**{name: record.pop(name) for name in names if name in record})
        record["digest"], record["validation_blended"]["mean_iou"], record["test"], record["epoch_seconds"]
        other = _other_settings(run, record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no result of a run ({type(error).__name__}); move it away.") from error
    if path.stem != run.name:
        raise InputError(f"{path} holds the run {run.name}; a result has the name of its run.")
    if other:
        raise InputError(f"The run of {path} was trained with another {', '.join(other)}; move it away.")
    return FinishedRun(run, record)


def _other_settings(run: Run, record: dict[str, Any]) -> list[str]:
    """Return in what a result was not trained as is asked for; the machine's own choices say nothing."""
    found, usual, wanted = record["settings"], TrainConfig().to_json(), run.config.to_json()
    keys = [key for key in wanted if key not in ("spec", "tile", "seed", *_left_open(run))]
    other = [key for key in keys if found.get(key, usual[key]) != wanted[key]]
    return other if NetworkSpec.from_json(record["spec"]) == run.config.spec else ["network", *other]


def _left_open(run: Run) -> tuple[str, ...]:
    return ("precision",) if run.precision == "auto" else ()

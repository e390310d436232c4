"""How good a network is on a lab that it never saw: train on all labelled sets but one, score that one.

    python benchmarks/generalise.py SETS                       # run what is missing, print the table
    python benchmarks/generalise.py SETS --networks unet self-q4-k4 --left-out epfl --seeds 0 1 2
    python benchmarks/generalise.py --table                    # only print the table

SETS is a folder of labelled sets, each as `feedback-seg train` takes it. A network is `unet`, or `self`
with the pooling of its queries and keys: `self-q1-k16`, `self-q4-k4`. It is scored three times: by its
first round, by its second, and by the mean of both. All runs of one length have the
same recipe and, by seed, the same patches. Each finished run is a JSON file in
benchmarks/results/generalise; what was interrupted goes on from its last epoch.

The set that is left out is segmented as a user would, pixel size given, but specks are kept: sections
spread evenly over it, 16 million pixels at most. Only labelled classes count. No epoch is chosen by it.
Where a label leaves several classes open, the first runs took all alike; see ``Dataset.beliefs``.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.datasets.dataset import Dataset
    from napari_feedback_seg.models.model import Model

RESULTS = Path(__file__).parent / "results" / "generalise"
WEIGHTS = {"sstem": 1.5, "epfl": 1.5, "snemi_ac4": 1.0, "flyem_fib25": 0.5, "cdeep3m_mito": 0.75}
"""How often each set is drawn from; 1 for any other."""
PIXEL_SIZE_NM = 4.6
MOST_PIXELS = 16_000_000


@dataclass(frozen=True)
class Run:
    """One training and what it is scored on."""

    network: str
    left_out: str
    epochs: int
    patches: int
    batch: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder and of its result."""
        return f"{self.network}-without-{self.left_out}-{self.epochs}x{self.patches}-s{self.seed}"

    @property
    def path(self) -> Path:
        """Its result."""
        return RESULTS / f"{self.name}.json"


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, nargs="?", help="folder of labelled sets")
    parser.add_argument("-o", "--output", type=Path, default=Path("generalise"), help="folder of the runs")
    parser.add_argument("--networks", nargs="+", default=["unet", "self-q1-k16", "self-q4-k4"])
    parser.add_argument("--left-out", nargs="+", help="names of the folders to leave out; each if not given")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--patches", type=int, default=192, help="an epoch")
    parser.add_argument("--batch", type=int, default=4, help="patches a step")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, help="threads to compute with")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--table", action="store_true", help="only print the table")
    options = parser.parse_args()
    if not options.table:
        if options.sets is None:
            parser.error("name the folder of the labelled sets, or say --table")
        if options.threads:
            import torch

            torch.set_num_threads(options.threads)
        names = sorted(each.name for each in options.sets.iterdir() if each.is_dir())
        for seed in options.seeds:
            for left_out in options.left_out or names:
                for network in options.networks:
                    run = Run(network, left_out, options.epochs, options.patches, options.batch, seed)
                    if not run.path.exists():
                        perform(run, options.sets, names, options.output, options.device)
    print(table([json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]))


def perform(run: Run, folder: Path, names: Sequence[str], output: Path, device: str) -> None:
    """Train on all sets but one, score that one, and write the result."""
    from napari_feedback_seg.datasets.dataset import RARE
    from napari_feedback_seg.datasets.sstem import load_dataset
    from napari_feedback_seg.evaluation.train import TrainJob, run_training
    from napari_feedback_seg.models.model_file import load_model_file
    from napari_feedback_seg.terminal import watch_training
    from napari_feedback_seg.training.config import TrainConfig

    learnt = [name for name in names if name != run.left_out]
    config = TrainConfig(
        spec=network_spec(run.network),
        epochs=run.epochs,
        patches=run.patches,
        batch=run.batch,
        rare=0.5,
        seed=run.seed,
        staining="strong",
        validation_tiles=16,
        choose="last",
    )
    weights = tuple(WEIGHTS.get(name, 1.0) for name in learnt)
    job = TrainJob(run.name, 0, config, PIXEL_SIZE_NM, half=True, weights=weights)
    begun = (output / run.name / "last.pt").exists()
    events = run_training(
        [load_dataset(folder / name) for name in learnt], output / run.name, job, device=device, resume=begun
    )
    with closing(events):
        path, _ = watch_training(events)
    model = load_model_file(path)
    record = {
        "network": run.network,
        "left_out": run.left_out,
        "epochs": run.epochs,
        "patches": run.patches,
        "seed": run.seed,
        "rare_if_open": RARE,
        "learnt": learnt,
        "scores": left_out_scores(model, folder / run.left_out, device),
        "validation": {name: each["iou"] for name, each in model.card.scores["validation"]["sets"].items()},
        "recipe": model.card.recipe,
        "seconds": model.card.duration_s,
        "machine": model.card.machine,
        "version": model.card.version,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    run.path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def left_out_scores(model: Model, folder: Path, device: str) -> dict[str, Any]:
    """Score the set that was left out by the last round, by the first, and by the mean of both."""
    from napari_feedback_seg.datasets.sstem import load_dataset
    from napari_feedback_seg.evaluation.evaluate import score
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.networks import build_network
    from napari_feedback_seg.segmentation.prediction import SegmentOptions
    from napari_feedback_seg.terminal import drain

    data, spec = load_dataset(folder, cells=True), model.card.spec
    options = SegmentOptions(device=device, first_round=spec.rounds > 1, remove_specks=False)
    scores = drain(score(model, data, spread(data), options), f"scoring {folder.name}")
    if spec.rounds > 1:
        card = replace(model.card, spec=replace(spec, mean_of_rounds=True))
        network = build_network(card.spec).eval()
        network.load_state_dict(model.network.state_dict())
        options = replace(options, first_round=False)
        scores["mean_of_rounds"] = drain(score(Model(card, network), data, spread(data), options), "the mean")
    for part in (scores, scores.get("first_round", {}), scores.get("mean_of_rounds", {})):
        part.pop("confusion", None)
    return scores


def network_spec(name: str) -> Any:
    """Return the network of a name such as ``unet`` or ``self-q4-k4``, of width 16."""
    from napari_feedback_seg.networks.spec import NetworkSpec

    if name == "unet":
        return NetworkSpec.named("unet", width=16)
    found = re.fullmatch(r"(self|source_target)-q(\d+)-k(\d+)", name)
    if not found:
        raise SystemExit(f"A network is unet, or reads like self-q4-k4, not {name!r}.")
    pooling = {"query_pooling": int(found[2]), "key_pooling": int(found[3])}
    shared = {"width": 16, "query_channels": 8, "norm_per_round": True, "detach_first_round": False}
    return NetworkSpec.named(found[1], **shared, **pooling)


def spread(data: Dataset) -> list[int]:
    """Return sections spread evenly over a set, the last one included."""
    pixels = float(np.mean([each.size for each in data.labels]))
    count = min(len(data.labels), max(1, math.floor(MOST_PIXELS / pixels)))
    return sorted({int(z) for z in np.linspace(0, len(data.labels) - 1, count).round()})


def table(records: Sequence[dict[str, Any]]) -> str:
    """Return the Markdown table: a row for each network and length, a column for each set and class."""
    if not records:
        return "There is no result yet."
    columns = sorted({(each["left_out"], name) for each in records for name in measures(each["scores"])})
    lines = [
        "| network, patches (seeds) | "
        + " | ".join(f"{left_out} {name}" for left_out, name in columns)
        + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for network, length in sorted({(name_of(each), learnt_patches(each)) for each in records}):
        chosen = [each for each in records if (name_of(each), learnt_patches(each)) == (network, length)]
        seeds = sorted({each["seed"] for each in chosen})
        for of_round, what in (("", ""), ("first_round", ", round 1"), ("mean_of_rounds", ", mean of both")):
            cells = []
            for left_out, name in columns:
                found = [each["scores"] for each in chosen if each["left_out"] == left_out]
                values = [measures(each.get(of_round, {}) if of_round else each).get(name) for each in found]
                cells.append(mean_and_spread([value for value in values if value is not None]))
            if any(cells):
                named = f"{network}, {length} ({', '.join(map(str, seeds))})"
                lines.append(f"| {named}{what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def name_of(record: dict[str, Any]) -> str:
    """Return the network of a run, and how it took open labels: in the first runs all classes alike."""
    rare = record.get("rare_if_open", 1)
    return str(record["network"]) if rare == 1 else f"{record['network']}, rare classes {rare:g}"


def learnt_patches(record: dict[str, Any]) -> int:
    """Return how many patches a run has learnt from."""
    return int(record["epochs"] * record["patches"])


def measures(scores: dict[str, Any]) -> dict[str, float]:
    """Return what a column shows: IoU of each class in %, and the adapted Rand error."""
    found = {name: 100 * value for name, value in scores.get("iou", {}).items()}
    if "cells" in scores:
        found["Rand error"] = scores["cells"]["are"]
    return found


def mean_and_spread(values: Sequence[float]) -> str:
    """Return a mean, with the standard deviation where there are several."""
    if not values:
        return ""
    digits = 2 if max(values) < 1 else 1
    text = f"{np.mean(values):.{digits}f}"
    return f"{text} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else text


if __name__ == "__main__":
    main()

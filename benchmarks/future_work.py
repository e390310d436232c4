"""The paper's future work, beside what it is to replace: trained alike, with few epochs.

    python benchmarks/future_work.py DATA -o FOLDER
    python benchmarks/future_work.py DATA -o FOLDER --seeds 0 1 2 --epochs 30

DATA is a folder of labelled sections or ``sstem``. Feedback Attention (Self) on 128 x 128 crops:
exact attention, pooled keys and values, attention by locality-sensitive hashing, and
self-distillation with pooled ones. Each case runs in a process of its own and leaves a JSON in
FOLDER; what is there is not run again, and what was interrupted goes on from its last epoch. IoU is
on the validation sections, and seconds are of the fastest epoch. Memory is the peak of one training step
beyond what the process held before it.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_feedback_seg.training.config import TrainConfig

SIDE = 128

WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "exact": ({}, {}),
    "keys pooled 2 x 2": ({"key_pooling": 2}, {}),
    "keys pooled 4 x 4": ({"key_pooling": 4}, {}),
    "keys pooled 8 x 8": ({"key_pooling": 8}, {}),
    "keys pooled 16 x 16": ({"key_pooling": 16}, {}),
    "hashing, 8 buckets": ({"hashing": 8}, {}),
    "hashing, 32 buckets": ({"hashing": 32}, {}),
    "keys pooled 8 x 8, self-distillation 0.5": ({"key_pooling": 8}, {"distillation": 0.5}),
}


def main() -> None:
    """Run the cases that are missing, and print the table."""
    options = parse()
    if options.case:
        run_case(options, json.loads(options.case))
        return
    options.output.mkdir(parents=True, exist_ok=True)
    results = []
    for seed in options.seeds:
        for way in options.ways:
            case = {"way": way, "seed": seed, "epochs": options.epochs, "width": options.width}
            path = options.output / f"{name_of(case)}.json"
            if not path.exists() and not options.table:
                subprocess.run([*sys.orig_argv, "--case", json.dumps(case)], check=True)
            if path.exists():
                results.append(json.loads(path.read_text(encoding="utf-8")))
                print(f"{way}, seed {seed}: {results[-1]['mean_iou']:.2%}", flush=True)
    print(table(results))


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="folder of a data set, or sstem")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's own choice)")
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


def name_of(case: dict[str, Any]) -> str:
    """Return the name of a case's folder and file."""
    way = re.sub(r"\W+", "-", case["way"])
    return f"{way}-w{case['width']}-e{case['epochs']}-s{case['seed']}"


def run_case(options: argparse.Namespace, case: dict[str, Any]) -> None:
    """Train and score one case, in this process."""
    import torch

    from napari_feedback_seg.evaluation.train import TrainJob, run_training
    from napari_feedback_seg.networks.spec import NetworkSpec
    from napari_feedback_seg.training.config import TrainConfig

    if options.threads:
        torch.set_num_threads(options.threads)
    of_spec, of_recipe = WAYS[case["way"]]
    spec = NetworkSpec.named("self", width=case["width"], **{"query_channels": 8, **of_spec})
    config = TrainConfig(spec=spec, epochs=case["epochs"], tile=SIDE, seed=case["seed"], **of_recipe)
    megabytes = step_memory(config)
    folder = options.output / name_of(case)
    resume = (folder / "last.pt").exists()
    job = TrainJob(name_of(case), 0, config)
    events = run_training(options.data, folder, job, device="cpu", resume=resume)
    while True:
        try:
            next(events)
        except StopIteration as stop:
            _, scores = stop.value
            break
    with (folder / "log.csv").open(encoding="utf-8") as file:
        seconds = [0.0] + [float(line["seconds"]) for line in csv.DictReader(file)]  # from the start
    result = {
        **case,
        "mean_iou": scores["mean_iou"],
        "first_round": scores["first_round"]["mean_iou"],
        "seconds": min(end - start for start, end in pairwise(seconds)),
        "peak_mb": round(megabytes),
        "threads": torch.get_num_threads(),
    }
    path = options.output / f"{name_of(case)}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def step_memory(config: TrainConfig) -> float:
    """Return the peak memory of a training step in MB; to be asked for before anything else is done."""
    import torch
    from attention import Memory

    from napari_feedback_seg.networks import build_network
    from napari_feedback_seg.training.loop import autocast, channels_last
    from napari_feedback_seg.training.losses import SegmentationLoss

    device = torch.device("cpu")
    network = channels_last(build_network(config.spec).train())
    optimiser = torch.optim.AdamW(network.parameters())
    loss_of = SegmentationLoss(
        (1.0,) * config.spec.classes, config.dice, config.first_round, config.distillation
    )

    def step(side: int) -> None:
        images = torch.randn(config.batch, 1, side, side).to(memory_format=torch.channels_last)
        with autocast(device, config.precision):
            rounds = network(images)
        loss = loss_of(rounds, torch.zeros(config.batch, side, side, dtype=torch.long))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    step(2 * config.spec.multiple)  # what is made once
    memory = Memory(device)
    step(config.tile)
    return memory.peak() / 1e6


def table(results: list[dict[str, Any]]) -> str:
    """Return a row for each way, with the mean over its seeds."""
    lines = ["| | runs | mean IoU, % | first output, % | s an epoch | MB |", "|---|---|---|---|---|---|"]
    for way in WAYS:
        runs = [each for each in results if each["way"] == way]
        if not runs:
            continue
        second, first = (
            100 * sum(each[name] for each in runs) / len(runs) for name in ("mean_iou", "first_round")
        )
        seconds = min(each["seconds"] for each in runs)
        peak = f"{min(each['peak_mb'] for each in runs):.0f}"
        lines.append(f"| {way} | {len(runs)} | {second:.1f} | {first:.1f} | {seconds:.0f} | {peak} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

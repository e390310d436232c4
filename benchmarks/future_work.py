"""The paper's future work, beside what it is to replace: trained alike, with few epochs.

    python benchmarks/future_work.py DATA -o FOLDER
    python benchmarks/future_work.py DATA -o FOLDER --seeds 0 1 2 --epochs 30
    python benchmarks/future_work.py DATA -o FOLDER --costs

DATA is a folder of labelled sections or ``sstem``. Feedback Attention (Self) on 128 x 128 crops:
exact attention, and pooled keys and values. Each case runs in a process of its own and leaves a
JSON in FOLDER; what is there is not run again, and what was interrupted goes on from its last epoch.
IoU is on the validation sections. ``--costs`` measures one training step of every way, one after
another, on a machine that does nothing else: its seconds, the median of several, and its peak
memory beyond what the process held before it. The table is of all that is in FOLDER with these
epochs and this width.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_feedback_seg.training.config import TrainConfig

SIDE = 128
STEPS = 5  # timed

WAYS = {
    "exact": 1,
    "keys pooled 2 x 2": 2,
    "keys pooled 4 x 4": 4,
    "keys pooled 8 x 8": 8,
    "keys pooled 16 x 16": 16,
}
"""Their key pooling."""


def main() -> None:
    """Run the cases that are missing, and print the table."""
    options = parse()
    if options.case:
        run_case(options, json.loads(options.case))
        return
    if options.cost:
        print(json.dumps(measure_step(config_of(options.cost, options))))
        return
    options.output.mkdir(parents=True, exist_ok=True)
    costs = options.output / "costs.json"
    if options.costs:
        costs.write_text(json.dumps(measure_costs(options), indent=2) + "\n", encoding="utf-8")
    if not (options.costs or options.table):
        for seed, way in product(options.seeds, options.ways):
            case = {"way": way, "seed": seed, "epochs": options.epochs, "width": options.width}
            if not (options.output / f"{name_of(case)}.json").exists():
                subprocess.run([*sys.orig_argv, "--case", json.dumps(case)], check=True)
    found = [json.loads(path.read_text(encoding="utf-8")) for path in options.output.glob("*-s*.json")]
    same = [each for each in found if (each["epochs"], each["width"]) == (options.epochs, options.width)]
    print(table(same, json.loads(costs.read_text(encoding="utf-8")) if costs.exists() else {}))


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="folder of a data set, or sstem")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's own choice)")
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--costs", action="store_true", help="measure a step of every way")
    parser.add_argument("--cost", help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


def name_of(case: dict[str, Any]) -> str:
    """Return the name of a case's folder and file."""
    way = re.sub(r"\W+", "-", case["way"])
    return f"{way}-w{case['width']}-e{case['epochs']}-s{case['seed']}"


def config_of(way: str, options: argparse.Namespace, seed: int = 0) -> TrainConfig:
    """Return how a way is trained."""
    import torch

    from napari_feedback_seg.networks.spec import NetworkSpec
    from napari_feedback_seg.training.config import TrainConfig

    if options.threads:
        torch.set_num_threads(options.threads)
    spec = NetworkSpec.named("self", width=options.width, query_channels=8, key_pooling=WAYS[way])
    return TrainConfig(spec=spec, epochs=options.epochs, tile=SIDE, seed=seed)


def run_case(options: argparse.Namespace, case: dict[str, Any]) -> None:
    """Train and score one case, in this process."""
    from napari_feedback_seg.evaluation.train import TrainJob, run_training

    name = name_of(case)
    folder = options.output / name
    resume = (folder / "last.pt").exists()
    job = TrainJob(name, 0, config_of(case["way"], options, case["seed"]))
    events = run_training([options.data], folder, job, device="cpu", resume=resume)
    while True:
        try:
            next(events)
        except StopIteration as stop:
            _, scores = stop.value
            break
    result = {
        **case,
        "mean_iou": scores["mean_iou"],
        "first_round": scores["first_round"]["mean_iou"],
    }
    path = options.output / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure_costs(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return seconds and megabytes of a training step of every way, each from a process of its own."""
    costs = {}
    for way in options.ways:
        command = [*sys.orig_argv, "--cost", way]
        costs[way] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        print(f"{way}: {costs[way]}", flush=True)
    return costs


def measure_step(config: TrainConfig) -> dict[str, float]:
    """Return seconds and peak megabytes of a training step; to be asked for before anything else is done."""
    import torch
    from attention import Memory

    from napari_feedback_seg.networks import build_network
    from napari_feedback_seg.segmentation.device import autocast
    from napari_feedback_seg.training.loop import channels_last
    from napari_feedback_seg.training.losses import SegmentationLoss, exactly

    device = torch.device("cpu")
    network = channels_last(build_network(config.spec).train())
    optimiser = torch.optim.AdamW(network.parameters())
    loss_of = SegmentationLoss((1.0,) * config.spec.classes, config.dice, config.first_round)

    def step(side: int) -> float:
        started = time.perf_counter()
        images = torch.randn(config.batch, 1, side, side).to(memory_format=torch.channels_last)
        with autocast(device, config.precision):
            rounds = network(images)
        loss = loss_of(rounds, exactly(torch.zeros(config.batch, side, side), config.spec.classes))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return time.perf_counter() - started

    step(2 * config.spec.multiple)  # what is made once
    memory = Memory(device)
    step(config.tile)
    peak = memory.peak() / 1e6
    seconds = statistics.median(step(config.tile) for _ in range(STEPS))
    return {"seconds": round(seconds, 3), "peak_mb": round(peak)}


def table(results: list[dict[str, Any]], costs: dict[str, dict[str, float]]) -> str:
    """Return a row for each way, with the mean over its seeds."""
    lines = [
        "| | mean IoU of each seed, % | mean | first output | s a step | MB |",
        "|---|---|---|---|---|---|",
    ]
    for way in dict.fromkeys([*WAYS, *(each["way"] for each in results)]):
        runs = sorted((each for each in results if each["way"] == way), key=lambda run: run["seed"])
        if not runs:
            continue
        second, first = (
            100 * statistics.mean(each[name] for each in runs) for name in ("mean_iou", "first_round")
        )
        each_seed = ", ".join(f"{run['mean_iou']:.1%}"[:-1] for run in runs)
        cost = costs.get(way, {})
        lines.append(
            f"| {way} | {each_seed} | {second:.1f} | {first:.1f}"
            f" | {cost.get('seconds', '')} | {cost.get('peak_mb', '')} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

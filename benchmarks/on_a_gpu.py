"""Use a quarter of an hour on a GPU: train the accurate model on, run the tests that need CUDA, time it.

    python benchmarks/on_a_gpu.py pack SETS FOLDER --megabytes 48
    python benchmarks/on_a_gpu.py run FOLDER OUT --minutes 8
    python benchmarks/on_a_gpu.py run FOLDER OUT --minutes 8 --start OUT-of-before/accurate.safetensors
    python benchmarks/on_a_gpu.py run FOLDER OUT --device cpu --width 4 --minutes 0.5 --quick   # a dry run

`pack` copies as many sections of labelled sets as fit, spread evenly over each set, so that they can be
carried to the machine with the GPU. `run` times an epoch, trains for as many as fit into the minutes,
and leaves in OUT: `accurate.safetensors` (half precision, under 16 MB at width 32), the log of the
training, `tests.txt`, `segment.txt` and `attention.txt`. A later run goes on from the weights of
an earlier one, with half the learning rate and other patches.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from skimage.io import imsave

from napari_feedback_seg.datasets.sstem import load_dataset
from napari_feedback_seg.evaluation.train import TrainJob, run_training
from napari_feedback_seg.models.model_file import read_card
from napari_feedback_seg.networks.spec import NetworkSpec
from napari_feedback_seg.terminal import watch_training
from napari_feedback_seg.training.config import TrainConfig

if TYPE_CHECKING:
    from napari_feedback_seg.datasets.dataset import Dataset

WEIGHTS = {"sstem": 2.0, "epfl": 1.5, "snemi_ac4": 1.0, "flyem_fib25": 0.5, "cdeep3m_mito": 0.75}
PIXEL_SIZE_NM = 4.6
ROOT = Path(__file__).parents[1]


def main() -> None:
    """Pack or run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="copy sections of labelled sets")
    packing.add_argument("sets", type=Path)
    packing.add_argument("folder", type=Path)
    packing.add_argument("--megabytes", type=float, default=48)
    running = commands.add_parser("run", help="train, test and time")
    running.add_argument("folder", type=Path)
    running.add_argument("out", type=Path)
    running.add_argument("--minutes", type=float, default=8, help="of training")
    running.add_argument("--start", default="", help="weights to go on from")
    running.add_argument("--width", type=int, default=32)
    running.add_argument("--batch", type=int, default=16)
    running.add_argument("--patches", type=int, default=768, help="an epoch")
    running.add_argument("--seed", type=int, default=0, help="another one for each part of a training")
    running.add_argument("--device", default="cuda")
    running.add_argument("--quick", action="store_true", help="few tests and small sizes, for a dry run")
    options = parser.parse_args()
    if options.command == "pack":
        pack(options.sets, options.folder, options.megabytes)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    train(options)
    check(options)


def pack(sets: Path, folder: Path, megabytes: float) -> None:
    """Write sections of each set as `dataset.json`, `image` and `label`, as many as fit."""
    names = sorted(each.name for each in sets.iterdir() if each.is_dir())
    loaded = {name: load_dataset(sets / name) for name in names}
    pixels = sum(each.size for data in loaded.values() for each in data.images)
    share = min(1.0, megabytes * 1e6 / pixels)  # EM compresses badly: a byte a pixel
    for name, data in loaded.items():
        count = max(5, int(share * len(data.images)))
        chosen = sorted({int(z) for z in np.linspace(0, len(data.images) - 1, count).round()})
        write_set(data, [z for z in chosen if z not in data.test], folder / name)
    size = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB")


def write_set(data: Dataset, chosen: list[int], folder: Path) -> None:
    """Write some sections of a set."""
    for part in ("image", "label"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for z in chosen:
        imsave(folder / "image" / f"{z:04d}.png", data.images[z], check_contrast=False)
        imsave(folder / "label" / f"{z:04d}.png", data.labels[z], check_contrast=False)
    names = {each.value: each.name for each in data.classes}
    codes = data.codes or {value: (value,) for value in names}
    about = {
        "name": data.name,
        "pixel_size_nm": data.pixel_size_nm,
        "codes": {str(code): [names[value] for value in allowed] for code, allowed in codes.items()},
        "licence": data.licence,
        "citation": data.citation,
    }
    (folder / "dataset.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def train(options: argparse.Namespace) -> None:
    """Train for the minutes that there are; the first epoch, of another training, tells how many fit."""
    spec = NetworkSpec.named(
        "self",
        width=options.width,
        query_pooling=4,
        key_pooling=4,
        query_channels=8,
        norm_per_round=True,
        detach_first_round=False,
    )
    config = TrainConfig(
        spec,
        epochs=1,
        patches=options.patches,
        batch=options.batch,
        learning_rate=1e-3 if options.start else 2e-3,
        rare=0.5,
        seed=options.seed,
        staining="strong",
        validation_tiles=8,
        choose="last",
    )
    names = sorted(each.name for each in options.folder.iterdir() if each.is_dir())
    datasets = [load_dataset(options.folder / name) for name in names]
    weights = tuple(WEIGHTS.get(name, 1.0) for name in names)
    job = TrainJob("accurate", 0, config, PIXEL_SIZE_NM, half=True, weights=weights, start=options.start)
    run = options.out / "training"
    shutil.rmtree(run, ignore_errors=True)
    began = time.perf_counter()
    events = run_training(datasets, run, job, device=options.device)
    with closing(events):
        for event in events:
            if type(event).__name__ == "EpochDone":
                break
    epoch = time.perf_counter() - began
    shutil.rmtree(run)
    epochs = max(1, int(60 * options.minutes / epoch))
    print(f"{epoch:.1f} s an epoch, data and start included: {epochs} epochs", flush=True)
    job = replace(job, config=replace(config, epochs=epochs))
    path, _ = watch_training(run_training(datasets, run, job, device=options.device))
    shutil.copy(path, options.out / path.name)
    shutil.copy(run / "log.csv", options.out / "log.csv")
    shutil.rmtree(run)  # its checkpoints are too large to bring back
    print(json.dumps(read_card(options.out / path.name).scores["validation"]["iou"]))


def check(options: argparse.Namespace) -> None:
    """Run the tests that need CUDA, and the benchmarks; what each prints goes into a file."""
    tests = ["tests/networks/test_attention.py"] if options.quick else ["tests"]
    model = str(options.out / "accurate.safetensors")
    sizes = ["256"] if options.quick else ["1024", "4096"]
    for name, command in {
        "tests": ["-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", "cuda or Cuda or gpu"],
        "segment": [
            *("benchmarks/segment.py", "--device", options.device, "--sizes", *sizes),
            *("--overlaps", "0.25", "--model", "default", model),
        ],
        "attention": [
            *("benchmarks/attention.py", "--device", options.device),
            *(["--quick"] if options.quick else ["--sizes", "128", "256"]),
        ],
    }.items():
        with (options.out / f"{name}.txt").open("w", encoding="utf-8") as file:
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
            done = subprocess.run(  # what is left of the time belongs to the others
                [sys.executable, *command],
                check=False,
                cwd=ROOT,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        print(f"{name}: exit code {done.returncode}", flush=True)


if __name__ == "__main__":
    main()

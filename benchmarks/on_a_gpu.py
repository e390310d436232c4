"""Use a quarter of an hour on a GPU: run the tests that need CUDA, time it, train models, compare networks.

    python benchmarks/on_a_gpu.py pack SETS FOLDER            # here: what must be carried to the GPU
    python benchmarks/on_a_gpu.py steps FOLDER OUT            # there: how fast a training would be
    python benchmarks/on_a_gpu.py run FOLDER OUT --minutes 8  # there: all trainings, side by side
    python benchmarks/on_a_gpu.py run FOLDER OUT --start MODELS --jobs accurate  # there: go on with one
    python benchmarks/on_a_gpu.py check FOLDER OUT            # there: tests and benchmarks

`pack` writes labelled sets as small as they get without harm: images as WebP of quality 86 (of ssTEM
without loss), of a set with many sections in a row only some, and never a test section. `run` trains the
models that are bundled on all sets, and by benchmarks/generalise.py the networks that are compared on all
sets but one, each in a process of its own with its own processor cores. A dry run without a GPU:

    python benchmarks/on_a_gpu.py steps FOLDER OUT --device cpu --quick
    python benchmarks/on_a_gpu.py check FOLDER OUT --device cpu --quick
    python benchmarks/on_a_gpu.py run FOLDER OUT --device cpu --quick
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from napari_feedback_seg.datasets.sstem import load_dataset

if TYPE_CHECKING:
    from napari_feedback_seg.datasets.dataset import Dataset

ROOT = Path(__file__).parents[1]
WEIGHTS = {"sstem": 2.0, "epfl": 1.5, "snemi_ac4": 1.0, "flyem_fib25": 0.5, "cdeep3m_mito": 0.75}
SECTIONS = {"snemi_ac4": 20, "flyem_fib25": 160, "cdeep3m_mito": 15}
"""How many sections of a set are carried; all of another one."""
PIXEL_SIZE_NM = 4.6
POOLED = {
    "query_pooling": 4,
    "key_pooling": 4,
    "query_channels": 8,
    "norm_per_round": True,
    "detach_first_round": False,
}


def main() -> None:
    """Pack, check, run, or do one of the parts that `check` and `run` start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="copy labelled sets, small")
    packing.add_argument("sets", type=Path)
    packing.add_argument("folder", type=Path)
    for name in ("steps", "run", "check"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        command.add_argument("out", type=Path)
        command.add_argument("--device", default="cuda")
        command.add_argument("--quick", action="store_true", help="small sizes, for a dry run")
        command.add_argument("--minutes", type=float, default=9, help="after which what still runs is ended")
        command.add_argument("--jobs", nargs="+", default=JOBS, help="which trainings")
        command.add_argument("--start", type=Path, help="folder of models of a quarter before, to go on from")
        command.add_argument("--general", type=int, default=12, help="epochs of 3072 patches")
        command.add_argument("--accurate", type=int, default=12, help="epochs of 3072 patches")
        command.add_argument("--left-out", type=int, default=5, help="epochs of 1536 patches")
    training = commands.add_parser("train", help="train one model on all sets")
    training.add_argument("sets", type=Path)
    training.add_argument("run", type=Path)
    training.add_argument("--network", default="self")
    training.add_argument("--width", type=int, default=16)
    training.add_argument("--epochs", type=int, default=30)
    training.add_argument("--patches", type=int, default=3072)
    training.add_argument("--batch", type=int, default=16)
    training.add_argument("--only", nargs="+", help="names of sets; all if not given")
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--start", default="", help="weights to go on from")
    training.add_argument("--device", default="cuda")
    timing = commands.add_parser("speed", help="time training steps")
    timing.add_argument("--network", default="self")
    timing.add_argument("--width", type=int, default=16)
    timing.add_argument("--batch", type=int, default=8)
    timing.add_argument("--seconds", type=float, default=5)
    timing.add_argument("--device", default="cuda")
    correcting = commands.add_parser("corrections", help="time a fine-tune, and the answer to a stroke")
    correcting.add_argument("--side", type=int, default=1024)
    correcting.add_argument("--device", default="cuda")
    options = parser.parse_args()
    parts = {each.__name__: each for each in (pack, steps, run, check, train, speed, corrections)}
    parts[options.command](options)


def pack(options: argparse.Namespace) -> None:
    """Write each set as `dataset.json`, `image`, `label` and `ids`."""
    for source in sorted(each for each in options.sets.iterdir() if each.is_dir()):
        data = load_dataset(source, cells=True)
        training, validation = data.fold(0)
        most = SECTIONS.get(source.name, len(training) + len(validation))
        chosen = [*evenly(training, most * 4 // 5), *evenly(validation, most // 5)]
        write_set(data, chosen, options.folder / source.name, lossless=source.name == "sstem")
        size = sum(each.stat().st_size for each in (options.folder / source.name).rglob("*.*"))
        print(f"{source.name}: {len(chosen)} sections, {size / 1e6:.1f} MB", flush=True)


def evenly(sections: tuple[int, ...], most: int) -> list[int]:
    """Return at most so many sections, spread evenly."""
    indices = np.linspace(0, len(sections) - 1, min(most, len(sections))).round().astype(int)
    return [sections[index] for index in indices]


def write_set(data: Dataset, chosen: list[int], folder: Path, *, lossless: bool) -> None:
    """Write some sections of a set."""
    for part in ("image", "label", "ids"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for z in chosen:
        image = Image.fromarray(np.asarray(data.images[z]))
        image.save(folder / "image" / f"{z:04d}.webp", lossless=lossless, quality=86, method=6)
        Image.fromarray(data.labels[z]).save(folder / "label" / f"{z:04d}.png", optimize=True)
        if data.cells:
            cells = Image.fromarray(data.cells[z].astype(np.uint16))
            cells.save(folder / "ids" / f"{z:04d}.png", optimize=True)
    if not data.cells:
        (folder / "ids").rmdir()
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


def unpacked(folder: Path) -> Path:
    """Return a folder of the sets as they are read: images as PNG."""
    sets = folder.with_name(f"{folder.name}-read")
    if not sets.exists():
        part = sets.with_suffix(".part")
        shutil.copytree(folder, part, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.webp"))
        with ThreadPool(len(os.sched_getaffinity(0))) as pool:
            pool.map(lambda path: decode(path, folder, part), sorted(folder.glob("*/image/*.webp")))
        part.rename(sets)
    return sets


def decode(path: Path, folder: Path, into: Path) -> None:
    """Write a WebP image as PNG."""
    target = (into / path.relative_to(folder)).with_suffix(".png")
    target.parent.mkdir(exist_ok=True)
    with Image.open(path) as image:
        image.convert("L").save(target, compress_level=1)


@dataclass
class Job:
    """A process to start, and the processor cores that it gets."""

    name: str
    arguments: list[str]
    cores: int = 1
    limit: float = 1e9
    given: list[int] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    began: float = 0


def start(job: Job, cores: list[int], log: Path) -> None:
    """Start a process on its cores; what it prints goes into a file."""
    job.given = [cores.pop(0) for _ in range(min(job.cores, len(cores)))]
    pinned = ["taskset", "-c", ",".join(map(str, job.given))]
    threads = {"OMP_NUM_THREADS": str(len(job.given)), "PYTHONUNBUFFERED": "1"}
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    with log.open("wb") as file:
        job.process = subprocess.Popen(
            [*pinned, sys.executable, *job.arguments],
            cwd=ROOT,
            env={**os.environ, **threads, "PYTHONPATH": paths},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    job.began = time.monotonic()


def perform(jobs: list[Job], out: Path, minutes: float) -> dict[str, Any]:
    """Run jobs in their order, as many at a time as have cores; end those that are left at the end."""
    cores, waiting, running = sorted(os.sched_getaffinity(0)), list(jobs), []
    end, done = time.monotonic() + 60 * minutes, {}
    for job in jobs:
        job.cores = min(job.cores, len(cores))
    while waiting or running:
        while waiting and len(cores) >= waiting[0].cores:
            job = waiting.pop(0)
            start(job, cores, out / f"{job.name}.txt")
            running.append(job)
        time.sleep(0.2)
        now = time.monotonic()
        if now > end:
            waiting.clear()
        for job in list(running):
            if now > min(end, job.began + job.limit):
                job.process.kill()
            elif job.process.poll() is None:
                continue
            done[job.name] = job.process.wait()
            print(f"{job.name}: exit code {done[job.name]} after {now - job.began:.0f} s", flush=True)
            running.remove(job)
            cores.extend(job.given)
    return done


def steps(options: argparse.Namespace) -> None:
    """Time training steps alone and side by side."""
    options.out.mkdir(parents=True, exist_ok=True)
    unpacked(options.folder)
    this, device = str(Path(__file__)), ["--device", options.device]
    seconds = ["--seconds", "1" if options.quick else "4"]
    alone = [("unet", 16, 16), ("self", 16, 8), ("self", 32, 16)]
    if options.quick:
        alone = [("unet", 4, 2)]
    for network, width, batch in alone:
        named = ["--network", network, "--width", str(width), "--batch", str(batch)]
        job = Job(f"speed-{network}-{width}-{batch}", [this, "speed", *named, *seconds, *device], 2, 60)
        perform([job], options.out, 1)
        print((options.out / f"{job.name}.txt").read_text(encoding="utf-8")[-400:], flush=True)
    named = ["--network", "self", "--width", "4" if options.quick else "16", "--batch", "8"]
    beside = [
        Job(f"beside-{number}", [this, "speed", *named, *seconds, *device], 1, 60)
        for number in range(2 if options.quick else 12)
    ]
    perform(beside, options.out, 1)
    for job in beside:
        print((options.out / f"{job.name}.txt").read_text(encoding="utf-8")[-100:].strip(), flush=True)


def check(options: argparse.Namespace) -> None:
    """Run the benchmarks on the GPU, and the tests that need it."""
    options.out.mkdir(parents=True, exist_ok=True)
    this, device = str(Path(__file__)), ["--device", options.device]
    sizes = ["256"] if options.quick else ["1024", "4096"]
    attention = ["--quick"] if options.quick else ["--sizes", "128", "256", "--seconds", "5"]
    tests = ["tests/networks", *(f"tests/segmentation/test_{name}.py" for name in ("device", "inference"))]
    jobs = [
        Job("segment", ["benchmarks/segment.py", *device, "--sizes", *sizes, "--overlaps", "0.25"], 16, 60),
        Job("attention", ["benchmarks/attention.py", *device, *attention], 16, 60),
        Job(
            "corrections",
            [this, "corrections", *device, *(["--side", "256"] if options.quick else [])],
            16,
            90,
        ),
        Job("tests", ["-m", "pytest", "-q", *PLAIN, *tests, "-k", "cuda or device"], 16, 120),
    ]
    for job in jobs:
        perform([job], options.out, 2)
        print((options.out / f"{job.name}.txt").read_text(encoding="utf-8")[-1500:], flush=True)


PLAIN = ["-c", os.devnull, "--rootdir", ".", "--import-mode=importlib", "-p", "no:cacheprovider"]
"""Tests without the settings of the project, some of which want plugins of pytest."""
JOBS = ["general", "accurate", "general-unet", "sstem", "epfl", "snemi_ac4", "flyem_fib25", "cdeep3m_mito"]


def run(options: argparse.Namespace) -> None:
    """Train the models on all sets, and compare networks on a set that is left out; three seeds of each."""
    options.out.mkdir(parents=True, exist_ok=True)
    began, work = time.monotonic(), options.folder.with_name(f"{options.folder.name}-work").resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    sets, device = unpacked(options.folder).resolve(), ["--device", options.device]
    epochs = {"general": options.general, "general-unet": options.general, "accurate": options.accurate}
    size = ["--patches", "4", "--batch", "2", "--epochs", "1", "--width", "4"] if options.quick else []
    jobs = []
    for name in ("accurate", "general", "general-unet"):
        if name in options.jobs:
            network = ["--network", "unet" if name == "general-unet" else "self"]
            width = ["--width", "32" if name == "accurate" else "16", "--epochs", str(epochs[name])]
            train_it = [str(Path(__file__)), "train", str(sets), str(work / name), *network, *width]
            before = options.start / f"{name}.safetensors" if options.start else None
            go_on = ["--start", str(before)] if before and before.exists() else []
            jobs.append(Job(name, [*train_it, *size, *go_on, *device], 2))
    length = ["--epochs", str(options.left_out), "--patches", "1536", "--batch", "8"]
    if options.quick:
        length = ["--epochs", "1", "--patches", "4", "--batch", "2"]
    for seed in range(3):
        for left_out in ("epfl", "snemi_ac4", "cdeep3m_mito", "flyem_fib25", "sstem"):
            networks = ["self-q4-k4", "unet"]
            if left_out in ("epfl", "snemi_ac4"):
                networks.append("self-q1-k16")
            for network in networks if left_out in options.jobs else ():
                named = ["--networks", network, "--left-out", left_out, "--seeds", str(seed)]
                generalise = ["benchmarks/generalise.py", str(sets), "-o", str(work), *named, *length]
                jobs.append(Job(f"{network}-{left_out}-{seed}", [*generalise, *device], 1))
    logs = work / "logs"
    logs.mkdir()
    print(perform(jobs, logs, options.minutes - (time.monotonic() - began) / 60))
    collect(work, options.out)


def collect(work: Path, out: Path) -> None:
    """Copy models, rescue those that did not finish, and put the small files into one archive."""
    for name in ("accurate", "general", "general-unet"):
        model, last = work / name / f"{name}.safetensors", work / name / "last.pt"
        if model.exists():
            shutil.copy(model, out)
        elif last.exists():
            rescue(last, out / f"{name}-unfinished.pt")
    for path in sorted(work.glob("self-q4-k4-without-*-s0/*.safetensors")):
        if "sstem" not in path.name:
            shutil.copy(path, out)
    with tarfile.open(out / "records.tar.gz", "w:gz") as archive:
        for path in sorted((ROOT / "benchmarks" / "results" / "generalise").glob("*.json")):
            archive.add(path, f"generalise/{path.name}")
        for path in sorted([*work.glob("logs/*.txt"), *work.glob("*/log.csv"), *work.glob("*/job.json")]):
            archive.add(path, f"{path.parent.name}/{path.name}")


def rescue(last: Path, target: Path) -> None:
    """Keep the averaged weights of a training that did not finish, in 16 bits."""
    import torch

    state = torch.load(last, weights_only=True, map_location="cpu")
    weights = {
        name: value.half() if value.is_floating_point() and value.ndim > 1 else value
        for name, value in state["average"].items()
    }
    torch.save({"average": weights, "config": state["config"], "progress": state["progress"]}, target)


def train(options: argparse.Namespace) -> None:
    """Train one model on all sets, or on some."""
    from napari_feedback_seg.evaluation.train import TrainJob, run_training
    from napari_feedback_seg.models.model_file import read_card
    from napari_feedback_seg.networks.spec import NetworkSpec
    from napari_feedback_seg.terminal import watch_training
    from napari_feedback_seg.training.config import TrainConfig

    others = {} if options.network == "unet" else POOLED
    config = TrainConfig(
        NetworkSpec.named(options.network, width=options.width, **others),
        epochs=options.epochs,
        patches=options.patches,
        batch=options.batch,
        learning_rate=1e-3 if options.start else 2e-3,
        rare=0.5,
        seed=options.seed,
        staining="strong",
        validation_tiles=16,
        choose="last",
    )
    names = options.only or sorted(each.name for each in options.sets.iterdir() if each.is_dir())
    weights = tuple(WEIGHTS.get(name, 1.0) for name in names)
    job = TrainJob(
        options.run.name, 0, config, PIXEL_SIZE_NM, half=True, weights=weights, start=options.start
    )
    datasets = [load_dataset(options.sets / name) for name in names]
    with closing(run_training(datasets, options.run, job, device=options.device)) as events:
        path, _ = watch_training(events)
    print(json.dumps(read_card(path).scores["validation"]["iou"]))


def speed(options: argparse.Namespace) -> None:
    """Print how many patches a second a training step takes in, without making them."""
    import torch

    from napari_feedback_seg.networks import build_network
    from napari_feedback_seg.networks.spec import NetworkSpec
    from napari_feedback_seg.segmentation.device import autocast
    from napari_feedback_seg.training.losses import SegmentationLoss

    device = torch.device(options.device)
    others = {} if options.network == "unet" else POOLED
    network = build_network(NetworkSpec.named(options.network, width=options.width, **others)).to(device)
    network.to(memory_format=torch.channels_last)
    network.train()
    images = torch.randn(options.batch, 1, 256, 256, device=device)
    possible = torch.randint(0, 4, (options.batch, 256, 256), device=device)[:, None] == torch.arange(
        4, device=device
    ).view(1, 4, 1, 1)
    loss_of = SegmentationLoss((1.0,) * 4, 1.0, 0.4).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)

    def step() -> float:
        with autocast(device, "bf16"):
            rounds = network(images)
        loss = loss_of(rounds, possible)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return float(loss.item())

    for _ in range(3):
        step()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < options.seconds:
        step()
        count += 1
    taken = (time.perf_counter() - began) / count
    print(
        f"{options.network} {options.width}, batch {options.batch}: {1000 * taken:.1f} ms a step, "
        f"{options.batch / taken:.0f} patches a second"
    )


def corrections(options: argparse.Namespace) -> None:
    """Time the answer to strokes and a fine-tune on them, on an inverted section made by code."""
    from napari_feedback_seg import load_model
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.correction.finetune import finetune
    from napari_feedback_seg.correction.instant import InstantAnswers
    from napari_feedback_seg.datasets.builtin import builtin_section
    from napari_feedback_seg.terminal import drain

    sample, model = builtin_section(options.side, seed=1), load_model("default")
    painted, view = np.zeros_like(sample.labels), (slice(0, options.side), slice(0, options.side))
    answers = InstantAnswers(model, device=options.device)
    drain(answers.answer(CorrectedSection(sample.image, painted), view), "looking at the section")
    random, times = np.random.default_rng(0), []
    for _ in range(12):
        row, column = random.integers(0, options.side - 24, 2)
        stroke = np.s_[row : row + 4, column : column + 24]
        painted[stroke] = sample.labels[stroke]
        section = CorrectedSection(sample.image, painted.copy())
        began = time.perf_counter()
        answers.set_strokes([section])
        next(each for each in answers.fit() if each.changed)
        drain(answers.answer(section, view), "answering")
        times.append(time.perf_counter() - began)
    print(f"stroke to view of {options.side} px: {np.median(times):.3f} s, median of {len(times)}")
    began = time.perf_counter()
    finetune(model, 255 - sample.image, painted, device=options.device)
    print(f"fine-tune on {len(times)} strokes, inverted: {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()

"""How long a volume takes, with one worker or more, and how much memory; what the scheduler can give out.

Seconds are those of a clock, and count on a machine that does nothing else; ``cpu_s`` are of all processes,
with their start. On two cores it takes eight minutes, and 26 with ``--sections 64``:

    python benchmarks/volume.py --output volume.json

The volume is made by code. Each way of segmenting it is a process of its own, so that its memory can be told.
One process computes in one thread, as each worker does: two workers are compared with twice its pace.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile

from napari_feedback_seg.volumes.plan import InBlocks
from napari_feedback_seg.volumes.todo import Blocks

SECOND = 0.1
SIDE = 4096
"""Pixels of a block, each way, in the simulation."""


def make(folder: Path, sections: int, side: int) -> tuple[Path, Path]:
    """Write the volume as OME-Zarr and as TIFF."""
    import zarr

    from napari_feedback_seg.datasets.builtin import builtin_section

    first = np.tile(builtin_section(512, seed=0).image, (side // 512 + 1,) * 2)[:side, :side]
    store = folder / "em.zarr"
    group = zarr.open_group(str(store), mode="w")
    array = group.create_array(
        "0", shape=(sections, side, side), chunks=(1, 512, 512), dtype="uint8", dimension_names=list("zyx")
    )
    transforms = [{"type": "scale", "scale": [40.0, 4.6, 4.6]}]
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    multiscales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": transforms}]}]
    group.attrs.put({"ome": {"version": "0.5", "multiscales": multiscales}})
    for z in range(sections):
        array[z] = np.roll(first, 37 * z, axis=1)
    with tifffile.TiffWriter(folder / "em.tif", bigtiff=True) as tiff:
        for z in range(sections):
            tiff.write(array[z], contiguous=True, photometric="minisblack")
    return store, folder / "em.tif"


def child(arguments: argparse.Namespace) -> None:
    """Segment in this process, as a person would; print what it took."""
    import torch

    from napari_feedback_seg.models.library import load_model
    from napari_feedback_seg.segmentation.prediction import SegmentOptions
    from napari_feedback_seg.volumes.events import BlockDone, VolumeOpened
    from napari_feedback_seg.volumes.segment import VolumeOptions, prepare_volume, start

    torch.set_num_threads(1)
    options = SegmentOptions(device=arguments.device)
    model = load_model(arguments.model)
    if arguments.source.endswith(".tif") and not arguments.child.endswith(".zarr"):
        from napari_feedback_seg.segmentation.file_jobs import FileJob
        from napari_feedback_seg.segmentation.files import segment_files

        begun = time.perf_counter()
        list(segment_files([FileJob(Path(arguments.source), Path(arguments.child))], model, options))
        print(json.dumps({"seconds": time.perf_counter() - begun}))
        return
    job, said = prepare_volume(arguments.source, arguments.child, model, VolumeOptions(), options)
    opened, killed = 0.0, False
    for event in start(job, said, arguments.processes or None):
        if isinstance(event, VolumeOpened):
            opened = time.perf_counter()
        if isinstance(event, BlockDone) and arguments.kill and not killed and event.done * 2 >= event.total:
            workers = [
                each
                for each in psutil.Process().children(recursive=True)
                if "spawn_main" in " ".join(each.cmdline())
            ]
            os.kill(workers[0].pid, signal.SIGKILL)
            killed = True
    print(json.dumps({"seconds": time.perf_counter() - opened}))


def measure(arguments: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Return the seconds and the peak memory, in MB, of a process and of the largest of its workers."""
    own = [sys.executable, __file__, "--device", arguments.device, "--model", arguments.model, *more]
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(own, stdout=subprocess.PIPE, text=True, env=threads)
    peaks: dict[int, float] = {}
    computed: dict[int, float] = {}

    def watch() -> None:
        while process.poll() is None:
            try:
                tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                for each in tree:
                    peaks[each.pid] = max(peaks.get(each.pid, 0), each.memory_info().rss / 1e6)
                    computed[each.pid] = each.cpu_times().user + each.cpu_times().system
            except psutil.Error:
                pass
            time.sleep(SECOND)

    watcher = threading.Thread(target=watch)
    watcher.start()
    printed, _ = process.communicate()
    watcher.join()
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    others = [peak for pid, peak in peaks.items() if pid != process.pid]
    return found | {
        "cpu_s": round(sum(computed.values()), 1),
        "client_mb": round(peaks[process.pid]),
        "worker_mb": round(max(others, default=0)),
    }


def at_once(arguments: argparse.Namespace, folder: Path, store: Path) -> list[dict[str, Any]]:
    """Return what two processes take that segment the volume at the same time, each for itself."""
    found: list[dict[str, Any]] = []

    def one(number: int) -> None:
        target = folder / f"alone{number}.zarr"
        found.append(measure(arguments, "--child", str(target), "--source", str(store)))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


class Nothing:
    """A worker that does nothing."""

    device = "nothing"

    def open(self, gpu: int | None = None) -> Nothing:
        """Return itself."""
        return self

    def do(self, block: Any, step: str) -> tuple[str, ...]:
        """Say nothing of a block."""
        return ()

    def close(self) -> None:
        """Do nothing."""


class Million(InBlocks):
    """A million blocks, of which none is done."""

    start, stop, block = (0, 0, 0), (1000, 32 * SIDE, 32 * SIDE), (1, SIDE, SIDE)

    @property
    def plan(self) -> Million:
        """The blocks."""
        return self

    def is_done(self, block: Any) -> bool:
        """Return False."""
        return False


def dispatch(blocks: int) -> None:
    """Give out some of a million blocks to two workers that do nothing; print what it took.

    Blocks in a second of a processor that client and scheduler, both in this process, have for themselves.
    """
    from napari_feedback_seg.volumes.cluster import connected, hand_out, set_up

    with connected(2, None, dashboard=False) as (client, threads, _):
        set_up(client, Nothing(), threads, 0)
        looked = time.process_time()
        left = Blocks(Million())
        begun = time.process_time()
        events = hand_out(client, left)
        for _ in range(blocks):
            next(events)
        pace = blocks / (time.process_time() - begun)
    print(json.dumps({"a_second": round(pace), "look_s": round(begun - looked, 1), "blocks": left.total}))


def efficiency(workers: int, block_s: float, blocks: int, a_second: float, start_s: float) -> float:
    """Return the part of the time that workers compute: the scheduler gives out one block after the other.

    All of them begin when their model is loaded, and the last ones wait for the end.
    """
    paced = max(blocks / a_second, -(-blocks // workers) * block_s)
    return blocks * block_s / (workers * (start_s + paced + block_s / 2))


def simulate(block_s: float, a_second: float) -> dict[str, dict[int, float]]:
    """Return and print the efficiency of 8, 64 and 512 workers for 1 and 10 TB."""
    found = {}
    for terabytes in (1, 10):
        blocks = round(terabytes * 1e12 / SIDE**2)
        each = {n: round(efficiency(n, block_s, blocks, a_second, 20), 3) for n in (8, 64, 512)}
        found[f"{terabytes} TB"] = each
        print(f"{terabytes} TB, {blocks} blocks, {block_s:.1f} s each, {a_second:.0f} a second: {each}")
    return found


def main() -> None:
    """Measure, and print or write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sections", type=int, default=20)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--model", default="default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--blocks", type=int, default=5000, help="for the scheduler's pace")
    parser.add_argument(
        "--block-seconds", type=float, help="of a block of 4096 x 4096, for the simulation alone"
    )
    parser.add_argument("--output", type=Path)
    for name in ("--child", "--source"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--pair", action="store_true", help="two processes at once, too, without dask")
    for name in ("--kill", "--dispatch"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.dispatch:
        dispatch(arguments.blocks)
        return
    if arguments.child:
        child(arguments)
        return
    given = measure(arguments, "--dispatch", "--blocks", str(arguments.blocks))
    print(f"blocks through the scheduler: {given}", flush=True)
    if arguments.block_seconds:
        simulate(arguments.block_seconds, given["a_second"])
        return
    folder = Path(tempfile.mkdtemp())
    try:
        store, tiff = make(folder, arguments.sections, arguments.side)
        found: dict[str, Any] = {"shape": [arguments.sections, arguments.side, arguments.side]}
        found["blocks through the scheduler"] = given
        for name, source, target, more in (
            ("TIFF to TIFF, one process", tiff, "t.tif", ()),
            ("OME-Zarr, one process", store, "0.zarr", ()),
            ("OME-Zarr, 2 workers", store, "2.zarr", ("--processes", "2")),
            ("OME-Zarr, 2 workers, one killed", store, "3.zarr", ("--processes", "2", "--kill")),
        ):
            if arguments.device != "cpu" and "worker" in name:
                continue
            found[name] = measure(arguments, "--child", str(folder / target), "--source", str(source), *more)
            print(f"{name}: {found[name]}", flush=True)
        one = found["OME-Zarr, one process"]["seconds"]
        cost = one / found["TIFF to TIFF, one process"]["seconds"] - 1
        found["what OME-Zarr costs beside TIFF"] = round(cost, 3)
        print(f"OME-Zarr takes {100 * cost:.1f} % more than TIFF")
        if "OME-Zarr, 2 workers" in found:
            part = one / found["OME-Zarr, 2 workers"]["seconds"] / 2
            busy = found["OME-Zarr, one process"]["cpu_s"] / found["OME-Zarr, 2 workers"]["seconds"] / 2
            found["efficiency of 2 workers"] = {"by the clock": round(part, 3), "by CPU s": round(busy, 3)}
            print(f"efficiency of 2 workers: {part:.3f}; {busy:.3f} of the CPU seconds of one process")
        if arguments.pair:
            found["two processes at once, without dask"] = at_once(arguments, folder, store)
            apart = max(each["seconds"] for each in found["two processes at once, without dask"])
            print(f"two processes at once, without dask: {one / apart:.3f}")
        block_s = one / arguments.sections * (SIDE / arguments.side) ** 2
        found["efficiency by simulation"] = simulate(block_s, given["a_second"])
    finally:
        shutil.rmtree(folder)
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

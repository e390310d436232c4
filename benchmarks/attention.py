"""Time and peak memory of the feedback attention: plain, in row blocks, and as shipped.

``python benchmarks/attention.py`` measures one feedback step (the 1 x 1 convolutions, the
attention, the sum) of one image. Every case runs in a process of its own, so that no case
pays for, or gains from, the memory of another. Memory is the peak of the first full-size
call beyond its inputs and its output; gradients of the inputs and weights are counted.
Time is the median of the calls after it.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_feedback_seg.networks import attention

MEGABYTE = 1e6
PATHS = ("plain", "row blocks", "product")
POOLINGS = (1, 2, 4, 8)
DIRECTIONS = ("forward", "forward + backward")


@dataclass(frozen=True)
class Case:
    """What one process measures."""

    path: str
    size: int
    key_pooling: int
    backward: bool
    width: int
    batch: int
    device: str
    dtype: str
    threads: int
    rows: int | None
    repeats: int
    seconds: float

    @property
    def plain_bytes(self) -> float:
        """Least memory of the plain formula: scores and weights, and in backward a gradient."""
        places = self.size**2
        keys = (-(-self.size // self.key_pooling)) ** 2
        element = getattr(torch, self.dtype).itemsize
        return self.batch * places * keys * element * (3.0 if self.backward else 2.0)


def attend_plainly(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return the attended values by way of the whole matrix."""
    return (query @ key.transpose(1, 2)).softmax(dim=-1) @ value


class Memory:
    """Peak memory of a device since the object was made, in bytes."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)
        elif device.type == "mps":
            torch.mps.empty_cache()
            self.before = torch.mps.driver_allocated_memory()
        else:
            if sys.platform == "linux":
                Path("/proc/self/clear_refs").write_text("5")  # the peak starts at what is held now
            self.before = resident_peak()

    def peak(self) -> float:
        """Return the highest use so far, less the use at the beginning."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) - self.before
        if self.device.type == "mps":  # it keeps what it took, so that the end is the peak
            return torch.mps.driver_allocated_memory() - self.before
        return resident_peak() - self.before


def resident_peak() -> float:
    """Return the peak of the resident memory of this process in bytes."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(float(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    import resource  # not on Windows

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # macOS: bytes


def measure(case: Case) -> dict[str, Any]:
    """Return seconds, number of timed calls and extra megabytes of one case."""
    torch.manual_seed(0)
    torch.set_num_threads(case.threads)
    device, dtype = torch.device(case.device), getattr(torch, case.dtype)
    paths = {
        "plain": attend_plainly,
        "row blocks": functools.partial(attention.attend_in_row_blocks, rows=case.rows),
    }
    attention.attend = paths.get(case.path, attention.attend)
    module = attention.FeedbackAttention(case.width, max(1, case.width // 8), "self", case.key_pooling)
    torch.nn.init.ones_(module.scale)
    module.to(device, dtype)

    def maps(size: int) -> Tensor:
        made = torch.randn(case.batch, case.width, size, size, device=device, dtype=dtype)
        return made.requires_grad_(case.backward)

    def call(input_side: Tensor, output_side: Tensor) -> tuple[float, Tensor]:
        module.zero_grad()
        input_side.grad = output_side.grad = None
        start = time.perf_counter()
        with torch.set_grad_enabled(case.backward):
            result = module(input_side, output_side)
            if case.backward:
                result.sum().backward()
        if device.type != "cpu":
            getattr(torch, device.type).synchronize()
        return time.perf_counter() - start, result.detach()

    call(maps(16), maps(16))
    inputs = maps(case.size), maps(case.size)
    memory = Memory(device)
    first, result = call(*inputs)
    extra = memory.peak() - result.nbytes
    times = []
    while len(times) < case.repeats and first + sum(times) < case.seconds:
        times.append(call(*inputs)[0])
    times = times or [first]  # one long call needs no warm-up
    return {"seconds": statistics.median(times), "calls": len(times), "megabytes": extra / MEGABYTE}


def run(case: Case, limit: float) -> dict[str, Any]:
    """Return what a process of its own measures, or why it measures nothing."""
    if case.path == "plain" and case.plain_bytes > limit:
        return {"skipped": f"needs {case.plain_bytes / 1e9:.1f} GB"}
    command = [sys.executable, __file__, "--case", json.dumps(asdict(case))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return {"skipped": f"failed: {reason[:100]}"}
    return dict(json.loads(done.stdout))


def row_of(name: str, results: list[dict[str, Any]]) -> str:
    """Return a line of the table: seconds and megabytes, forward and with backward."""
    cells = [
        f"{each['skipped']} | " if "skipped" in each else f"{each['seconds']:.3g} | {each['megabytes']:.0f}"
        for each in results
    ]
    return f"| {name} | {' | '.join(cells)} |"


def ratio(slow: dict[str, Any], fast: dict[str, Any]) -> str:
    """Return how many times as long the slow case takes."""
    if "skipped" in slow or "skipped" in fast:
        return "not measured"
    return f"{slow['seconds'] / fast['seconds']:.1f}"


def main() -> None:
    """Measure, print two tables and the ratios, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: cpu)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16", "float64"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256], help="sides of the map")
    parser.add_argument("--width", type=int, default=64, help="channels of the map (default: 64)")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--rows", type=int, help="rows in a block (default: blocks of 4 million elements)")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of a case (default: 5)")
    parser.add_argument("--seconds", type=float, default=60, help="no more calls of a case after these")
    parser.add_argument("--limit", type=float, default=6, help="memory in GB for the plain formula")
    parser.add_argument("--quick", action="store_true", help="sizes 32 and 64, one timed call")
    parser.add_argument("--out", type=Path, help="write the results to this JSON file")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(Case(**json.loads(options.case)))))
        return
    if options.quick:
        options.sizes, options.repeats = [32, 64], 1

    taken: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    wanted = [(path, size, 1) for size in options.sizes for path in PATHS]
    wanted += [("product", size, pooling) for size in options.sizes for pooling in POOLINGS[1:]]
    for number, (path, size, pooling) in enumerate(wanted, 1):
        print(f"{number}/{len(wanted)}: {path}, {size} x {size}, pooling {pooling}", file=sys.stderr)
        cases = [
            Case(
                path=path,
                size=size,
                key_pooling=pooling,
                backward=backward,
                width=options.width,
                batch=options.batch,
                device=options.device,
                dtype=options.dtype,
                threads=options.threads,
                rows=options.rows,
                repeats=options.repeats,
                seconds=options.seconds,
            )
            for backward in (False, True)
        ]
        taken[path, size, pooling] = [run(case, options.limit * 1e9) for case in cases]

    device = (
        torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else options.device
    )
    print(
        f"Feedback attention, width {options.width}, batch {options.batch}, {options.dtype}, {device}, "
        f"{options.threads} CPU threads, torch {torch.__version__}, {platform.machine()}"
    )
    print(f"MB beyond inputs and output; plain is left out where it needs more than {options.limit:g} GB\n")
    columns = " | ".join(f"{each}, s | MB" for each in DIRECTIONS)
    print(f"| side, path | {columns} |\n|---|---|---|---|---|")
    for size in options.sizes:
        for path in PATHS:
            print(row_of(f"{size}, {path}", taken[path, size, 1]))
    print(f"\n| side, key pooling (product) | {columns} |\n|---|---|---|---|---|")
    for size in options.sizes:
        for pooling in POOLINGS:
            print(row_of(f"{size}, {pooling}", taken["product", size, pooling]))
    print()
    for size in options.sizes:
        for index, direction in enumerate(DIRECTIONS):
            product = taken["product", size, 1][index]
            slower = {path: ratio(taken[path, size, 1][index], product) for path in PATHS[:2]}
            extra = "" if "skipped" in product else f", product takes {product['megabytes']:.0f} MB extra"
            print(
                f"{size} x {size}, {direction}: row blocks / product {slower['row blocks']}, "
                f"plain / product {slower['plain']}{extra}"
            )
    if options.out:
        rows = [
            {"path": path, "size": size, "key_pooling": pooling, "direction": direction, **result}
            for (path, size, pooling), results in taken.items()
            for direction, result in zip(DIRECTIONS, results, strict=True)
        ]
        settings = {key: value for key, value in vars(options).items() if key not in ("case", "out")}
        about = {
            "settings": settings,
            "torch": torch.__version__,
            "machine": platform.machine(),
            "device": device,
        }
        options.out.write_text(json.dumps({**about, "results": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

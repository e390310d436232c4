"""Seconds and peak memory for one section, tile by tile, beside the same network in one pass.

    python benchmarks/segment.py --quick
    python benchmarks/segment.py --sizes 1024 4096 --overlaps 0 0.25 0.5 --model self-w16 unet-w16
    python benchmarks/segment.py --sizes 16384 --spec '{"kind": "unet", "width": 2, "depth": 2}' --tile 512

Each case runs in a process of its own. Memory is what the process takes at its peak beyond
what it held with the network and the section loaded; on a GPU, that of the GPU follows. The
one pass gets no more memory and time than ``--limit`` and ``--patience`` say.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = (
    "model",
    "device",
    "size",
    "overlap",
    "tiles",
    "s",
    "MB",
    "GPU MB",
    "one pass: s",
    "MB",
    "GPU MB",
    "s, times",
    "MB, times",
)
MB = 1e6


def main() -> None:
    """Run all cases and print the table."""
    options = parse()
    if options.case:
        print(json.dumps(run_case(json.loads(options.case))))
        return
    models = options.model or ["spec" if options.spec else "default"]
    sizes = [256, 512] if options.quick else options.sizes
    overlaps = [0.25] if options.quick else options.overlaps
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    results = []
    for model, device, size in itertools.product(models, options.device, sizes):
        base = {"model": model, "device": device, "size": size, "limit": options.limit}
        base |= {name: getattr(options, name) for name in ("spec", "tile", "threads", "probabilities")}
        one_pass = in_process({**base, "one_pass": True}, options.patience)
        for overlap in overlaps:
            tiled = in_process({**base, "overlap": overlap, "one_pass": False}, None)
            results.append({**base, "overlap": overlap, "tiled": tiled, "one_pass": one_pass})
            print(row(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", help="names or files of models (default: default)")
    parser.add_argument("--spec", help="JSON of a NetworkSpec: a fresh network instead of a model")
    parser.add_argument("--tile", type=int, default=256, help="tile of the fresh network, in pixels")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048], help="sides, in pixels")
    parser.add_argument("--overlaps", type=float, nargs="+", default=[0.0, 0.25, 0.5])
    parser.add_argument("--device", nargs="+", default=["auto"], help="auto, cpu, cuda, mps")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's own choice)")
    parser.add_argument("--probabilities", action="store_true", help="keep the class probabilities too")
    parser.add_argument(
        "--limit", type=float, default=4.0, help="GB for the one pass, 0 for none (default: 4)"
    )
    parser.add_argument(
        "--patience", type=float, default=300.0, help="seconds for the one pass (default: 300)"
    )
    parser.add_argument("--quick", action="store_true", help="two small sizes and one overlap")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


def in_process(case: dict[str, Any], patience: float | None) -> dict[str, Any]:
    """Run a case in a fresh process; return its numbers, or why there are none."""
    if case["one_pass"] and not case["limit"]:
        return {"none": "not asked for"}
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired:
        return {"none": f"> {patience:g} s"}
    if done.returncode:
        if case["one_pass"] and "memory" in done.stderr:
            return {"none": f"> {case['limit']:g} GB"}
        sys.exit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run_case(case: dict[str, Any]) -> dict[str, Any]:
    """Measure one case, in this process."""
    import torch

    from napari_feedback_seg.segmentation.device import choose_device, describe_device
    from napari_feedback_seg.segmentation.predict import SegmentOptions, count_tiles, segment

    if case["threads"]:
        torch.set_num_threads(case["threads"])
    device = choose_device(case["device"])
    model = fresh_model(case["spec"], case["tile"]) if case["model"] == "spec" else load(case["model"])
    section = make_section(case["size"])
    # The first pass of all pays for libraries, kernels and threads.
    segment(section[: model.card.tile, : model.card.tile], model, device=case["device"])
    before = start_of_memory(device)
    started = time.perf_counter()
    tiles = 1
    if case["one_pass"]:
        in_one_pass(section, model, device, case["limit"])
    else:
        options = SegmentOptions(device=case["device"], overlap=case["overlap"])
        tiles = count_tiles(section.shape, model.card, options)
        segment(
            section,
            model,
            device=case["device"],
            overlap=case["overlap"],
            probabilities=case["probabilities"],
        )
    seconds = time.perf_counter() - started
    gpu = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {
        "model": model.card.name,
        "device": describe_device(device),
        "tiles": tiles,
        "seconds": seconds,
        "bytes": peak_memory() - before,
        "gpu_bytes": gpu,
    }


def load(name: str) -> Any:
    """Return a model of the library or of a file."""
    from napari_feedback_seg.models.library import load_model

    return load_model(name)


def fresh_model(spec: str, tile: int) -> Any:
    """Return a model with random weights."""
    from napari_feedback_seg.classes import EM_CLASSES
    from napari_feedback_seg.models.model import Model, ModelCard
    from napari_feedback_seg.networks import NetworkSpec, build_network

    network_spec = NetworkSpec.from_json(json.loads(spec))
    card = ModelCard(f"fresh {network_spec.kind} {network_spec.width}", network_spec, EM_CLASSES, 4.6, tile)
    return Model(card, build_network(network_spec).eval())


def make_section(size: int) -> np.ndarray:
    """Return a square section (size, size) uint8: the built-in sample, repeated."""
    from napari_feedback_seg.datasets.builtin import builtin_section

    sample = builtin_section(256).image
    repeats = -(-size // 256)
    return np.ascontiguousarray(np.tile(sample, (repeats, repeats))[:size, :size])


def in_one_pass(section: np.ndarray, model: Any, device: Any, limit: float) -> np.ndarray:
    """Return the labels of the whole section from a single pass of the network."""
    import torch

    from napari_feedback_seg.segmentation.sections import normalise

    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit * 1e9 / total), device)
    elif sys.platform == "linux":
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + int(limit * 1e9), resource.RLIM_INFINITY))
    padding = [(0, -length % model.card.spec.multiple) for length in section.shape]
    image = torch.from_numpy(np.pad(normalise(section), padding, mode="symmetric"))[None, None]
    network = model.network.to(device)
    with torch.inference_mode():
        labels = network(image.to(device))[-1].argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
    result: np.ndarray = labels[: section.shape[0], : section.shape[1]]
    return result


def start_of_memory(device: Any) -> int:
    """Forget earlier peaks; return the bytes held now."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_memory()


def peak_memory() -> int:
    """Return the most bytes that this process has held."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def row(result: dict[str, Any]) -> str:
    """Return a line of the table."""
    tiled, once = result["tiled"], result["one_pass"]
    cells = [tiled["model"], tiled["device"], result["size"], result["overlap"], tiled["tiles"]]
    cells += [f"{tiled['seconds']:.2f}", f"{tiled['bytes'] / MB:.0f}", f"{tiled['gpu_bytes'] / MB:.0f}"]
    if "none" in once:
        cells += [once["none"], "", "", "", ""]
    else:
        memory = "gpu_bytes" if tiled["gpu_bytes"] else "bytes"
        cells += [f"{once['seconds']:.2f}", f"{once['bytes'] / MB:.0f}", f"{once['gpu_bytes'] / MB:.0f}"]
        cells += [f"{tiled['seconds'] / once['seconds']:.2f}", f"{tiled[memory] / max(once[memory], 1):.2f}"]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()

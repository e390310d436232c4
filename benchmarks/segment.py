"""Seconds and peak memory for one section, tile by tile, beside the same network in one pass and another.

    python benchmarks/segment.py --quick
    python benchmarks/segment.py --sizes 1024 4096 --overlaps 0 0.25 0.5 --model self-w16 unet-w16
    python benchmarks/segment.py --model self-w16 --sizes 1024 --precision fp32 auto --reference --limit 0
    python benchmarks/segment.py --sizes 16384 --spec '{"kind": "unet", "width": 2, "depth": 2}' --tile 512

Each case runs in a process of its own. Memory is what the process takes at its peak beyond
what it held with the network and the section loaded; on a GPU, that of the GPU follows. The
one pass gets no more memory and time than ``--limit`` and ``--patience`` say. Time and CPU time
are the least of ``--repeats`` in that process, which on a computer that does other things
too says more than a mean.

``--reference`` adds a 2D network as nnU-Net would plan it for such sections: a plain U-Net of
eight levels with 32 to 512 channels, two convolutions each (46 million weights, random), patches
of 512 pixels, half overlap, through the same engine.
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
    "precision",
    "tiles",
    "s",
    "CPU s",
    "MB",
    "GPU MB",
    "one pass: s",
    "MB",
    "GPU MB",
    "s, times",
    "MB, times",
    "time, of the reference",
)
REFERENCE = "nnU-Net-like"
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
    for device, size, precision in itertools.product(options.device, sizes, options.precision):
        base = {"device": device, "size": size, "limit": options.limit, "precision": precision}
        names = ("spec", "tile", "threads", "probabilities", "repeats")
        base |= {name: getattr(options, name) for name in names}
        reference = None
        for model in ([REFERENCE] if options.reference else []) + models:
            of_model = {**base, "model": model}
            once = model != REFERENCE
            limit = base["limit"] if once else 0
            one_pass = in_process({**of_model, "limit": limit, "one_pass": True}, options.patience)
            for overlap in overlaps if once else [0.5]:
                tiled = in_process({**of_model, "overlap": overlap, "one_pass": False}, None)
                reference = reference if once else own_seconds(tiled)
                result = {**of_model, "overlap": overlap, "tiled": tiled, "one_pass": one_pass}
                results.append({**result, "reference": reference})
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
    parser.add_argument(
        "--precision", nargs="+", default=["auto"], help="auto, bf16, fp16, fp32 (default: auto)"
    )
    parser.add_argument("--reference", action="store_true", help="a row for a network as nnU-Net's, too")
    parser.add_argument("--repeats", type=int, default=1, help="take the least of so many (default: 1)")
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

    from napari_feedback_seg.segmentation.device import choose_device, describe_device, inference_dtype
    from napari_feedback_seg.segmentation.one_section import count_tiles
    from napari_feedback_seg.segmentation.predict import SegmentOptions, segment

    if case["threads"]:
        torch.set_num_threads(case["threads"])
    device = choose_device(case["device"])
    if case["model"] == REFERENCE:
        model = nnunet_like()
    else:
        model = fresh_model(case["spec"], case["tile"]) if case["model"] == "spec" else load(case["model"])
    section = make_section(case["size"])
    # The first pass of all pays for libraries, kernels and threads.
    given = {name: case[name] for name in ("device", "precision")}
    segment(section[: model.card.tile, : model.card.tile], model, **given)
    before = start_of_memory(device)
    tiles, times = 1, []
    for _ in range(1 if case["one_pass"] else case["repeats"]):
        started = time.perf_counter(), time.process_time()
        if case["one_pass"]:
            in_one_pass(section, model, device, case["limit"], case["precision"])
        else:
            options = SegmentOptions(overlap=case["overlap"], probabilities=case["probabilities"], **given)
            tiles = count_tiles(section.shape, model.card, options)
            segment(section, model, **vars(options))
        times.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    seconds, cpu_seconds = (min(each) for each in zip(*times, strict=True))
    gpu = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {
        "model": model.card.name,
        "device": describe_device(device),
        "tiles": tiles,
        "precision": str(inference_dtype(device, case["precision"])).removeprefix("torch."),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
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


def nnunet_like() -> Any:
    """Return a plain 2D U-Net of nnU-Net's size, with random weights."""
    from torch import nn

    from napari_feedback_seg.classes import EM_CLASSES
    from napari_feedback_seg.models.model import Model, ModelCard
    from napari_feedback_seg.networks import NetworkSpec, UNet
    from napari_feedback_seg.networks.unet import ConvBlock

    channels = [32, 64, 128, 256, 512, 512, 512, 512]
    network = UNet(1, 4, 2, len(channels) - 1)
    network.first = ConvBlock(1, channels[0])
    network.down = nn.ModuleList(ConvBlock(*each) for each in itertools.pairwise(channels))
    ways_up = [(below, above) for above, below in itertools.pairwise(channels)]
    network.up = nn.ModuleList(nn.ConvTranspose2d(*each, 2, 2) for each in ways_up)
    network.merge = nn.ModuleList(ConvBlock(2 * above, above) for _, above in ways_up)
    network.classifier = nn.Conv2d(channels[0], 4, 1)
    millions = sum(each.numel() for each in network.parameters()) / 1e6
    spec = NetworkSpec("unet", 2, len(channels) - 1)  # of its levels; the card of a network like no spec
    card = ModelCard(f"{REFERENCE}, {millions:.0f} M weights", spec, EM_CLASSES, 4.6, 512)
    return Model(card, network.eval())


def make_section(size: int) -> np.ndarray:
    """Return a square section (size, size) uint8: the built-in sample, repeated."""
    from napari_feedback_seg.datasets.builtin import builtin_section

    sample = builtin_section(256).image
    repeats = -(-size // 256)
    return np.ascontiguousarray(np.tile(sample, (repeats, repeats))[:size, :size])


def in_one_pass(section: np.ndarray, model: Any, device: Any, limit: float, precision: str) -> np.ndarray:
    """Return the labels of the whole section from a single pass of the network."""
    import torch

    from napari_feedback_seg.segmentation.device import inference_dtype
    from napari_feedback_seg.segmentation.inference import inference_network
    from napari_feedback_seg.segmentation.sections import normalise

    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit * 1e9 / total), device)
    elif sys.platform == "linux":
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + int(limit * 1e9), resource.RLIM_INFINITY))
    padding = [(0, -length % model.card.spec.multiple) for length in section.shape]
    image = torch.from_numpy(np.pad(normalise(section), padding, mode="symmetric"))[None, None]
    dtype = inference_dtype(device, precision)
    network = inference_network(model, device, dtype)
    with torch.inference_mode():
        labels = network(image.to(device, dtype))[-1].argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
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


def own_seconds(tiled: dict[str, Any]) -> float:
    """Return the time that compares networks: of the processor on a CPU, where others want it too."""
    seconds: float = tiled["cpu_seconds"] if tiled["device"].startswith("CPU") else tiled["seconds"]
    return seconds


def row(result: dict[str, Any]) -> str:
    """Return a line of the table."""
    tiled, once = result["tiled"], result["one_pass"]
    cells = [tiled["model"], tiled["device"], result["size"], result["overlap"], tiled["precision"]]
    cells += [tiled["tiles"], f"{tiled['seconds']:.2f}", f"{tiled['cpu_seconds']:.2f}"]
    cells += [f"{tiled['bytes'] / MB:.0f}", f"{tiled['gpu_bytes'] / MB:.0f}"]
    if "none" in once:
        cells += [once["none"], "", "", "", ""]
    else:
        memory = "gpu_bytes" if tiled["gpu_bytes"] else "bytes"
        cells += [f"{once['seconds']:.2f}", f"{once['bytes'] / MB:.0f}", f"{once['gpu_bytes'] / MB:.0f}"]
        cells += [f"{tiled['seconds'] / once['seconds']:.2f}", f"{tiled[memory] / max(once[memory], 1):.2f}"]
    cells += [f"{own_seconds(tiled) / result['reference']:.2f}" if result["reference"] else ""]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()

"""What a view into a very large lazy image costs, beside the same view from a small one.

    python benchmarks/pyramid.py

The large one is an image of 101,376 x 188,160 pixels in eight resolutions, whose blocks are made
when they are asked for. Each case runs in a process of its own. Megabytes are the peak of the
process with PyTorch and the model.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import dask.array as da
import numpy as np

from napari_feedback_seg import load_model, segment
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.segmentation.lazy import Pyramid

SHAPE = 101_376, 188_160
SIDE, BLOCK = 1024, 1024


def main() -> None:
    """Print a row for each case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--case", choices=("small", "one resolution", "pyramid"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(row(options.case, options.model), flush=True)
        return
    print("| image | s | CPU s | MB in all | pixels read, million |\n|---|---|---|---|---|", flush=True)
    for case in ("small", "one resolution", "pyramid"):
        subprocess.run([sys.executable, __file__, "--case", case, "--model", options.model], check=True)


def row(case: str, name: str) -> str:
    """Return the row of a case, measured in this process."""
    tissue = np.tile(builtin_section(SIDE, seed=1).image, (2, 2))
    model = load_model(name)
    segment(tissue[:256, :256], model)  # the first tile of all pays for libraries and threads
    read = 0

    def level(height: int, width: int) -> da.Array:
        def make(block_info: dict) -> np.ndarray:
            nonlocal read
            rows, columns = (np.arange(*each) % len(tissue) for each in block_info[None]["array-location"])
            read += len(rows) * len(columns)
            return tissue[np.ix_(rows, columns)]

        chunks = da.core.normalize_chunks((BLOCK, BLOCK), (height, width))
        return da.map_blocks(make, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0), np.uint8))

    if case == "small":
        image, region = tissue[:SIDE, :SIDE].copy(), None
    else:
        levels = [
            level(SHAPE[0] >> times, SHAPE[1] >> times) for times in range(8 if case == "pyramid" else 1)
        ]
        image = Pyramid(levels) if case == "pyramid" else levels[0]
        region = (slice(40_960, 40_960 + SIDE),) * 2
    started = time.perf_counter(), time.process_time()
    segment(image, model, region=region)
    seconds, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return f"| {case} | {seconds:.2f} | {cpu:.2f} | {peak:.0f} | {read / 1e6:.0f} |"


if __name__ == "__main__":
    main()

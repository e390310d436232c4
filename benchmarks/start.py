"""Whether a fine-tune should begin with the batch-norm statistics of the image.

    python benchmarks/start.py DATA -o results.jsonl
    python benchmarks/start.py DATA -o results.jsonl --table

DATA is the folder of the public ssTEM set. Only its validation sections, 12-14, are used. Of each, under
each shift: *moved*, by how much its statistics differ from the model's, in standard deviations, and the
change of mean IoU, in points, that they alone bring on the other two sections.

Each result is a line of the file; what is there is not computed again.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from annotator import PIXEL_SIZES, SHIFTS
from scipy import ndimage

from napari_feedback_seg import load_model
from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.correction.corrections import CorrectedSection
from napari_feedback_seg.correction.patches import PatchSource
from napari_feedback_seg.correction.start import statistics_shift, with_image_statistics
from napari_feedback_seg.datasets.sstem import read_sstem_section
from napari_feedback_seg.metrics import confusion_matrix, iou_table
from napari_feedback_seg.segmentation.predict import segment

if TYPE_CHECKING:
    from napari_feedback_seg.models.model import Model

SECTIONS = (12, 13, 14)


def slightly_blurred(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the image a little out of focus: a Gaussian of 1.6 pixels."""
    return ndimage.gaussian_filter(image.astype(np.float32), 1.6).round().astype(np.uint8), labels


def slightly_noisy(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the image with noise of 0.4 of its contrast."""
    noise = np.random.default_rng(0).normal(0, 0.4 * image.std(), image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), labels


ALL = {
    "unshifted": SHIFTS["unshifted"],
    "8 nm": SHIFTS["8 nm"],
    "slightly blurred": slightly_blurred,
    "slightly noisy": slightly_noisy,
    **{name: SHIFTS[name] for name in ("blurred", "noisy", "stain")},
}


def main() -> None:
    """Run what is missing, and print what is there."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    lines = options.output.read_text(encoding="utf-8").splitlines() if options.output.exists() else []
    results = [json.loads(line) for line in lines]
    for model in () if options.table else options.models:
        for shift, z in itertools.product(ALL, SECTIONS):
            case = {"model": model, "shift": shift, "painted": z}
            if any(case.items() <= each.items() for each in results):
                continue
            results.append({**case, **measure(options.data, **case)})
            with options.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(results[-1]) + "\n")
            print(results[-1], flush=True)
    print(table(results))


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the public ssTEM set")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file of the results, one a line")
    parser.add_argument("--models", nargs="+", default=["self-w16"])
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's own choice)")
    parser.add_argument("--table", action="store_true", help="only print the table")
    return parser.parse_args()


def measure(data: Path, model: str, shift: str, painted: int) -> dict[str, Any]:
    """Return how far the statistics of a section are, and what they bring."""
    parent = load_model(model)
    image, truth = ALL[shift](*read_sstem_section(data, painted))
    labels = np.zeros_like(truth)
    labels[100:140, 100:140] = truth[100:140, 100:140]  # nothing is learnt from them
    section = CorrectedSection(image, labels, painted, PIXEL_SIZES.get(shift), shift)
    source = PatchSource([section], parent.card, FinetuneConfig())
    other = with_image_statistics(parent, source, torch.device("cpu"), seed=0)
    assert other is not None
    gain = mean_iou(data, other, shift, painted) - mean_iou(data, parent, shift, painted)
    return {"moved": round(statistics_shift(parent, other), 4), "gain": round(gain, 2)}


def mean_iou(data: Path, model: Model, shift: str, painted: int) -> float:
    """Return the mean IoU, in %, on the sections that were not painted."""
    confusion: Any = 0
    for z in SECTIONS:
        if z != painted:
            image, truth = ALL[shift](*read_sstem_section(data, z))
            said = segment(image, model, pixel_size_nm=PIXEL_SIZES.get(shift)).labels
            confusion = confusion + confusion_matrix(truth, said, EM_CLASSES)
    return 100 * float(iou_table(confusion, EM_CLASSES)["mean_iou"])


def table(results: list[dict[str, Any]]) -> str:
    """Return a row for each model and shift, with the range over the sections."""
    lines = ["| | | moved | change of mean IoU |", "|---|---|---|---|"]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for each in results:
        groups.setdefault((each["model"], each["shift"]), []).append(each)
    for (model, shift), found in sorted(groups.items(), key=lambda item: item[0][0]):
        cells = (model, shift, extent(found, "moved", ".3f"), extent(found, "gain", "+.1f"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def extent(results: list[dict[str, Any]], name: str, form: str) -> str:
    """Return the least and the largest value."""
    values = [each[name] for each in results]
    return f"{min(values):{form}} to {max(values):{form}}"


if __name__ == "__main__":
    main()

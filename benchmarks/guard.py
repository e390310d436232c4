"""What the guard of a fine-tune goes by, against what it is worth on sections that were not painted.

    python benchmarks/guard.py DATA -o results.jsonl --strokes 10 40
    python benchmarks/guard.py DATA -o results.jsonl --table

DATA is the folder of the public ssTEM set. Only its validation sections, 12-14, are used: one is
painted as in correction.py, and the change of mean IoU, in points, is that on the other two.

- *moved*: by how much the batch-norm statistics of the section differ from the model's, in
  standard deviations, and what the model gains by them alone, untrained;
- *progress*: on held-out corrections, in a fine-tune that is kept whatever the guard says, and
  what that one gains.

Each result is a line of the file; what is there is not computed again.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from annotator import PIXEL_SIZES, SHIFTS, paint, worst_first
from scipy import ndimage

from napari_feedback_seg import load_model
from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.correction.corrections import CorrectedSection
from napari_feedback_seg.correction.finetune import FineTuning
from napari_feedback_seg.correction.patches import PatchSource
from napari_feedback_seg.correction.recommendation import fallen_parts
from napari_feedback_seg.correction.start import statistics_shift, with_image_statistics
from napari_feedback_seg.datasets.sstem import read_sstem_section
from napari_feedback_seg.metrics import confusion_matrix, iou_table
from napari_feedback_seg.segmentation.predict import segment

if TYPE_CHECKING:
    from napari_feedback_seg.correction.recommendation import Recommendation
    from napari_feedback_seg.models.model import Model

SECTIONS = (12, 13, 14)


def slightly_blurred(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the image a little out of focus: a Gaussian of 1.6 pixels."""
    return ndimage.gaussian_filter(image.astype(np.float32), 1.6).round().astype(np.uint8), labels


def slightly_noisy(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the image with noise of 0.4 of its contrast."""
    noise = np.random.default_rng(0).normal(0, 0.4 * image.std(), image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), labels


KNOWN = {
    "unshifted": SHIFTS["unshifted"],
    "8 nm": SHIFTS["8 nm"],
    "slightly blurred": slightly_blurred,
    "slightly noisy": slightly_noisy,
}
"""Sections of the kind that the model knows; strokes are painted on these only."""

ALL = {**KNOWN, **{name: SHIFTS[name] for name in ("blurred", "noisy", "stain")}}


class Unguarded(FineTuning):
    """A fine-tune that is kept whatever the guard says; ``judged`` has what it said."""

    judged: Recommendation

    def _recommend(self) -> Recommendation:
        self.judged = super()._recommend()
        return replace(self.judged, accepted=True)


def main() -> None:
    """Run what is missing, and print what is there."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    lines = options.output.read_text(encoding="utf-8").splitlines() if options.output.exists() else []
    results = [json.loads(line) for line in lines]
    for model in () if options.table else options.models:
        for shift, z, strokes in itertools.product(ALL, SECTIONS, [0, *options.strokes]):
            case = {"model": model, "shift": shift, "painted": z, "strokes": strokes}
            if (strokes and shift not in KNOWN) or any(case.items() <= each.items() for each in results):
                continue
            found = (fine_tuned if strokes else restated_alone)(options.data, **case)
            results.append({**case, **found})
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
    parser.add_argument("--strokes", type=int, nargs="+", default=[], help="also fine-tune on so many")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's own choice)")
    parser.add_argument("--table", action="store_true", help="only print the table")
    return parser.parse_args()


def restated_alone(data: Path, model: str, shift: str, painted: int, strokes: int) -> dict[str, Any]:
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


def fine_tuned(data: Path, model: str, shift: str, painted: int, strokes: int) -> dict[str, Any]:
    """Return the progress of a fine-tune, and what it brings."""
    parent, size = load_model(model), PIXEL_SIZES.get(shift)
    image, truth = ALL[shift](*read_sstem_section(data, painted))
    said = segment(image, parent, pixel_size_nm=size).labels
    on_mistakes = worst_first([truth], [said], [each.value for each in EM_CLASSES], strokes)
    [labels] = paint(on_mistakes, [truth.shape])
    tuning = Unguarded(parent, [CorrectedSection(image, labels, painted, size, shift)], device="cpu")
    events = tuning.run()
    while True:
        try:
            next(events)
        except StopIteration as stop:
            tuned = stop.value.model
            break
    before, after = tuning.judged.before, tuning.judged.after
    assert before is not None
    assert after is not None
    gain = mean_iou(data, tuned, shift, painted) - mean_iou(data, parent, shift, painted)
    progress = round(sum(fallen_parts(before, after)), 2)
    return {"progress": progress, "accepted": tuning.judged.accepted, "gain": round(gain, 2)}


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
    """Return a row for each model, shift and number of strokes, with the range over the sections."""
    lines = [
        "| | | strokes | moved | progress | accepted | change of mean IoU |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for each in results:
        groups.setdefault((each["model"], each["shift"], each["strokes"]), []).append(each)
    for (model, shift, strokes), found in sorted(groups.items(), key=lambda item: item[0][::2]):
        moves, progress = extent(found, "moved", ".3f"), extent(found, "progress", ".2f")
        accepted = f"{sum(each['accepted'] for each in found)} of {len(found)}" if strokes else ""
        cells = (model, shift, str(strokes or ""), moves, progress, accepted, extent(found, "gain", "+.1f"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def extent(results: list[dict[str, Any]], name: str, form: str) -> str:
    """Return the least and the largest value."""
    values = [each[name] for each in results if name in each]
    return f"{min(values):{form}} to {max(values):{form}}" if values else ""


if __name__ == "__main__":
    main()

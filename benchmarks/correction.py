"""Mean IoU on sections that were not painted, against the number of strokes on those that were.

    python benchmarks/correction.py DATA --quick
    python benchmarks/correction.py DATA -o results.jsonl                # tuning: paint 12, look at 13-14
    python benchmarks/correction.py DATA -o results.jsonl --report      # paint 15-16, report 17-19
    python benchmarks/correction.py DATA -o results.jsonl --report --table --plot curves.png

DATA is the folder of the public ssTEM set. A simulated annotator paints, stroke by stroke, on
the worst mistakes that the default model makes in real sections, under shifts of the domain, and
every method gets the very same strokes. They lie where the model is wrong, which is not where
one would paint for a random forest: it is also given as many strokes along the largest objects
of each class in turn ("free strokes"). Each result is a line of the file; what is there is
not computed again. The random forest needs scikit-learn (pip install scikit-learn).
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from annotator import PIXEL_SIZES, SHIFTS, Stroke, paint, worst_first
from PIL import Image, ImageDraw, ImageFont

from napari_feedback_seg import load_model
from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.correction.corrections import CorrectedSection
from napari_feedback_seg.correction.finetune import FineTuning
from napari_feedback_seg.correction.optimisation import Optimisation
from napari_feedback_seg.correction.patches import PatchSource, TrainingPatches
from napari_feedback_seg.datasets.sstem import read_sstem_section
from napari_feedback_seg.metrics import confusion_matrix, iou_table
from napari_feedback_seg.models.model import Model
from napari_feedback_seg.networks import build_network
from napari_feedback_seg.segmentation.predict import segment
from napari_feedback_seg.segmentation.sections import normalise

FREE = "random forest, free strokes"
METHODS = ("no fine-tune", "ours", "ours, no rehearsal", "from scratch", "random forest", FREE)
COLORS = ("#777777", "#0072b2", "#56b4e9", "#e69f00", "#009e73", "#cc79a7")
VALUES = [each.value for each in EM_CLASSES]
TUNING, REPORT = ((12,), (13, 14)), ((15, 16), (17, 18, 19))
SCRATCH_STEPS = 150
Prediction = Any


def main() -> None:
    """Run what is missing, and print or draw what is there."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    painted, looked_at = REPORT if options.report else TUNING
    if options.quick:
        options.shifts, options.budgets, looked_at = ["unshifted", "noisy"], [10], looked_at[:1]
        options.output = options.output or Path("correction-quick.jsonl")
    part = {"painted": list(painted), "looked_at": list(looked_at), "model": options.model}
    results = read(options.output, part)
    if not (options.table or options.plot):
        for shift, budget, method in itertools.product(options.shifts, options.budgets, options.methods):
            strokes = 0 if method == "no fine-tune" else budget
            case = {"shift": shift, "strokes": strokes, "method": method}
            if any(case.items() <= each.items() for each in results):
                continue
            result = {**part, **case, **run(options, shift, strokes, method, painted, looked_at)}
            results.append(result)
            with options.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            print(f"{shift}, {strokes} strokes, {method}: {result['mean_iou']:.2%}", flush=True)
    print(table(results))
    if options.plot:
        plot(results).save(options.plot)


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the public ssTEM set")
    parser.add_argument("-o", "--output", type=Path, help="file of the results, one a line")
    parser.add_argument("--model", default="default", help="name or file of the parent")
    parser.add_argument("--report", action="store_true", help="on the test sections, which choose nothing")
    parser.add_argument("--shifts", nargs="+", default=list(SHIFTS), choices=list(SHIFTS))
    parser.add_argument("--budgets", type=int, nargs="+", default=[5, 10, 20, 40], help="numbers of strokes")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's own choice)")
    parser.add_argument("--quick", action="store_true", help="two shifts, one budget, one section")
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--plot", type=Path, help="only print the table, and draw the curves into this PNG")
    options = parser.parse_args()
    if not options.output and not options.quick:
        parser.error("name a file for the results with -o")
    return options


def read(path: Path | None, part: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the results of this part of the data that a file holds."""
    if path is None or not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [each for each in lines if part.items() <= each.items()]


def run(
    options: argparse.Namespace, shift: str, count: int, method: str, painted: Any, looked_at: Any
) -> dict[str, Any]:
    """Paint, train with a method, and score it on the other sections."""
    parent = load_model(options.model)
    sections = [shifted(options.data, shift, z) for z in painted]
    strokes = strokes_on(options.data, options.model, shift, painted, free=method == FREE)[:count]
    corrections = paint(strokes, [labels.shape for _, labels in sections])
    corrected = [
        CorrectedSection(image, labels, z, pixel_size_nm=PIXEL_SIZES.get(shift), source=shift)
        for z, (image, _), labels in zip(painted, sections, corrections, strict=True)
        if labels.any()
    ]
    started, cpu = time.perf_counter(), time.process_time()
    predict, said = TRAIN[method](parent, corrected)
    seconds = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    confusion: Any = 0
    for z in looked_at:
        image, truth = shifted(options.data, shift, z)
        confusion = confusion + confusion_matrix(truth, predict(image, PIXEL_SIZES.get(shift)), EM_CLASSES)
    pixels = int(sum(np.count_nonzero(each) for each in corrections))
    times = {name: round(value, 1) for name, value in seconds.items()}
    return {**iou_table(confusion, EM_CLASSES), **times, "pixels": pixels, "said": said}


@cache
def shifted(data: Path, shift: str, z: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image and labels of a section under a shift."""
    return SHIFTS[shift](*read_sstem_section(data, z))


@cache
def strokes_on(data: Path, model: str, shift: str, painted: tuple[int, ...], *, free: bool) -> list[Stroke]:
    """Return the strokes on the worst mistakes of the parent, or free ones on the largest objects."""
    sections = [shifted(data, shift, z) for z in painted]
    if free:
        predictions = [np.zeros_like(labels) for _, labels in sections]
    else:
        predict = predicting(load_model(model))
        predictions = [predict(image, PIXEL_SIZES.get(shift)) for image, _ in sections]
    return worst_first([labels for _, labels in sections], predictions, VALUES, 80)


def predicting(model: Model) -> Prediction:
    """Return the function that a model segments with."""
    return lambda image, size: segment(image, model, pixel_size_nm=size).labels


def no_finetune(parent: Model, sections: list[CorrectedSection]) -> tuple[Prediction, str]:
    """Leave the parent as it is."""
    del sections
    return predicting(parent), ""


def ours(
    parent: Model, sections: list[CorrectedSection], config: FinetuneConfig | None = None
) -> tuple[Prediction, str]:
    """Fine-tune as the plugin does."""
    events = FineTuning(parent, sections, config).run()
    while True:
        try:
            next(events)
        except StopIteration as stop:
            result = stop.value
            break
    return predicting(result.recommended), result.sentence


def without_rehearsal(parent: Model, sections: list[CorrectedSection]) -> tuple[Prediction, str]:
    """Fine-tune on the corrections alone."""
    return ours(parent, sections, FinetuneConfig(rehearsal=0))


def from_scratch(parent: Model, sections: list[CorrectedSection]) -> tuple[Prediction, str]:
    """Train the same network with fresh weights on the same patches."""
    torch.manual_seed(0)
    config = FinetuneConfig(rehearsal=0)
    source = PatchSource(sections, parent.card, config)
    patches = TrainingPatches(source, source.regions, [], config, 0)
    network = build_network(parent.card.spec)
    device = torch.device("cpu")
    steps, weights = SCRATCH_STEPS, {"rehearsal": 0.0, "first_round": 0.4}
    optimisation = Optimisation(network, patches, config, steps=steps, rate=2e-3, **weights, device=device)
    optimisation.network.train()  # its batch norm knows nothing yet
    for _ in range(SCRATCH_STEPS):
        optimisation.step()
    return predicting(Model(parent.card, optimisation.network.eval())), ""


def random_forest(parent: Model, sections: list[CorrectedSection]) -> tuple[Prediction, str]:
    """Classify pixels by scikit-image's multi-scale features, as interactive tools do."""
    from skimage.feature import multiscale_basic_features
    from skimage.future import fit_segmenter, predict_segmenter
    from sklearn.ensemble import RandomForestClassifier

    del parent

    def features(image: np.ndarray) -> np.ndarray:
        return multiscale_basic_features(normalise(image), sigma_min=1, sigma_max=16)

    found = np.concatenate([features(each.image)[each.labels > 0] for each in sections])
    values = np.concatenate([each.labels[each.labels > 0] for each in sections])
    forest = RandomForestClassifier(n_estimators=100, n_jobs=torch.get_num_threads(), random_state=0)
    fit_segmenter(values, found, forest)
    return lambda image, _: predict_segmenter(features(image), forest).astype(np.uint8), ""


TRAIN = dict(
    zip(
        METHODS,
        (no_finetune, ours, without_rehearsal, from_scratch, random_forest, random_forest),
        strict=True,
    )
)


def table(results: list[dict[str, Any]]) -> str:
    """Return mean IoU in percent and CPU seconds, a row for shift and method, a column for each budget."""
    budgets = sorted({each["strokes"] for each in results} - {0})
    lines = ["| | | " + " | ".join(f"{budget} strokes" for budget in budgets) + " | seconds |"]
    lines.append("|---|---|" + "---|" * (len(budgets) + 1))
    for shift, method in itertools.product(SHIFTS, METHODS):
        found = {
            each["strokes"]: each for each in results if each["shift"] == shift and each["method"] == method
        }
        if not found:
            continue
        best = [found.get(budget, found.get(0)) for budget in budgets]
        cells = [f"{100 * each['mean_iou']:.1f}" if each else "" for each in best]
        seconds = np.mean([each["cpu_s"] for each in found.values()])
        lines.append(f"| {shift} | {method} | " + " | ".join(cells) + f" | {seconds:.0f} |")
    return "\n".join(lines)


def plot(results: list[dict[str, Any]]) -> Image.Image:
    """Return mean IoU against strokes, a panel for each shift, and a legend."""
    shifts = [shift for shift in SHIFTS if any(each["shift"] == shift for each in results)]
    width, height, columns = 300, 220, 3
    picture = Image.new("RGB", (columns * width, -(-len(shifts) // columns) * height + 34), "white")
    for number, shift in enumerate(shifts):
        corner = (number % columns * width, number // columns * height)
        picture.paste(panel(results, shift, (width, height)), corner)
    draw, font, x = ImageDraw.Draw(picture), ImageFont.load_default(size=13), 12
    for method, color in zip(METHODS, COLORS, strict=True):
        draw.line((x, picture.height - 16, x + 22, picture.height - 16), fill=color, width=3)
        draw.text((x + 28, picture.height - 25), method, fill="black", font=font)
        x += 50 + round(draw.textlength(method, font=font))
    return picture


def panel(results: list[dict[str, Any]], shift: str, size: tuple[int, int]) -> Image.Image:
    """Return the curves of one shift."""
    picture = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=13)
    left, top, right, bottom = 44, 26, size[0] - 12, size[1] - 30
    budgets = sorted({each["strokes"] for each in results} - {0})
    steps = np.log(budgets[-1] / budgets[0]) or 1.0

    def place(strokes: float, iou: float) -> tuple[float, float]:
        across = float(np.log(strokes / budgets[0]) / steps)
        return left + across * (right - left), bottom - iou * (bottom - top)

    draw.text((left, 4), shift, fill="black", font=font)
    for level in (0, 0.2, 0.4, 0.6, 0.8):
        y = place(budgets[0], level)[1]
        draw.line((left, y, right, y), fill="#dddddd")
        draw.text((left - 34, y - 8), f"{level:.0%}", fill="#555555", font=font)
    for budget in budgets:
        draw.text((place(budget, 0)[0] - 6, bottom + 4), str(budget), fill="#555555", font=font)
    for method, color in zip(METHODS, COLORS, strict=True):
        of_method = [each for each in results if (each["shift"], each["method"]) == (shift, method)]
        found = {each["strokes"]: each["mean_iou"] for each in of_method}
        if 0 in found:
            found = dict.fromkeys(budgets, found[0])
        points = [place(strokes, found[strokes]) for strokes in sorted(found)]
        if len(points) > 1:
            draw.line(points, fill=color, width=3)
        for x, y in points:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=color)
    return picture


if __name__ == "__main__":
    main()

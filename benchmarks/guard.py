"""How often the recommendation of a fine-tune is right, on the labelled sections of several labs.

    python benchmarks/guard.py DATA -o cases.jsonl --seeds 0 1        # a minute a case; goes on where it was
    python benchmarks/guard.py DATA -o cases.jsonl --table

DATA is a folder of sets, see labelled_sets.py. In each case two sections are corrected, stroke by
stroke on the worst mistakes of the model, and the model before and after is scored on three other
sections: the mean IoU over the classes that are labelled. Sections lie apart from each other, and are
cropped. A recommendation is right if it is to keep a model that is better there by more than the
tolerance, or to go back from one that is worse; in between, both are.

Each case is a line of the file, with all that a rule could go by, so that rules can be compared without
a fine-tune. The table has how often the rule of the package is right, and how often it would be if the one
threshold that depends on the model, that of its doubt, were chosen on the other sets.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from annotator import paint, worst_first
from labelled_sets import NAMES, Section, class_counts, labelled_set, mean_iou

from napari_feedback_seg import load_model
from napari_feedback_seg.correction import recommendation
from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.correction.corrections import CorrectedSection
from napari_feedback_seg.correction.finetune import FineTuning
from napari_feedback_seg.correction.held_out import Scores
from napari_feedback_seg.segmentation.predict import segment

if TYPE_CHECKING:
    from napari_feedback_seg.models.model import Model, ModelCard

SETS = {
    "sstem": ("",),
    "epfl": ("",),
    "snemi_ac4": ("",),
    "flyem_fib25": ("np2_",),
    "cdeep3m_mito": ("a_", "c_"),
}
"""Sets, and the groups of their sections, which take turns with the seeds."""

BUDGETS = (5, 10, 20, 40)
PAINTED, OTHERS = 2, 3
SIDE = 448
"""Side of a crop in pixels of the model."""

TOLERANCE = 0.5
"""A change of the mean IoU by no more points is none."""

FEW = {"steps": 24, "batch": 4, "checks": 2, "learning_rate": 1e-3}
"""A fine-tune of fewer, smaller and wider steps than the default, to be affordable."""


def main() -> None:
    """Run what is missing, and print what is there."""
    options = parse()
    torch.set_num_threads(options.threads)
    results = read(options.output)
    if not options.table:
        config = {} if options.full else FEW
        for seed, strokes, name in itertools.product(options.seeds, BUDGETS, options.sets):
            case = {"model": options.model, "set": name, "strokes": strokes, "seed": seed, "config": config}
            if any(case.items() <= each.items() for each in results):
                continue
            results.append({**case, **run(options.data, *case.values())})
            with options.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(results[-1]) + "\n")
            print(name, strokes, seed, results[-1]["sentence"], results[-1]["iou"], flush=True)
    print(table([each for each in results if each["model"] == options.model]))


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the labelled sets")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file of the cases, one a line")
    parser.add_argument("--model", default="self-w16", help="name or file of the parent")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--full", action="store_true", help="fine-tune with the default settings")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--table", action="store_true", help="only print the table")
    return parser.parse_args()


def table(cases: list[dict[str, Any]]) -> str:
    """Return a row for each set."""
    lines = [
        "| | cases | doubt | change of mean IoU | better, level, worse | right | right by other sets |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in SETS:
        own, others = (
            [each for each in cases if (each["set"] == name) is is_own] for is_own in (True, False)
        )
        if not own:
            continue
        gains = [gain(each) for each in own]
        doubts = [doubt(each) for each in own]
        counts = [
            sum(np.sign(each) * (abs(each) > TOLERANCE) == sign for each in gains) for sign in (1, 0, -1)
        ]
        threshold = best_threshold(others)
        rates = [f"{sum(is_right(each, at) for each in own)} of {len(own)}" for at in (None, threshold)]
        cells = [
            *(name, str(len(own)), f"{min(doubts):.3f} to {max(doubts):.3f}"),
            *(f"{min(gains):+.1f} to {max(gains):+.1f}", ", ".join(map(str, counts)), rates[0]),
            f"{rates[1]} ({threshold:.3f})",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def best_threshold(cases: list[dict[str, Any]]) -> float:
    """Return the threshold of doubt with which most recommendations are right: the middle of all such."""
    grid = np.arange(0, 0.2001, 0.001)
    right = np.array([sum(is_right(each, float(at)) for each in cases) for at in grid])
    return float(grid[right == right.max()].mean())


def is_right(case: dict[str, Any], threshold: float | None) -> bool:
    """Return whether the recommendation would be right with a threshold of doubt, or that of the package."""
    card = card_of(case["model"])
    differs = [each for each in case["start"] if each != "as it was"]
    before, after = (as_scores(case[name]) for name in ("before", "after"))
    advice, _ = recommendation.recommend(
        before,
        after,
        changed=case["changed"],
        doubt=doubt(case),
        held_out=case["held_out"],
        unfamiliar=recommendation.starts_elsewhere(card, differs),
        familiar=recommendation.familiar_doubt(card) if threshold is None else threshold,
    )
    return abs(gain(case)) <= TOLERANCE or (advice == "keep") == (gain(case) > 0)


@cache
def card_of(model: str) -> ModelCard:
    """Return the card of a model."""
    return load_model(model).card


def gain(case: dict[str, Any]) -> float:
    """Return the change of the mean IoU in points."""
    return float(case["iou"][1] - case["iou"][0])


def doubt(case: dict[str, Any]) -> float:
    """Return the share of the unpainted pixels that the parent expects to have wrong."""
    found = case["on_painted"]
    return float(1 - np.sum(found["sure"]) / np.sum(found["moves"]))


def as_scores(found: dict[str, Any]) -> Scores:
    """Return scores that were written as JSON."""
    return Scores(NAMES, *(np.array(found[name]) for name in ("confusion", "right", "kept")), found["loss"])


def read(path: Path) -> list[dict[str, Any]]:
    """Return the cases of a file."""
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def run(data: Path, model: str, name: str, strokes: int, seed: int, config: dict[str, int]) -> dict[str, Any]:
    """Paint, fine-tune, and measure before and after."""
    parent, cpu = load_model(model), time.process_time()
    numbers, names, size, sections, before = without_finetune(data, model, name, seed)
    truths = [completed(*each) for each in zip(sections[:PAINTED], before[:PAINTED], strict=True)]
    said = [each.labels for each in before[:PAINTED]]
    lines = worst_first(truths, said, range(1, len(NAMES) + 1), strokes)
    corrections = paint(lines, [each.shape for each in truths])
    corrected = [
        CorrectedSection(section.image, labels, number, size, name)
        for section, labels, number in zip(sections[:PAINTED], corrections, numbers[:PAINTED], strict=True)
        if labels.any()
    ]
    settings = FinetuneConfig(seed=seed, **config)
    events = FineTuning(parent, corrected, settings, device="cpu").run()
    while True:
        try:
            next(events)
        except StopIteration as stop:
            result = stop.value
            break
    after = [predict(section, result.tuned, size) for section in sections]
    scored = range(PAINTED, PAINTED + OTHERS)
    counts = [
        sum(class_counts(sections[each], said[each].labels) for each in scored) for said in (before, after)
    ]
    unpainted = [labels == 0 for labels in corrections] + [
        np.ones(sections[i].image.shape, bool) for i in scored
    ]
    return {
        "sections": names,
        "painted_strokes": len(lines),
        "pixels": np.bincount(np.concatenate([each.ravel() for each in corrections]), minlength=5).tolist(),
        "iou": [round(mean_iou(each), 2) for each in counts],
        "counts": [each.tolist() for each in counts],
        "before": as_json(result.before),
        "after": as_json(result.after),
        "held_out": result.held_out,
        "changed": round(result.changed, 4),
        "start": result.tuned.card.recipe["start"],
        "statistics_shift": result.tuned.card.recipe["statistics_shift"],
        "on_painted": compared(before[:PAINTED], after[:PAINTED], unpainted[:PAINTED]),
        "on_others": compared(before[PAINTED:], after[PAINTED:], unpainted[PAINTED:]),
        "sentence": result.sentence,
        "recommendation": result.recommendation,
        "problems": list(result.problems),
        "cpu_s": round(time.process_time() - cpu, 1),
    }


@cache
def without_finetune(
    data: Path, model: str, name: str, seed: int
) -> tuple[list[int], list[str], float, list[Section], list[Any]]:
    """Return numbers and names of sections, their pixel size, crops of them, and what the model says."""
    parent, groups = load_model(model), SETS[name]
    chosen = labelled_set(data / name, groups[seed % len(groups)])
    random = np.random.default_rng((seed, list(SETS).index(name)))
    blocks = np.array_split(np.arange(len(chosen.names)), PAINTED + OTHERS)
    numbers = [int(random.choice(each)) for each in blocks]
    random.shuffle(numbers)
    size = chosen.pixel_size_nm
    side = round(SIDE * parent.card.pixel_size_nm / size)
    names = [chosen.names[number] for number in numbers]
    sections = [chosen.read(each).crop(side, random) for each in names]
    return numbers, names, size, sections, [predict(section, parent, size) for section in sections]


def predict(section: Section, model: Model, size: float) -> Any:
    """Return what a model says of a section."""
    settings = {"probabilities": True, "first_round": model.card.spec.rounds > 1, "overlap": 0.1}
    return segment(section.image, model, pixel_size_nm=size, device="cpu", **settings)


def completed(section: Section, prediction: Any) -> np.ndarray:
    """Return the class values (Y, X) that a person would give, 0 where nothing is labelled.

    Where several classes are possible, that is the model's own answer if it is one of them, or
    the likeliest of them; never synapse, which is rare.
    """
    possible = section.possible.copy()
    possible[NAMES.index("synapse")] &= possible.sum(axis=0) == 1
    likeliest = np.where(possible, prediction.probabilities.astype(np.float32), -1).argmax(axis=0) + 1
    said = prediction.labels
    right = np.take_along_axis(section.possible, np.maximum(said, 1)[None].astype(int) - 1, axis=0)[0] & (
        said > 0
    )
    return np.where(section.possible.any(axis=0), np.where(right, said, likeliest), 0).astype(np.uint8)


def as_json(scores: Scores) -> dict[str, Any]:
    """Return the scores on held-out corrections."""
    return {
        "confusion": scores.confusion.tolist(),
        "right": np.round(scores.right, 4).tolist(),
        "kept": np.round(scores.kept, 1).tolist(),
        "loss": round(scores.loss, 5),
    }


def compared(before: list[Any], after: list[Any], where: list[np.ndarray]) -> dict[str, Any]:
    """Return how two models differ on some pixels, whatever is right there.

    ``moves`` are pixels by class before and after, ``sure`` the same weighted by the confidence before,
    ``entropy`` and ``rounds`` the mean entropy, and the share of pixels on which the two rounds disagree.
    """
    pairs = list(zip(before, after, where, strict=True))
    moves, sure = np.zeros((5, 5)), np.zeros((5, 5))
    for one, other, here in pairs:
        places = (one.labels[here], other.labels[here])
        np.add.at(moves, places, 1)
        np.add.at(sure, places, one.probabilities.astype(np.float32).max(axis=0)[here])
    entropies, rounds = [], []
    for said in (before, after):
        pixels = np.concatenate(
            [each.probabilities[:, here] for each, here in zip(said, where, strict=True)], axis=1
        )
        pixels = np.maximum(pixels.astype(np.float32), 1e-6)
        entropies.append(round(float(-(pixels * np.log(pixels)).sum(axis=0).mean()), 5))
        if said[0].first_round is not None:
            differ = [(each.labels != each.first_round)[here] for each, here in zip(said, where, strict=True)]
            rounds.append(round(float(np.concatenate(differ).mean()), 5))
    return {
        "moves": moves.astype(int).tolist(),
        "sure": np.round(sure).tolist(),
        "entropy": entropies,
        "rounds": rounds,
    }


if __name__ == "__main__":
    main()

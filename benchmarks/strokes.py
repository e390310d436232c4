"""Mean IoU with strokes answered at once, on labs that a model may not know.

    python benchmarks/strokes.py DATA -o results.jsonl --labs cdeep3m snemi flyem       # tuning
    python benchmarks/strokes.py DATA -o results.jsonl --labs epfl sstem                # report
    python benchmarks/strokes.py DATA -o results.jsonl --table

DATA holds a folder for each lab, with images, labels and ``dataset.json``; a code of the labels is
the set of classes that a pixel can be. The simulated annotator of ``correction.py`` paints two
crops of 768 x 512 pixels: on the worst mistakes of the model, or freely ("free"), along the largest
objects. Scores are those of whole crops: three that were not painted, and the two that were.
A seed is another choice of sections; those that are scored lie at least 30 sections of the
volume (EPFL: 150 nm) from all that are painted. SNEMI has mitochondria on one section only: its left
half is painted, its right half is the other one. Each result is a line of the file; what is there is
not computed again. The random forests need scikit-learn (pip install scikit-learn).

"put right" is how much becomes right of what touches a stroke, lies within 64 pixels of it, and was
taken for another class than the stroke's, which it is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from annotator import SHIFTS, paint, worst_first
from PIL import Image
from scipy import ndimage

from napari_feedback_seg import load_model
from napari_feedback_seg.correction import fitting, mistakes
from napari_feedback_seg.correction.adapt import corrected, learn
from napari_feedback_seg.correction.corrections import CorrectedSection
from napari_feedback_seg.correction.feature_maps import tile_maps
from napari_feedback_seg.correction.finetune import FineTuning
from napari_feedback_seg.correction.instant import InstantAnswers
from napari_feedback_seg.datasets.sstem import read_sstem_section
from napari_feedback_seg.segmentation.predict import segment
from napari_feedback_seg.segmentation.reader import TileReader
from napari_feedback_seg.segmentation.sections import normalise
from napari_feedback_seg.segmentation.tiles import Tile, starts

if TYPE_CHECKING:
    from annotator import Stroke

VALUES = {"membrane": 1, "mitochondria": 2, "synapse": 3, "cytoplasm": 4}
CROP, WHOLE = np.s_[:512, :768], np.s_[:, :]
LABS: dict[str, list[tuple[str, list[Any], list[Any]]]] = {
    "epfl": [
        ("epfl", ["0000", "0089"], ["0047", "0120", "0164"]),
        ("epfl", ["0046", "0134"], ["0009", "0091", "0163"]),
        ("epfl", ["0018", "0106"], ["0061", "0135", "0162"]),
    ],
    "sstem": [("sstem", [15, 16], [17, 18, 19]), ("sstem", [17, 18], [15, 16, 19])],
    "sstem validation": [("sstem", [12], [13, 14]), ("sstem", [13], [12, 14]), ("sstem", [14], [12, 13])],
    "cdeep3m": [
        ("cdeep3m_mito", ["a_010", "a_020"], ["a_015", "a_026", "c_dithered_034"]),
        ("cdeep3m_mito", ["a_013", "a_029"], ["a_018", "a_023", "c_dithered_036"]),
        ("cdeep3m_mito", ["a_012", "a_024"], ["a_017", "a_028", "c_dithered_035"]),
        ("cdeep3m_mito", ["c_dithered_033", "c_dithered_036"], ["a_011", "a_021", "a_027"]),
    ],
    "snemi": [("snemi_ac4", ["0049 left"], ["0049 right"])],
    "flyem": [
        ("flyem_fib25", [f"np2_z{z:03}" for z in (0, 60)], [f"np2_z{z}" for z in (120, 180, 249)]),
        ("flyem_fib25", [f"np2_z{z:03}" for z in (249, 180)], [f"np2_z{z:03}" for z in (120, 60, 0)]),
    ],
}
SHIFTED = ("8 nm, unsaid", "blurred", "noisy", "stain")
METHODS = (
    "strokes",
    "strokes, nothing put right",
    "random forest",
    "random forest, deep features",
    "fine-tune",
    "strokes, then fine-tune",
)
USUAL = fitting.SHARES
REACH = mistakes.REACH
SHARES = {f"strokes, share {share:g}": share for share in (0.15, 0.25, 0.35, 0.45, 0.6, 0.8)}
"""Other shares of the solution, to choose one by."""


def main() -> None:
    """Run what is missing, and print the table."""
    options = parse()
    torch.set_num_threads(options.threads)
    path: Path = options.output
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    results = [json.loads(line) for line in lines]
    if not options.table:
        for case in cases(options):
            if not any(case.items() <= each.items() for each in results):
                result = case | run(options.data, case)
                results.append(result)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
                print(json.dumps(result), flush=True)
    print(table(results))


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the labs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file of the results, one a line")
    parser.add_argument("--model", default="self-w16", help="name or file of a model")
    parser.add_argument("--labs", nargs="+", default=list(LABS), choices=list(LABS))
    parser.add_argument("--shifts", nargs="+", default=["unshifted"], choices=list(SHIFTS), help="of sstem")
    parser.add_argument("--budgets", type=int, nargs="+", default=[1, 3, 5, 10, 20, 40, 80])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--annotators", nargs="+", default=["mistakes", "free"], choices=("mistakes", "free"))
    parser.add_argument("--methods", nargs="+", default=["strokes"], choices=(*METHODS, *SHARES))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--table", action="store_true", help="only print the table")
    return parser.parse_args()


def cases(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what is to be computed; those on the same images in a row."""
    found = []
    for lab, seed in itertools.product(options.labs, options.seeds):
        if seed >= len(LABS[lab]):
            continue
        for shift in options.shifts if lab.startswith("sstem") else ["unshifted"]:
            about = {"model": options.model, "lab": lab, "seed": seed, "shift": shift}
            found.append(about | {"annotator": "", "method": "nothing", "strokes": 0})
            for annotator, method, count in itertools.product(
                options.annotators, options.methods, options.budgets
            ):
                found.append(about | {"annotator": annotator, "method": method, "strokes": count})
    return found


def run(data: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Paint, learn with a method, and score it on the other crops and on those that were painted."""
    setup = Setup.of(data, case["model"], case["lab"], case["seed"], case["shift"])
    labels = setup.paint(case["annotator"], case["strokes"])
    started = time.process_time()
    predict, said = METHOD[case["method"]](setup, labels)
    seconds = time.process_time() - started
    scores = {}
    for name, sections, painted in (
        ("other", setup.other, [None] * len(setup.other)),
        ("painted", setup.painted, labels),
    ):
        predictions = [predict(section, strokes) for section, strokes in zip(sections, painted, strict=True)]
        scores[name] = ious([section.truth for section in sections], predictions, setup.known)
    if case["strokes"]:
        scores["put right"] = put_right(setup, labels, predictions)
    return {**scores, "cpu_s": round(seconds, 2), "said": said}


def put_right(setup: Setup, labels: list[np.ndarray], predictions: list[np.ndarray]) -> float | None:
    """Return the share of the mistakes that strokes lie in, without the painted pixels, that is right now."""
    right = total = 0
    for section, painted, before, after in zip(setup.painted, labels, setup.before, predictions, strict=True):
        for value in np.unique(painted[painted > 0]):
            is_it = section.truth[value - 1] & (section.truth.sum(axis=0) == 1)
            parts, _ = ndimage.label(is_it & (before != value), np.ones((3, 3)))
            touched = np.setdiff1d(parts[painted == value], 0)
            near = ndimage.distance_transform_edt(painted != value) <= REACH
            mistake = np.isin(parts, touched) & near & (painted == 0)
            right += np.count_nonzero(after[mistake] == value)
            total += np.count_nonzero(mistake)
    return right / total if total else None


class Section:
    """A crop, with the set of classes (4, Y, X) that each pixel can be."""

    def __init__(self, name: str, image: np.ndarray, truth: np.ndarray) -> None:
        self.name, self.image, self.truth = name, image, truth


class Setup:
    """The crops of a lab under a shift, and the strokes on them."""

    @staticmethod
    @cache
    def of(data: Path, model: str, lab: str, seed: int, shift: str) -> Setup:
        """Return the one of a lab, a seed and a shift; the last one stays."""
        Setup.of.cache_clear()
        return Setup(data, model, lab, seed, shift)

    def __init__(self, data: Path, model: str, lab: str, seed: int, shift: str) -> None:
        folder, painted, other = LABS[lab][seed]
        self.painted, self.other = (
            [read(data / folder, name, shift) for name in names] for names in (painted, other)
        )
        alone = [
            np.any([s.truth.sum(axis=0)[s.truth[value - 1]].min(initial=9) == 1 for s in self.painted])
            for value in VALUES.values()
        ]
        self.known = [value for value, one in zip(VALUES.values(), alone, strict=True) if one]
        self.model = load_model(model)
        self.answers = InstantAnswers(self.model, memory_mb=4000)
        said = [segment(each.image, self.model, probabilities=True) for each in self.painted]
        self.before, self._own = (
            [getattr(each, name) for each in said] for name in ("labels", "probabilities")
        )

    @cache  # noqa: B019  # as long as the setup
    def strokes(self, annotator: str) -> list[Stroke]:
        """Return the strokes of an annotator; where much is possible, on what the model holds likeliest."""
        truths = []
        for section, own in zip(self.painted, self._own, strict=True):
            possible = np.where(section.truth, own.astype(np.float32), -1)
            truths.append(np.where(section.truth.any(axis=0), possible.argmax(axis=0) + 1, 0))
        if annotator == "free":
            predictions = [np.zeros_like(truth) for truth in truths]
        else:
            predictions = [own.argmax(axis=0) + 1 for own in self._own]
        return worst_first(truths, predictions, list(VALUES.values()), 80)

    def paint(self, annotator: str, count: int) -> list[np.ndarray]:
        """Return the corrections of each painted crop."""
        strokes = self.strokes(annotator)[:count] if count else []
        return paint(strokes, [each.image.shape for each in self.painted])


def read(folder: Path, name: Any, shift: str) -> Section:
    """Return a crop of a section of a lab."""
    if folder.name == "sstem":
        image, labels = SHIFTS[shift](*read_sstem_section(folder, name))
        sets = {value: [value] for value in VALUES.values()}
    else:
        stem, _, part = name.partition(" ")
        image, labels = (np.asarray(Image.open(folder / kind / f"{stem}.png")) for kind in ("image", "label"))
        codes = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["codes"]
        sets = {int(code): [VALUES[each] for each in names] for code, names in codes.items()}
        if part:
            half = np.s_[:, :512] if part == "left" else np.s_[:, 512:]
            image, labels = image[half], labels[half]
    crop = WHOLE if name in ("0049 left", "0049 right") else CROP
    image, labels = image[crop], labels[crop]
    truth = np.stack(
        [
            np.isin(labels, [code for code, values in sets.items() if value in values])
            for value in VALUES.values()
        ]
    )
    return Section(str(name), np.ascontiguousarray(image), truth)


def ious(truths: list[np.ndarray], predictions: list[np.ndarray], known: list[int]) -> dict[str, float]:
    """Return the IoU of each class that is labelled, where it is known what a pixel is or is not."""
    found = {}
    for name, value in VALUES.items():
        if value not in known:
            continue
        inter = union = 0
        for truth, prediction in zip(truths, predictions, strict=True):
            count = truth.sum(axis=0)
            is_it = truth[value - 1] & (count == 1)
            sure = (count > 0) & (is_it | ~truth[value - 1])
            said = (prediction == value) & sure
            inter += np.count_nonzero(said & is_it)
            union += np.count_nonzero(said | is_it)
        found[name] = inter / max(1, union)
    return found


def answered_at_once(
    setup: Setup,
    labels: list[np.ndarray],
    shares: tuple[float, ...] = USUAL,
    *,
    around: bool = True,
) -> tuple[Any, str]:
    """Learn from the strokes as the plugin does, or take another share of what they teach."""
    answers = setup.answers
    fitting.SHARES = shares
    mistakes.REACH = REACH if around else 0
    answers.set_strokes(
        [
            CorrectedSection(section.image, painted, source=section.name)
            for section, painted in zip(setup.painted, labels, strict=True)
        ]
    )
    statistics = "statistics of the images" if drain(answers.fit()).statistics else ""

    def predict(section: Section, painted: np.ndarray | None) -> np.ndarray:
        painted = np.zeros(section.image.shape, np.uint8) if painted is None else painted
        of_section = CorrectedSection(section.image, painted, source=section.name)
        return drain(answers.answer(of_section)).prediction.labels

    return predict, statistics


def forest(setup: Setup, labels: list[np.ndarray], deep: bool = False) -> tuple[Any, str]:
    """Classify pixels by multi-scale features, as interactive tools do, or by the maps of the network."""
    from skimage.feature import multiscale_basic_features
    from sklearn.ensemble import RandomForestClassifier

    def features(image: np.ndarray) -> np.ndarray:
        if not deep:
            return multiscale_basic_features(normalise(image), sigma_min=1, sigma_max=16)
        return deep_features(setup.model, image)

    found = np.concatenate(
        [features(s.image)[painted > 0] for s, painted in zip(setup.painted, labels, strict=True)]
    )
    values = np.concatenate([painted[painted > 0] for painted in labels])
    classifier = RandomForestClassifier(n_estimators=100, n_jobs=torch.get_num_threads(), random_state=0)
    classifier.fit(found, values)

    def predict(section: Section, painted: np.ndarray | None) -> np.ndarray:
        of_section = features(section.image)
        result = classifier.predict(of_section.reshape(-1, of_section.shape[-1]))
        result = result.reshape(section.image.shape).astype(np.uint8)
        return result if painted is None else np.where(painted > 0, painted, result)

    return predict, ""


def deep_features(model: Any, image: np.ndarray) -> np.ndarray:
    """Return the maps inside the network (Y, X, F) float16, each pixel of the nearest tile."""
    size, reader = model.card.tile, TileReader(image, image.shape)
    rows, columns = (starts(length, size, 0.25, slice(0, length)) for length in image.shape)
    nearest = [
        np.abs(np.arange(length)[:, None] - (np.array(each) + (size - 1) / 2)).argmin(axis=1)
        for length, each in zip(image.shape, (rows, columns), strict=True)
    ]
    result = None
    for (i, y), (j, x) in itertools.product(enumerate(rows), enumerate(columns)):
        own = np.ix_(np.flatnonzero(nearest[0] == i), np.flatnonzero(nearest[1] == j))
        maps = tile_maps(model.network, torch.from_numpy(reader.read(Tile(y, x), size)))
        down, across = np.broadcast_arrays(own[0] - y, own[1] - x)
        found = maps.features(torch.from_numpy(down.ravel().copy()), torch.from_numpy(across.ravel().copy()))
        if result is None:
            result = np.zeros((*image.shape, found.shape[1]), np.float16)
        result[own] = found.numpy().reshape(*down.shape, -1)
    return result


def deep_forest(setup: Setup, labels: list[np.ndarray]) -> tuple[Any, str]:
    """Return a random forest on the maps inside the network."""
    return forest(setup, labels, deep=True)


def fine_tuned(setup: Setup, labels: list[np.ndarray], at_once: bool = False) -> tuple[Any, str]:
    """Fine-tune the model, whether it is recommended or not; from the answer to the strokes if wanted.

    What strokes had put right around themselves stays right then, as in the dock.
    """
    if not any(painted.any() for painted in labels):
        return answered_at_once(setup, labels)
    sections = [
        CorrectedSection(section.image, painted, number, source="painted")
        for number, (section, painted) in enumerate(zip(setup.painted, labels, strict=True))
        if painted.any()
    ]
    parent, right = setup.model, {}
    if at_once:
        adaptation = drain(learn(parent, sections, device="cpu"))
        for section in sections:
            name = setup.painted[section.index].name
            right[name] = drain(corrected(parent, adaptation, section, device="cpu"))
        parent = adaptation.apply(parent)
    tuned = drain(FineTuning(parent, sections, device="cpu").run())
    model = tuned.tuned

    def predict(section: Section, painted: np.ndarray | None) -> np.ndarray:
        found = segment(section.image, model).labels
        if painted is None:
            return found
        settled = right.get(section.name, painted)
        return np.where(settled > 0, settled, found)

    return predict, tuned.recommendation


def answered_then_tuned(setup: Setup, labels: list[np.ndarray]) -> tuple[Any, str]:
    """Fine-tune the model from the answer to the strokes."""
    return fine_tuned(setup, labels, at_once=True)


METHOD = {
    "nothing": answered_at_once,
    "strokes": answered_at_once,
    "strokes, nothing put right": partial(answered_at_once, around=False),
    "random forest": forest,
    "random forest, deep features": deep_forest,
    "fine-tune": fine_tuned,
    "strokes, then fine-tune": answered_then_tuned,
    **{name: partial(answered_at_once, shares=(share,) * len(USUAL)) for name, share in SHARES.items()},
}


def drain(events: Any) -> Any:
    """Return what a generator returns."""
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


def table(results: list[dict[str, Any]]) -> str:
    """Return mean IoU in percent, other / painted, the mean over the seeds; a column for each budget."""
    budgets = sorted({each["strokes"] for each in results} - {0})
    lines = ["| model | images | annotator | method | 0 | " + " | ".join(map(str, budgets)) + " |"]
    lines.append("|---|---|---|---|---|" + "---|" * len(budgets))
    keys = dict.fromkeys(
        (each["model"], each["lab"], each["shift"], each["annotator"], each["method"])
        for each in results
        if each["method"] != "nothing"
    )
    for model, lab, shift, annotator, method in sorted(keys):
        about = model, lab, shift
        here = [each for each in results if (each["model"], each["lab"], each["shift"]) == about]
        cells = [cell([each for each in here if each["method"] == "nothing"])]
        for budget in budgets:
            key = annotator, method, budget
            cells.append(cell([e for e in here if (e["annotator"], e["method"], e["strokes"]) == key]))
        name = lab if shift == "unshifted" else f"{lab}, {shift}"
        lines.append(f"| {model} | {name} | {annotator} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(results: list[dict[str, Any]]) -> str:
    """Return the scores of several seeds as text."""
    if not results:
        return ""
    means = [
        100 * np.mean([np.mean(list(each[name].values())) for each in results])
        for name in ("other", "painted")
    ]
    shares = [each["put right"] for each in results if each.get("put right") is not None]
    of_mistakes = f" / {100 * np.mean(shares):.0f} % put right" if shares else ""
    return f"{means[0]:.1f} / {means[1]:.1f}{of_mistakes}"


if __name__ == "__main__":
    main()

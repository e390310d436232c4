"""The paper's tables, made from the runs that are there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.evaluation.reproduce import BLENDED, ONE_CONV

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_feedback_seg.evaluation.reproduce import FinishedRun

    Rows = tuple[tuple[str, ...], ...]
    Scores = dict[tuple[int, int], dict[str, Any]]

PAPER_RUNS = "15"
CLASSES = tuple(each.name for each in EM_CLASSES)
_PAPERS_SPLIT = "The paper's split of the sections is unpublished: ours is by section, theirs may not be."
_MEASURES = {"VI split": "vi_split", "VI merge": "vi_merge", "Rand error": "are"}


@dataclass(frozen=True)
class System:
    """A line of a table.

    Attributes
    ----------
    title : str
        What the paper calls it.
    network : str
        As a run calls it.
    paper : tuple of float
        The paper's IoU in % of the four classes, and their mean.
    first_output : bool
        Whether it is the output of the first of two rounds.
    """

    title: str
    network: str
    paper: tuple[float, ...]
    first_output: bool = False


UNET = System("U-Net", "unet", (74.24, 71.01, 43.08, 92.03, 70.09))
_ST = System("Feedback Attention (ST)", "source_target", (76.65, 78.27, 43.32, 92.64, 72.72))
_SELF = System("Feedback Attention (Self)", "self", (76.94, 79.52, 45.29, 92.80, 73.64))

TABLES: dict[int, tuple[System, ...]] = {
    1: (
        UNET,
        System("RU-Net", "recurrent_unet", (75.81, 74.39, 43.26, 92.25, 71.43)),
        System("Feedback U-Net", "feedback_unet", (76.44, 75.20, 42.30, 92.43, 71.59)),
        _ST,
        _SELF,
    ),
    2: (
        UNET,
        System("Add", "add", (75.56, 77.36, 41.84, 92.46, 71.81)),
        System("1x1 conv", "conv1x1", (75.22, 78.39, 43.46, 92.49, 72.39)),
        System("SE-Net", "squeeze_excitation", (75.89, 77.31, 42.92, 92.49, 72.15)),
        System("Light attention", "light_attention", (76.20, 78.27, 43.18, 92.57, 72.56)),
        _ST,
        _SELF,
    ),
    3: (
        UNET,
        System("ST, one conv", f"source_target{ONE_CONV}", (76.54, 77.39, 43.06, 91.96, 72.24)),
        _ST,
        System("Self, one conv", f"self{ONE_CONV}", (76.69, 78.73, 45.23, 92.66, 73.33)),
        _SELF,
    ),
    4: (
        UNET,
        System("ST, first output", "source_target", (76.07, 76.76, 41.28, 92.39, 71.62), first_output=True),
        _ST,
        System("Self, first output", "self", (75.49, 74.29, 41.57, 92.03, 70.84), first_output=True),
        _SELF,
    ),
}
"""The systems of each table; U-Net, which the others are compared with, stands in all of them."""


@dataclass(frozen=True)
class Block:
    """A table of the runs of one recipe, width, number of epochs and precision.

    Attributes
    ----------
    title : str
        What it is about.
    scores, comparison : tuple of tuple of str
        Two tables, each a head and rows, the first cell of which names a system; of crops that lie
        side by side, as in the paper.
    blended : tuple of tuple of str
        A third, of crops that overlap and are blended, as a user would segment.
    note : str
        Data, folds, seeds and machines.
    """

    title: str
    scores: Rows
    comparison: Rows
    blended: Rows
    note: str


def networks_of(table: int) -> tuple[str, ...]:
    """Return the networks that a table needs."""
    return tuple(dict.fromkeys(system.network for system in TABLES[table]))


def blocks(results: Sequence[FinishedRun], table: int) -> list[Block]:
    """Return what there is of a table, a block for each recipe, width, number of epochs and precision.

    The figures are those on the test sections, or on the validation sections where a data
    set has no others. Nothing is in a block but runs of that table; a block with no run of
    another network than U-Net is left out unless it is all there is.
    """
    wanted = [each for each in results if each.run.network in networks_of(table)]
    groups: dict[tuple[str, int, str, int], list[FinishedRun]] = {}
    for result in wanted:
        run, precision = result.run, result.record["settings"]["precision"]
        groups.setdefault((run.recipe, run.width, precision, run.epochs), []).append(result)
    telling = [key for key, group in groups.items() if {each.run.network for each in group} != {UNET.network}]
    return [
        _block(table, groups[key], groups.get((*key[:3], 2 * key[3]), []))
        for key in sorted(telling or groups)
    ]


@dataclass(frozen=True)
class _Line:
    """The runs of one system in one setting, and their scores by fold and seed.

    ``first`` are those of the first of two rounds, where the line is about the second.
    """

    title: str
    system: System
    runs: list[FinishedRun]
    scores: Scores
    first: Scores


def _block(table: int, group: list[FinishedRun], longer: list[FinishedRun]) -> Block:
    """Return the block of a group of runs; ``longer`` are those of twice the epochs."""
    run = group[0].run
    part = "test" if all(each.record["test"] for each in [*group, *longer]) else "validation"
    twice = f"{UNET.title}, {2 * run.epochs} epochs"

    def lines_on(part: str) -> list[_Line]:
        lines = []
        for system in TABLES[table]:
            lines += _lines(system, group, part)
            if system is UNET:
                lines += [replace(line, title=twice) for line in _lines(UNET, longer, part)]
        return lines

    lines, precision = lines_on(part), group[0].record["settings"]["precision"]
    what = f"recipe {run.recipe}, width {run.width}, {run.epochs} epochs, {precision}, {part} sections"
    return Block(
        f"Table {table}, {what}",
        _score_rows(lines),
        _comparison_rows(lines, twice),
        _blended_rows(lines_on(f"{part}{BLENDED}"), twice),
        _note(lines),
    )


def _lines(system: System, group: Iterable[FinishedRun], part: str) -> list[_Line]:
    """Return the runs of a system, those of each key pooling in a line of its own."""
    found: dict[int, list[FinishedRun]] = {}
    for each in group:
        if each.run.network == system.network:
            found.setdefault(each.run.key_pooling or 1, []).append(each)
    lines = []
    for pooling, runs in sorted(found.items()):
        title = system.title if pooling == 1 else f"{system.title}, keys pooled {pooling} x {pooling}"
        answer = {(each.run.fold, each.run.seed): each.record[part] for each in runs}
        first = {key: each["first_round"] for key, each in answer.items() if "first_round" in each}
        scores, first = (first, {}) if system.first_output else (answer, first)
        lines.append(_Line(title, system, runs, scores, first))
    return lines


def _score_rows(lines: Sequence[_Line]) -> Rows:
    """Return the IoU of each class and their mean, the paper's below ours."""
    rows = [("IoU in %", "runs", *CLASSES, "mean")]
    for line, following in zip_longest(lines, lines[1:]):
        classes = [
            [each["iou"][name] for each in line.scores.values() if name in each["iou"]] for name in CLASSES
        ]
        values = [*classes, [_mean_iou(each) for each in line.scores.values()]]
        rows.append((line.title, str(len(line.runs)), *(_spread([100 * v for v in each]) for each in values)))
        if following is None or following.system is not line.system:
            paper = (f"{value:.2f}" for value in line.system.paper)
            rows.append((f"*paper, {line.system.title}*", PAPER_RUNS, *paper))
    return tuple(rows)


def _comparison_rows(lines: Sequence[_Line], twice: str) -> Rows:
    """Return how the mean IoU differs from that of others, and the time."""
    head, *rows = _differences(lines, twice)
    seconds = (f"{min(each.record['epoch_seconds'] for each in line.runs):.0f}" for line in lines)
    return _told(
        [(*head, "s, fastest epoch"), *((*row, each) for row, each in zip(rows, seconds, strict=True))]
    )


def _blended_rows(lines: Sequence[_Line], twice: str) -> Rows:
    """Return the mean IoU, how it differs from that of others, and the scores of the cells."""
    (name, *head), *rows = _differences(lines, twice)
    table = [(name, "mean IoU, blended", *head, *_MEASURES)]
    for line, (title, *differences) in zip(lines, rows, strict=True):
        mean = _spread([100 * _mean_iou(each) for each in line.scores.values()])
        cells = [each["cells"] for each in line.scores.values() if "cells" in each]
        measures = (_spread([each[name] for each in cells], 3) for name in _MEASURES.values())
        table.append((title, mean, *differences, *measures))
    return _told(table)


def _differences(lines: Sequence[_Line], twice: str) -> list[tuple[str, ...]]:
    """Return a head, and for each line how its mean IoU differs from that of others."""
    unet: Scores = next((line.scores for line in lines if line.title == UNET.title), {})
    longer: Scores = next((line.scores for line in lines if line.title == twice), {})
    rows: list[tuple[str, ...]] = [("", f"over {UNET.title}", f"over {twice}", "over its first output")]
    for line in lines:
        others = ({} if line.scores is other else other for other in (unet, longer, line.first))
        rows.append((line.title, *(_difference(line.scores, other) for other in others)))
    return rows


def _told(rows: Sequence[tuple[str, ...]]) -> Rows:
    """Return the columns that say something."""
    told = [number for number, column in enumerate(zip(*rows[1:], strict=True)) if any(column)]
    return tuple(tuple(row[number] for number in told) for row in rows)


def _difference(scores: Scores, others: Scores) -> str:
    """Return how far the mean IoU is above that of the others of the same fold and seed."""
    pairs = [(_mean_iou(scores[key]), _mean_iou(others[key])) for key in scores if key in others]
    if not pairs:
        return ""
    found = _spread([100 * (ours - theirs) for ours, theirs in pairs], sign="+")
    return f"{found} ({len(pairs)} pair{'s' if len(pairs) > 1 else ''})"


def _mean_iou(scores: dict[str, Any]) -> float:
    return scores["mean_iou"] or 0.0


def _spread(values: Sequence[float], digits: int = 2, sign: str = "") -> str:
    """Return the mean and, of two values and more, the standard deviation of the sample."""
    if not values:
        return ""
    mean = f"{fmean(values):{sign}.{digits}f}"
    return f"{mean} ± {stdev(values):.{digits}f}" if len(values) > 1 else mean


def _note(lines: Sequence[_Line]) -> str:
    results = [each for line in lines for each in line.runs]

    def named(name: str, numbers: Iterable[int]) -> str:
        chosen = sorted(set(numbers))
        return f"{name}{'s' if len(chosen) > 1 else ''} {', '.join(map(str, chosen))}"

    folds = named("Fold", (each.run.fold for each in results))
    seeds = named("seed", (each.run.seed for each in results))
    machines = sorted({each.record["machine"] for each in results})
    return f"{results[0].record['data']}. {folds}; {seeds}. {'; '.join(machines)}."


def markdown(found: Sequence[Block]) -> str:
    """Return blocks as Markdown, each under a heading of the third level, in columns for the eye."""
    texts = []
    for block in found:
        tables = "\n\n".join(
            _markdown_table(rows) for rows in (block.scores, block.comparison, block.blended)
        )
        texts.append(f"### {block.title}\n\n{tables}\n\n{block.note}\n")
    return "\n".join([*texts, f"{_PAPERS_SPLIT}\n"] if texts else [])


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)

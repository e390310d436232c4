from __future__ import annotations

import runpy
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.evaluation.reproduce import FinishedRun, Run, plan
from napari_feedback_seg.evaluation.tables import TABLES, Block, blocks, markdown, networks_of

ROOT = Path(__file__).parents[2]


def scores(base: float) -> dict[str, Any]:
    values = {each.name: base + number / 100 for number, each in enumerate(EM_CLASSES)}
    cells = {"vi_split": base / 10, "vi_merge": base / 5, "are": base / 20}
    return {"iou": values, "mean_iou": base + 0.015, "cells": cells}


def result(
    network: str,
    base: float,
    first: float | None = None,
    test: bool = True,
    precision: str = "bf16",
    **changes: Any,
) -> FinishedRun:
    pooling = 16 if network in ("self", "source_target") else None
    given = {"recipe": "ours", "width": 16, "key_pooling": pooling, "epochs": 80, "fold": 0, "seed": 0}
    run = Run(network, **{**given, **changes})
    table = scores(base) | ({} if first is None else {"first_round": scores(first)})
    other = scores(0.1) | ({} if first is None else {"first_round": scores(0.2)})
    blended = scores(base + 0.1) | ({} if first is None else {"first_round": scores(first + 0.08)})
    parts = {
        "test": table if test else None,
        "test_blended": blended if test else None,
        "validation": other if test else table,
        "validation_blended": other if test else blended,
    }
    others = {
        "epoch_seconds": 54.0,
        "machine": "a CPU",
        "data": "ssTEM",
        "settings": {"precision": precision},
    }
    return FinishedRun(run, {**parts, **others})


def cell(rows: tuple[tuple[str, ...], ...], row: str, column: str) -> str:
    return next(each for each in rows if each[0] == row)[rows[0].index(column)]


SELF = "Feedback Attention (Self), keys pooled 16 x 16"
RUNS = [
    *(result("unet", base, seed=seed) for seed, base in enumerate((0.70, 0.71, 0.75))),
    *(result("self", base, base - 0.01, seed=seed) for seed, base in enumerate((0.71, 0.73))),
    result("unet", 0.72, seed=1, epochs=160),
]


@pytest.fixture(scope="module")
def block() -> Block:
    (found,) = blocks(RUNS, 1)
    return found


def test_mean_deviation_and_number_of_the_runs(block: Block) -> None:
    assert block.title == "Table 1, recipe ours, width 16, 80 epochs, bf16, test sections"
    values = [71.5, 72.5, 76.5]
    assert cell(block.scores, "U-Net", "mean") == f"{mean(values):.2f} ± {stdev(values):.2f}"
    assert cell(block.scores, "U-Net", "runs") == "3"
    assert cell(block.scores, SELF, "synapse") == "74.00 ± 1.41"
    assert cell(block.scores, "U-Net, 160 epochs", "mean") == "73.50"  # one run has no deviation
    assert cell(block.comparison, SELF, "s, fastest epoch") == "54"


def test_blended_scores_stand_apart(block: Block) -> None:
    assert cell(block.blended, SELF, "mean IoU, blended") == "83.50 ± 1.41"
    assert cell(block.blended, SELF, "over U-Net") == "+1.50 ± 0.71 (2 pairs)"
    assert cell(block.blended, SELF, "over its first output") == "+3.00 ± 0.00 (2 pairs)"
    assert cell(block.blended, SELF, "VI merge") == "0.164 ± 0.003"


def test_the_paper_stands_below_what_is_there(block: Block) -> None:
    names = [row[0] for row in block.scores[1:]]
    assert names == [
        "U-Net",
        "U-Net, 160 epochs",
        "*paper, U-Net*",
        SELF,
        "*paper, Feedback Attention (Self)*",
    ]
    assert block.scores[-1][1:] == ("15", "76.94", "79.52", "45.29", "92.80", "73.64")


def test_only_runs_of_one_fold_and_seed_are_compared(block: Block) -> None:
    assert cell(block.comparison, SELF, "over U-Net") == "+1.50 ± 0.71 (2 pairs)"
    assert cell(block.comparison, SELF, "over U-Net, 160 epochs") == "+1.00 (1 pair)"
    assert cell(block.comparison, "U-Net, 160 epochs", "over U-Net") == "+1.00 (1 pair)"
    assert cell(block.comparison, "U-Net", "over U-Net") == ""
    assert cell(block.comparison, SELF, "over its first output") == "+1.00 ± 0.00 (2 pairs)"
    (other,) = blocks([result("unet", 0.7, fold=1), result("self", 0.8, 0.8)], 1)
    assert "over U-Net" not in other.comparison[0]  # nobody has a partner


def test_table_4_is_about_the_first_output() -> None:
    (found,) = blocks(RUNS, 4)
    first = "Self, first output, keys pooled 16 x 16"
    assert cell(found.scores, first, "mean") == "72.50 ± 1.41"
    assert cell(found.comparison, first, "over U-Net") == "+0.50 ± 0.71 (2 pairs)"
    assert cell(found.comparison, first, "over its first output") == ""
    assert cell(found.scores, "*paper, Self, first output*", "mean") == "70.84"


def test_each_setting_has_a_block_and_each_pooling_a_line() -> None:
    runs = [
        result("self", 0.7, 0.7, key_pooling=4),
        result("self", 0.7, 0.7, key_pooling=1),
        result("self", 0.7, 0.7, epochs=30),
        result("self", 0.7, 0.7, recipe="paper"),
        result("self", 0.7, 0.7, width=64),
        result("self", 0.7, 0.7, precision="fp32"),
    ]
    found = blocks(runs, 1)
    assert [each.title.removesuffix(", test sections") for each in found] == [
        "Table 1, recipe ours, width 16, 30 epochs, bf16",
        "Table 1, recipe ours, width 16, 80 epochs, bf16",
        "Table 1, recipe ours, width 16, 80 epochs, fp32",
        "Table 1, recipe ours, width 64, 80 epochs, bf16",
        "Table 1, recipe paper, width 16, 80 epochs, bf16",
    ]
    assert [row[0] for row in found[1].scores[1:3]] == [
        "Feedback Attention (Self)",
        "Feedback Attention (Self), keys pooled 4 x 4",
    ]


def test_a_run_is_only_in_the_tables_that_name_its_network() -> None:
    assert blocks([result("add", 0.7, 0.7)], 1) == []
    assert [row[0] for row in blocks([result("add", 0.7, 0.7)], 2)[0].scores[1:]] == ["Add", "*paper, Add*"]
    assert len(blocks([result("unet", 0.7)], 3)) == 1
    assert [each.title for each in blocks([result("unet", 0.7, epochs=9), result("self", 0.7, 0.7)], 1)] == [
        "Table 1, recipe ours, width 16, 80 epochs, bf16, test sections"
    ]


def test_without_test_sections_the_validation_sections_count_and_it_is_said() -> None:
    (found,) = blocks([result("unet", 0.7, test=False), result("self", 0.8, 0.8, test=False)], 1)
    assert found.title.endswith("validation sections")
    assert cell(found.scores, "U-Net", "mean") == "71.50"


def test_a_class_that_is_nowhere_has_no_score() -> None:
    bare = result("unet", 0.7)
    del bare.record["test"]["iou"]["synapse"], bare.record["test_blended"]["cells"]
    (found,) = blocks([bare], 1)
    assert cell(found.scores, "U-Net", "synapse") == ""
    assert "Rand error" not in found.blended[0]


def test_the_note_names_folds_seeds_and_machines(block: Block) -> None:
    assert block.note == "ssTEM. Fold 0; seeds 0, 1, 2. a CPU."


def test_markdown(block: Block) -> None:
    lines = markdown([block]).splitlines()
    assert lines[0] == f"### {block.title}"
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == len(block.scores) + len(block.comparison) + len(block.blended) + 3
    assert "split of the sections is unpublished" in lines[-1]
    assert [each.strip() for each in table[0].split("|")[1:-1]] == list(block.scores[0])
    assert len({len(line) for line in table[: len(block.scores) + 1]}) == 1  # in columns


@pytest.mark.parametrize("table", TABLES)
def test_every_network_of_every_table_can_be_trained(table: int) -> None:
    for recipe in ("paper", "ours"):
        for run in plan(networks_of(table), recipe, [0], [0]):
            spec = run.config.spec
            assert spec.name == run.network.removesuffix("_one_conv")
            assert (spec.tap == "one_conv") == run.network.endswith("_one_conv")


def test_the_docs_are_made_from_the_runs() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "paper_tables.py"))
    text = (ROOT / "docs" / "benchmarks" / "paper.md").read_text(encoding="utf-8")
    assert script["page"](text) == text


def test_a_run_goes_to_json_and_back() -> None:
    (run,) = plan(["self"], "ours", [0], [1])
    assert run.name == "self-w16-kp16-ours-e80-f0-s1"
    assert Run(**asdict(run)) == run

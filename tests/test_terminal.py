from __future__ import annotations

from typing import Any

from rich.console import Console

from napari_feedback_seg.terminal import score_table


def shown(scores: dict[str, Any]) -> list[list[str]]:
    """Return the words of each line that a person sees."""
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(score_table("m [1] on d", scores))
    return [line.split() for line in captured.get().splitlines() if line.strip()]


def scores(share: float, **more: Any) -> dict[str, Any]:
    cells = {"vi_split": share / 10, "vi_merge": share / 5, "are": share / 100}
    table = {"iou": {"membrane": share}, "mean_iou": share, "dice": {"membrane": share + 0.1}}
    return {**table, "mean_dice": share + 0.1, "cells": cells, **more}


def test_classes_and_cells_of_both_rounds() -> None:
    lines = shown(scores(0.5, first_round=scores(0.4)))
    assert lines[0] == "m [1] on d".split()
    assert lines[1] == ["membrane", "mean"]
    assert lines[2:6] == [
        ["IoU", "50.00%", "50.00%"],
        ["Dice", "60.00%", "60.00%"],
        ["IoU,", "first", "round", "40.00%", "40.00%"],
        ["Dice,", "first", "round", "50.00%", "50.00%"],
    ]
    rest = " ".join(" ".join(line) for line in lines[6:])
    assert rest == (
        "cells: VI split 0.050, merge 0.100 bit; Rand error 0.005 "
        "cells, first round: VI split 0.040, merge 0.080 bit; Rand error 0.004"
    )


def test_the_scores_of_an_older_card() -> None:
    lines = shown({"iou": {"membrane": 0.5}, "mean_iou": 0.5})
    assert lines[1:] == [["membrane", "mean"], ["IoU", "50.00%", "50.00%"]]


def test_a_class_that_only_one_round_has() -> None:
    first = {"iou": {}, "mean_iou": None}
    lines = shown({"iou": {"membrane": 0.0}, "mean_iou": 0.0, "first_round": first})
    assert lines[2:] == [["IoU", "0.00%", "0.00%"], ["IoU,", "first", "round"]]

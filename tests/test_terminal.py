from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

from napari_feedback_seg.terminal import score_table, watch_training
from napari_feedback_seg.training.events import EpochDone, StepDone

if TYPE_CHECKING:
    from collections.abc import Generator

    import pytest


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


def test_a_log_file_says_that_a_training_has_begun(capfd: pytest.CaptureFixture[str]) -> None:
    def training() -> Generator[StepDone | EpochDone, None, str]:
        for epoch in (1, 2):
            yield from (StepDone(epoch, step, 3, 0.5) for step in (1, 2, 3))
            yield EpochDone(epoch, 2, 0.5, {"iou": {"membrane": 0.7}, "mean_iou": 0.7}, True, 0)
        return "done"

    assert watch_training(training()) == "done"
    lines = list(filter(None, capfd.readouterr().err.splitlines()))
    assert lines[0] == "epoch 1, loss 0.500, step 1 of 3"
    assert [line.split(":")[0] for line in lines[1:]] == ["epoch 1/2", "epoch 2/2"]


def test_a_class_that_only_one_round_has() -> None:
    first = {"iou": {}, "mean_iou": None}
    lines = shown({"iou": {"membrane": 0.0}, "mean_iou": 0.0, "first_round": first})
    assert lines[2:] == [["IoU", "0.00%", "0.00%"], ["IoU,", "first", "round"]]

from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.correction.held_out import Scores
from napari_feedback_seg.correction.recommendation import recommend


def scores(right: float, loss: float, kept: float) -> Scores:
    pixels = round(1000 * right)
    confusion = np.array([[pixels, 1000 - pixels, 0], [1000 - pixels, pixels, 0], [0, 0, 0]])
    kept_sums = np.array([[kept, 1.0], [kept, 1.0]])
    return Scores(("membrane", "cytoplasm"), confusion, np.full(5, right), kept_sums, loss)


@pytest.mark.parametrize(
    ("right", "loss", "kept", "unfamiliar", "keep"),
    [
        ((0.2, 0.6), (3.0, 1.5), (0.99, 0.97), True, True),
        ((0.2, 0.6), (3.0, 1.5), (0.99, 0.97), False, False),
        ((0.1, 0.9), (3.0, 0.6), (0.99, 0.97), False, True),  # a kind of mistake, and its cure
        ((0.34, 0.43), (3.47, 2.76), (0.99, 0.99), True, False),  # single mistakes
        ((0.49, 0.54), (1.30, 1.03), (0.99, 0.99), False, False),
        ((0.37, 0.59), (3.42, 2.49), (0.99, 0.99), True, True),  # a habit
        ((0.25, 0.45), (2.64, 1.73), (0.99, 0.99), False, False),  # any change does so much
        ((0.03, 0.19), (4.76, 2.47), (0.99, 0.95), True, True),
        ((0.6, 0.2), (3.0, 1.5), (0.99, 0.99), True, False),
        ((0.2, 0.6), (1.5, 3.0), (0.99, 0.99), True, False),
        ((0.2, 0.9), (3.0, 0.5), (0.99, 0.5), True, False),  # forgot
        ((0.95, 0.97), (0.20, 0.17), (1.0, 0.99), False, True),  # dense labels
    ],
)
def test_recommendation(
    right: tuple[float, float],
    loss: tuple[float, float],
    kept: tuple[float, float],
    unfamiliar: bool,
    keep: bool,
) -> None:
    before, after = (scores(*each) for each in zip(right, loss, kept, strict=True))
    advice, sentence = recommend(before, after, 0.03, held_out=True, unfamiliar=unfamiliar)
    assert advice == ("keep" if keep else "go back")
    assert sentence.startswith("Keep: " if keep else "Go back: ")
    assert f"{right[0]:.0%} → {right[1]:.0%} of the held-out corrections are right" in sentence
    assert "3% of the unpainted pixels change class" in sentence


def test_what_is_no_better_is_not_kept() -> None:
    same = scores(0.9, 0.2, 1.0)
    advice, _ = recommend(same, scores(0.9, 0.19, 1.0), 0.0, held_out=True, unfamiliar=True)
    assert advice == "go back"


def test_corrections_that_were_learnt_from_are_not_called_held_out() -> None:
    before, after = scores(0.1, 3.0, 1.0), scores(0.9, 0.5, 1.0)
    _, sentence = recommend(before, after, 0.03, held_out=False, unfamiliar=True)
    assert "held-out" not in sentence
    assert "all of which it has learnt from" in sentence

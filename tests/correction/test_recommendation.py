from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.correction.held_out import Scores
from napari_feedback_seg.correction.recommendation import familiar_doubt, recommend, starts_elsewhere
from napari_feedback_seg.models.model import ModelCard, TrainingData
from napari_feedback_seg.networks import NetworkSpec


def scores(right: float, loss: float, kept: float) -> Scores:
    pixels = round(1000 * right)
    confusion = np.array([[pixels, 1000 - pixels, 0], [1000 - pixels, pixels, 0], [0, 0, 0]])
    kept_sums = np.array([[kept, 1.0], [kept, 1.0]])
    return Scores(("membrane", "cytoplasm"), confusion, np.full(5, right), kept_sums, loss)


def card(labs: int, *others: str) -> ModelCard:
    """Return the card of a model that learnt from so many data sets, and from others."""
    data = tuple(TrainingData(name) for name in (*(f"lab {number}" for number in range(labs)), *others))
    return ModelCard("a model", NetworkSpec(width=4, depth=2), EM_CLASSES, 4.6, 64, data=data)


KNOWN, UNKNOWN = 0.035, 0.08
"""Doubt on images of the kind that a model has learnt from, and of another lab."""


@pytest.mark.parametrize(
    ("right", "loss", "kept", "doubt", "unfamiliar", "keep"),
    [
        ((0.25, 0.33), (2.43, 1.70), (1.0, 0.99), KNOWN, False, False),  # ssTEM: 86.2 before, 85.2 after
        ((0.28, 0.31), (2.74, 2.43), (1.0, 0.97), UNKNOWN, False, True),  # EPFL: 53.1 before, 59.4 after
        ((0.18, 0.37), (2.59, 1.77), (1.0, 0.75), UNKNOWN, False, True),  # FlyEM: 35.3 before, 60.2 after
        ((0.2, 0.6), (3.0, 1.5), (0.99, 0.97), KNOWN, True, True),
        ((0.2, 0.6), (3.0, 1.5), (0.99, 0.97), KNOWN, False, False),
        ((0.1, 0.9), (3.0, 0.6), (0.99, 0.97), KNOWN, False, True),  # a kind of mistake, and its cure
        ((0.49, 0.54), (1.30, 1.03), (0.99, 0.99), KNOWN, False, False),
        ((0.25, 0.45), (2.64, 1.73), (0.99, 0.99), KNOWN, False, False),  # any change does so much
        ((0.37, 0.59), (3.42, 2.49), (0.99, 0.99), KNOWN, True, True),  # a habit
        ((0.6, 0.2), (3.0, 1.5), (0.99, 0.99), UNKNOWN, True, False),
        ((0.2, 0.6), (1.5, 3.0), (0.99, 0.99), UNKNOWN, True, False),
        ((0.2, 0.9), (3.0, 0.5), (0.99, 0.5), KNOWN, False, False),  # forgot
        ((0.95, 0.97), (0.20, 0.17), (1.0, 0.99), KNOWN, False, True),  # dense labels
        ((0.902, 0.904), (0.20, 0.19), (1.0, 1.0), UNKNOWN, False, False),  # 90 % and 90 %
    ],
)
def test_recommendation(
    right: tuple[float, float],
    loss: tuple[float, float],
    kept: tuple[float, float],
    doubt: float,
    unfamiliar: bool,
    keep: bool,
) -> None:
    before, after = (scores(*each) for each in zip(right, loss, kept, strict=True))
    advice, sentence = recommend(
        before, after, changed=0.03, doubt=doubt, held_out=True, unfamiliar=unfamiliar
    )
    assert advice == ("keep" if keep else "go back")
    assert sentence.startswith("Keep: " if keep else "Go back: ")
    assert f"{right[0]:.0%} → {right[1]:.0%} of the held-out corrections are right (5 places)" in sentence
    assert "3% of the unpainted pixels change class" in sentence


@pytest.mark.parametrize(
    ("right", "loss", "doubt", "keep"),
    [
        ((0.09, 0.50), (1.65, 1.00), 0.131, False),  # FlyEM: 54.0 before, 51.6 after
        ((0.22, 0.33), (2.60, 1.95), 0.071, False),  # SNEMI3D: 70.5 before, 67.4 after
        ((0.09, 0.50), (1.65, 1.00), 0.2, True),
        ((0.1, 0.9), (3.0, 0.6), 0.071, True),
    ],
)
def test_a_model_that_learnt_from_several_labs_is_less_sure_of_what_it_knows(
    right: tuple[float, float], loss: tuple[float, float], doubt: float, keep: bool
) -> None:
    before, after = (scores(*each, 0.98) for each in zip(right, loss, strict=True))
    familiar = familiar_doubt(card(5))
    advice, _ = recommend(
        before, after, changed=0.03, doubt=doubt, held_out=True, unfamiliar=False, familiar=familiar
    )
    assert advice == ("keep" if keep else "go back")


def test_of_such_a_model_other_statistics_tell_nothing_but_an_inverted_image_does() -> None:
    statistics, inverted = ["statistics of the image"], ["image inverted"]
    assert familiar_doubt(card(1)) < familiar_doubt(card(3))
    assert [starts_elsewhere(card(1), each) for each in ([], statistics, inverted)] == [False, True, True]
    assert [starts_elsewhere(card(3), each) for each in ([], statistics, inverted)] == [False, False, True]
    tuned = card(1, "corrections of a", "corrections of b")
    assert familiar_doubt(tuned) == familiar_doubt(card(1))


@pytest.mark.parametrize("doubt", [KNOWN, UNKNOWN])
@pytest.mark.parametrize("unfamiliar", [False, True])
def test_no_sentence_contradicts_itself(doubt: float, unfamiliar: bool) -> None:
    shares = (0.0, 0.3, 0.6, 1.0)
    for was, now, lost, kept in itertools.product(shares, shares, (0.5, 1.0, 1.5), (0.5, 1.0)):
        before, after = scores(was, 1.0, 1.0), scores(now, lost, kept)
        advice, sentence = recommend(
            before, after, changed=0.03, doubt=doubt, held_out=True, unfamiliar=unfamiliar
        )
        if advice == "keep":
            assert now > was
            assert "Go back" not in sentence
            assert "but" not in sentence
        else:
            assert "Keep" not in sentence
            assert (", but" in sentence) == (now > was)  # better, and yet: then it says why
        assert sentence.count(".") == 1


def test_corrections_that_were_learnt_from_are_not_called_held_out() -> None:
    before, after = scores(0.1, 3.0, 1.0), scores(0.9, 0.5, 1.0)
    _, sentence = recommend(before, after, changed=0.03, doubt=UNKNOWN, held_out=False, unfamiliar=True)
    assert "held-out" not in sentence
    assert "all of which it has learnt from" in sentence

"""Batch norm with the statistics of the images."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_feedback_seg import load_model
from napari_feedback_seg.correction.adapt import adapt, segment
from napari_feedback_seg.correction.adaptation import load_adaptation, save_adaptation
from napari_feedback_seg.correction.corrections import CorrectedSection
from napari_feedback_seg.correction.fitting import Pixels
from napari_feedback_seg.correction.image_statistics import (
    LEAST_STROKES,
    explain,
    gather,
    norms_of,
    with_statistics,
)
from napari_feedback_seg.correction.instant import InstantAnswers
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.models.model import Model
from napari_feedback_seg.segmentation.reader import TileReader

if TYPE_CHECKING:
    from pathlib import Path

SECTION = builtin_section(256, seed=3)


def painted(count: int) -> np.ndarray:
    """Return so many strokes of the truth, each of one class, all over the section."""
    labels = np.zeros_like(SECTION.labels)
    random = np.random.default_rng(0)
    done = 0
    while done < count:
        row, column = random.integers(8, 240, 2)
        truth = SECTION.labels[row : row + 4, column : column + 4]
        if len(np.unique(truth)) == 1 and not labels[row - 3 : row + 8, column - 3 : column + 8].any():
            labels[row : row + 4, column : column + 4] = truth
            done += 1
    return labels


@pytest.fixture
def upset() -> Model:
    """Return a model whose batch norm remembers other images than these."""
    model = load_model("unet-w16")
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        for norm in norms_of(network).values():
            norm.running_mean.mul_(0.5)
            norm.running_var.mul_(2)
    return Model(model.card, network)


def drain(events: Any) -> Any:
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


def accuracy(labels: np.ndarray, truth: np.ndarray) -> float:
    return float((labels == truth).mean())


def test_they_are_taken_where_the_strokes_want_them(upset: Model, tmp_path: Path) -> None:
    corrections = painted(16)
    learnt = adapt(upset, [(SECTION.image, corrections)])
    assert learnt.strokes == 16
    assert len(learnt.statistics) == 2 * len(norms_of(upset.network))
    other = builtin_section(256, seed=7)
    before = accuracy(segment(other.image, upset).labels, other.labels)
    after = segment(other.image, upset, strokes=learnt).labels
    assert accuracy(after, other.labels) > before + 0.05
    again = load_adaptation(save_adaptation(learnt, tmp_path / "cells.strokes"))
    assert np.array_equal(segment(other.image, upset, strokes=again).labels, after)


def test_they_are_not_taken_of_an_image_that_the_model_knows() -> None:
    assert adapt(load_model("unet-w16"), [(SECTION.image, painted(16))]).statistics == {}


def test_nor_where_the_model_is_sure_of_what_it_sees() -> None:
    known = load_model("unet-w16")
    sure = replace(known, network=copy.deepcopy(known.network))
    for name, parameter in sure.network.named_parameters():
        if ".classifier." in f".{name}":
            parameter.data *= 20
    image = SECTION.image
    other = with_statistics(sure, drain(gather(sure, [(TileReader(image, image.shape), image.shape)])))
    before, after = (segment(image, each).labels for each in (sure, other))
    corrections = np.zeros_like(before)
    for row, column in np.argwhere(before != after):  # strokes that want them as much as can be
        if not corrections[max(0, row - 9) : row + 9, max(0, column - 9) : column + 9].any():
            corrections[row, column] = after[row, column]
    learnt = adapt(sure, [(image, corrections)])
    assert learnt.strokes >= LEAST_STROKES
    assert learnt.statistics == {}


def test_few_strokes_do_not_tell(upset: Model) -> None:
    assert adapt(upset, [(SECTION.image, painted(LEAST_STROKES - 1))]).statistics == {}


def test_answers_and_the_undo_of_everything(upset: Model) -> None:
    section = CorrectedSection(SECTION.image, painted(16), source="cells")
    answers = InstantAnswers(upset, device="cpu")
    answers.set_strokes([section])
    drain(answers.fit())
    answer = drain(answers.answer(section))
    plain = segment(SECTION.image, upset).labels
    assert np.array_equal(answer.before, plain)
    expected = segment(SECTION.image, upset, strokes=[(SECTION.image, section.labels)]).labels
    assert (answer.prediction.labels == expected).mean() > 0.999
    assert len(answers.why(section, 100, 100)) == 16
    nothing = CorrectedSection(SECTION.image, np.zeros_like(section.labels), source="cells")
    answers.set_strokes([nothing])
    assert drain(answers.fit()).statistics == {}
    assert np.array_equal(drain(answers.answer(nothing)).prediction.labels, plain)


def test_those_of_another_network_are_refused(upset: Model, small_model: Model) -> None:
    learnt = adapt(upset, [(SECTION.image, painted(16))])
    with pytest.raises(ValueError, match="another network"):
        with_statistics(small_model, learnt.statistics)


def pixels(*likelihoods: float, others: int = 0) -> Pixels:
    """Return a pixel of each stroke, whose class has these probabilities; the last ones of another class."""
    strokes = len(likelihoods)
    logits = np.log([(each, 1 - each) for each in likelihoods]).astype(np.float32)
    targets = np.tile(np.float32([1, 0]), (strokes, 1))
    logits[strokes - others :], targets[strokes - others :] = (
        each[strokes - others :, ::-1].copy() for each in (logits, targets)
    )
    weights = np.full(strokes, 1 / strokes, np.float32)
    return Pixels(np.zeros((strokes, 1), np.float32), logits, targets, weights, np.arange(strokes))


def test_strokes_have_to_become_clearly_likelier() -> None:
    before = pixels(*[0.2] * 40)
    assert explain(before, pixels(*[0.3] * 40), far=False)
    assert not explain(before, pixels(*[0.15] * 40), far=False)
    # Of the worst mistakes some are put right by chance.
    assert not explain(pixels(*[0.2] * 10), pixels(*[0.9] * 4, *[0.15] * 6), far=False)


def test_and_by_a_third_on_the_mean_of_the_classes() -> None:
    before = pixels(*[0.2] * 40, others=10)
    assert explain(before, pixels(*[0.3] * 40, others=10), far=False)
    assert not explain(before, pixels(*[0.24] * 40, others=10), far=False)
    assert not explain(before, pixels(*[0.3] * 30, *[0.19] * 10, others=10), far=False)


def test_of_many_strokes_the_last_lie_on_small_mistakes() -> None:
    assert not explain(pixels(*[0.2] * 40), pixels(*[0.25] * 40), far=False)
    assert explain(pixels(*[0.2] * 80), pixels(*[0.25] * 80), far=False)


def test_for_statistics_that_are_far_one_sign_is_enough() -> None:
    before = pixels(*[0.2] * 10)
    assert explain(before, pixels(*[0.9] * 4, *[0.15] * 6), far=True)  # by a third, by chance or not
    assert explain(before, pixels(*[0.24] * 10), far=True)  # less, but clearly
    assert not explain(before, pixels(*[0.9] * 2, *[0.15] * 8), far=True)
    assert not explain(before, pixels(*[0.15] * 10), far=True)

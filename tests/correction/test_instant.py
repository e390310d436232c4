"""Answers at once, as a window asks for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_feedback_seg.correction import fitting, instant
from napari_feedback_seg.correction.adapt import segment
from napari_feedback_seg.correction.corrections import CorrectedSection
from napari_feedback_seg.correction.fitting import SHARES
from napari_feedback_seg.correction.instant import InstantAnswers
from napari_feedback_seg.correction.strokes import find_strokes
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.models.model import Model
from napari_feedback_seg.segmentation import predict
from napari_feedback_seg.segmentation.lazy import open_section

IMAGE = builtin_section(160, seed=3).image
DARK = np.percentile(IMAGE, 15) > IMAGE
REGION = (slice(20, 140), slice(10, 150))
MITOCHONDRIA, SYNAPSE = 2, 3
ALONE = {"region": REGION, "remove_specks": False}
"""Specks at the edge of a region stay in answers, so they are left out of what is compared."""


def painted(*strokes: tuple[int, int, int]) -> np.ndarray:
    labels = np.zeros_like(IMAGE)
    for row, column, value in strokes:
        labels[row : row + 6, column : column + 6] = value
    return labels


def section(labels: np.ndarray, image: np.ndarray = IMAGE, index: int = 0) -> CorrectedSection:
    return CorrectedSection(image, labels, index, source="cells")


SOME = painted((30, 30, SYNAPSE), (90, 90, 1), (60, 120, SYNAPSE), (120, 30, MITOCHONDRIA))
MANY = painted(*((row, column, 1 + column // 40) for row in (20, 70, 120) for column in (20, 50, 90, 130)))


def drain(events: Any) -> Any:
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


def test_the_answer_is_that_of_the_adapted_model(small_model: Model) -> None:
    answers = InstantAnswers(small_model, device="cpu", remove_specks=False)
    answers.set_strokes([section(SOME)])
    learnt = drain(answers.fit())
    assert learnt is answers.adaptation
    answer = drain(answers.answer(section(SOME), REGION))
    expected = segment(IMAGE, small_model, strokes=[(IMAGE, SOME)], **ALONE).labels
    where = SOME[REGION] == 0
    assert (answer.prediction.labels == expected).mean() > 0.999  # the maps are kept in 16 bits
    assert np.array_equal(answer.prediction.labels[~where], SOME[REGION][~where])
    other = drain(answers.answer(replace(section(SOME), source="others"), REGION))  # without strokes on it
    taught = segment(IMAGE, small_model, strokes=learnt, **ALONE).labels
    assert (other.prediction.labels == taught)[where].mean() > 0.999
    assert np.array_equal(
        answer.before, predict.segment(IMAGE, small_model, region=REGION, remove_specks=False).labels
    )
    moved = answer.prediction.labels != answer.before
    assert sum(answer.changed.values()) == moved.sum()
    for value, count in answer.changed.items():
        assert count == (answer.prediction.labels[moved] == value).sum()


def test_specks_are_removed_as_from_any_result(small_model: Model) -> None:
    answers = InstantAnswers(small_model, device="cpu")
    answers.set_strokes([section(SOME)])
    drain(answers.fit())
    answer = drain(answers.answer(section(SOME)))
    with_specks, expected = (
        segment(IMAGE, small_model, strokes=[(IMAGE, SOME)], remove_specks=each).labels
        for each in (False, True)
    )
    assert (with_specks != expected).mean() > 0.01
    assert (answer.prediction.labels == expected).mean() > 0.999
    assert np.array_equal(answer.before, predict.segment(IMAGE, small_model).labels)


def test_of_a_large_lazy_section_a_part_is_read(small_model: Model, endless: Any) -> None:
    image = endless(IMAGE)
    labels = np.zeros(image.shape, np.uint8)
    labels[3200:3360, 4160:4320] = SOME
    region = np.s_[3220:3340, 4170:4310]
    answers = InstantAnswers(small_model, device="cpu", remove_specks=False)
    of_image = CorrectedSection(open_section(image), labels, source="large")
    answers.set_strokes([of_image])
    learnt = drain(answers.fit())
    assert learnt.residual is not None
    answer = drain(answers.answer(of_image, region))
    assert image.pixels_read < 0.3 * labels.size
    strokes = [(image, labels)]
    expected = segment(image, small_model, strokes=strokes, region=region, remove_specks=False).labels
    assert (answer.prediction.labels == expected).mean() > 0.999
    other = CorrectedSection(open_section(endless(IMAGE)), labels, source="large")
    drain(answers.answer(other, region))
    assert other.image.levels[0].pixels_read > 0  # an image in its place is looked at again


def test_another_stroke_costs_the_tiles_that_it_lies_in(small_model: Model) -> None:
    image = builtin_section(800, seed=3).image
    labels = np.zeros_like(image)
    for row, column in ((40, 40), (40, 700), (400, 400), (700, 40), (700, 700)):
        labels[row : row + 6, column : column + 6] = SYNAPSE
    answers = InstantAnswers(small_model, device="cpu", memory_mb=0)  # no maps are kept
    looked = []
    for _ in range(2):
        answers.set_strokes([section(labels, image)])
        looked.append(sum(event.what == "looking" for event in answers.fit()))
        labels = labels.copy()
        labels[410:416, 300:306] = MITOCHONDRIA
    assert looked[0] >= 5
    assert looked[1] <= 1


def test_undo_of_everything_gives_exactly_the_answer_of_the_model(small_model: Model) -> None:
    answers = InstantAnswers(small_model, device="cpu", remove_specks=False)
    answers.set_strokes([section(SOME)])
    drain(answers.fit())
    drain(answers.answer(section(SOME), REGION))
    nothing = section(np.zeros_like(SOME))
    answers.set_strokes([nothing])
    assert drain(answers.fit()).residual is None
    answer = drain(answers.answer(nothing, REGION))
    assert np.array_equal(
        answer.prediction.labels,
        predict.segment(IMAGE, small_model, region=REGION, remove_specks=False).labels,
    )
    assert answer.changed == {}


class Counting(torch.nn.Module):
    """A network that counts, in all its copies, how many tiles went through."""

    count = 0

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> Any:
        Counting.count += len(images)
        return self.network(images)


def test_what_was_seen_is_not_looked_at_again(small_model: Model) -> None:
    answers = InstantAnswers(Model(small_model.card, Counting(small_model.network)), device="cpu")
    Counting.count = 0
    answers.set_strokes([section(SOME)])
    drain(answers.fit())
    drain(answers.answer(section(SOME)))
    seen = Counting.count
    assert answers.cached_mb > 0
    more = SOME.copy()
    more[30:36, 90:96] = MITOCHONDRIA
    answers.set_strokes([section(more)])
    drain(answers.fit())
    drain(answers.answer(section(more)))
    assert Counting.count == seen


def test_the_cache_keeps_to_its_budget(small_model: Model) -> None:
    large, none = (InstantAnswers(small_model, device="cpu", memory_mb=mb) for mb in (100, 0))
    found = []
    for answers in (large, none):
        answers.set_strokes([section(SOME)])
        drain(answers.fit())
        found.append(drain(answers.answer(section(SOME))).prediction.labels)
    assert np.array_equal(*found)
    assert none.cached_mb < 0.2 * large.cached_mb


def test_an_image_in_the_place_of_another_is_seen_anew(small_model: Model) -> None:
    corrections = np.where(DARK, SYNAPSE, 4).astype(np.uint8)
    corrections[40:] = 0
    other = builtin_section(160, seed=4).image
    answers, fresh = InstantAnswers(small_model, device="cpu"), InstantAnswers(small_model, device="cpu")
    answers.set_strokes([section(corrections)])
    first = drain(answers.fit()).residual
    answers.set_strokes([section(corrections, other)])
    fresh.set_strokes([section(corrections, other)])
    again, expected = drain(answers.fit()).residual, drain(fresh.fit()).residual
    assert (again.weight - expected.weight).norm() < 0.1 * (again.weight - first.weight).norm()
    before = drain(answers.answer(section(corrections, other))).before
    assert np.array_equal(before, predict.segment(other, small_model).labels)


def test_a_fit_may_be_dropped_at_any_step(small_model: Model) -> None:
    answers = InstantAnswers(small_model, device="cpu")
    answers.set_strokes([section(SOME)])
    steps = sum(1 for _ in answers.fit())
    for stop in range(steps):
        answers = InstantAnswers(small_model, device="cpu")
        answers.set_strokes([section(SOME)])
        events = answers.fit()
        for _ in range(stop):
            next(events)
        events.close()
        answer = drain(answers.answer(section(SOME), REGION))
        assert np.array_equal(answer.prediction.labels[SOME[REGION] > 0], SOME[REGION][SOME[REGION] > 0])
    drain(answers.fit())
    expected = InstantAnswers(small_model, device="cpu")
    expected.set_strokes([section(SOME)])
    drain(expected.fit())
    both = [drain(each.answer(section(SOME))).prediction.labels for each in (answers, expected)]
    assert (both[0] == both[1]).mean() > 0.99


def test_muted_strokes_teach_nothing_and_stay_right(small_model: Model) -> None:
    answers, without = InstantAnswers(small_model, device="cpu"), InstantAnswers(small_model, device="cpu")
    answers.set_strokes([section(SOME)], muted_classes=[SYNAPSE])
    without.set_strokes([section(np.where(SOME == SYNAPSE, 0, SOME))])
    assert drain(answers.fit()).strokes == drain(without.fit()).strokes == 2
    labels = drain(answers.answer(section(SOME))).prediction.labels
    assert (labels[SOME == SYNAPSE] == SYNAPSE).all()
    answers.set_strokes([section(SOME)], muted=[(0, *answers.strokes[0].pixels[-1])])
    assert drain(answers.fit()).strokes == 3
    assert len(answers.strokes) == 4


def test_why_names_the_stroke_that_is_like_the_place(
    small_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "SHARES", (0.5, 0.5, 0.5))  # so that four strokes change the answer
    answers = InstantAnswers(small_model, device="cpu")
    answers.set_strokes([section(SOME)])
    assert answers.why(section(SOME), 32, 36) == []
    drain(answers.fit())
    for stroke in answers.strokes:
        reasons = answers.why(section(SOME), *stroke.centre)
        assert len(reasons) == 4
        assert stroke.key in [each.stroke.key for each in reasons[:2]]


def test_another_section_is_answered_with_the_strokes_of_this_one(small_model: Model) -> None:
    answers = InstantAnswers(small_model, device="cpu")
    answers.set_strokes([section(SOME)])
    learnt = drain(answers.fit())
    other = builtin_section(160, seed=4).image
    answer = drain(answers.answer(section(np.zeros_like(SOME), other, 1)))
    expected = segment(other, small_model, strokes=learnt).labels
    assert (answer.prediction.labels == expected).mean() > 0.999


def test_a_stroke_is_what_touches_in_one_class() -> None:
    labels = painted((10, 10, 2), (10, 16, 3), (50, 50, 2))
    labels[70, 70] = 1
    found = find_strokes(labels, ("cells", 4))
    assert sorted((each.value, len(each.pixels)) for each in found) == [(1, 1), (2, 36), (2, 36), (3, 36)]
    assert all((labels[tuple(each.pixels.T)] == each.value).all() for each in found)
    assert len({each.key for each in found}) == 4
    assert [each.key for each in find_strokes(labels, ("cells", 4))] == [each.key for each in found]
    dense = np.ones((300, 300), np.uint8)
    assert len(find_strokes(dense)) == 9


@pytest.mark.parametrize("size", [2.3, 9.2])
def test_another_pixel_size(small_model: Model, size: float) -> None:
    answers = InstantAnswers(small_model, device="cpu", remove_specks=False)
    of_size = replace(section(SOME), pixel_size_nm=size)
    answers.set_strokes([of_size])
    drain(answers.fit())
    answer = drain(answers.answer(of_size, REGION)).prediction.labels
    expected = segment(
        IMAGE, small_model, strokes=[(IMAGE, SOME)], region=REGION, pixel_size_nm=size, remove_specks=False
    ).labels
    assert (answer == expected).mean() > 0.999


def test_less_is_taken_where_the_model_is_sure_of_what_it_sees(
    small_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = []
    for limit in (0.0, 0.052, 1.0):  # the model knows nothing, and expects that
        monkeypatch.setattr(instant, "UNSURE", limit)
        answers = InstantAnswers(small_model, device="cpu")
        answers.set_strokes([section(MANY)])
        learnt.append(drain(answers.fit()))
    assert [each.known for each in learnt] == [False, False, True]
    assert learnt[0].share == learnt[1].share > learnt[2].share == SHARES[0]
    weights = [each.residual.weight / each.share for each in learnt]
    assert torch.equal(weights[0], weights[1])
    assert torch.allclose(weights[0], weights[2], rtol=1e-3)

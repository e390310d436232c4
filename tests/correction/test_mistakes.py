"""What a stroke lies in is put right around it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import ndimage

from napari_feedback_seg.correction.adapt import adapt, corrected, segment
from napari_feedback_seg.correction.adaptation import load_adaptation, save_adaptation
from napari_feedback_seg.correction.corrections import CorrectedSection
from napari_feedback_seg.correction.instant import InstantAnswers
from napari_feedback_seg.correction.mistakes import HALF_MEMBRANE, REACH, shares_that_say
from napari_feedback_seg.correction.seen import Seen
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.generators import finish
from napari_feedback_seg.models.library import load_model

if TYPE_CHECKING:
    from pathlib import Path

    from napari_feedback_seg.models.model import Model

IMAGE = builtin_section(256, seed=3).image
MEMBRANE, MITOCHONDRIA, SYNAPSE, CYTOPLASM = 1, 2, 3, 4


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("general")


@pytest.fixture(scope="module")
def plain(model: Model) -> np.ndarray:
    return segment(IMAGE, model, device="cpu").labels


@pytest.fixture(scope="module")
def mitochondrion(plain: np.ndarray) -> np.ndarray:
    """The largest one, as a mask."""
    parts, _ = ndimage.label(plain == MITOCHONDRIA)
    return parts == np.bincount(parts.ravel())[1:].argmax() + 1


@pytest.fixture(scope="module")
def stroke(mitochondrion: np.ndarray) -> np.ndarray:
    """A stroke in the middle of it that says that it is none."""
    depth = ndimage.distance_transform_edt(mitochondrion)
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    labels = np.zeros_like(IMAGE)
    labels[row - 2 : row + 3, column - 4 : column + 5] = SYNAPSE
    return labels


def right_by(model: Model, labels: np.ndarray, image: np.ndarray = IMAGE, **how: Any) -> np.ndarray:
    learnt = adapt(model, [(image, labels)], device="cpu", **how)
    section = CorrectedSection(image, labels, pixel_size_nm=how.get("pixel_size_nm"))
    return finish(corrected(model, learnt, section, device="cpu"))


def test_the_rest_of_the_mistake_gets_the_class_of_the_stroke(
    model: Model, plain: np.ndarray, mitochondrion: np.ndarray, stroke: np.ndarray
) -> None:
    right = right_by(model, stroke)
    assert set(np.unique(right)) == {0, SYNAPSE}
    assert (right[mitochondrion] == SYNAPSE).mean() > 0.1  # the model is very sure of it
    assert not right[~mitochondrion & (stroke == 0)].any()  # only what it was taken for, and touches it
    assert (ndimage.distance_transform_edt(stroke == 0)[right > 0] <= REACH).all()
    # the network with what the stroke taught says little of that
    learnt = adapt(model, [(IMAGE, stroke)], device="cpu")
    taught = segment(IMAGE, model, strokes=learnt, device="cpu").labels
    assert (taught[mitochondrion] == SYNAPSE).mean() < 0.01
    result = segment(IMAGE, model, strokes=[(IMAGE, stroke)], device="cpu", probabilities=True)
    assert np.array_equal(result.labels, np.where(right > 0, right, taught))
    assert (result.probabilities[SYNAPSE - 1][right > 0] == 1).all()


def test_no_other_image_is_touched(model: Model, stroke: np.ndarray) -> None:
    other = builtin_section(256, seed=4).image
    learnt = adapt(model, [(IMAGE, stroke)], device="cpu")
    taught = segment(other, model, strokes=learnt, device="cpu").labels
    assert np.array_equal(segment(other, model, strokes=[(IMAGE, stroke)], device="cpu").labels, taught)


def test_another_class_ends_it(model: Model, mitochondrion: np.ndarray, stroke: np.ndarray) -> None:
    _, columns = np.nonzero(stroke)
    wall = stroke.copy()
    wall[:, columns.min() - 2] = np.where(mitochondrion[:, columns.min() - 2], MITOCHONDRIA, 0)
    right = right_by(model, wall)
    assert (right_by(model, stroke)[:, : columns.min() - 2] > 0).any()
    assert not right[:, : columns.min() - 2].any()
    assert (right[:, columns.min() :] == SYNAPSE).any()


@pytest.mark.parametrize("offset", [0, 1])
def test_a_thin_wall_holds_on_a_finer_image(model: Model, stroke: np.ndarray, offset: int) -> None:
    image, labels = (np.repeat(np.repeat(each, 2, axis=0), 2, axis=1) for each in (IMAGE, stroke))
    size = model.card.pixel_size_nm / 2
    column = np.nonzero(labels)[1].min() - 4 - offset
    assert right_by(model, labels, image, pixel_size_nm=size)[:, : column - 1].any()
    labels[:, column] = MITOCHONDRIA  # one pixel wide
    assert not (right_by(model, labels, image, pixel_size_nm=size)[:, : column - 1] == SYNAPSE).any()


def test_a_membrane_stays_thin(model: Model, stroke: np.ndarray) -> None:
    right = right_by(model, np.where(stroke > 0, MEMBRANE, 0))
    assert ndimage.distance_transform_edt((right == MEMBRANE) | (stroke > 0)).max() <= HALF_MEMBRANE


def test_of_two_strokes_the_nearer_one_tells(model: Model, stroke: np.ndarray) -> None:
    both = stroke.copy()
    both[np.roll(stroke, 14, axis=1) > 0] = CYTOPLASM
    right = np.where(both > 0, 0, right_by(model, both))
    near = {value: ndimage.distance_transform_edt(both != value) for value in (SYNAPSE, CYTOPLASM)}
    assert (right == SYNAPSE).any()
    assert (right == CYTOPLASM).any()
    middle = np.abs(near[SYNAPSE] - near[CYTOPLASM]) < 8
    for value, other in ((SYNAPSE, CYTOPLASM), (CYTOPLASM, SYNAPSE)):
        assert (near[value] <= near[other])[(right == value) & middle].mean() > 0.9


def test_nothing_is_looked_at_where_all_is_painted(model: Model, plain: np.ndarray, monkeypatch: Any) -> None:
    labels = np.where(plain == CYTOPLASM, MEMBRANE, CYTOPLASM).astype(np.uint8)
    learnt = adapt(model, [(IMAGE, labels)], device="cpu")
    monkeypatch.setattr(Seen, "look_at", None)  # would fail
    section = CorrectedSection(IMAGE, labels)
    assert np.array_equal(finish(corrected(model, learnt, section, device="cpu")), labels)


def test_what_was_not_learnt_yet_does_not_disturb_an_answer(model: Model, stroke: np.ndarray) -> None:
    section = CorrectedSection(IMAGE, stroke, source="cells")
    answers = InstantAnswers(model, device="cpu")
    answers.set_strokes([section])
    finish(answers.fit())
    before = finish(answers.answer(section)).prediction.labels
    answers.set_strokes([])
    after = finish(answers.answer(replace(section, labels=np.zeros_like(stroke)))).prediction.labels
    assert np.array_equal(after[stroke == 0], before[stroke == 0])
    assert answers.why(section, *np.argwhere(stroke)[0])


def test_paint_is_right_if_an_image_is_given_twice(
    model: Model, mitochondrion: np.ndarray, stroke: np.ndarray
) -> None:
    rows, columns = np.nonzero(mitochondrion & (stroke == 0))
    other = np.zeros_like(stroke)
    other[rows[::7], columns[::7]] = MEMBRANE
    for pairs in ([(IMAGE, stroke), (IMAGE, other)], [(IMAGE, other), (IMAGE, stroke)]):
        labels = segment(IMAGE, model, strokes=pairs, device="cpu").labels
        assert (labels[other > 0] == MEMBRANE).all()
        assert (labels[stroke > 0] == SYNAPSE).all()


def test_a_stroke_on_what_is_right_changes_nothing_around_it(model: Model, stroke: np.ndarray) -> None:
    agrees = np.where(stroke > 0, MITOCHONDRIA, 0).astype(np.uint8)
    assert np.array_equal(right_by(model, agrees), agrees)


def test_muted_or_not_learnt_it_is_right_where_it_is(
    model: Model, stroke: np.ndarray, tmp_path: Path
) -> None:
    section = CorrectedSection(IMAGE, stroke)
    learnt = adapt(model, [(IMAGE, stroke)], device="cpu")
    place = tuple(np.argwhere(stroke)[0].tolist())
    for muted in ({"muted_classes": (SYNAPSE,)}, {"muted": ((0, *place),)}, {"of_class": {}}):
        of_file = save_adaptation(replace(learnt, **muted), tmp_path / "cells.strokes", overwrite=True)
        again = load_adaptation(of_file)  # so a command line tells them, too
        assert np.array_equal(finish(corrected(model, again, section, device="cpu")), stroke)


def test_answers_in_parts_are_those_of_the_whole(model: Model, stroke: np.ndarray) -> None:
    section = CorrectedSection(IMAGE, stroke, source="cells")
    answers = InstantAnswers(model, device="cpu", remove_specks=False)
    answers.set_strokes([section])
    finish(answers.fit())
    whole = finish(answers.answer(section)).prediction.labels
    row, column = np.argwhere(stroke).mean(axis=0).astype(int)
    for rows in (slice(0, row), slice(row, 256)):
        for columns in (slice(0, column), slice(column, 256)):
            part = finish(answers.answer(section, (rows, columns))).prediction.labels
            assert (part == whole[rows, columns]).mean() > 0.999
    expected = segment(IMAGE, model, strokes=[(IMAGE, stroke)], device="cpu", remove_specks=False).labels
    assert (whole == expected).mean() > 0.999  # the maps are kept in 16 bits
    # why it is so: the stroke
    (row, column), *_ = np.argwhere((whole == SYNAPSE) & (stroke == 0))
    (reason, *_) = answers.why(section, row, column)
    assert (reason.stroke.value, reason.moved > 0) == (SYNAPSE, True)
    # what is in the result does not lie on it as well: without the painting it is the same around it
    blank = replace(section, labels=np.zeros_like(stroke))
    around = finish(answers.answer(blank)).prediction.labels
    assert np.array_equal(around[stroke == 0], whole[stroke == 0])


def test_at_another_pixel_size(model: Model, mitochondrion: np.ndarray, stroke: np.ndarray) -> None:
    twice = [np.repeat(np.repeat(each, 2, axis=0), 2, axis=1) for each in (IMAGE, stroke, mitochondrion)]
    size = model.card.pixel_size_nm / 2
    right = right_by(model, twice[1], twice[0], pixel_size_nm=size)
    assert (right[twice[2]] == SYNAPSE).mean() > 0.1
    assert (right[~twice[2]] > 0).mean() < 0.01


def kinds(image: np.ndarray) -> dict[str, Any]:
    import dask.array as da

    return {
        "uint16": (image.astype(np.uint16) * 200 + 300),
        "float": image / 255,
        "dask": da.from_array(image, chunks=100),
    }


@pytest.mark.parametrize("kind", ["uint16", "float", "dask"])
def test_other_kinds_of_images_are_put_right_alike(model: Model, stroke: np.ndarray, kind: str) -> None:
    image = kinds(IMAGE)[kind]
    expected = segment(IMAGE, model, strokes=[(IMAGE, stroke)], device="cpu").labels
    labels = segment(image, model, strokes=[(image, stroke)], device="cpu").labels
    assert (labels == expected).mean() > 0.995


def test_of_a_stack_each_section_has_its_own_strokes(model: Model, stroke: np.ndarray) -> None:
    stack = np.stack([IMAGE[::-1], IMAGE, IMAGE[:, ::-1]])
    corrections = np.zeros_like(stack)
    corrections[1] = stroke
    labels = segment(stack, model, strokes=[(stack, corrections)], device="cpu").labels
    taught = segment(
        stack, model, strokes=adapt(model, [(stack, corrections)], device="cpu"), device="cpu"
    ).labels
    assert np.array_equal(labels[[0, 2]], taught[[0, 2]])
    assert ((labels[1] != taught[1]) & (stroke == 0)).sum() > 100


def test_nothing_is_put_right_where_there_is_no_tissue(model: Model, stroke: np.ndarray) -> None:
    column = int(np.nonzero(stroke)[1].mean())
    image = IMAGE.astype(float)
    image[:, column + 8 :] = np.nan
    right = right_by(model, stroke, image)
    assert (right[stroke == 0] > 0).any()
    assert not right[:, column + 8 :].any()
    assert np.array_equal(right_by(model, stroke, np.full(IMAGE.shape, 7.0)), stroke)


def test_with_more_strokes_of_a_class_less_is_taken_around_each(model: Model, stroke: np.ndarray) -> None:
    section = CorrectedSection(IMAGE, stroke)
    learnt = replace(adapt(model, [(IMAGE, stroke)], device="cpu"), known=False)
    counts = [
        np.count_nonzero(finish(corrected(model, replace(learnt, **how), section, device="cpu")))
        for how in ({}, {"known": True}, {"of_class": {SYNAPSE: 15}}, {"of_class": {SYNAPSE: 50}})
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[1] > counts[3]
    other = replace(learnt, of_class={SYNAPSE: 1, MITOCHONDRIA: 50})
    assert np.count_nonzero(finish(corrected(model, other, section, device="cpu"))) == counts[0]


def test_the_shares_with_which_a_class_is_the_likeliest() -> None:
    logits = np.array([[0.0], [2.0], [1.0]], np.float32)
    change = np.array([[4.0], [0.0], [5.0]], np.float32)
    for channel, expected in ((0, (0.5, -1.0)), (1, (-np.inf, 0.2)), (2, (0.2, np.inf))):
        least, greatest = shares_that_say(logits, change, channel)
        assert (least[0], greatest[0]) == pytest.approx(expected)
    for share in np.linspace(0.05, 2, 40):
        said = (logits + np.float32(share) * change).argmax()
        bounds = [shares_that_say(logits, change, channel) for channel in range(3)]
        assert [least[0] <= share <= greatest[0] for least, greatest in bounds].index(True) == said

from __future__ import annotations

import numpy as np
import pytest

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.metrics import compare
from napari_feedback_seg.plugin.session.segment.comparing import OTHER, Mask, guess_class, looks_like_mask

MEMBRANE, MITOCHONDRIA = EM_CLASSES[:2]


def scores(mask, labels, meaning):
    steps = compare(meaning.truth(mask), meaning.labels(labels), meaning.classes(EM_CLASSES))
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


@pytest.fixture
def labels():
    found = np.full((20, 20), 4, np.uint8)
    found[:5] = MITOCHONDRIA.value
    found[15:] = MEMBRANE.value
    return found


@pytest.mark.parametrize("kind", [lambda mask: mask, lambda mask: np.uint8(255) * mask], ids=["bool", "255"])
def test_a_mask_of_one_class_is_scored_against_everything_else(labels, kind):
    mask = np.zeros((20, 20), bool)
    mask[:10] = True  # twice as much as was found
    found = scores(kind(mask), labels, Mask(MITOCHONDRIA))
    assert found["iou"]["mitochondria"] == pytest.approx(0.5)
    assert found["iou"][OTHER.name] == pytest.approx(2 / 3)


def test_what_was_not_segmented_does_not_count(labels):
    labels[5:] = 0
    mask = np.zeros((20, 20), bool)
    mask[:10] = True
    assert scores(mask, labels, Mask(MITOCHONDRIA))["iou"]["mitochondria"] == 1


def test_outside_of_it_may_be_unlabelled(labels):
    mask = np.zeros((20, 20), np.uint8)
    mask[3:7] = 255
    found = scores(mask, labels, Mask(MITOCHONDRIA, rest_is_other=False))
    assert found["iou"]["mitochondria"] == pytest.approx(0.5)  # two rows of four


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ((0, 255), np.uint8, True),
        ((0, 1), bool, True),
        ((0, 1), np.uint8, False),
        ((0, 1, 2, 3, 4), np.uint8, False),
        ((0,), np.uint8, False),
        ((0, 128, 255), np.uint8, False),
    ],
)
def test_what_looks_like_a_mask(values, dtype, expected):
    data = np.resize(np.array(values, dtype), (3, 40, 50))
    assert looks_like_mask(data, EM_CLASSES) == expected


def test_the_name_tells_the_class():
    assert guess_class("epfl_Mito_mask.tif", EM_CLASSES) == MITOCHONDRIA
    assert guess_class("gt.tif", EM_CLASSES) == MEMBRANE

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.correction.corrections import (
    CELL,
    CorrectedSection,
    check_corrections,
    corrected_sections,
    count_pixels,
    find_regions,
    hold_out,
    region_map,
)
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.errors import InputError, TrainingError

IMAGE = builtin_section(128, seed=1).image


def strokes(*places: tuple[int, int, int], shape: tuple[int, int] = (128, 128)) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    for row, column, value in places:
        labels[row : row + 4, column : column + 10] = value
    return labels


class Lazy:
    """A stack that remembers which of its sections were read."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.shape, self.dtype, self.ndim = data, data.shape, data.dtype, 3
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, z: int) -> np.ndarray:
        self.read.append(z)
        return self.data[z]


def test_only_corrected_sections_of_a_stack_are_read() -> None:
    image = Lazy(np.stack([IMAGE] * 4))
    labels = np.zeros(image.shape, np.uint8)
    labels[2, 5:10, 5:15] = 3
    (found,) = corrected_sections(image, labels, EM_CLASSES, pixel_size_nm=4.0, source="a")
    assert image.read == [2]
    assert (found.index, found.pixel_size_nm, found.source) == (2, 4.0, "a")
    np.testing.assert_array_equal(found.labels, labels[2])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((128, 100), np.uint8), "shape"),
        (np.zeros((2, 128, 128), np.uint8), "shape"),
        (np.full((128, 128), 9), "no class"),
        (np.full((128, 128), -1), "no class"),
        (np.full((128, 128), 1.5), "no class"),
        (np.full((128, 128), np.nan), "no class"),
        (np.full((128, 128), "a"), "no class values"),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_a_sentence(labels: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        corrected_sections(IMAGE, labels, EM_CLASSES)


def test_new_classes_are_classes() -> None:
    from napari_feedback_seg.classes import LabelClass

    labels = strokes((5, 5, 7))
    nucleus = LabelClass(7, "nucleus", "#56b4e9")
    (found,) = corrected_sections(IMAGE, labels, (*EM_CLASSES, nucleus))
    assert count_pixels([found]) == {7: 40}


def test_nothing_and_one_pixel_are_too_little() -> None:
    with pytest.raises(TrainingError, match="Nothing is corrected"):
        check_corrections(corrected_sections(IMAGE, np.zeros_like(IMAGE), EM_CLASSES))
    one = np.zeros((128, 128), np.uint8)
    one[3, 3] = 1
    with pytest.raises(TrainingError, match="Only 1 pixel is"):
        check_corrections([CorrectedSection(IMAGE, one)])


def test_near_strokes_are_one_region_and_far_ones_are_not() -> None:
    cells = region_map(strokes((8, 8, 1), (14, 20, 2), (80, 80, 3)))
    assert cells.shape == (128 // CELL, 128 // CELL)
    assert cells.max() == 2
    assert cells[1, 1] == cells[14 // CELL, 24 // CELL] != cells[80 // CELL, 80 // CELL]


def test_dense_labels_are_cut_into_blocks() -> None:
    dense = builtin_section(400, seed=2).labels
    sections = [CorrectedSection(dense, dense)]
    cells = region_map(dense)
    regions = find_regions(sections, [cells])
    assert len(regions) == 9
    assert (cells > 0).all()
    assert sum(region.size for region in regions.values()) == dense.size


def test_every_pixel_is_in_its_region_under_its_class() -> None:
    labels = strokes((8, 8, 1), (14, 20, 2), (80, 80, 3))
    cells = region_map(labels)
    regions = find_regions([CorrectedSection(IMAGE, labels)], [cells])
    found = np.zeros_like(labels)
    for (_, number), region in regions.items():
        for value, places in region.places.items():
            found[tuple(places.T)] = value
            assert (cells[tuple(places.T // CELL)] == number).all()
    np.testing.assert_array_equal(found, labels)


def test_of_few_regions_each_is_held_out_in_turn() -> None:
    assert hold_out({(0, 1): {1}}, 0.25, 0) == []
    assert hold_out({(0, 1): {1}, (0, 2): {2}}, 0.0, 0) == []
    assert set(hold_out({(0, 1): {1}, (0, 2): {2}}, 0.25, 0)) == {frozenset({(0, 1)}), frozenset({(0, 2)})}
    regions = {(0, number): {1 + number % 3} for number in range(9)}
    parts = hold_out(regions, 0.25, 0)
    assert sorted(key for part in parts for key in part) == sorted(regions)
    assert [sorted(v for key in part for v in regions[key]) for part in parts] == [[1, 2, 3]] * 3


@pytest.mark.parametrize("seed", range(5))
def test_of_many_regions_a_part_with_all_classes_is_held_out(seed: int) -> None:
    random = np.random.default_rng(seed)
    regions = {(0, number): {int(random.integers(1, 4))} for number in range(30)} | {(1, 0): {4}, (1, 1): {4}}
    (held,) = hold_out(regions, 0.25, seed)
    assert len(held) == 8
    assert set().union(*(regions[key] for key in held)) == {1, 2, 3, 4}
    assert held == hold_out(regions, 0.25, seed)[0]

from __future__ import annotations

from itertools import combinations
from math import log2
from typing import Any

import numpy as np
import pytest
from skimage.metrics import contingency_table

from napari_feedback_seg.classes import EM_CLASSES, LabelClass
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.metrics import (
    Scores,
    SectionCompared,
    cell_scores,
    cells,
    compare,
    confusion_matrix,
    dice,
    errors,
    iou,
    iou_table,
)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 5, (40, 50)).astype(np.uint8), random.integers(1, 5, (40, 50)).astype(np.uint8)


def test_equals_an_independent_implementation(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, predicted = pair
    confusion = confusion_matrix(truth, predicted, EM_CLASSES)
    table = contingency_table(truth, predicted).toarray()  # rows and columns by value
    assert (confusion[:4, :4] == table[1:5, 1:5]).all()
    for value, score in zip((1, 2, 3, 4), iou(confusion), strict=True):
        labelled = truth > 0
        here, there = (truth == value) & labelled, (predicted == value) & labelled
        assert score == pytest.approx((here & there).sum() / (here | there).sum())
    for value, score in zip((1, 2, 3, 4), dice(confusion), strict=True):
        here, there = (truth == value) & labelled, (predicted == value) & labelled
        assert score == pytest.approx(2 * (here & there).sum() / (here.sum() + there.sum()))


def test_a_pixel_predicted_as_no_class_counts_against_its_class() -> None:
    truth = np.array([[1, 1, 4, 4]], np.uint8)
    predicted = np.array([[1, 0, 4, 4]], np.uint8)
    table = iou_table(confusion_matrix(truth, predicted, EM_CLASSES), EM_CLASSES)
    assert table["iou"] == {"membrane": 0.5, "cytoplasm": 1.0}  # the others are nowhere
    assert table["mean_iou"] == 0.75


def test_a_class_that_the_truth_lacks_does_not_pull_the_mean_down() -> None:
    truth = np.full((10, 10), 4, np.uint8)
    truth[:5] = 1
    predicted = truth.copy()
    assert iou_table(confusion_matrix(truth, predicted, EM_CLASSES), EM_CLASSES)["mean_iou"] == 1
    predicted[0, 0] = 3
    table = iou_table(confusion_matrix(truth, predicted, EM_CLASSES), EM_CLASSES)
    assert table["iou"] == {"membrane": 0.98, "synapse": 0.0, "cytoplasm": 1.0}
    assert table["mean_iou"] == pytest.approx(0.99)


def test_nothing_labelled_scores_nothing() -> None:
    nothing = np.zeros((3, 3), np.uint8)
    table = iou_table(confusion_matrix(nothing, nothing + 1, EM_CLASSES), EM_CLASSES)
    assert table == {"iou": {}, "mean_iou": None}


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        confusion_matrix(np.ones((2, 2), np.uint8), np.ones((2, 3), np.uint8), EM_CLASSES)


def drawn(*rows: str) -> np.ndarray:
    """Return a section: | is membrane, s synapse, o mitochondrion, . cytoplasm, a space unlabelled."""
    return np.array([["|os.".find(each) + 1 for each in row] for row in rows], np.uint8)


class TestCells:
    def test_membranes_and_synapses_part_cells(self) -> None:
        found = cells(drawn("..|oo", "..s..", "||...", ".||.."), EM_CLASSES)
        assert found.tolist() == [[1, 1, 0, 2, 2], [1, 1, 0, 2, 2], [0, 0, 2, 2, 2], [3, 0, 0, 2, 2]]

    def test_a_corner_joins_nothing(self) -> None:
        assert cells(drawn(".|", "|."), EM_CLASSES).max() == 2

    def test_equals_counting_pairs_and_pixels(self) -> None:
        """Rand error and variation of information, written out over every pair and every pixel."""
        truth = drawn(
            "....|.....  .",
            "....|.....|..",
            "....s.oo..|..",
            "....|.oo..|..",
            "||||||||||||.",
            "..........|..",
            "..........|..",
        )
        predicted = drawn(
            ".||.|....|||.",
            ".||.|....|||.",
            ".||...oo.|||.",
            ".||.|.oo.|||.",
            ".||||||..|||.",
            ".||......|||.",
            ".||......|||.",
        )
        true_cells, found = cells(truth, EM_CLASSES), cells(predicted, EM_CLASSES)
        pairs = []
        for y, x in np.argwhere(true_cells):
            away = {(v, u): (v - y) ** 2 + (u - x) ** 2 for v, u in np.argwhere(found * (truth > 0))}
            (nearest,) = {int(found[place]) for place, each in away.items() if each == min(away.values())}
            pairs.append((int(true_cells[y, x]), nearest))
        both = sum(a == b for a, b in combinations(pairs, 2))
        in_truth = sum(a[0] == b[0] for a, b in combinations(pairs, 2))
        in_prediction = sum(a[1] == b[1] for a, b in combinations(pairs, 2))
        assert 0 < both < min(in_truth, in_prediction)
        precision, recall = both / in_prediction, both / in_truth
        split = merge = 0.0
        for pair in set(pairs):
            here, of_all = pairs.count(pair), len(pairs)
            split -= here / of_all * log2(here / sum(each[0] == pair[0] for each in pairs))
            merge -= here / of_all * log2(here / sum(each[1] == pair[1] for each in pairs))
        assert cell_scores(truth, predicted, EM_CLASSES) == pytest.approx(
            {"vi_split": split, "vi_merge": merge, "are": 1 - 2 * precision * recall / (precision + recall)}
        )

    def test_a_cut_is_a_split_and_a_gap_a_merge(self) -> None:
        whole, cut = drawn("........", "........"), drawn("...||...", "...||...")
        split = cell_scores(whole, cut, EM_CLASSES)
        assert split == pytest.approx({"vi_split": 1, "vi_merge": 0, "are": 1 - 2 * 56 / (56 + 120)})
        merge = cell_scores(cut, whole, EM_CLASSES)
        assert merge == pytest.approx({"vi_split": 0, "vi_merge": 1, "are": 1 - 2 * 30 / (30 + 66)})

    def test_where_in_a_membrane_the_border_runs_and_how_thick_is_no_error(self) -> None:
        truth = drawn("....||....", "....||....", "||||||||||")
        for row in ("...|||....", "...|||||..", "....|.....", ".....|....", "....ss...."):
            scores = cell_scores(truth, drawn(row, row, "||||||||||"), EM_CLASSES)
            assert scores == pytest.approx({"vi_split": 0, "vi_merge": 0, "are": 0}), row

    def test_what_is_not_labelled_joins_and_parts_nothing(self) -> None:
        truth, predicted = drawn("...  ...", "||| ||||"), drawn("........", "||.||.||")
        assert cell_scores(truth, predicted, EM_CLASSES) == pytest.approx(
            {"vi_split": 0, "vi_merge": 0, "are": 0}
        )

    def test_nothing_but_membrane_predicted_joins_all(self) -> None:
        truth = drawn("..|..", "..|..")
        scores = cell_scores(truth, np.ones_like(truth), EM_CLASSES)
        assert scores == cell_scores(truth, np.full_like(truth, 4), EM_CLASSES)

    def test_no_cell_no_score(self) -> None:
        truth = drawn("|.|", "|||")
        assert cell_scores(truth, truth, EM_CLASSES) is None
        assert cell_scores(np.zeros_like(truth), truth, EM_CLASSES) is None
        assert cell_scores(drawn("..."), drawn("..."), (LabelClass(4, "neurite", "#000000"),)) is None


def test_sections_add_up_in_one_confusion_matrix_and_in_the_mean_of_their_cells() -> None:
    first, second = drawn("....||..", "....||.."), drawn("..|.|..|", "ooo.s...")
    wrong = drawn("........", "ss......")
    scores = Scores(EM_CLASSES)
    scores.add(first, wrong)
    scores.add(second, second)
    table = scores.table()
    whole = confusion_matrix(np.stack([first, second]), np.stack([wrong, second]), EM_CLASSES)
    assert table["confusion"] == whole[:-1].tolist()
    assert table["iou"] == iou_table(whole, EM_CLASSES)["iou"]
    assert list(table["dice"].values()) == dice(whole).tolist()
    assert table["mean_dice"] == pytest.approx(dice(whole).mean())
    alone = cell_scores(first, wrong, EM_CLASSES)
    assert alone is not None
    assert table["cells"] == pytest.approx({name: value / 2 for name, value in alone.items()})


def compared(truth: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    events = compare(truth, predicted, EM_CLASSES)
    sections = 1 if truth.ndim == 2 else len(truth)
    for done in range(1, sections + 1):
        assert next(events) == SectionCompared(done, sections)
    with pytest.raises(StopIteration) as stop:
        next(events)
    return stop.value.value


class TestCompare:
    def test_two_layers(self) -> None:
        truth, predicted = drawn("..|| ", "oo|..").astype(np.int64), drawn("..|..", "ss|..").astype(np.int32)
        found = compared(truth, predicted)
        assert found["errors"].tolist() == drawn("   | ", "oo   ").tolist()
        assert found["iou"] == {"membrane": 2 / 3, "mitochondria": 0, "synapse": 0, "cytoplasm": 4 / 5}
        assert found["dice"]["cytoplasm"] == 8 / 9
        assert np.sum(found["confusion"]) == 9  # the unlabelled pixel does not count

    def test_a_stack_is_its_sections(self) -> None:
        truth = np.stack([drawn("..|..", "..|.."), drawn("|...|", "....|")])
        predicted = truth[::-1]
        found, scores = compared(truth, predicted), Scores(EM_CLASSES)
        for each in zip(truth, predicted, strict=True):
            scores.add(*each)
        assert (found.pop("errors") == errors(truth, predicted)).all()
        assert found.pop("left_out") == 0
        assert found == scores.table()

    def test_what_is_not_segmented_does_not_count(self) -> None:
        truth = np.stack([drawn("..|.."), drawn("|...|")])
        predicted = truth.copy()
        predicted[1] = 0
        predicted[0, 0, 0] = 0
        found = compared(truth, predicted)
        assert found["mean_iou"] == 1
        assert found["left_out"] == pytest.approx(6 / 10)
        assert not found["errors"].any()
        with pytest.raises(InputError, match="Nothing is segmented where"):
            compared(truth, predicted * 0)

    def test_what_cannot_be_compared(self) -> None:
        section = drawn("..|")
        with pytest.raises(InputError, match="shapes differ"):
            compared(section, section[:, :2])
        with pytest.raises(InputError, match=r"no class \(7, 300\)"):
            compared(section, np.array([[4, 300, 7]]))
        with pytest.raises(InputError, match="unlabelled, everywhere"):
            compared(section * 0, section)


class TestSetsOfClasses:
    """Truth: 1 is membrane, 10 anything else, 12 synapse or cytoplasm, 2 mitochondria."""

    @pytest.fixture
    def possible(self) -> np.ndarray:
        table = np.zeros((256, 4), bool)
        table[1, 0] = table[2, 1] = True
        table[10, 1:] = table[12, 2:] = True
        return table

    def test_a_class_is_scored_where_it_is_known(self, possible: np.ndarray) -> None:
        truth = np.array([[1, 1, 1, 10, 10, 10, 2, 2, 12, 12, 0, 0]], np.uint8)
        found = np.array([[1, 4, 4, 1, 2, 4, 2, 4, 2, 3, 1, 2]], np.uint8)
        scores = Scores(EM_CLASSES, possible)
        scores.add(truth, found)
        table = scores.table()
        # Membrane: one of three found, and one too many where it is something else.
        # Mitochondria: of two one is found; one too many where only 3 and 4 can be; under 10 it may be.
        assert table["iou"] == {"membrane": pytest.approx(1 / 4), "mitochondria": pytest.approx(1 / 3)}
        assert table["dice"] == {"membrane": pytest.approx(2 / 5), "mitochondria": pytest.approx(2 / 4)}
        assert table["mean_iou"] == pytest.approx((1 / 4 + 1 / 3) / 2)

    def test_plain_labels_score_as_before(self, pair: tuple[np.ndarray, np.ndarray]) -> None:
        table = np.zeros((256, 4), bool)
        table[[1, 2, 3, 4], [0, 1, 2, 3]] = True
        coded, plain = Scores(EM_CLASSES, table), Scores(EM_CLASSES)
        coded.add(*pair)
        plain.add(*pair)
        expected = plain.table()
        expected.pop("cells", None)
        assert coded.table() == expected
        assert expected["iou"] == iou_table(confusion_matrix(*pair, EM_CLASSES), EM_CLASSES)["iou"]

    def test_cells_that_are_numbered_are_compared(self, possible: np.ndarray) -> None:
        numbers = np.repeat([[1, 1, 1, 0, 2, 2, 2]], 4, axis=0)
        truth = np.where(numbers == 0, 1, 10).astype(np.uint8)
        parted, joined = (np.where(numbers == 0, value, 4).astype(np.uint8) for value in (1, 4))
        errors_of = []
        for found in (parted, joined):
            scores = Scores(EM_CLASSES, possible)
            scores.add(truth, found, numbers)
            errors_of.append(scores.table()["cells"])
        assert errors_of[0]["are"] == 0
        assert errors_of[1]["are"] > 0.3
        assert errors_of[1]["vi_merge"] == pytest.approx(1)

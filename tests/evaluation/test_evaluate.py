from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.datasets.dataset import Dataset
from napari_feedback_seg.errors import InputError, ModelError
from napari_feedback_seg.evaluation.evaluate import caveats, choose_sections, score, write_to_card
from napari_feedback_seg.metrics import cell_scores
from napari_feedback_seg.models.model import TrainingData
from napari_feedback_seg.models.model_file import load_model_file, read_card, save_model
from napari_feedback_seg.segmentation.events import SectionDone
from napari_feedback_seg.segmentation.predict import segment
from napari_feedback_seg.segmentation.prediction import SegmentOptions

if TYPE_CHECKING:
    from pathlib import Path

    from napari_feedback_seg.models.model import Model


def returned(events: Any) -> Any:
    """Run a generator to its end; return what it returns."""
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    made = [builtin_section((200, 230), seed=seed) for seed in range(3)]
    return Dataset("d", tuple(each.image for each in made), tuple(each.labels for each in made), test=(2,))


@pytest.fixture
def model(small_model: Model) -> Model:
    return small_model


def test_scores_are_those_of_the_labels_a_user_gets(dataset: Dataset, model: Model) -> None:
    scores = returned(score(model, dataset, [0, 2]))
    predicted = [segment(dataset.images[z], model).labels for z in (0, 2)]
    truth = np.concatenate([dataset.labels[z].ravel() for z in (0, 2)])
    answer = np.concatenate([each.ravel() for each in predicted])
    for each in EM_CLASSES:
        here, there = truth == each.value, answer == each.value
        if not (here | there).any():
            assert each.name not in scores["iou"]
            continue
        assert scores["iou"][each.name] == pytest.approx((here & there).sum() / (here | there).sum())
    assert scores["mean_iou"] == pytest.approx(np.mean(list(scores["iou"].values())))
    assert np.sum(scores["confusion"]) == truth.size
    assert scores["sections"] == [0, 2]
    assert scores["first_round"]["iou"] != scores["iou"]
    apart = [
        cell_scores(dataset.labels[z], each, EM_CLASSES) for z, each in zip((0, 2), predicted, strict=True)
    ]
    for name in ("vi_split", "vi_merge", "are"):
        assert scores["cells"][name] == pytest.approx(np.mean([each[name] for each in apart]))
    assert set(scores["first_round"]) == {"iou", "mean_iou", "dice", "mean_dice", "cells", "confusion"}


@pytest.mark.parametrize(
    ("of_data", "options", "expected"),
    [
        (9.2, {}, {"pixel_size_nm": 9.2}),
        (9.2, {"pixel_size_nm": 2.3}, {"pixel_size_nm": 2.3}),
        (None, {"overlap": 0.5, "flips": True}, {"overlap": 0.5, "flips": True}),
    ],
)
def test_sections_are_segmented_as_asked_for(
    dataset: Dataset,
    model: Model,
    of_data: float | None,
    options: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    data = replace(dataset, pixel_size_nm=of_data)
    scores = returned(score(model, data, [1], SegmentOptions("cpu", **options)))
    labels = segment(dataset.images[1], model, device="cpu", **expected).labels
    assert (labels != segment(dataset.images[1], model, device="cpu").labels).any()
    assert np.trace(scores["confusion"]) == (labels == dataset.labels[1]).sum()


def test_scores_that_flatter_are_pointed_at(dataset: Dataset, model: Model) -> None:
    data = TrainingData("d", sections={"train": [0], "validation": [1]})
    card = replace(model.card, data=(data, TrainingData("mine", sections={"corrected": [2]})))
    learnt, corrected = caveats(card, dataset, [0, 1, 2])
    assert "trained or chosen on sections 0, 1" in learnt
    assert "fine-tuned on corrections" in corrected
    assert caveats(replace(card, data=(data,)), dataset, [2]) == []


def test_a_section_that_is_not_there(dataset: Dataset, model: Model) -> None:
    with pytest.raises(InputError, match="sections 0 to 2; asked for: 1, 3"):
        returned(score(model, dataset, [1, 3]))


def test_other_classes_are_not_compared(dataset: Dataset, model: Model) -> None:
    renamed = tuple(type(each)(each.value, f"x{each.name}", each.color) for each in EM_CLASSES)
    with pytest.raises(InputError, match="the labels are 1 xmembrane"):
        returned(score(model, Dataset("d", dataset.images, dataset.labels, renamed), [0]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0-2", [0, 1, 2]), ("2, 0-1", [2, 0, 1]), ("validation", [1]), ("test", [2]), ("1,1", [1])],
)
def test_choosing_sections(text: str, expected: list[int], dataset: Dataset, model: Model) -> None:
    assert choose_sections(text, model.card, dataset) == expected


def test_sections_of_the_card_are_those_of_its_own_data(dataset: Dataset, model: Model) -> None:
    card = replace(model.card, data=(TrainingData("another"),))
    with pytest.raises(ValueError, match=f"names no validation sections of {dataset.name}"):
        choose_sections("validation", card, dataset)
    assert choose_sections("test", card, replace(dataset, test=(0,))) == [0]


def test_sections_may_have_other_shapes(dataset: Dataset, model: Model) -> None:
    cut = replace(
        dataset,
        images=(dataset.images[0], dataset.images[1][:40], dataset.images[2][:40]),
        labels=(dataset.labels[0], dataset.labels[1][:40], dataset.labels[2][:40]),
    )
    events = [event for event in score(model, cut, [0, 1, 2]) if isinstance(event, SectionDone)]
    assert [event.section for event in events] == [0, 1, 2]
    assert [event.prediction.labels.shape for event in events] == [each.shape for each in cut.images]


@pytest.mark.parametrize("text", ["", "2-1", "0,2-1", "a", "1-b", "-2", "0-9999999999"])
def test_what_names_no_section(text: str, dataset: Dataset, model: Model) -> None:
    with pytest.raises(ValueError, match=r"[Ss]ection"):
        choose_sections(text, model.card, dataset)


@pytest.mark.parametrize("half", [False, True])
def test_scores_go_into_the_card_and_nothing_else_changes(half: bool, model: Model, tmp_path: Path) -> None:
    path = save_model(model, tmp_path / "m.safetensors", half=half)
    loaded, size = load_model_file(path), path.stat().st_size
    write_to_card(loaded, "test", {"mean_iou": 0.5})
    assert read_card(path).scores == {"test": {"mean_iou": 0.5}}
    assert abs(path.stat().st_size - size) < 200
    for name, expected in loaded.network.state_dict().items():
        assert torch.equal(load_model_file(path).network.state_dict()[name], expected)
    with pytest.raises(ModelError, match="no file yet"):
        write_to_card(model, "test", {})

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_feedback_seg.classes import EM_CLASSES, LabelClass
from napari_feedback_seg.errors import ModelError
from napari_feedback_seg.models.model import ModelCard, TrainingData
from napari_feedback_seg.networks.spec import NetworkSpec

SMALL = ModelCard("small", NetworkSpec(width=2, depth=2), EM_CLASSES, pixel_size_nm=4.6, tile=32)
FULL = replace(
    SMALL,
    description="A test of every field.",
    data=(
        TrainingData("ssTEM", "c0ffee", {"train": [0, 1], "validation": [2], "test": []}, "CC0", "A 2013"),
        TrainingData("another lab"),
    ),
    recipe={"epochs": 2, "augment": {"noise": 0.1}, "classes": ["a", "b"], "note": None, "ema": True},
    seed=3,
    duration_s=12.5,
    machine="2 cores",
    scores={"validation": {"iou": {"membrane": 0.78}, "mean_iou": 0.75}},
    parent="0" * 64,
    licence="CC BY-NC-SA 3.0",
    citation="Gerhard et al. 2013, µ",
    version="0.1.0",
)


def test_every_field_survives_json() -> None:
    default = [each.name for each in fields(FULL) if getattr(FULL, each.name) == getattr(SMALL, each.name)]
    assert default == ["name", "spec", "classes", "pixel_size_nm", "tile", "normalisation"]
    assert ModelCard.from_json(json.loads(json.dumps(FULL.to_json()))) == FULL


@pytest.mark.parametrize(
    ("data", "sections", "expected"),
    [
        ("ssTEM", {"train": [0]}, [("ssTEM", "c0ffee", {"train": [0]})]),
        ("", {}, []),
        (
            "ssTEM; then corrections of a.tif; then corrections of b.tif",
            {"train": [0], "corrected": [3]},
            [
                ("ssTEM", "c0ffee", {"train": [0]}),
                ("corrections of a.tif", "", {}),
                ("corrections of b.tif", "", {"corrected": [3]}),
            ],
        ),
        ("corrections of a.tif", {"corrected": [3]}, [("corrections of a.tif", "", {"corrected": [3]})]),
    ],
)
def test_a_card_of_format_1_is_migrated(
    data: str, sections: dict[str, list[int]], expected: list[tuple[str, str, dict]]
) -> None:
    old = SMALL.to_json() | {"data": data, "data_digest": "c0ffee", "sections": sections, "licence": "CC0"}
    card = ModelCard.from_json(old)
    assert [(each.name, each.digest, each.sections) for each in card.data] == expected
    assert card.licence == "CC0"
    if expected and expected[0][1]:
        assert card.data[0].licence == "CC0"
    assert ModelCard.from_json(card.to_json()) == card


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1], "no data set"),
        ([{"digest": ""}], "no data set"),
        ([{"name": "x", "since": 1}], "unknown fields of its data"),
        ([{"name": 1}], "name of its data is not a text"),
        ([{"name": "x", "sections": [1]}], "sections of its data"),
        ([{"name": "x", "sections": {"train": 1}}], "sections 'train' is not a list"),
        ([{"name": "x", "sections": {"train": "0-11"}}], "whole numbers"),
        ([{"name": "x", "sections": {"train": [True]}}], "whole numbers"),
        ({"name": "x"}, "data is not a list"),
    ],
)
def test_data_that_describes_no_data_set(data: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ModelCard.from_json(SMALL.to_json() | {"data": data})


def test_a_card_tells_what_it_was_trained_on() -> None:
    assert FULL.trained_on("another lab") == FULL.data[1]
    assert FULL.trained_on("a third") is None


def test_only_five_fields_are_needed() -> None:
    data = SMALL.to_json()
    needed = {name: data[name] for name in ("name", "spec", "classes", "pixel_size_nm", "tile")}
    assert ModelCard.from_json(needed) == SMALL
    for name in needed:
        with pytest.raises(ModelError, match=f"{name} missing"):
            ModelCard.from_json({key: each for key, each in needed.items() if key != name})


def test_what_a_training_leaves_in_a_card_becomes_plain_json() -> None:
    card = replace(
        SMALL,
        recipe={
            "folder": Path("a") / "b",
            "rate": np.float32(0.5),
            "steps": np.int64(4),
            "tensor": torch.tensor(2.0),
            "pair": (1, 2),
            1: "key",
        },
        scores={"iou": {"membrane": np.float64(0.5), "synapse": math.nan, "cytoplasm": np.float32("inf")}},
    )
    data = json.loads(json.dumps(card.to_json(), allow_nan=False))
    assert data["recipe"] == {
        "folder": str(Path("a") / "b"),
        "rate": 0.5,
        "steps": 4,
        "tensor": 2.0,
        "pair": [1, 2],
        "1": "key",
    }
    assert data["scores"]["iou"] == {"membrane": 0.5, "synapse": None, "cytoplasm": None}


def test_what_json_cannot_say_is_refused_by_field() -> None:
    with pytest.raises(ModelError, match="recipe holds a set"):
        replace(SMALL, recipe={"deep": [{"er": {1, 2}}]}).to_json()


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("name", " ", "name is empty"),
        ("name", 3, "name is not a text"),
        ("citation", None, "citation is not a text"),
        ("spec", {"width": 2}, "spec describes no network"),
        ("classes", EM_CLASSES[:3], "3 classes are named and the network has 4"),
        ("classes", (*EM_CLASSES[:3], EM_CLASSES[0]), "the same value"),
        ("classes", (*EM_CLASSES[:3], LabelClass(9, "membrane", "#000000")), "the same name"),
        ("pixel_size_nm", 0, "length in nm"),
        ("pixel_size_nm", math.nan, "length in nm"),
        ("pixel_size_nm", 1e9, "length in nm"),
        ("pixel_size_nm", "4.6", "length in nm"),
        ("tile", 30, "multiple of 4 pixels"),
        ("tile", 0, "multiple of 4 pixels"),
        ("tile", 10**12, "multiple of 4 pixels"),
        ("tile", 32.0, "multiple of 4 pixels"),
        ("normalisation", "tile", "newer version"),
        ("data", "ssTEM", "not a list of data sets"),
        ("recipe", "long", "JSON object"),
        ("scores", None, "JSON object"),
        ("scores", {"test": {"mean_iou": "0.78"}}, "scores are not numbers"),
        ("scores", {"test": {"iou": {"membrane": "high"}}}, "scores are not numbers"),
        ("scores", {"test": {"iou": [1]}}, "scores are not numbers"),
        ("seed", 1.5, "whole number"),
        ("duration_s", "long", "no number"),
        ("parent", 5, "SHA-256"),
    ],
)
def test_a_field_that_describes_no_model_is_refused(field: str, value: Any, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        replace(SMALL, **{field: value})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"colour": "red"}, "unknown fields .colour.*newer version"),
        ({"spec": [1]}, "not a JSON object"),
        ({"spec": {"width": 0}}, "width"),
        ({"spec": {"kind": "recurrent"}}, "kind"),
        ({"classes": {}}, "not a list"),
        ({"classes": [None] * 4}, "no class"),
        ({"classes": [{"value": 1}]}, "no class"),
        ({"classes": [{"value": "1", "name": "a", "color": "#000000"}]}, "no class"),
        ({"classes": [{"value": 1.5, "name": "a", "color": "#000000"}]}, "no class"),
        ({"classes": [{"value": 1, "name": 7, "color": "#000000"}]}, "no class"),
        ({"classes": [{"value": 1, "name": "a", "color": ""}]}, "no class"),
        ({"classes": [{"value": 1, "name": "a", "color": [1, 2, 3, 4, 5, 6, 7]}]}, "no class"),
        ({"classes": [{"value": 1, "name": "a", "color": "#000000", "opacity": "x"}]}, "no class"),
    ],
)
def test_json_that_describes_no_card_is_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        ModelCard.from_json(SMALL.to_json() | change)


@pytest.mark.parametrize("data", [None, [], "card", 3])
def test_json_that_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(ModelError, match="not a JSON object"):
        ModelCard.from_json(data)

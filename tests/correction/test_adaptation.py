"""The file of what was learnt."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.correction.adapt import adapt, segment
from napari_feedback_seg.correction.adaptation import (
    KEY,
    Adaptation,
    load_adaptation,
    save_adaptation,
    taken_apart,
)
from napari_feedback_seg.correction.card import corrected_model
from napari_feedback_seg.correction.classes import add_classes
from napari_feedback_seg.correction.corrections import corrected_sections
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.errors import InputError, ModelError, OutputError
from napari_feedback_seg.models.model import weights_digest
from napari_feedback_seg.models.model_file import load_model_file, save_model

if TYPE_CHECKING:
    from pathlib import Path

    from napari_feedback_seg.models.model import Model

IMAGE = builtin_section(96, seed=3).image
CORRECTIONS = np.zeros_like(IMAGE)
CORRECTIONS[9:15, 9:15], CORRECTIONS[60:66, 60:66] = 3, 5
NUCLEUS = LabelClass(5, "nucleus", "#56b4e9")


@pytest.fixture
def learnt(small_model: Model) -> Adaptation:
    adaptation = adapt(small_model, [(IMAGE, CORRECTIONS)], new_classes=[NUCLEUS])
    assert adaptation.residual is not None
    return adaptation


def test_a_file_gives_the_same_answer(learnt: Adaptation, small_model: Model, tmp_path: Path) -> None:
    path = save_adaptation(learnt, tmp_path / "cells.strokes")
    assert path.stat().st_size < 20_000
    again = load_adaptation(path)
    assert (again.new_classes, again.strokes) == ((NUCLEUS,), 2)
    assert (again.share, again.known) == (learnt.share, learnt.known)
    assert again.of_class == learnt.of_class
    assert sum(again.of_class.values()) == 2
    before, after = (
        segment(IMAGE, small_model, strokes=each, probabilities=True) for each in (learnt, again)
    )
    assert np.array_equal(before.probabilities, after.probabilities)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="there already"):
        save_adaptation(learnt, path)
    with pytest.raises(OutputError, match="ends in"):
        save_adaptation(learnt, tmp_path / "cells.safetensors")


def test_the_model_is_known_by_its_weights(learnt: Adaptation, small_model: Model, tmp_path: Path) -> None:
    copied = load_model_file(save_model(small_model, tmp_path / "other name.safetensors"))
    assert weights_digest(copied) == weights_digest(small_model)
    learnt.apply(copied)
    with torch.no_grad():
        copied.network.unet.classifier.bias[0] += 1
    with pytest.raises(ModelError, match="learnt for another model, 'small'"):
        learnt.apply(copied)


def test_a_file_that_is_cut_off_is_refused_wherever(learnt: Adaptation, tmp_path: Path) -> None:
    path = save_adaptation(learnt, tmp_path / "cells.strokes")
    data = path.read_bytes()
    for length in (0, 4, 9, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"cells\.strokes"):
            load_adaptation(path)


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04 a zip",
        b"\x80\x04\x95 a pickle",
        (2**62).to_bytes(8, "little") + b"{",
        (2).to_bytes(8, "little") + b"{}",
        b"\x01\x00\x00\x00\x00\x00\x00\x00{",
    ],
)
def test_hostile_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "cells.strokes"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"cells\.strokes"):
        load_adaptation(path)


ABOUT = {
    "format_version": 1,
    "model_name": "small",
    "model_digest": "0",
    "new_classes": [],
    "strokes": 1,
}


@pytest.mark.parametrize(
    ("about", "tensors"),
    [
        ("[" * 100_000, {}),
        ({}, {}),
        ({**ABOUT, "format_version": 9}, {}),
        ({**ABOUT, "new_classes": [{"value": 900}]}, {}),
        ({**ABOUT, "strokes": None}, {}),
        ({**ABOUT, "share": 0}, {}),
        (ABOUT, {"weight": torch.zeros(4, 3)}),
        (ABOUT, {"weight": torch.zeros(4, 3), "bias": torch.zeros(5)}),
        (ABOUT, {"weight": torch.full((4, 3), torch.nan), "bias": torch.zeros(4)}),
        (ABOUT, {"weight": torch.zeros(4, 3, dtype=torch.int64), "bias": torch.zeros(4)}),
    ],
)
def test_odd_content_is_refused(tmp_path: Path, about: object, tensors: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "cells.strokes"
    save_file(tensors, path, {KEY: about if isinstance(about, str) else json.dumps(about)})
    with pytest.raises(InputError, match=r"cells\.strokes"):
        load_adaptation(path)


def test_what_fits_no_network_is_refused(small_model: Model, tmp_path: Path) -> None:
    about = {**ABOUT, "model_digest": weights_digest(small_model)}
    path = tmp_path / "cells.strokes"
    save_file({"weight": torch.zeros(4, 3), "bias": torch.zeros(4)}, path, {KEY: json.dumps(about)})
    with pytest.raises(ModelError, match="do not fit"):
        load_adaptation(path).apply(small_model)


def test_no_file_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_adaptation(tmp_path / "none.strokes")


def test_a_model_made_of_it_comes_apart_again(learnt: Adaptation, small_model: Model, tmp_path: Path) -> None:
    sections = corrected_sections(IMAGE, CORRECTIONS, (*small_model.card.classes, NUCLEUS))
    made = corrected_model(small_model, learnt, sections)
    model = load_model_file(save_model(made, tmp_path / "mine.safetensors"))
    assert taken_apart(small_model) is None
    found = taken_apart(model)
    assert found is not None
    plain, again = found
    assert again.about == learnt.about
    assert again.residual is not None
    assert learnt.residual is not None
    assert torch.equal(again.residual.weight, learnt.residual.weight)
    grown = add_classes(small_model, [NUCLEUS])
    assert np.array_equal(segment(IMAGE, plain).labels, segment(IMAGE, grown).labels)
    assert np.array_equal(segment(IMAGE, again.apply(plain)).labels, segment(IMAGE, model).labels)
    odd = replace(model.card, recipe={**model.card.recipe, "adaptation": {"strokes": "many"}})
    assert taken_apart(replace(model, card=odd)) is None

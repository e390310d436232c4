"""Models of other programs, in ONNX, become models of the library."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from zipfile import ZipFile

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_feedback_seg.cli import app
from napari_feedback_seg.correction.finetune import finetune
from napari_feedback_seg.correction.instant import InstantAnswers
from napari_feedback_seg.errors import ModelError, OutputError
from napari_feedback_seg.models.bioimageio.read import import_bioimageio, is_package
from napari_feedback_seg.models.library import import_to_library, load_model, save_to_library
from napari_feedback_seg.models.model_file import read_card
from napari_feedback_seg.segmentation.predict import segment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_FEEDBACK_SEG_MODELS", str(tmp_path / "library"))
    return tmp_path / "library"


def test_it_is_a_model_of_the_library_that_segments(package, library):
    name = import_to_library(package())
    assert name == "elsewhere"
    assert os.listdir(library) == ["elsewhere.safetensors"]
    card = read_card(library / "elsewhere.safetensors")
    assert [each.name for each in card.classes] == ["c0", "c1", "c2"]
    assert (card.pixel_size_nm, card.tile, card.licence) == (8, 256, "MIT")
    assert card.citation == "Someone 2020 10.1234/abc"
    image = np.full((300, 300), 50, np.uint8)
    image[:, 150:] = 200
    labels = segment(image, load_model(name), device="cpu").labels
    assert (labels[20:-20, 20:130] == 1).all()  # dark: the channel with the least weight is the largest
    assert (labels[20:-20, 170:-20] == 3).all()


@pytest.mark.parametrize(
    ("channels", "end", "classes", "output"),
    [
        (3, "", ["c0", "c1", "c2"], "logits"),
        (3, "Softmax", ["c0", "c1", "c2"], "probabilities"),
        (2, "Sigmoid", ["c0", "c1", "background"], "each"),
        (1, "Sigmoid", ["c0", "background"], "one_probability"),
        (1, "", ["c0", "background"], "one_logit"),
    ],
)
def test_what_comes_out_is_known_by_the_test_output(package, channels, end, classes, output):
    model = import_bioimageio(package(channels, end), "a")
    assert [each.name for each in model.card.classes] == classes
    assert model.card.spec.program.output == output


def test_preprocessing_is_that_of_the_package(package):
    steps = [{"id": "scale_range", "kwargs": {"min_percentile": 1.0, "max_percentile": 99.0}}]
    model = import_bioimageio(package(preprocessing=steps), "a")
    assert model.card.spec.program.steps == (("scale_range", 1, 99),)


def test_known_classes_have_their_colours(package):
    classes = import_bioimageio(
        package(3, names=["membrane", "mitochondria", "background"]), "a"
    ).card.classes
    assert [each.color for each in classes[:2]] == ["#0072b2", "#e69f00"]
    assert classes[2].opacity < 0.2


def _raw(description):
    description["inputs"][0]["preprocessing"] = []


def _linear(description):
    description["inputs"][0]["preprocessing"] = [
        {"id": "scale_linear", "kwargs": {"gain": 0.004, "offset": 0}}
    ]


def _colour(description):
    description["inputs"][0]["axes"][1]["channel_names"] = ["r", "g", "b"]


def _deep(description):
    sides = description["inputs"][0]["axes"]
    sides.insert(2, {**sides[2], "id": "z"})


def _sizeless(description):
    for each in (*description["inputs"][0]["axes"][2:], *description["outputs"][0]["axes"][2:]):
        del each["scale"], each["unit"]


def _torchscript(description):
    description["weights"] = {"torchscript": {"source": "weights.onnx", "pytorch_version": "2.0"}}


def _invalid(description):
    del description["name"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_raw, "takes grey values as they are"),
        (_linear, "prepares images by scale linear"),
        (_colour, "of 3 channels"),
        (_deep, "Only models of single sections"),
        (_sizeless, "does not say its pixel size"),
        (_torchscript, "has weights as torchscript, which need code of others to run"),
        (_invalid, "is no valid bioimage.io package"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(package, change, reason):
    with pytest.raises(ModelError, match=reason):
        import_bioimageio(package(change=change), "a")


def test_a_pixel_size_can_be_given(package):
    assert import_bioimageio(package(change=_sizeless), "a", pixel_size_nm=5).card.pixel_size_nm == 5


def test_one_that_does_not_give_its_own_test_output_is_refused(package):
    with pytest.raises(ModelError, match="does not give its own test output"):
        import_bioimageio(package(wrong=0.2), "a")


def test_what_is_no_package_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK nothing")
    assert not is_package(path)
    with pytest.raises(ModelError, match="no zip file"):
        import_bioimageio(path, "a")
    with ZipFile(path, "w") as zipped:
        zipped.writestr("a.txt", "")
    assert not is_package(path)


def test_a_name_that_is_taken_is_not_replaced(package):
    import_to_library(package())
    with pytest.raises(OutputError, match="is there already"):
        import_to_library(package())
    assert import_to_library(package(), overwrite=True) == "elsewhere"
    with pytest.raises(OutputError, match="came with the package"):
        import_to_library(package(), "general")


def test_it_cannot_learn_and_says_so(package):
    model = import_bioimageio(package(), "a")
    with pytest.raises(ModelError, match="it segments, and cannot learn"):
        InstantAnswers(model, device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (300, 300)).astype(np.uint8)
    with pytest.raises(ModelError, match="it segments, and cannot learn"):
        finetune(model, image, np.ones_like(image), device="cpu")


def test_a_damaged_program_is_a_sentence(package, small_model):
    model = import_bioimageio(package(), "a")
    model.network.program = model.network.program.clone().fill_(7)
    path = save_to_library(model, "broken")
    with pytest.raises(ModelError, match="cannot be opened"):
        segment(np.random.default_rng(0).integers(0, 255, (300, 300)).astype(np.uint8), path, device="cpu")


def test_the_command_line(package, library, tmp_path):
    def run(*words: object) -> str:
        done = CliRunner().invoke(app, ["models", *map(str, words)])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    assert str(library / "other.safetensors") in run("import", package(), "--name", "other")
    assert "other of another program, ONNX 8" in run()
    assert "a network from another program" in run("show", "other", "--methods")
    text = run("show", "unet-w16", "--methods")
    for words in (
        "a U-Net of width 16",
        "membrane, mitochondria",
        "SHA-256",
        "Tsuda",
        "Gerhard",
        "CC BY-NC-SA",
    ):
        assert words in text
    assert "wrote" in run("export", "unet-w16", "--bioimageio", tmp_path / "out.zip")
    assert is_package(tmp_path / "out.zip")
    run("import", tmp_path / "out.zip", "--name", "again")
    assert (library / "again.safetensors").is_file()

"""A model that is dropped onto napari is added to the models, if the person agrees."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QMessageBox

from napari_feedback_seg.errors import OutputError
from napari_feedback_seg.models.bioimageio.export import export_bioimageio
from napari_feedback_seg.models.library import list_models
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.plugin.contributions.model_reader import add_models, get_reader
from napari_feedback_seg.plugin.contributions.sessions import session_of


@pytest.fixture(autouse=True)
def library(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_FEEDBACK_SEG_MODELS", str(tmp_path / "library"))


def own_models():
    return [entry.name for entry in list_models() if not entry.bundled]


def test_both_kinds_of_files_are_added_and_chosen(small_model, tmp_path, qapp):
    files = [
        str(save_model(small_model, tmp_path / "mine.safetensors")),
        str(export_bioimageio(small_model, tmp_path / "yours.bioimage.io.zip")),
    ]
    viewer = ViewerModel()
    session = session_of(viewer)
    reader = get_reader(files)
    assert reader(files) == [(None,)]  # which tells napari that there are no layers
    assert own_models() == ["mine", "yours"]
    assert session.model_name == "yours"


def test_napari_takes_it_for_no_layer(small_model, tmp_path, qapp):
    viewer = ViewerModel()
    path = save_model(small_model, tmp_path / "mine.safetensors")
    viewer.open(path, plugin="napari-feedback-seg")
    assert not viewer.layers
    assert own_models() == ["mine"]


@pytest.mark.parametrize("answer", ["Yes", "No"])
def test_a_person_is_asked_first(small_model, tmp_path, make_napari_viewer, monkeypatch, answer):
    viewer = make_napari_viewer(show=True)
    asked = []

    def question(parent, title, words):
        asked.append(words)
        return QMessageBox.StandardButton[answer]

    monkeypatch.setattr(QMessageBox, "question", question)
    viewer.open(save_model(small_model, tmp_path / "mine.safetensors"), plugin="napari-feedback-seg")
    assert len(asked) == 1
    assert "mine.safetensors" in asked[0]
    assert own_models() == (["mine"] if answer == "Yes" else [])
    assert not viewer.layers


def test_other_zip_files_are_left_to_others(tmp_path):
    (tmp_path / "a.bioimage.io.zip").write_bytes(b"PK")
    assert get_reader(str(tmp_path / "a.bioimage.io.zip")) is None


def test_a_name_that_is_taken_is_a_sentence(small_model, tmp_path):
    with pytest.raises(OutputError, match="came with the package"):
        add_models(str(save_model(small_model, tmp_path / "general.safetensors")))

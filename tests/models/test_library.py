from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.errors import ModelError, OutputError
from napari_feedback_seg.models import library
from napari_feedback_seg.models.library import (
    BUNDLED,
    DEFAULT_MODEL,
    FOLDER_VARIABLE,
    add_to_library,
    find_model,
    list_models,
    load_model,
    models_folder,
    save_to_library,
    use_models_folder,
)
from napari_feedback_seg.models.model import Model, ModelCard
from napari_feedback_seg.models.model_file import read_card, save_model
from napari_feedback_seg.networks import NetworkSpec, build_network

SPEC = NetworkSpec(kind="unet", width=2, depth=2)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return Model(ModelCard("tiny", SPEC, EM_CLASSES, 4.6, 16), build_network(SPEC).eval())


@pytest.fixture
def bundled(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two bundled models, the default one not first by name."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    for name in ("accurate", DEFAULT_MODEL):
        save_model(replace(model, card=replace(model.card, name=name)), folder / f"{name}.safetensors")
    monkeypatch.setattr(library, "BUNDLED", folder)
    return folder


@pytest.fixture
def own(bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, which is not there yet."""
    folder = tmp_path / "nested" / "own"
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    return folder


def test_the_folder_is_the_variables_or_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "~/models")
    assert models_folder() == Path.home() / "models"
    monkeypatch.setenv(FOLDER_VARIABLE, "")
    system = models_folder()
    assert (system.parent.name, system.name) == ("napari-feedback-seg", "models")
    monkeypatch.delenv(FOLDER_VARIABLE)
    assert models_folder() == system


def test_a_chosen_folder_comes_after_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    system = models_folder()
    use_models_folder(tmp_path)
    try:
        assert models_folder() == tmp_path
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "variable"))
        assert models_folder() == tmp_path / "variable"
        monkeypatch.delenv(FOLDER_VARIABLE)
    finally:
        use_models_folder(None)
    assert models_folder() == system


def test_bundled_models_come_first_and_the_default_before_all(own: Path, model: Model) -> None:
    assert [each.name for each in list_models()] == [DEFAULT_MODEL, "accurate"]
    assert not own.exists(), "listing makes no folder"
    save_to_library(model, "b")
    save_to_library(model, "a v1.2")
    entries = list_models()
    assert [each.name for each in entries] == [DEFAULT_MODEL, "accurate", "a v1.2", "b"]
    assert [each.bundled for each in entries] == [True, True, False, False]
    assert all(each.card == read_card(each.path) and each.error is None for each in entries)
    assert all(find_model(each.name) == each.path for each in entries)


def test_a_broken_file_is_listed_with_its_sentence(own: Path, model: Model) -> None:
    path = save_to_library(model, "good")
    (own / "broken.safetensors").write_bytes(path.read_bytes()[:1000])
    (own / "empty.safetensors").touch()
    (own / "folder.safetensors").mkdir()
    (own / "notes.txt").touch()
    (own / ".good.safetensors.12345678.tmp").touch()
    (own / "._good.safetensors").touch()
    entries = {each.name: each for each in list_models() if not each.bundled}
    assert list(entries) == ["broken", "empty", "folder", "good"]
    assert entries["good"].card is not None
    for name in ("broken", "empty", "folder"):
        assert entries[name].card is None
        assert f"{name}.safetensors" in str(entries[name].error)
    with pytest.raises(ModelError, match=r"empty\.safetensors"):
        load_model("empty")


def test_a_folder_that_is_a_file_holds_no_models(own: Path, model: Model) -> None:
    own.parent.mkdir()
    own.touch()
    assert [each.name for each in list_models()] == [DEFAULT_MODEL, "accurate"]
    with pytest.raises(OutputError, match="cannot be made"):
        save_to_library(model, "mine")


def test_a_model_is_found_by_name_by_path_or_as_the_default(
    own: Path, bundled: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = bundled / f"{DEFAULT_MODEL}.safetensors"
    mine = save_to_library(model, "mine")
    elsewhere = save_model(model, tmp_path / "elsewhere.safetensors")
    assert find_model() == find_model("default") == find_model(DEFAULT_MODEL) == default
    assert find_model("mine") == mine
    assert find_model(elsewhere) == find_model(str(elsewhere)) == elsewhere
    monkeypatch.chdir(tmp_path)
    assert find_model("elsewhere.safetensors") == Path("elsewhere.safetensors")
    monkeypatch.setenv("HOME", str(tmp_path))
    if sys.platform != "win32":
        assert find_model("~/elsewhere.safetensors") == elsewhere


def test_an_unknown_model_is_refused_with_those_there_are(own: Path, model: Model, tmp_path: Path) -> None:
    save_to_library(model, "mine")
    with pytest.raises(
        ModelError, match=rf"no model '{DEFAULT_MODEL[:-1]}': did you mean '{DEFAULT_MODEL}'\?"
    ):
        find_model(DEFAULT_MODEL[:-1])
    for name in ("", " ", "zzz", "~nobody-here", "x" * 5000, "\0"):
        with pytest.raises(ModelError, match=f"There are: {DEFAULT_MODEL}, accurate, mine"):
            find_model(name)
    for path in ("zzz.safetensors", "no/such", ".", Path("zzz"), tmp_path):
        with pytest.raises(ModelError, match="There is no model file"):
            find_model(path)


def test_an_installation_without_its_default_says_so(own: Path, bundled: Path) -> None:
    (bundled / f"{DEFAULT_MODEL}.safetensors").unlink()
    with pytest.raises(ModelError, match="default model is missing"):
        load_model()


def test_a_bundled_name_is_never_shadowed(own: Path, bundled: Path, model: Model) -> None:
    own.mkdir(parents=True)
    shadow = save_model(model, own / "accurate.safetensors")
    assert find_model("accurate") == bundled / "accurate.safetensors"
    entry = list_models()[-1]
    assert (entry.path, entry.bundled) == (shadow, False)
    assert find_model(entry.name) == shadow
    for name in ("accurate", "Accurate", DEFAULT_MODEL, "default"):
        with pytest.raises(OutputError, match="came with the package"):
            save_to_library(model, name, overwrite=True)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        ".hidden",
        "a/b",
        "a\\b",
        "../a",
        "a.",
        "a ",
        "a:b",
        "x" * 101,
        "a\n",
        "con",
        "NUL",
        "aux.1",
    ],
)
def test_names_that_cannot_be_files_everywhere_are_refused(name: str, own: Path, model: Model) -> None:
    with pytest.raises(OutputError, match="cannot name a model"):
        save_to_library(model, name)
    assert not own.exists()


def test_a_saved_model_is_loaded_by_name(own: Path, model: Model) -> None:
    path = save_to_library(model, "mine", half=True)
    assert path == own / "mine.safetensors"
    with pytest.raises(OutputError, match="is there already"):
        save_to_library(model, "mine")
    save_to_library(model, "mine", overwrite=True)
    loaded = load_model("mine")
    image = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded.network(image)[-1], model.network(image)[-1])
    assert loaded.path == path


def test_listing_needs_no_torch(own: Path, bundled: Path) -> None:
    program = (
        "import sys, pathlib; from napari_feedback_seg.models import library; "
        f"library.BUNDLED = pathlib.Path({str(bundled)!r}); "
        "assert all(each.card for each in library.list_models()) and library.list_models(); "
        "assert 'torch' not in sys.modules, 'torch'"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not any(BUNDLED.glob("*.safetensors")), reason="no weights in this checkout")
def test_the_bundled_models_are_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    entries = list_models()
    assert entries[0].name == DEFAULT_MODEL
    for entry in entries:
        model = load_model(entry.name)
        assert model.card.name == entry.name
        assert model.card.licence
        assert model.card.citation


def test_a_file_is_copied_in_unless_its_name_is_that_of_another_model(
    own: Path, bundled: Path, model: Model, tmp_path: Path
) -> None:
    theirs = save_model(model, tmp_path / "theirs.safetensors")
    assert add_to_library(theirs) == "theirs"
    copy = own / "theirs.safetensors"
    assert copy.read_bytes() == theirs.read_bytes()
    assert add_to_library(theirs) == "theirs"  # the same once more
    torch.manual_seed(1)
    other = replace(model, network=build_network(SPEC).eval())
    save_model(other, theirs, overwrite=True)
    before = copy.read_bytes()
    with pytest.raises(OutputError, match="is there already"):
        add_to_library(theirs)
    assert copy.read_bytes() == before
    with pytest.raises(OutputError, match="came with the package"):
        add_to_library(save_model(other, tmp_path / f"{DEFAULT_MODEL}.safetensors"))
    (tmp_path / "none.safetensors").write_bytes(b"none")
    with pytest.raises(ModelError):
        add_to_library(tmp_path / "none.safetensors")
    assert sorted(path.name for path in own.iterdir()) == ["theirs.safetensors"]

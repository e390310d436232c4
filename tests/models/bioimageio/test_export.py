"""What is exported runs in other programs, and comes back as it was."""

from __future__ import annotations

import importlib.util
import json
import warnings
from functools import cache
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.errors import ModelError, OutputError
from napari_feedback_seg.models.bioimageio import architecture
from napari_feedback_seg.models.bioimageio.export import export_bioimageio, standalone_network
from napari_feedback_seg.models.bioimageio.read import import_bioimageio
from napari_feedback_seg.models.library import list_models, load_model
from napari_feedback_seg.models.model import Model, ModelCard, weights_digest
from napari_feedback_seg.networks import NetworkSpec, build_network

BUNDLED = [entry.name for entry in list_models() if entry.bundled]
SPECS = [
    NetworkSpec(width=4, depth=2, mode=mode, tap=tap, key_pooling=key, query_pooling=query, **others)
    for mode, tap, key, query, others in (
        ("self", "two_conv", 1, 1, {}),
        ("source_target", "one_conv", 3, 1, {"norm_per_round": True}),
        ("source_target", "two_conv", 4, 2, {"mean_of_rounds": True}),
        ("self", "one_conv", 2, 4, {"norm_per_round": True, "query_channels": 5}),
    )
]


def model_of(spec: NetworkSpec) -> Model:
    """Return a model whose batch norm and feedback are not what they begin as."""
    network = build_network(spec)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("scale") or ("norm" in name and tensor.is_floating_point()):
                tensor.uniform_(0.5, 1.5)
    return Model(ModelCard("made", spec, EM_CLASSES, 4.6, 64), network.eval())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return the package of a bundled model, to be left as it is."""
    folder = tmp_path_factory.mktemp("packages")
    return cache(lambda name: export_bioimageio(load_model(name), folder / f"{name}.zip"))


@pytest.mark.parametrize("name", BUNDLED)
def test_the_architecture_gives_the_logits_of_every_bundled_model(name):
    model = load_model(name)
    network, *_ = standalone_network(model)
    image = torch.randn(1, 1, 128, 128)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), model.network(image)[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_architecture_gives_the_logits_of_every_variant(spec):
    model = model_of(spec)
    network, *_ = standalone_network(model)
    image = torch.randn(2, 1, 36, 44)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), model.network(image)[-1], rtol=1e-4, atol=1e-4)


def test_the_architecture_needs_torch_alone():
    source = importlib.util.find_spec(architecture.__name__).loader.get_source(architecture.__name__)
    imported = {
        line.split()[1].partition(".")[0]
        for line in source.splitlines()
        if line.startswith(("import", "from"))
    }
    assert imported == {"torch"}


@pytest.mark.parametrize("kind", ["recurrent_unet", "feedback_unet", "add"])
def test_other_networks_are_refused(kind, tmp_path):
    spec = NetworkSpec.named(kind, width=4, depth=2)
    with pytest.raises(ModelError, match=r"cannot be written as a bioimage\.io package"):
        export_bioimageio(
            Model(ModelCard("a", spec, EM_CLASSES, 4.6, 64), build_network(spec)), tmp_path / "a.zip"
        )


def test_a_model_that_strokes_taught_is_refused(tmp_path):
    spec = NetworkSpec(width=4, depth=2, adapted=True)
    with pytest.raises(ModelError, match="what strokes taught"):
        export_bioimageio(
            Model(ModelCard("a", spec, EM_CLASSES, 4.6, 64), build_network(spec)), tmp_path / "a.zip"
        )


def test_a_file_that_is_there_stays(small_model, tmp_path):
    (tmp_path / "a.zip").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        export_bioimageio(small_model, tmp_path / "a.zip")
    with pytest.raises(OutputError, match=r"something\.zip"):
        export_bioimageio(small_model, tmp_path / "a.tar")
    assert (tmp_path / "a.zip").read_text() == "mine"


def test_the_package_has_what_one_looks_for(exported):
    path = exported("unet-w16")
    with ZipFile(path) as package:
        description = json.loads(package.read("bioimageio.yaml"))
        cover, readme = package.read("cover.png"), package.read("README.md").decode()
    assert description["authors"] == [{"name": "the napari-feedback-seg developers"}]
    assert description["license"] == "CC-BY-NC-SA-3.0"
    assert "10.6084/m9.figshare.856713" in [each["doi"] for each in description["cite"]]
    assert description["inputs"][0]["axes"][-1]["scale"] == 4.6
    assert cover.startswith(b"\x89PNG")
    assert "## Validation" in readme
    assert "| mitochondria |" in readme
    assert path.stat().st_size < 12e6


@pytest.mark.parametrize("name", ["general", "unet-w16"])
def test_bioimageio_runs_it_and_gives_its_test_output(name, exported):
    pytest.importorskip("bioimageio.core")
    path = exported(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bioimageio.core import test_description

        summary = test_description(path)
    assert summary.status == "passed", summary.format()
    assert summary.format().count("inference for inputs") == 4  # each of the two kinds of weights


@pytest.mark.parametrize("name", ["general", "unet-w16"])
def test_what_is_exported_comes_back_as_it_was(name, exported, monkeypatch):
    model, path = load_model(name), exported(name)
    monkeypatch.setattr(architecture, "UNet", None)
    back = import_bioimageio(path, "back")
    assert back.card.name == "back"
    assert back.card.data == model.card.data
    assert back.card.scores == model.card.scores
    assert weights_digest(back) == weights_digest(model)


def test_weights_that_would_be_unpickled_are_refused(small_model, tmp_path):
    good = export_bioimageio(small_model, tmp_path / "good.zip")
    (tmp_path / "weights.pt").write_bytes(b"")
    torch.save({"a": np.random.default_rng}, tmp_path / "weights.pt")
    with ZipFile(good) as old, ZipFile(tmp_path / "bad.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name, (tmp_path / name).read_bytes() if name == "weights.pt" else old.read(name))
    with pytest.raises(ModelError, match="could run foreign code"):
        import_bioimageio(tmp_path / "bad.zip", "bad")


def test_bundled_files_stay_as_they_are():
    for entry in list_models():
        assert all(tensor.dtype != torch.uint8 for tensor in load_file(entry.path).values())

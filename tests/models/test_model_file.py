from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import secrets
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
from torch import nn

import napari_feedback_seg
from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.errors import ModelError, OutputError
from napari_feedback_seg.models.model import Model, ModelCard
from napari_feedback_seg.models.model_file import (
    CARD_KEY,
    FORMAT_VERSION,
    LARGEST_HEADER,
    import_state_dict,
    load_model_file,
    read_card,
    save_model,
)
from napari_feedback_seg.networks import NetworkSpec, build_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPECS = {
    "unet": NetworkSpec(kind="unet", width=3, depth=2),
    "self": NetworkSpec(width=4, depth=2, norm_per_round=True, key_pooling=2),
    "source_target": NetworkSpec(
        width=2, depth=1, mode="source_target", tap="one_conv", in_channels=2, classes=2
    ),
}


def make_model(kind: str = "self") -> Model:
    """Return a model with random weights and statistics, as a training leaves them."""
    spec = SPECS[kind]
    torch.manual_seed(5)
    network = build_network(spec)
    for name, parameter in network.named_parameters():
        if name.endswith("feedback.scale"):
            nn.init.constant_(parameter, 0.3)
    network(3 * torch.randn(2, spec.in_channels, 16, 16))  # fills the statistics of batch norm
    card = ModelCard(kind, spec, EM_CLASSES[: spec.classes], pixel_size_nm=4.6, tile=16, seed=5)
    return Model(card, network.eval())


def answers(network: nn.Module, channels: int) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    with torch.no_grad():
        return network(torch.randn(1, channels, 16, 16))


@pytest.fixture
def model() -> Model:
    return make_model()


@pytest.fixture
def saved(model: Model, tmp_path: Path) -> Path:
    return save_model(model, tmp_path / "model.safetensors")


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> None:
    """Change tensors and card of a model file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    card = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][CARD_KEY])
    tensors = safetensors.torch.load(data)
    change(tensors, card)
    path.write_bytes(safetensors.torch.save(tensors, {CARD_KEY: json.dumps(card)}))


# Save and load


@pytest.mark.parametrize("kind", SPECS)
def test_a_loaded_model_is_the_saved_one(kind: str, tmp_path: Path) -> None:
    model = make_model(kind)
    path = save_model(model, tmp_path / "model.safetensors")
    loaded = load_model_file(str(path))
    expected, found = model.network.state_dict(), loaded.network.state_dict()
    assert list(found) == list(expected)
    for name in expected:
        assert found[name].dtype == expected[name].dtype
        assert torch.equal(found[name], expected[name])
    channels = model.card.spec.in_channels
    for first, second in zip(
        answers(model.network, channels), answers(loaded.network, channels), strict=True
    ):
        assert torch.equal(first, second)
    assert loaded.card == replace(model.card, version=napari_feedback_seg.__version__)
    assert loaded.path == path
    assert loaded.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [each.name for each in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_loaded_network_can_be_used_and_trained(saved: Path) -> None:
    before = torch.get_rng_state()
    network = load_model_file(saved).network
    assert torch.equal(torch.get_rng_state(), before), "loading must not use up random numbers"
    assert not any(each.training for each in network.modules())
    assert {each.device.type for each in (*network.parameters(), *network.buffers())} == {"cpu"}
    assert all(each.requires_grad for each in network.parameters())
    network.train()
    network(torch.randn(2, 1, 16, 16))[-1].sum().backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    assert any(each.grad is not None for each in network.parameters())


def test_saving_leaves_the_model_as_it_is(model: Model, tmp_path: Path) -> None:
    model.network.train()
    before = {name: each.clone() for name, each in model.network.state_dict().items()}
    save_model(model, tmp_path / "model.safetensors", half=True)
    assert model.network.training
    assert model.path is None
    for name, each in model.network.state_dict().items():
        assert each.dtype == before[name].dtype
        assert torch.equal(each, before[name])


def test_half_precision_halves_the_file_and_keeps_the_answer(tmp_path: Path) -> None:
    spec = NetworkSpec(width=8, depth=3)
    torch.manual_seed(0)
    network = build_network(spec)
    network(torch.randn(2, 1, 16, 16))
    model = Model(ModelCard("half", spec, EM_CLASSES, 4.6, 16), network.eval())
    full = save_model(model, tmp_path / "full.safetensors")
    half = save_model(model, tmp_path / "half.safetensors", half=True)
    assert half.stat().st_size < 0.65 * full.stat().st_size
    stored = safetensors.torch.load_file(half)
    assert {each.dtype for name, each in stored.items() if "running" in name} == {torch.float32}
    assert stored["unet.first.first.conv.weight"].dtype == torch.float16
    loaded = load_model_file(half)
    assert {each.dtype for each in loaded.network.parameters()} == {torch.float32}
    expected, found = answers(network, 1)[-1], answers(loaded.network, 1)[-1]
    assert torch.allclose(found, expected, atol=5e-3)


def test_a_file_may_be_replaced_while_its_model_is_used(saved: Path) -> None:
    loaded = load_model_file(saved)
    before = answers(loaded.network, 1)[-1]
    saved.write_bytes(b"")
    assert torch.equal(answers(loaded.network, 1)[-1], before)


def test_equal_models_give_equal_files(model: Model, tmp_path: Path) -> None:
    first = save_model(model, tmp_path / "a.safetensors")
    second = save_model(model, tmp_path / "b.safetensors")
    assert first.read_bytes() == second.read_bytes()


def test_a_non_contiguous_network_is_saved(model: Model, tmp_path: Path) -> None:
    model.network.to(memory_format=torch.channels_last)
    loaded = load_model_file(save_model(model, tmp_path / "model.safetensors"))
    name = "unet.first.second.conv.weight"
    assert torch.equal(loaded.network.state_dict()[name], model.network.state_dict()[name])


# Atomic


def test_nothing_is_overwritten_unasked(saved: Path, model: Model) -> None:
    before = saved.read_bytes()
    model.card = replace(model.card, description="new")
    with pytest.raises(OutputError, match=r"model\.safetensors' is there already"):
        save_model(model, saved)
    assert saved.read_bytes() == before
    save_model(model, saved, overwrite=True)
    assert read_card(saved).description == "new"


@pytest.mark.parametrize(
    ("error", "raised", "sentence"),
    [
        (OSError(28, "No space left on device"), OutputError, "the disk is full"),
        (PermissionError(13, "Permission denied"), OutputError, "cannot be written: Permission denied"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_no_other(
    error: BaseException,
    raised: type[BaseException],
    sentence: str,
    moment: str,
    saved: Path,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = saved.read_bytes()

    def fail(*_: object) -> None:
        assert len(list(saved.parent.iterdir())) == 2, "the temporary file stands in the same folder"
        raise error

    with monkeypatch.context() as patch:
        if moment == "fsync":
            patch.setattr(os, "fsync", fail)
        else:
            patch.setattr(os, "replace", fail)
        with pytest.raises(raised, match=sentence):
            save_model(model, saved, overwrite=True)
    assert [each.name for each in saved.parent.iterdir()] == [saved.name]
    assert saved.read_bytes() == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_output_error(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "full")
    target = tmp_path / "model.safetensors"
    real = type(target).open

    def open_full(path: Path, mode: str = "r") -> Any:
        return open("/dev/full", "wb") if path.name.endswith(".full.part") else real(path, mode)

    monkeypatch.setattr(type(target), "open", open_full)
    with pytest.raises(OutputError, match="the disk is full"):
        save_model(model, target)
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_hold_a_model_are_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"ends in \.safetensors"):
        save_model(model, tmp_path / "model.pt")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file and not a folder"):
        save_model(model, tmp_path / "file" / "model.safetensors")
    with pytest.raises(OutputError, match="cannot be written"):
        save_model(model, tmp_path / ("x" * 300 + ".safetensors"))
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        save_model(model, tmp_path / "folder.safetensors", overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file and not a folder"):
        save_model(model, tmp_path / "file" / "model.safetensors")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder.safetensors"]


def test_a_folder_that_cannot_be_written_is_an_output_error(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the system's word; root may write anywhere
    with pytest.raises(OutputError, match="you may not write to the folder"):
        save_model(model, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_model_that_could_not_be_loaded_is_not_saved(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(ModelError, match="'self' does not fit the network that its card describes"):
        save_model(replace(model, network=make_model("unet").network), path)
    with pytest.raises(ModelError, match="too long"):
        save_model(replace(model, card=replace(model.card, description="x" * LARGEST_HEADER)), path)
    classifier = model.network.get_parameter("unet.classifier.weight")
    with torch.no_grad():
        classifier[0, 0] = 1e5
    with pytest.raises(ModelError, match=r"in 16 bits, cannot be used: unet\.classifier\.weight holds NaN"):
        save_model(model, path, half=True)
    with torch.no_grad():
        classifier[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"unet\.classifier\.weight holds NaN"):
        save_model(model, path)
    assert not list(tmp_path.iterdir())


# Files that are no models


def refused(path: Path, sentence: str) -> None:
    """Check that both ways in give one sentence that names the file."""
    for read in (read_card, load_model_file):
        with pytest.raises(ModelError, match=sentence) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


class Poison:
    """Leaves a mark where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import torch; torch.poisoned = True",)


def header(text: bytes, tail: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + tail


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\x10", r"not a \.safetensors file"),
        (b"hello, this is a text of some length\n" * 9, r"not a \.safetensors file"),
        (b'{"format_version": 1, "name": "json"}', r"not a \.safetensors file"),
        (bytes(range(256)) * 4, r"not a \.safetensors file"),
        (pickle.dumps(Poison()), "zip or PyTorch file .* models import"),
        (struct.pack("<Q", 2**63) + b"{}", "header is too long"),
        (struct.pack("<Q", 5000) + b"{}", "cut off"),
        (header(b"{}"), "not a model of napari-feedback-seg"),
        (header(b"{" * 100_000), "damaged"),
        (header(b'{"__metadata__":{"a":1}}'), "damaged"),
        (header(b'{"x":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4]}}', b"1234"), "damaged"),
        (header(b'{"x":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,4]}}'), "damaged"),
        (header(b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"12"), "damaged"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_foreign_file_is_named_and_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(content)
    refused(path, sentence)
    assert not hasattr(torch, "poisoned")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "is not a file")
    refused(tmp_path / "missing.safetensors", "There is no model file")
    refused(tmp_path / ("x" * 300), "too long")


def test_somebody_elses_safetensors_zip_and_checkpoint_are_refused(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})
    refused(path, "not a model of napari-feedback-seg: it has no card")
    torch.save(model.network.state_dict(), path)
    refused(path, "zip or PyTorch file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
    refused(path, "zip or PyTorch file")


GROWN = """
import resource, sys
from napari_feedback_seg.errors import ModelError
from napari_feedback_seg.models.model_file import load_model_file
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_model_file(sys.argv[1])
except ModelError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_hostile_header_costs_little_memory(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    path = tmp_path / "hostile.safetensors"
    entry = b'"%07d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    path.write_bytes(header(b"{" + b",".join(entry % number for number in range(300_000)) + b"}"))
    # A process of its own: the peak of this one may lie far above, since an earlier test.
    done = subprocess.run([sys.executable, "-c", GROWN, path], capture_output=True, text=True, check=True)
    *sentence, grown = done.stdout.splitlines()
    assert "header is too long" in " ".join(sentence)
    assert int(grown) < 20_000, "KiB; safetensors alone takes 250,000"


def test_a_huge_network_in_a_small_file_costs_no_memory(saved: Path) -> None:
    rewrite(saved, lambda _, card: card["spec"].update(width=1024, depth=4))
    with pytest.raises(ModelError, match="does not fit"):
        load_model_file(saved)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.2, 0.5, 0.9, 0.9999])
def test_a_model_cut_anywhere_is_refused(share: float, saved: Path) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    refused(saved, "copy or download it again|is not a .safetensors file|is empty")


def test_bytes_after_the_end_are_refused(saved: Path) -> None:
    with saved.open("ab") as file:
        file.write(b"more")
    refused(saved, "damaged")


def test_random_damage_to_the_header_never_gives_another_error(saved: Path) -> None:
    data = saved.read_bytes()
    length = int.from_bytes(data[:8], "little")
    numbers = torch.Generator().manual_seed(0)
    for _ in range(200):
        damaged = bytearray(data)
        for place in torch.randint(0, 8 + length, (3,), generator=numbers).tolist():
            damaged[place] = int(torch.randint(0, 256, (1,), generator=numbers))
        saved.write_bytes(bytes(damaged))
        with contextlib.suppress(ModelError):  # a letter of a text may change unseen
            load_model_file(saved)


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        ("no JSON", "card that cannot be read"),
        ("[" * 100_000, "card that cannot be read"),
        ("[]", "card that cannot be read"),
        ("{}", "card that cannot be read"),
        ('{"format_version": "1"}', "format version is '1'"),
        ('{"format_version": true}', "format version is True"),
        (f'{{"format_version": {FORMAT_VERSION + 1}, "new": 1}}', "pip install -U"),
        ('{"format_version": 0, "version": "0.0.7"}', "format version is 0"),
        (f'{{"format_version": {FORMAT_VERSION}}}', "cannot be used. .*missing"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_card_that_cannot_be_used_is_refused(card: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.torch.save({"x": torch.zeros(1)}, {CARD_KEY: card}))
    refused(path, sentence)


NAME = "unet.classifier.bias"


@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [
        (None, f"{NAME} missing"),
        (torch.zeros(5), f"{NAME} is 5 instead of 4"),
        (torch.zeros(2, 2), f"{NAME} is 2 x 2 instead of 4"),
        (torch.tensor(1.0), f"{NAME} is a single number instead of 4"),
        (torch.tensor([0, 0, torch.nan, 0]), f"{NAME} holds NaN"),
        (torch.tensor([0, 0, torch.inf, 0]), f"{NAME} holds NaN, infinity"),
        (torch.zeros(4, dtype=torch.int64), f"{NAME} holds numbers of an unknown kind"),
        (torch.zeros(4, dtype=torch.uint8), f"{NAME} holds numbers of an unknown kind"),
        (torch.full((4,), 1e300, dtype=torch.float64), f"{NAME} holds NaN, infinity"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tensor: torch.Tensor | None, sentence: str, saved: Path) -> None:
    def change(tensors: dict[str, torch.Tensor], _: dict[str, Any]) -> None:
        del tensors[NAME]
        if tensor is not None:
            tensors[NAME] = tensor

    rewrite(saved, change)
    with pytest.raises(ModelError, match=sentence) as caught:
        load_model_file(saved)
    assert str(saved) in str(caught.value)


def test_weights_that_nobody_asked_for_are_refused(saved: Path) -> None:
    rewrite(saved, lambda tensors, _: tensors.update({f"extra{i}": torch.zeros(1) for i in range(5)}))
    with pytest.raises(ModelError, match="extra0, extra1, extra2 and 2 more unknown to it"):
        load_model_file(saved)


def test_a_network_of_a_newer_version_is_refused_with_the_file(saved: Path) -> None:
    rewrite(saved, lambda _, card: card["spec"].update(kind="vision_transformer"))
    refused(saved, "kind is one of")


def test_reading_a_card_needs_no_torch(saved: Path) -> None:
    program = (
        "import sys; from napari_feedback_seg.models.model_file import read_card; "
        f"assert read_card({str(saved)!r}).name == 'self'; assert 'torch' not in sys.modules, 'torch'"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Import


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: OrderedDict(state),
        lambda state: {f"module.{name}": each for name, each in state.items()},
        lambda state: {f"module._orig_mod.model.{name}": each for name, each in state.items()},
        lambda state: {"state_dict": {f"model.{name}": each for name, each in state.items()}, "epoch": 3},
        lambda state: {"model_state_dict": state, "optimizer": {"lr": 0.1}, "note": "text"},
        lambda state: {"network": state, "average": {}, "random": torch.get_rng_state()},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {name: each.double() if each.ndim else each for name, each in state.items()},
        lambda state: {name: nn.Parameter(each, requires_grad=False) for name, each in state.items()},
    ],
    ids="plain ordered module deep lightning checkpoint ours nested double parameters".split(),
)
def test_a_state_dict_is_imported(
    wrap: Callable[[dict[str, torch.Tensor]], Any], legacy: bool, model: Model, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(wrap(model.network.state_dict()), path, _use_new_zipfile_serialization=not legacy)
    imported = import_state_dict(path, model.card)
    assert imported.card == model.card
    assert imported.path is None
    assert not imported.network.training
    for first, second in zip(answers(model.network, 1), answers(imported.network, 1), strict=True):
        assert torch.equal(first, second)
    saved = save_model(imported, tmp_path / "model.safetensors")
    assert torch.equal(answers(load_model_file(saved).network, 1)[-1], answers(model.network, 1)[-1])


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("content", [Poison(), {"state_dict": Poison()}, {"network": nn.Linear(2, 2)}])
def test_what_needs_unpickling_is_never_loaded(
    content: Any, legacy: bool, model: Model, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelError, match=r"weights\.pt' holds more than tensors, .*foreign code"):
        import_state_dict(path, model.card)
    assert not hasattr(torch, "poisoned")


def test_a_plain_pickle_is_never_loaded(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps(Poison()))
    with pytest.raises(ModelError, match="foreign code"):
        import_state_dict(path, model.card)
    assert not hasattr(torch, "poisoned")


def test_a_file_that_is_no_checkpoint_cannot_be_imported(model: Model, saved: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.pt"
    torch.save(model.network.state_dict(), good)
    path = tmp_path / "weights.pt"
    for content in (b"", b"text" * 100, b"PK\x03\x04", good.read_bytes()[:5000], saved.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"weights\.pt'"):
            import_state_dict(path, model.card)
    with pytest.raises(ModelError, match="There is no model file"):
        import_state_dict(tmp_path / "missing.pt", model.card)
    with pytest.raises(ModelError, match="is not a file"):
        import_state_dict(tmp_path, model.card)


def itself() -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["state_dict"] = content
    return content


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (torch.zeros(3), "holds no state_dict"),
        ({}, "holds no state_dict"),
        ({"state_dict": {}}, "holds no state_dict"),
        ([torch.zeros(3)], "holds no state_dict"),
        ({"epoch": 3}, "holds more than the tensors of one network .epoch"),
        ({3: torch.zeros(2)}, "holds more than the tensors of one network .3"),
        (itself(), "holds more than the tensors of one network"),
        ({"weight": torch.zeros(2)}, "does not fit the network .*: .* and [0-9]+ more missing"),
    ],
)
def test_what_is_no_state_dict_cannot_be_imported(
    content: Any, sentence: str, model: Model, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(ModelError, match=sentence) as caught:
        import_state_dict(path, model.card)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "odd",
    [
        torch.zeros(4, device="meta"),
        torch.zeros(4).to_sparse(),
        torch.zeros(4, dtype=torch.complex64),
        torch.full((4,), torch.nan),
        torch.zeros(4, dtype=torch.bool),
    ],
    ids="meta sparse complex nan bool".split(),
)
def test_odd_tensors_cannot_be_imported(odd: torch.Tensor, model: Model, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(model.network.state_dict() | {NAME: odd}, path)
    with pytest.raises(ModelError, match=rf"weights\.pt' cannot be used: {NAME} holds"):
        import_state_dict(path, model.card)


def test_imported_tensors_are_the_networks_own(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    tied = torch.zeros(4)
    other = "unet.first.first.norms.0.bias"
    torch.save(model.network.state_dict() | {NAME: tied, other: tied}, path)
    network = import_state_dict(path, model.card).network
    with torch.no_grad():
        network.get_parameter(NAME)[0] = 1
    assert network.get_parameter(NAME).tolist() == [1, 0, 0, 0]
    assert network.get_parameter(other).tolist() == [0, 0, 0, 0]

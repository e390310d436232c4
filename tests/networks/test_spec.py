from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from napari_feedback_seg.errors import ModelError
from napari_feedback_seg.networks import NetworkSpec
from napari_feedback_seg.networks.spec import NETWORKS, Program

OTHER_VALUES: dict[str, Any] = {
    "kind": "unet",
    "width": 16,
    "depth": 2,
    "in_channels": 3,
    "classes": 2,
    "mode": "source_target",
    "tap": "one_conv",
    "detach_first_round": False,
    "norm_per_round": True,
    "query_pooling": 4,
    "key_pooling": 8,
    "query_channels": 8,
    "mean_of_rounds": True,
    "adapted": True,
}


def test_defaults_are_the_paper_s() -> None:
    spec = NetworkSpec()
    assert (spec.kind, spec.mode, spec.tap) == ("feedback_attention", "self", "two_conv")
    assert (spec.width, spec.depth, spec.classes) == (64, 4, 4)
    assert (spec.query_pooling, spec.key_pooling, spec.query_channels) == (1, 1, None)
    assert (spec.detach_first_round, spec.norm_per_round, spec.mean_of_rounds) == (True, False, False)


def test_json_there_and_back() -> None:
    assert {*OTHER_VALUES, "program"} == {field.name for field in fields(NetworkSpec)}
    foreign = NetworkSpec(kind="onnx", program=Program(99, (("scale_range", 1, 99), ("clip", 0, 1)), "each"))
    for spec in (NetworkSpec(), NetworkSpec(**OTHER_VALUES), foreign):
        assert NetworkSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_network_of_ours_says_nothing_of_programs() -> None:
    assert "program" not in NetworkSpec().to_json()  # older versions read it


@pytest.mark.parametrize(
    "program",
    [
        {"size": 0, "steps": [], "output": "logits"},
        {"size": 9, "steps": [["sharpen", 0, 0]], "output": "logits"},
        {"size": 9, "steps": [["clip", "a", 0]], "output": "logits"},
        {"size": 9, "steps": [["clip", 0]], "output": "logits"},
        {"size": 9, "steps": [], "output": "shell"},
        {"size": 9},
        "python",
    ],
)
def test_a_program_that_describes_none_is_refused(program: Any) -> None:
    with pytest.raises(ModelError):
        NetworkSpec.from_json({"kind": "onnx", "program": program})


def test_a_program_goes_with_its_kind_alone() -> None:
    for values in ({"kind": "onnx"}, {"kind": "unet", "program": Program(9)}):
        with pytest.raises(ModelError, match="has a program"):
            NetworkSpec(**values)


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_json_keeps_each_field(name: str) -> None:
    spec = NetworkSpec.from_json({name: OTHER_VALUES[name]})
    assert getattr(spec, name) == OTHER_VALUES[name] != getattr(NetworkSpec(), name)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("kind", "vnet", "one of unet, recurrent_unet, feedback_unet, feedback_attention, onnx, not 'vnet'"),
        ("kind", ["unet"], "one of unet"),
        (
            "mode",
            "cross",
            "one of self, source_target, add, conv1x1, squeeze_excitation, light_attention, not 'cross'",
        ),
        ("mode", None, "one of self"),
        ("tap", "three_conv", "one of one_conv, two_conv, not 'three_conv'"),
        *[
            (name, value, f"a whole number from {least} to {most}, not {value!r}")
            for name, least, most in (
                ("width", 1, 1024),
                ("depth", 1, 8),
                ("in_channels", 1, 1024),
                ("classes", 2, 255),
                ("query_pooling", 1, 256),
                ("key_pooling", 1, 256),
                ("query_channels", 1, 1024),
            )
            for value in (least - 1, most + 1, -3, 4.0, "4", True, float("nan"))
        ],
        ("width", None, "a whole number"),
        ("detach_first_round", 1, "true or false, not 1"),
        ("norm_per_round", None, "true or false, not None"),
    ],
)
def test_says_which_field_is_wrong(name: str, value: Any, sentence: str) -> None:
    for make in (lambda data: NetworkSpec(**data), NetworkSpec.from_json):
        with pytest.raises(ModelError) as caught:
            make({name: value})
        assert str(caught.value).startswith(f"A network's {name} is ")
        assert sentence in str(caught.value)


def test_says_which_fields_are_unknown() -> None:
    with pytest.raises(ModelError, match=r"unknown fields \(gate, rank\).*newer version"):
        NetworkSpec.from_json({"rank": 2, "width": 16, "gate": "soft"})


@pytest.mark.parametrize("data", [None, [], "unet", 3])
def test_json_that_is_no_object(data: Any) -> None:
    with pytest.raises(ModelError, match="not a JSON object"):
        NetworkSpec.from_json(data)


def test_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        NetworkSpec().width = 16  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "rounds"),
    [("unet", 1), ("recurrent_unet", 1), ("feedback_unet", 2), ("feedback_attention", 2)],
)
@pytest.mark.parametrize(("depth", "multiple"), [(1, 2), (4, 16)])
def test_rounds_and_multiple(kind: Any, rounds: int, depth: int, multiple: int) -> None:
    spec = NetworkSpec(kind=kind, depth=depth)
    assert (spec.rounds, spec.multiple) == (rounds, multiple)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_by_its_name(name: str) -> None:
    spec = NetworkSpec.named(name, width=8, norm_per_round=True)
    assert spec.name == name
    assert (spec.width, spec.norm_per_round) == (8, True)
    assert NetworkSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_names_are_those_of_the_paper_s_tables() -> None:
    assert NetworkSpec.named("unet") == NetworkSpec(kind="unet")
    assert NetworkSpec.named("source_target") == NetworkSpec(mode="source_target")
    assert len({NetworkSpec.named(name) for name in NETWORKS}) == 9
    for name in ("feedback_attention", "x", ""):
        with pytest.raises(ModelError, match=r"A network is one of unet, .*light_attention, not"):
            NetworkSpec.named(name)


def test_the_bottom_of_a_network_is_not_boundless() -> None:
    with pytest.raises(ModelError, match="262144 channels at its bottom"):
        NetworkSpec(width=1024, depth=8)

"""A model: a network, and the card that says what it is and where it comes from."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.errors import ModelError
from napari_feedback_seg.networks.spec import NetworkSpec

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

NORMALISATIONS = ("section",)
"""How a model's images are normalised: ``section`` takes the whole section's statistics."""

LARGEST_TILE = 8192


@dataclass(frozen=True)
class TrainingData:
    """A data set that a model was trained on, or images on which it was corrected.

    Parameters
    ----------
    name : str
        What a person reads.
    digest : str
        SHA-256 of its pixels and labels, by which ``sections`` are counted.
    sections : dict
        Names of the parts (``train``, ``validation``, ``test``, ``corrected``) to section numbers.
    licence, citation : str
        What using the data asks for.

    Raises
    ------
    ModelError
        If a field has a value of another kind.
    """

    name: str
    digest: str = ""
    sections: dict[str, list[int]] = field(default_factory=dict)
    licence: str = ""
    citation: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "digest", "licence", "citation"):
            _require(isinstance(getattr(self, name), str), f"{name} of its data is not a text")
        _require(isinstance(self.sections, dict), "sections of its data are not a JSON object")
        for part, numbers in self.sections.items():
            _require(
                isinstance(numbers, list | tuple) and all(map(_is_integer, numbers)),
                f"sections {part!r} is not a list of whole numbers",
            )


@dataclass(frozen=True)
class ModelCard:
    """Everything about a model but its weights.

    Parameters
    ----------
    name : str
        What a person calls the model.
    spec : NetworkSpec
        The architecture.
    classes : tuple of LabelClass
        Channel ``i`` of the logits is ``classes[i]``.
    pixel_size_nm : float
        Side of a pixel in nm at which the model was trained.
    tile : int
        Side in pixels of the square tile that the network sees at once, a multiple of
        ``spec.multiple``.
    normalisation : str
        ``section``, the only one so far.
    description : str
        What the model is for.
    data : tuple of TrainingData
        What it was trained on, in the order in which it learnt.
    recipe : dict
        How it was trained, as plain JSON.
    seed : int, optional
        Seed of the training.
    duration_s : float, optional
        Length of the training in seconds.
    machine : str
        What it was trained on.
    scores : dict
        Names of the parts to what was reached there, as plain JSON.
    parent : str, optional
        SHA-256 of the file of the model that this one went on from.
    licence, citation : str
        How the weights may be used, and what to cite.
    version : str
        Version of this package that wrote the file.

    Raises
    ------
    ModelError
        If a field describes no usable model.
    """

    name: str
    spec: NetworkSpec
    classes: tuple[LabelClass, ...]
    pixel_size_nm: float
    tile: int
    normalisation: str = "section"
    description: str = ""
    data: tuple[TrainingData, ...] = ()
    recipe: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    duration_s: float | None = None
    machine: str = ""
    scores: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    licence: str = ""
    citation: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        texts = "name normalisation description machine licence citation version"
        for name in texts.split():
            _require(isinstance(getattr(self, name), str), f"{name} is not a text")
        for name in ("recipe", "scores"):
            _require(isinstance(getattr(self, name), dict), f"{name} is not a JSON object")
        _require(all(isinstance(each, dict) for each in self.scores.values()), "scores are not JSON objects")
        for each in self.scores.values():
            iou = each.get("iou", {})
            values = [each.get("mean_iou"), *(iou.values() if isinstance(iou, dict) else [iou])]
            _require(all(value is None or _is_number(value) for value in values), "scores are not numbers")
        _require(self.name.strip() != "", "name is empty")
        _require(isinstance(self.spec, NetworkSpec), "spec describes no network")
        _require(
            self.normalisation in NORMALISATIONS,
            f"normalisation {self.normalisation!r} is unknown (a newer version may know it)",
        )
        _require(
            _is_number(self.pixel_size_nm) and 0.001 <= self.pixel_size_nm <= 1e6,
            f"pixel_size_nm is {self.pixel_size_nm!r} and not a length in nm",
        )
        _require(
            _is_integer(self.tile) and 0 < self.tile <= LARGEST_TILE and self.tile % self.spec.multiple == 0,
            f"tile is {self.tile!r} and not a multiple of {self.spec.multiple} pixels up to {LARGEST_TILE}",
        )
        _require(
            len(self.classes) == self.spec.classes,
            f"{len(self.classes)} classes are named and the network has {self.spec.classes}",
        )
        for what in ("value", "name"):
            _require(
                len({getattr(each, what) for each in self.classes}) == len(self.classes),
                f"two classes have the same {what}",
            )
        _require(
            isinstance(self.data, tuple) and all(isinstance(each, TrainingData) for each in self.data),
            "data is not a list of data sets",
        )
        _require(self.seed is None or _is_integer(self.seed), "seed is not a whole number")
        _require(self.duration_s is None or _is_number(self.duration_s), "duration_s is no number")
        _require(self.parent is None or isinstance(self.parent, str), "parent is not a SHA-256")

    def to_json(self) -> dict[str, Any]:
        """Return the card as a JSON object.

        Tuples become lists, numpy's numbers Python's, paths texts. What is not a number
        (the IoU of a class that was not there) becomes null.

        Raises
        ------
        ModelError
            If a field holds what JSON cannot say.
        """
        card: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        card |= {"spec": self.spec.to_json(), "classes": [each.to_json() for each in self.classes]}
        card["data"] = [vars(each) for each in self.data]
        return {name: _plain(value, name) for name, value in card.items()}

    @classmethod
    def from_json(cls, data: Any) -> ModelCard:
        """Return the card that a JSON object describes.

        Raises
        ------
        ModelError
            If a field is missing, unknown, or describes no usable model.
        """
        _require(isinstance(data, dict), "it is not a JSON object")
        if isinstance(data.get("data", ""), str):
            data = _with_data_sets(data)
        unknown = set(data) - {each.name for each in fields(cls)}
        _require(not unknown, f"unknown fields ({', '.join(sorted(unknown))}), maybe of a newer version")
        missing = [name for name in ("name", "spec", "classes", "pixel_size_nm", "tile") if name not in data]
        _require(not missing, f"{', '.join(missing)} missing")
        _require(isinstance(data["classes"], list), "classes is not a list")
        classes = tuple(_class_from_json(each) for each in data["classes"])
        _require(isinstance(data.get("data", []), list), "data is not a list of data sets")
        return cls(
            **data
            | {
                "spec": NetworkSpec.from_json(data["spec"]),
                "classes": classes,
                "data": tuple(_training_data(each) for each in data.get("data", [])),
            }
        )

    def trained_on(self, name: str) -> TrainingData | None:
        """Return what the card says last of a data set; None if the model was not trained on it."""
        return next((each for each in reversed(self.data) if each.name == name), None)


@dataclass
class Model:
    """A network with its card.

    Parameters
    ----------
    card : ModelCard
        What the model is.
    network : torch.nn.Module
        Built from ``card.spec``; a loaded one is on the CPU and in evaluation mode.
        Images (B, in_channels, H, W) go in, a tuple of logits (B, classes, H, W) comes
        out, one for each round; the last is the answer.
    path : Path, optional
        The file that it was loaded from.
    digest : str, optional
        SHA-256 of that file, in hexadecimal.
    """

    card: ModelCard
    network: nn.Module
    path: Path | None = None
    digest: str | None = None


def weights_digest(model: Model) -> str:
    """Return the SHA-256 of a model's architecture, classes and weights, wherever it was loaded from."""
    digest = hashlib.sha256()
    card = model.card
    about = [card.spec.to_json(), [each.value for each in card.classes], card.pixel_size_nm, card.tile]
    digest.update(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def descent(parent: Model) -> dict[str, Any]:
    """Return what the recipe of a model says of the one that it went on from."""
    ancestors = parent.card.recipe.get("ancestors", [])
    found = {"name": parent.card.name, "sha256": parent.digest}
    return {"parent": parent.card.name, "ancestors": [*ancestors, found]}


def _with_data_sets(data: dict[str, Any]) -> dict[str, Any]:
    """Return the card of a file of format 1 as it would be today: it named one data set, in three fields."""
    data = dict(data)
    text, digest, sections = data.pop("data", ""), data.pop("data_digest", ""), data.pop("sections", {})
    _require(isinstance(sections, dict), "sections are not a JSON object")
    first, *later = text.split("; then ")
    corrected = sections.get("corrected", [])
    found = []
    if first and not (corrected and not later and first.startswith("corrections of ")):
        rest = {part: numbers for part, numbers in sections.items() if part != "corrected"}
        whose = {name: data.get(name, "") for name in ("licence", "citation")}
        found.append({"name": first, "digest": digest, "sections": rest, **whose})
    else:
        later = [first, *later] if first else later
    found += [{"name": each, "sections": {}} for each in later]
    if later:
        found[-1]["sections"] = {"corrected": corrected}
    return {**data, "data": found}


def _training_data(data: Any) -> TrainingData:
    _require(isinstance(data, dict) and "name" in data, f"{data!r} is no data set")
    unknown = set(data) - {each.name for each in fields(TrainingData)}
    _require(not unknown, f"unknown fields of its data ({', '.join(sorted(unknown))})")
    return TrainingData(**data)


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise ModelError(f"The model's card cannot be used: {problem}.")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _class_from_json(data: Any) -> LabelClass:
    try:
        found = LabelClass(**data)
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelError(f"The model's card cannot be used: {data!r} is no class ({error}).") from error
    _require(
        _is_integer(found.value) and isinstance(found.name, str) and _is_number(found.opacity),
        f"{data!r} is no class",
    )
    return found


def _plain(value: Any, name: str) -> Any:
    """Return ``value`` as JSON can say it; ``name`` is the card's field, for the error."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a number of numpy or torch
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return {str(key): _plain(each, name) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, name) for each in value]
    raise ModelError(f"The model's card cannot be written: {name} holds a {type(value).__name__}.")

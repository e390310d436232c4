"""Give a model more classes: its last layer grows, and what it knew stays."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.errors import ModelError
from napari_feedback_seg.models.model import Model
from napari_feedback_seg.networks import build_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_feedback_seg.models.model import ModelCard

_UNLIKELY = 5.0
"""What the logits of a new class lie below those of the others, before it is learnt."""


def add_classes(model: Model, classes: Sequence[LabelClass]) -> Model:
    """Return the model with more classes, which it does not see anywhere yet.

    Raises
    ------
    ModelError
        If a class has the value or the name of another.
    """
    card = model.card
    if not classes:
        return model
    for what in ("value", "name"):
        taken = [getattr(each, what) for each in (*card.classes, *classes)]
        twice = next((each for each in taken if taken.count(each) > 1), None)
        if twice is not None:
            raise ModelError(f"There is a class with the {what} {twice!r} already: choose another {what}.")
    spec = replace(card.spec, classes=card.spec.classes + len(classes))
    network = build_network(spec).eval()
    old = model.network.state_dict()
    network.load_state_dict(
        {name: _grown(name, old[name], each) for name, each in network.state_dict().items()}
    )
    return Model(replace(card, spec=spec, classes=(*card.classes, *classes)), network, digest=model.digest)


def new_classes(texts: Sequence[str], card: ModelCard) -> tuple[LabelClass, ...]:
    """Return the classes that texts such as ``nucleus=#56b4e9`` name, with the next free values.

    Raises
    ------
    ModelError
        If a text reads otherwise, or names a class that is there.
    """
    classes = list(card.classes)
    for text in texts:
        name, _, color = (part.strip() for part in text.partition("="))
        if not name or not re.fullmatch("#[0-9a-fA-F]{6}", color):
            raise ModelError(f"A new class reads like nucleus=#56b4e9, not {text!r}.")
        if name in [each.name for each in classes]:
            raise ModelError(f"There is a class {name!r} already: choose another name.")
        taken = {each.value for each in classes}
        value = next((value for value in range(1, 256) if value not in taken), None)
        if value is None:
            raise ModelError("There are 255 classes already: no more fit into a label image.")
        classes.append(LabelClass(value, name, color.lower(), 0.8))
    return tuple(classes[len(card.classes) :])


def _grown(name: str, old: Tensor, new: Tensor) -> Tensor:
    """Return the old values, and behind them nothing, or for the last layer something unlikely."""
    if old.shape == new.shape:
        return old
    grown = torch.zeros_like(new)
    grown[tuple(slice(length) for length in old.shape)] = old
    if ".classifier." in f".{name}":
        grown[len(old) :] = old.mean(dim=0, keepdim=True)
        if old.ndim == 1:
            grown[len(old) :] -= _UNLIKELY
    return grown


def check_learns(card: ModelCard) -> None:
    """Raise a ModelError if a model cannot learn from corrections."""
    if not card.spec.learns:
        raise ModelError(
            f"The model {card.name} comes from another program: it segments, and cannot learn. Choose a "
            "model of napari-feedback-seg to learn from strokes."
        )

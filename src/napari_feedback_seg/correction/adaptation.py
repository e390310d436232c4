"""An adaptation: what was learnt of strokes, for one model, and its small file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.correction.classes import add_classes
from napari_feedback_seg.correction.image_statistics import with_statistics
from napari_feedback_seg.errors import InputError, ModelError, OutputError
from napari_feedback_seg.io import check_output, replacing
from napari_feedback_seg.models.model import Model, weights_digest
from napari_feedback_seg.networks.residual import AdaptedNetwork, Residual, adapted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

SUFFIX = ".strokes"
FORMAT_VERSION = 1
KEY = "napari-feedback-seg-strokes"
LARGEST_FILE = 2**26
"""Bytes. Even the widest network's are below."""

LARGEST_HEADER = 2**20
_NO_FIT = "The strokes do not fit the model's network. Adapt it to the strokes again."


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What was learnt of strokes, for one model.

    Attributes
    ----------
    residual : Residual or None
        What is added to the model's logits; None if nothing is.
    model_name, model_digest : str
        Name of the model, and SHA-256 of its weights.
    new_classes : tuple of LabelClass
        Classes that the model lacks.
    strokes : int
        Number of strokes that it was learnt from.
    statistics : dict
        Those of batch norm, ``mean.NAME`` and ``variance.NAME``, in place of the model's; empty if
        its own serve.
    share : float
        How much the residual is of all that the strokes teach.
    known : bool
        Whether the model knows images like those that were painted.
    of_class : dict
        Class value to the number of strokes of that class.
    muted : tuple
        Section, row and column of a pixel of each stroke that was not learnt from.
    muted_classes : tuple of int
        Classes whose strokes were not.
    """

    residual: Residual | None
    model_name: str
    model_digest: str
    new_classes: tuple[LabelClass, ...] = ()
    strokes: int = 0
    statistics: Mapping[str, torch.Tensor] = field(default_factory=dict)
    share: float = 1.0
    known: bool = False
    of_class: Mapping[int, int] = field(default_factory=dict)
    muted: tuple[tuple[int, int, int], ...] = ()
    muted_classes: tuple[int, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether the model says anything else with it than without."""
        return self.residual is not None or bool(self.statistics)

    @property
    def about(self) -> dict[str, Any]:
        """What it was learnt from, as JSON can hold it."""
        return {
            "strokes": self.strokes,
            "share": self.share,
            "known": self.known,
            "of_class": {str(value): count for value, count in self.of_class.items()},
            "muted": [[int(number) for number in each] for each in self.muted],
            "muted_classes": [int(value) for value in self.muted_classes],
        }

    def check(self, model: Model) -> None:
        """Raise a ModelError unless the adaptation was learnt for this model."""
        if weights_digest(model) != self.model_digest:
            raise ModelError(
                f"The strokes were learnt for another model, '{self.model_name}', and do not fit "
                f"'{model.card.name}'. Choose that model, or adapt this one to the strokes again."
            )

    def apply(self, model: Model) -> Model:
        """Return the model with what was learnt added to its answer.

        Raises
        ------
        ModelError
            If it was learnt for another model.
        """
        self.check(model)
        grown = add_classes(model, self.new_classes)
        try:
            grown = with_statistics(grown, self.statistics)
        except ValueError as error:
            raise ModelError(_NO_FIT) from error
        if self.residual is None:
            return grown
        card = replace(grown.card, spec=replace(grown.card.spec, adapted=True))
        if self.residual.weight.shape != (card.spec.classes, card.spec.inner_channels):
            raise ModelError(_NO_FIT)
        return Model(card, adapted(grown.network, self.residual).eval())


def save_adaptation(adaptation: Adaptation, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write an adaptation to a ``.strokes`` file, whole or not at all.

    Raises
    ------
    OutputError
        If the file is there already, is named otherwise, or cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise OutputError(f"The name of a file of strokes ends in {SUFFIX}, and '{path}' does not.")
    check_output(path, overwrite)
    about = {
        "format_version": FORMAT_VERSION,
        "model_name": adaptation.model_name,
        "model_digest": adaptation.model_digest,
        "new_classes": [each.to_json() for each in adaptation.new_classes],
        **adaptation.about,
    }
    residual = adaptation.residual
    tensors = {} if residual is None else {"weight": residual.weight, "bias": residual.bias}
    tensors |= adaptation.statistics
    data = save({name: each.float().contiguous() for name, each in tensors.items()}, {KEY: json.dumps(about)})
    with replacing(path, overwrite) as temporary, temporary.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return path


def load_adaptation(path: str | Path) -> Adaptation:
    """Return the adaptation in a file. Nothing is ever unpickled.

    Raises
    ------
    InputError
        If the file is missing, cut off or damaged, or holds no adaptation.
    """
    path = Path(path)
    data = _read(path)
    try:
        with safe_open(path, framework="np") as file:
            metadata = dict(file.metadata() or {})
            slices = {name: file.get_slice(name) for name in file.keys()}
            kinds = {name: (each.get_dtype(), len(each.get_shape())) for name, each in slices.items()}
        tensors = load(data)
    except (OSError, SafetensorError) as error:
        raise InputError(f"'{path}' is cut off or damaged: make or copy it again.") from error
    try:
        about = json.loads(metadata[KEY])
        version = about["format_version"]
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"'{path}' holds no strokes. Make it with 'feedback-seg adapt'.") from error
    if version != FORMAT_VERSION:
        raise InputError(
            f"'{path}' has the format {version!r}, and this version of napari-feedback-seg reads "
            f"{FORMAT_VERSION}. Update it with pip install -U napari-feedback-seg."
        )
    of_residual = {name: kinds.pop(name) for name in ("bias", "weight") if name in kinds}
    odd = [
        name
        for name, kind in kinds.items()
        if kind != ("F32", 1) or not name.startswith(("mean.", "variance."))
    ]
    if odd or of_residual not in ({}, {"bias": ("F32", 1), "weight": ("F32", 2)}):
        raise InputError(f"'{path}' is damaged: it holds other numbers than strokes have.")
    return _adaptation(about, tensors, path)


def taken_apart(model: Model) -> tuple[Model, Adaptation] | None:
    """Return a model without what strokes taught it, and that; None if it did not come of strokes.

    See :func:`~napari_feedback_seg.correction.card.corrected_model`.
    """
    network, about = model.network, model.card.recipe.get("adaptation")
    if not isinstance(network, AdaptedNetwork) or not isinstance(about, dict):
        return None
    card = replace(model.card, spec=replace(model.card.spec, adapted=False))
    plain = Model(card, network.network)
    learnt = Adaptation(network.residual, card.name, weights_digest(plain))
    try:
        return plain, replace(learnt, **_read_about(about))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _read_about(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what :attr:`Adaptation.about` says; an older version says less."""
    return {
        "strokes": int(about["strokes"]),
        "share": float(about.get("share", 1)),
        "known": bool(about.get("known", False)),
        "of_class": {int(value): int(count) for value, count in about.get("of_class", {}).items()},
        "muted": tuple((int(z), int(row), int(column)) for z, row, column in about.get("muted", ())),
        "muted_classes": tuple(int(value) for value in about.get("muted_classes", ())),
    }


def _read(path: Path) -> bytes:
    """Return what is in a file that safetensors may parse."""
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise InputError(f"'{path}' is too large to hold strokes. Make it with 'feedback-seg adapt'.")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error
    length = int.from_bytes(data[:8], "little")
    if data[8:9] != b"{" or length > LARGEST_HEADER:
        raise InputError(f"'{path}' holds no strokes. Make it with 'feedback-seg adapt'.")
    if 8 + length > len(data):
        raise InputError(f"'{path}' is cut off: make or copy it again.")
    return data


def _adaptation(about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], path: Path) -> Adaptation:
    residual = Residual(tensors["weight"], tensors["bias"]) if "weight" in tensors else None
    statistics = {name: each for name, each in tensors.items() if name not in ("weight", "bias")}
    try:
        new_classes = tuple(LabelClass(**each) for each in about["new_classes"])
        result = Adaptation(
            residual,
            str(about["model_name"]),
            str(about["model_digest"]),
            new_classes,
            statistics=statistics,
            **_read_about(about),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"'{path}' is damaged: make or copy it again.") from error
    finite = 0 < result.share <= 1 and all(bool(each.isfinite().all()) for each in tensors.values())
    finite &= not any(
        bool((each < 0).any()) for name, each in statistics.items() if name.startswith("variance.")
    )
    if not finite or (residual is not None and len(residual.bias) != len(residual.weight)):
        raise InputError(f"'{path}' is damaged: it holds values that are no numbers. Make it again.")
    return result

"""A bioimage.io package as a model of the library.

No foreign code is run: an architecture that comes as a source file, and TorchScript, which is a program
too, are refused. What came from this package is read without either, and ONNX needs none.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from napari_feedback_seg.classes import EM_CLASSES, LabelClass
from napari_feedback_seg.errors import ModelError
from napari_feedback_seg.models.bioimageio.export import CONFIG_KEY
from napari_feedback_seg.models.model import LARGEST_TILE, Model, ModelCard
from napari_feedback_seg.models.model_file import import_state_dict
from napari_feedback_seg.networks.spec import NetworkSpec, Program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DESCRIPTIONS = ("bioimageio.yaml", "rdf.yaml", "model.yaml")
USUAL_TILE = 256
LARGEST_WEIGHTS = 2**31
"""Bytes; a file of more, once unpacked, is no model of sections."""

_TOLERANCE, _MOST_FAR = 1e-2, 1e-3
_NM = {"nanometer": 1.0, "micrometer": 1000.0, "angstrom": 0.1, "millimeter": 1e6}
_COLOURS = ("#0072b2", "#e69f00", "#d6308f", "#009e73", "#56b4e9", "#d55e00", "#f0e442")
_BACKGROUND = "#f0e442"


def is_package(path: Path) -> bool:
    """Return whether a file is a bioimage.io package, by its content."""
    try:
        with ZipFile(path) as package:
            return any(name in DESCRIPTIONS for name in package.namelist())
    except (OSError, BadZipFile):
        return False


def import_bioimageio(path: str | Path, name: str, *, pixel_size_nm: float | None = None) -> Model:
    """Return the model of a bioimage.io package.

    Parameters
    ----------
    path : str or Path
        The zip file.
    name : str
        What the model is to be called.
    pixel_size_nm : float, optional
        Side of the pixels that it was trained on, in nm, where the package does not say it.

    Raises
    ------
    ModelError
        If it is no such package, or one that cannot be used; the sentence says why.
    """
    path = Path(path)
    try:
        with ZipFile(path) as package:
            found = _own_card(package)
            if found is not None:
                card, weights = found
                return _own(package, ModelCard.from_json({**card, "name": name}), weights)
            return _foreign(path, package, name, pixel_size_nm)
    except (OSError, BadZipFile, EOFError) as error:
        raise ModelError(f"'{path}' is no zip file, or a damaged one: download it again.") from error


def _own_card(package: ZipFile) -> tuple[dict[str, Any], str] | None:
    """Return the card of a package that this one wrote, and the name of its weights."""
    try:
        description = json.loads(_read(package, DESCRIPTIONS[0]))
        card = description["config"][CONFIG_KEY]["card"]
        weights = description["weights"]["pytorch_state_dict"]["source"]
    except (LookupError, TypeError, ValueError, ModelError):
        return None
    return (card, weights) if isinstance(card, dict) and isinstance(weights, str) else None


def _own(package: ZipFile, card: ModelCard, weights: str) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pt"
        file.write_bytes(_read(package, weights))
        return import_state_dict(file, card)


def _read(package: ZipFile, name: str) -> bytes:
    try:
        if package.getinfo(name).file_size > LARGEST_WEIGHTS:
            raise ModelError(f"'{name}' in the package is larger than 2 GB.")
        return package.read(name)
    except KeyError as error:
        raise ModelError(f"The package lacks its file '{name}': download it again.") from error


def _foreign(path: Path, package: ZipFile, name: str, pixel_size_nm: float | None) -> Model:
    """Return the model of a package that another program wrote."""
    import torch

    description = _description(path)
    image, output = _one(description["inputs"], "input"), _one(description["outputs"], "output")
    weights = description["weights"].get("onnx")
    if not weights:
        there = ", ".join(each.replace("_", " ") for each in description["weights"])
        raise ModelError(
            f"'{path}' has weights as {there}, which need code of others to run, and that is never run here. "
            "Ask its authors for ONNX weights, or make them with 'bioimageio add-weights' if you trust them."
        )
    program = _read(package, str(weights["source"]))
    tile = _check_input(image, path)
    size = pixel_size_nm or _pixel_size(image)
    if size is None:
        raise ModelError(
            f"'{path}' does not say its pixel size. Import it with that of its training: feedback-seg models "
            "import FILE.zip --pixel-size 8."
        )
    steps = _steps(image.get("preprocessing") or (), path)
    tests = [
        np.load(package.open(str(each["test_tensor"]["source"])), allow_pickle=False)
        for each in (image, output)
    ]
    found = _fitting(program, steps, tests[0], tests[1], path)
    classes = _classes(output, found)
    spec = NetworkSpec(kind="onnx", classes=len(classes), program=found)
    card = ModelCard(
        name,
        spec,
        classes,
        size,
        tile,
        description=str(description.get("description") or ""),
        licence=str(description.get("license") or ""),
        citation="; ".join(_citation(each) for each in description.get("cite") or ()),
        recipe={"bioimageio": str(description.get("id") or description.get("name") or "")},
    )
    from napari_feedback_seg.networks import build_network

    network = build_network(spec).eval()
    network.load_state_dict({"program": torch.frombuffer(bytearray(program), dtype=torch.uint8)})
    return Model(card, network)


def _description(path: Path) -> dict[str, Any]:
    """Return the description of a package in the newest version of the format, as plain JSON."""
    try:
        from bioimageio.spec import InvalidDescr, ValidationContext, load_description
    except ImportError as error:
        raise ModelError(
            "Packages of others need a library: pip install 'napari-feedback-seg[bioimageio]'."
        ) from error
    with ValidationContext(perform_io_checks=False):
        found = load_description(path, format_version="latest")
    if isinstance(found, InvalidDescr):
        problem = next((each.msg for each in found.validation_summary.errors), "it cannot be read")
        raise ModelError(f"'{path}' is no valid bioimage.io package: {problem}.")
    if found.type != "model":
        raise ModelError(f"'{path}' is a {found.type} of bioimage.io, and no model.")
    described: dict[str, Any] = found.model_dump(mode="json", exclude_none=True)
    return described


def _one(tensors: Sequence[dict[str, Any]], what: str) -> dict[str, Any]:
    if len(tensors) != 1:
        raise ModelError(
            f"The model has {len(tensors)} {what}s. Only models with one image in and one out can be used."
        )
    return tensors[0]


def _check_input(image: Mapping[str, Any], path: Path) -> int:
    """Return the side of a tile, if the network takes grey sections."""
    axes = {str(each.get("id", each["type"])): each for each in image["axes"]}
    order = "".join(str(each.get("id", each["type"]))[0] for each in image["axes"])
    if order != "bcyx":
        raise ModelError(
            f"'{path}' takes images with the axes {', '.join(axes)}. Only models of single sections, with "
            "the axes batch, channel, y and x, can be used."
        )
    channels = len(axes["channel"].get("channel_names") or [""])
    if channels != 1:
        raise ModelError(f"'{path}' takes images of {channels} channels, and a section has one.")
    sides = [_side(axes[each]["size"]) for each in "yx"]
    if sides[0] != sides[1] or not 0 < sides[0] <= LARGEST_TILE:
        raise ModelError(
            f"'{path}' takes tiles of {sides[0]} x {sides[1]} pixels, which cannot be laid here."
        )
    return sides[0]


def _side(size: Any) -> int:
    """Return a side of about 256 pixels that a network takes."""
    if isinstance(size, int):
        return size
    least, step = int(size["min"]), int(size["step"])
    return least + max(0, -(-(USUAL_TILE - least) // step)) * step


def _pixel_size(image: Mapping[str, Any]) -> float | None:
    sides = [each for each in image["axes"] if each.get("id") in ("y", "x")]
    found = {float(each.get("scale", 1)) * _NM.get(str(each.get("unit")), 0) for each in sides}
    return found.pop() if len(found) == 1 and 0 not in found else None


def _steps(described: Sequence[Mapping[str, Any]], path: Path) -> tuple[tuple[str, float, float], ...]:
    """Return the preprocessing, which begins with a section that has mean 0 and deviation 1."""
    steps: list[tuple[str, float, float]] = []
    known = False
    for each in described:
        name, given = str(each["id"]), each.get("kwargs") or {}
        if name == "ensure_dtype":
            if given.get("dtype") not in (None, "float32"):
                raise ModelError(f"'{path}' computes in {given['dtype']} and not in float32.")
        elif name == "zero_mean_unit_variance":
            steps += [("normalise", 0, 0)] if known else []  # the section is that already
            known = True
        elif name == "scale_range" and "reference_tensor" not in given:
            steps.append(
                ("scale_range", given.get("min_percentile", 0.0), given.get("max_percentile", 100.0))
            )
            known = True
        elif name == "clip" and known:
            low, high = given.get("min"), given.get("max")
            steps.append(
                ("clip", -1e30 if low is None else float(low), 1e30 if high is None else float(high))
            )
        elif name == "scale_linear" and known and not isinstance(given.get("gain", 1.0), list):
            steps.append(("scale", given.get("gain", 1.0), given.get("offset", 0.0)))
        else:
            raise ModelError(
                f"'{path}' prepares images by {name.replace('_', ' ')}, which depends on the grey values of "
                "its own images. Only models that normalise them first can be used."
            )
    if not known:
        raise ModelError(
            f"'{path}' takes grey values as they are. Only models that normalise them first can be used."
        )
    return tuple(steps)


def _fitting(
    program: bytes,
    steps: tuple[tuple[str, float, float], ...],
    given: np.ndarray,
    wanted: np.ndarray,
    path: Path,
) -> Program:
    """Return the program that gives the package's own test output; what comes out is known by that."""
    import torch

    from napari_feedback_seg.networks.onnx import logits_of, open_session, prepared

    session = open_session(program)
    grey = given.astype(np.float32)
    grey = (grey - grey.mean()) / (grey.std() + 1e-6)
    channels = wanted.shape[1]
    kinds = ("one_logit", "one_probability") if channels == 1 else ("logits", "probabilities", "each")
    name = session.get_inputs()[0].name
    answer = None
    for kind in kinds:
        classes = channels + (kind not in ("logits", "probabilities"))
        found = Program(len(program), steps, kind)
        spec = NetworkSpec(kind="onnx", classes=classes, program=found)
        if answer is None:
            image = prepared(torch.from_numpy(grey), spec)
            try:
                answer = torch.from_numpy(session.run(None, {name: image.numpy()})[0])
            except Exception as error:  # onnxruntime has errors of its own
                raise ModelError(f"'{path}' cannot be run: {str(error).splitlines()[0]}") from error
        if answer.shape != wanted.shape or answer.shape[2:] != image.shape[2:]:
            raise ModelError(
                f"'{path}' gives {tuple(answer.shape)} for {tuple(image.shape)}: not a class for each pixel."
            )
        probabilities = logits_of(answer, spec).softmax(dim=1)[:, :channels].numpy()
        if _is(kind, answer.numpy()) and any(_same(each, wanted) for each in (answer.numpy(), probabilities)):
            return found
    raise ModelError(
        f"'{path}' does not give its own test output here, so that it cannot be trusted to work."
    )


def _is(kind: str, answer: np.ndarray) -> bool:
    """Return whether numbers can be what a kind of output is."""
    between = bool((answer >= -1e-4).all() and (answer <= 1 + 1e-4).all())
    if kind == "probabilities":
        return between and bool(np.allclose(answer.sum(axis=1), 1, atol=1e-2))
    return not between if kind in ("logits", "one_logit") else between


def _same(answer: np.ndarray, wanted: np.ndarray) -> bool:
    """Return whether nearly all numbers of an answer are those of the test output."""
    far = np.abs(answer - wanted) > _TOLERANCE * max(1.0, float(np.abs(wanted).max()))
    return float(far.mean()) < _MOST_FAR


def _classes(output: Mapping[str, Any], program: Program) -> tuple[LabelClass, ...]:
    """Return the classes, by the names of the channels; the last is the rest where no channel is."""
    axis = next(each for each in output["axes"] if each["type"] == "channel")
    names = [str(each) for each in axis.get("channel_names") or ["foreground"]]
    if program.output in ("one_logit", "one_probability", "each"):
        names.append("background")
    known = {each.name: each for each in EM_CLASSES}
    found = []
    for number, name in enumerate(names):
        like = known.get(name)
        behind = name.lower() in ("background", "bg", "cytoplasm")
        colour = like.color if like else _BACKGROUND if behind else _COLOURS[number % len(_COLOURS)]
        found.append(LabelClass(number + 1, name, colour, like.opacity if like else 0.08 if behind else 0.8))
    return tuple(found)


def _citation(cited: Mapping[str, Any]) -> str:
    source = cited.get("doi") or cited.get("url") or ""
    return f"{cited.get('text', '')} {source}".strip()

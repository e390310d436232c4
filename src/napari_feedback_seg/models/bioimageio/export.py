"""A model as a bioimage.io package, which other programs can run."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import warnings
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from napari_feedback_seg import __version__
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.errors import ModelError, OutputError
from napari_feedback_seg.io import check_output, replacing
from napari_feedback_seg.models.bioimageio import architecture
from napari_feedback_seg.models.methods import METHOD

if TYPE_CHECKING:
    from torch import nn

    from napari_feedback_seg.models.model import Model, ModelCard

CONFIG_KEY = "napari_feedback_seg"
"""Under which the package's ``config`` has the card, so that it comes back as it was."""

SPEC_VERSION = "0.5.12"
AUTHORS = "the napari-feedback-seg developers"
EPS = 1e-6
_SEED = 5
_METHOD_DOI = "10.48550/arXiv.2008.06474"
_DOI = re.compile(r"10\.\d{4,9}/[^\s;,]+[^\s;,.]")
_LICENCES = {"CC BY-NC-SA 3.0": "CC-BY-NC-SA-3.0", "CC BY 4.0": "CC-BY-4.0", "CC0 1.0": "CC0-1.0"}


def export_bioimageio(model: Model, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model as a bioimage.io package (spec 0.5).

    It holds the weights as a PyTorch state dict with the architecture as one source file that needs torch
    alone, and as TorchScript; test tensors, a cover, documentation, and the card.

    Parameters
    ----------
    model : Model
        A U-Net, or one with feedback attention.
    path : str or Path
        Ends in ``.zip``.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        If the model is of another kind.
    OutputError
        If the file is there already or cannot be written.
    """
    path = Path(path)
    if path.suffix != ".zip":
        raise OutputError(f"A bioimage.io package is a zip file: name it something.zip, not '{path}'.")
    check_output(path, overwrite)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        description = _write_files(model, folder)
        (folder / "bioimageio.yaml").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        with replacing(path, overwrite) as temporary, ZipFile(temporary, "w", ZIP_DEFLATED) as package:
            for each in sorted(folder.iterdir()):
                package.write(each, each.name)
    return path


def standalone_network(model: Model) -> tuple[nn.Module, str, dict[str, Any]]:
    """Return the network of :mod:`.architecture` with the weights of a model, its class and its arguments.

    Raises
    ------
    ModelError
        If that file has no such network.
    """
    spec = model.card.spec
    kwargs: dict[str, Any] = {
        "in_channels": spec.in_channels,
        "classes": spec.classes,
        "width": spec.width,
        "depth": spec.depth,
    }
    if spec.adapted:
        raise ModelError(
            f"The model {model.card.name} holds what strokes taught, and cannot be written as a bioimage.io "
            "package. Export the model that it comes from, or fine-tune that one."
        )
    if spec.kind == "unet":
        name = "UNet"
    elif spec.kind == "feedback_attention" and spec.mode in ("self", "source_target"):
        name = "FeedbackAttentionUNet"
        kwargs |= {
            "mode": spec.mode,
            "tap": spec.tap,
            "norm_per_round": spec.norm_per_round,
            "query_pooling": spec.query_pooling,
            "key_pooling": spec.key_pooling,
            "query_channels": spec.query_channels or max(1, spec.width // 8),
            "mean_of_rounds": spec.mean_of_rounds,
        }
    else:
        raise ModelError(
            f"The network of the model {model.card.name} ({spec.name}) cannot be written as a bioimage.io "
            "package. U-Nets and networks with feedback attention can."
        )
    network: nn.Module = getattr(architecture, name)(**kwargs)
    network.load_state_dict(model.network.state_dict())
    return network.eval(), name, kwargs


def normalised(image: np.ndarray) -> np.ndarray:
    """Return grey values (Y, X) as the preprocessing of the package does: mean 0 and deviation 1."""
    result: np.ndarray = ((image - image.mean()) / (image.std() + EPS)).astype(np.float32)
    return result


def _write_files(model: Model, folder: Path) -> dict[str, Any]:
    """Write the files of the package; return its description."""
    import torch

    card = model.card
    network, name, kwargs = standalone_network(model)
    network.to("cpu", torch.float32)
    image = builtin_section((card.tile, card.tile), seed=_SEED).image.astype(np.float32)
    batch = torch.from_numpy(normalised(image))[None, None]
    with torch.no_grad():
        probabilities = network(batch).softmax(dim=1).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # that TorchScript is old, and that sizes are kept, as they should be
            script = torch.jit.trace(network, batch)
    np.save(folder / "test-input.npy", image[None, None])
    np.save(folder / "test-output.npy", probabilities)
    torch.save(network.state_dict(), folder / "weights.pt")
    script.save(str(folder / "weights-torchscript.pt"))
    shutil.copyfile(str(architecture.__file__), folder / "architecture.py")
    _write_cover(folder / "cover.png", image, probabilities[0], card)
    (folder / "README.md").write_text(_documentation(card), encoding="utf-8")

    def file(name: str) -> dict[str, Any]:
        return {"source": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}

    sides = [
        {"type": "space", "id": each, "size": card.tile, "unit": "nanometer", "scale": card.pixel_size_nm}
        for each in ("y", "x")
    ]
    version = {"pytorch_version": torch.__version__.partition("+")[0]}
    licence = _LICENCES.get(card.licence)
    return {
        "type": "model",
        "format_version": SPEC_VERSION,
        "name": _allowed(card.name),
        "description": _allowed(card.description) or "Segmentation of electron microscopy images.",
        "authors": [{"name": AUTHORS}],
        "cite": _citations(card),
        **({"license": licence} if licence else {}),
        "documentation": file("README.md"),
        "covers": [file("cover.png")],
        "tags": ["electron-microscopy", "semantic-segmentation", "2d", "pytorch", "neural-tissue", "napari"],
        "timestamp": datetime.now().astimezone().isoformat(timespec="seconds"),
        "inputs": [
            {
                "id": "image",
                "description": "A section, dark membranes on a brighter ground.",
                "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["grey"]}, *sides],
                "data": {"type": "float32"},
                "test_tensor": file("test-input.npy"),
                "preprocessing": [
                    {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"], "eps": EPS}}
                ],
            }
        ],
        "outputs": [
            {
                "id": "probabilities",
                "description": "The probability of each class.",
                "axes": [
                    {"type": "batch"},
                    {"type": "channel", "channel_names": [_identifier(each.name) for each in card.classes]},
                    *sides,
                ],
                "data": {"type": "float32", "range": [0.0, 1.0]},
                "test_tensor": file("test-output.npy"),
                "postprocessing": [{"id": "softmax", "kwargs": {"axis": "channel"}}],
            }
        ],
        "weights": {
            "pytorch_state_dict": {
                **file("weights.pt"),
                **version,
                "architecture": {**file("architecture.py"), "callable": name, "kwargs": kwargs},
            },
            "torchscript": {
                **file("weights-torchscript.pt"),
                **version,
                "parent": "pytorch_state_dict",
            },
        },
        "config": {CONFIG_KEY: {"card": card.to_json(), "version": __version__}},
    }


def _allowed(text: str) -> str:
    """Return a text without what the spec does not allow in names and descriptions."""
    return re.sub(r"[^\w +\-().,:;/]", " ", text).strip()[:120]


def _identifier(text: str) -> str:
    plain = re.sub(r"\W", "_", text)
    return plain if plain[:1].isalpha() else f"class_{plain}"


def _citations(card: ModelCard) -> list[dict[str, str]]:
    """Return the method, and what the card cites with a DOI, which the spec wants."""
    found = {METHOD: _METHOD_DOI}
    for text in (card.citation, *(each.citation for each in card.data)):
        for part in re.split(r";\s+", text):
            if (doi := _DOI.search(part)) and METHOD not in part:
                found[part.strip()] = doi[0]
    return [{"text": text, "doi": doi} for text, doi in found.items()]


def _documentation(card: ModelCard) -> str:
    """Return the README of the package."""
    scores = card.scores.get("test") or card.scores.get("validation") or {}
    iou = {name: value for name, value in scores.get("iou", {}).items() if value is not None}
    data = [
        f"- {each.name}" + "".join(f". {text}" for text in (each.licence, each.citation) if text)
        for each in card.data
    ]
    lines = [
        f"# {card.name}",
        "",
        card.description,
        "",
        f"Classes: {', '.join(each.name for each in card.classes)}.",
        f"Pixels of {card.pixel_size_nm:g} nm, tiles of {card.tile} x {card.tile} pixels: the network looks "
        "at the whole tile, so no other size will do.",
        "",
        "The preprocessing here is close to that of napari-feedback-seg, which normalises the whole section, "
        "clips it to its 0.1 and 99.9 percentiles, and leaves out borders and burnt-in bars. Other programs "
        "therefore give slightly other results. Invert images with bright membranes first.",
        "",
        "## Training data",
        "",
        *(data or ["Not stated."]),
        "",
        "## Validation",
        "",
        *(
            ["| class | IoU |", "|---|---|", *(f"| {name} | {value:.1%} |" for name, value in iou.items())]
            if iou
            else [
                "No scores are known. Compare its labels with yours on sections that it was not trained on."
            ]
        ),
        "",
        f"Licence: {card.licence or 'not stated'}",
        "",
        f"Written by napari-feedback-seg {__version__}.",
    ]
    return "\n".join(lines) + "\n"


def _write_cover(path: Path, image: np.ndarray, probabilities: np.ndarray, card: ModelCard) -> None:
    """Write a section beside itself with its labels, from the built-in sample."""
    from PIL import Image

    grey = np.repeat(image[..., None], 3, axis=-1)
    colours = np.array([each.rgb for each in card.classes], np.float32)
    opacity = np.array([each.opacity * 0.7 for each in card.classes], np.float32)
    answer = probabilities.argmax(axis=0)
    cover = opacity[answer][..., None]
    labelled = grey * (1 - cover) + colours[answer] * cover
    Image.fromarray(np.concatenate([grey, labelled], axis=1).astype(np.uint8)).save(path)

"""One self-describing ``.safetensors`` file per model: the header's metadata is the card.

Nothing is ever unpickled. Torch is imported only where weights are touched, so that
reading cards is quick.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from napari_feedback_seg import __version__
from napari_feedback_seg.errors import ModelError, OutputError
from napari_feedback_seg.io import check_output, replacing
from napari_feedback_seg.models.model import Model, ModelCard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor, nn

SUFFIX = ".safetensors"

FORMAT_VERSION = 2
"""Raised whenever a card gains, loses or redefines a field."""

CARD_KEY = "napari-feedback-seg"
"""Where the card stands in the metadata: the only entry, so that equal models give equal files."""

LARGEST_HEADER = 2**20
"""Bytes. Ours have some 30,000; safetensors alone would spend 1.3 GB on a hostile header."""

_DTYPES = {"F16", "BF16", "F32", "F64", "I64", "U8"}
_NESTED = ("state_dict", "model_state_dict", "network", "model")
_PREFIXES = ("module.", "model.", "network.", "_orig_mod.")


def save_model(model: Model, path: str | Path, *, half: bool = False, overwrite: bool = False) -> Path:
    """Write a model to one file, whole or not at all.

    Parameters
    ----------
    model : Model
        Its network may be on any device; it is left as it is. The card is stamped with
        the version of this package.
    path : str or Path
        Ends in ``.safetensors``, in a folder that exists.
    half : bool
        Store the weights of the convolutions as 16-bit floats, at half the size. Biases
        and all of batch norm, which are few and whose rounding shifts whole maps, stay
        32-bit.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        If the network is not the one of the card, or holds NaN or infinity.
    OutputError
        If the file is there already or cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise OutputError(f"A model's file name ends in {SUFFIX}, and '{path}' does not.")
    check_output(path, overwrite)
    _write(path, _to_bytes(model, half), overwrite)
    return path


def replace_card(path: str | Path, card: ModelCard) -> None:
    """Write another card into a model file; its weights stay as they are stored.

    Parameters
    ----------
    path : str or Path
        The model file.
    card : ModelCard
        With the same network as before.

    Raises
    ------
    ModelError
        If the file is no model, or one of another network.
    OutputError
        If the file cannot be written.
    """
    from safetensors.torch import load, save

    path = Path(path)
    if read_card(path).spec != card.spec:
        raise ModelError(f"'{path}' holds another network than the new card describes.")
    tensors = load(path.read_bytes())
    _write(path, save(tensors, {CARD_KEY: _card_text(card)}), overwrite=True)


def read_card(path: str | Path) -> ModelCard:
    """Return a model's card without reading its weights or importing torch.

    Raises
    ------
    ModelError
        If the file does not exist, is damaged, or is not a model that this version can use.
    """
    return _read_header(Path(path))[0]


def load_model_file(path: str | Path) -> Model:
    """Return the model in a file, on the CPU, in 32 bits and in evaluation mode.

    The weights are copied to memory: the file may be replaced while the model is used.

    Raises
    ------
    ModelError
        If the file does not exist, is damaged, is not a model that this version can use, or if its
        weights do not fit the network of its card or are no numbers.
    """
    from safetensors.torch import load

    path = Path(path)
    card, shapes = _read_header(path)
    network = _without_memory(card)
    # Before anything is read: what fits the network is no larger than the network.
    _check_shapes(shapes, network, f"'{path}'")
    try:
        data = path.read_bytes()
        tensors = load(data)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"'{path}' cannot be read ({error}).") from error
    _fill(network, tensors, f"'{path}'")
    return Model(card, network, path, hashlib.sha256(data).hexdigest())


def import_state_dict(path: str | Path, card: ModelCard) -> Model:
    """Return a model with the weights of a PyTorch ``state_dict`` and a card of its own.

    The tensors may be nested (under ``state_dict``, ``model_state_dict``, ``network`` or
    ``model``) and may all carry a prefix (``module.``, ``model.``, ``network.``,
    ``_orig_mod.``).

    Parameters
    ----------
    path : str or Path
        A ``.pt`` or ``.pth`` that holds only tensors: nothing else is ever unpickled.
    card : ModelCard
        Its ``spec`` describes the network that the weights belong to.

    Raises
    ------
    ModelError
        If the file cannot be read without unpickling, or does not fit ``card.spec``.
    """
    import torch

    path = Path(path)
    _check_is_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of protocols and archives: errors say it better
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"'{path}' holds more than tensors, which is never loaded because it could run foreign code: "
            "save the weights alone with torch.save(network.state_dict(), ...) and import that file."
        ) from error
    except Exception as error:  # a damaged file makes torch raise nearly anything
        raise ModelError(f"'{path}' is no PyTorch file, or is cut off or damaged: save it again.") from error
    tensors = _find_tensors(loaded, f"'{path}'")
    network = _without_memory(card)
    _check_shapes({name: tuple(each.shape) for name, each in tensors.items()}, network, f"'{path}'")
    _fill(network, tensors, f"'{path}'")
    return Model(card, network)


def _to_bytes(model: Model, half: bool) -> bytes:
    from safetensors.torch import save

    card = model.card
    source = f"The network of model '{card.name}'"
    network = _without_memory(card)
    tensors = {name: each.detach().cpu().contiguous() for name, each in model.network.state_dict().items()}
    _check_shapes({name: tuple(each.shape) for name, each in tensors.items()}, network, source)
    if half:
        tensors = {
            name: each.half() if each.ndim > 1 and each.is_floating_point() else each
            for name, each in tensors.items()
        }
        source += ", in 16 bits,"
    _check_values(tensors, network, source)
    data = save(tensors, {CARD_KEY: _card_text(card)})
    if int.from_bytes(data[:8], "little") > LARGEST_HEADER:
        raise ModelError(f"The card of model '{card.name}' is too long to be stored: shorten its texts.")
    return data


def _card_text(card: ModelCard) -> str:
    stamped = replace(card, version=__version__)
    return json.dumps({"format_version": FORMAT_VERSION, **stamped.to_json()}, allow_nan=False)


def _write(path: Path, data: bytes, overwrite: bool) -> None:
    with replacing(path, overwrite) as temporary, temporary.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _check_is_file(path: Path) -> None:
    try:
        there, is_file = path.exists(), path.is_file()
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}.") from error
    if not there:
        raise ModelError(f"There is no model file '{path}'.")
    if not is_file:
        raise ModelError(f"'{path}' is not a file: give the model file itself.")


def _check_start(path: Path) -> None:
    """Tell foreign and cut-off files from what safetensors may parse.

    A file starts with the length of its header in 8 bytes, and the header with a brace.
    """
    _check_is_file(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
            size = file.seek(0, 2)
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}.") from error
    length = int.from_bytes(start[:8], "little")
    if size == 0:
        raise ModelError(f"'{path}' is empty: copy or download it again.")
    if start[8:] != b"{":
        if start.startswith((b"PK", b"\x80")):
            raise ModelError(
                f"'{path}' is a zip or PyTorch file and not a model: "
                "PyTorch weights come in with 'feedback-seg models import'."
            )
        raise ModelError(f"'{path}' is not a {SUFFIX} file: give a model of napari-feedback-seg.")
    if length > LARGEST_HEADER:
        raise ModelError(f"'{path}' is not a model of napari-feedback-seg: its header is too long.")
    if 8 + length > size:
        raise ModelError(f"'{path}' is cut off: copy or download it again.")


def _read_header(path: Path) -> tuple[ModelCard, dict[str, tuple[int, ...]]]:
    """Return the card, and the shape of each tensor by name."""
    _check_start(path)
    try:
        with safe_open(path, framework="np") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            slices = {name: file.get_slice(name) for name in file.keys()}
            shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
            odd = sorted(name for name, each in slices.items() if each.get_dtype() not in _DTYPES)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"'{path}' is cut off or damaged: copy or download it again ({error}).") from error
    if CARD_KEY not in metadata:
        raise ModelError(f"'{path}' is not a model of napari-feedback-seg: it has no card of ours.")
    card = _parse_card(metadata[CARD_KEY], path)
    if odd:
        raise ModelError(f"'{path}' cannot be used: {_first(odd)} holds numbers of an unknown kind.")
    return card, shapes


def _parse_card(text: str, path: Path) -> ModelCard:
    try:
        data = json.loads(text)
        version = data.pop("format_version")
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
        raise ModelError(f"'{path}' has a card that cannot be read: copy or download it again.") from error
    if type(version) is not int or version < 1:
        raise ModelError(f"'{path}' has a card that cannot be read: its format version is {version!r}.")
    if version > FORMAT_VERSION:
        raise ModelError(
            f"'{path}' has model format {version} and this version of napari-feedback-seg reads up to "
            f"{FORMAT_VERSION}: update it with pip install -U napari-feedback-seg."
        )
    try:
        return ModelCard.from_json(data)
    except ModelError as error:
        raise ModelError(f"'{path}' cannot be used. {error}") from error


def _without_memory(card: ModelCard) -> nn.Module:
    """Return the card's network in evaluation mode, its tensors with shapes but no memory."""
    import torch

    from napari_feedback_seg.networks import build_network

    with torch.device("meta"):
        return build_network(card.spec).eval()


def _check_shapes(found: Mapping[str, tuple[int, ...]], network: nn.Module, source: str) -> None:
    expected = {name: tuple(each.shape) for name, each in network.state_dict().items()}
    problem = ""
    if missing := expected.keys() - found.keys():
        problem = f"{_first(missing)} missing"
    elif extra := found.keys() - expected.keys():
        problem = f"{_first(extra)} unknown to it"
    elif odd := [name for name in expected if found[name] != expected[name]]:
        problem = f"{odd[0]} is {_by(found[odd[0]])} instead of {_by(expected[odd[0]])}"
    if problem:
        raise ModelError(f"{source} does not fit the network that its card describes: {problem}.")


def _check_values(tensors: Mapping[str, Tensor], network: nn.Module, source: str) -> None:
    import torch

    for name, expected in network.state_dict().items():
        found = tensors[name]
        if found.is_floating_point() != expected.is_floating_point() or found.layout != torch.strided:
            raise ModelError(f"{source} cannot be used: {name} holds numbers of an unknown kind.")
        if found.is_meta or not bool(found.to(expected.dtype).isfinite().all()):
            raise ModelError(f"{source} cannot be used: {name} holds NaN, infinity or nothing at all.")


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Give a network without memory tensors of its own."""
    _check_values(tensors, network, source)
    own = {name: tensors[name].to(each.dtype, copy=True) for name, each in network.state_dict().items()}
    network.load_state_dict({name: each.contiguous() for name, each in own.items()}, assign=True)


def _find_tensors(loaded: Any, source: str) -> dict[str, Tensor]:
    from torch import Tensor

    for _ in range(3):  # and no further: a dictionary may hold itself
        nested = [loaded[name] for name in _NESTED if isinstance(loaded, dict) and name in loaded]
        loaded = next((each for each in nested if isinstance(each, dict)), loaded)
    if not isinstance(loaded, dict) or not loaded:
        raise ModelError(f"{source} holds no state_dict: save torch.save(network.state_dict(), ...).")
    odd = [str(n) for n, each in loaded.items() if not (isinstance(n, str) and isinstance(each, Tensor))]
    if odd:
        raise ModelError(
            f"{source} holds more than the tensors of one network ({_first(odd)}): "
            "save torch.save(network.state_dict(), ...)."
        )
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in loaded)), ""):
        loaded = {name.removeprefix(prefix): each for name, each in loaded.items()}
    return {name: each.detach() for name, each in loaded.items()}


def _first(names: Iterable[str]) -> str:
    """Return up to three names, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return ", ".join(ordered[:3]) + more


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"

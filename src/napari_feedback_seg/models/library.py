"""The models at hand: those that come with the package, and the user's own."""

from __future__ import annotations

import difflib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from napari_feedback_seg.errors import ModelError, OutputError
from napari_feedback_seg.io import is_device, replacing
from napari_feedback_seg.models.model_file import SUFFIX, load_model_file, read_card, save_model

if TYPE_CHECKING:
    from napari_feedback_seg.models.model import Model, ModelCard

DEFAULT_MODEL = "general"
"""What ``"default"`` stands for."""

BUNDLED = Path(__file__).parent / "bundled"
FOLDER_VARIABLE = "NAPARI_FEEDBACK_SEG_MODELS"

_chosen_folder: Path | None = None


@dataclass(frozen=True)
class ModelEntry:
    """A model file of the library.

    Attributes
    ----------
    name : str
        What :func:`find_model` takes: the file's stem, or its path where a bundled model
        has the same stem.
    path : Path
        The file.
    bundled : bool
        It came with the package.
    card : ModelCard or None
        None if the file cannot be used.
    error : str or None
        Then the sentence that says why.
    """

    name: str
    path: Path
    bundled: bool
    card: ModelCard | None
    error: str | None = None


def models_folder() -> Path:
    """Return the user's models folder, which need not exist yet.

    It is ``NAPARI_FEEDBACK_SEG_MODELS`` where that is set, else what
    :func:`use_models_folder` was told, and else in the place where the system keeps a
    user's data.
    """
    variable = os.environ.get(FOLDER_VARIABLE)
    if variable:
        return Path(os.path.expanduser(variable))
    if _chosen_folder is not None:
        return _chosen_folder
    return platformdirs.user_data_path("napari-feedback-seg", appauthor=False) / "models"


def use_models_folder(folder: Path | None) -> None:
    """Choose the user's models folder for as long as the program runs.

    Parameters
    ----------
    folder : Path or None
        It need not exist yet; None goes back to the system's place.
    """
    global _chosen_folder
    _chosen_folder = folder


def list_models() -> list[ModelEntry]:
    """Return the bundled models, the default first, then the user's by name."""
    return [_entry(name, path) for name, path in _files().items()]


def find_model(name_or_path: str | Path = "default") -> Path:
    """Return the file of a model.

    Parameters
    ----------
    name_or_path : str or Path
        ``"default"``, a name that :func:`list_models` gives, or the path of a file.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    files = _files()
    name = DEFAULT_MODEL if name_or_path == "default" else str(name_or_path)
    if name in files:
        return files[name]
    path = Path(os.path.expanduser(name))  # unlike Path's, os.path's functions never raise
    if os.path.isfile(path):
        return path
    if name_or_path == "default":
        raise ModelError("The default model is missing from this installation: install the package again.")
    if isinstance(name_or_path, Path) or path.suffix == SUFFIX or path.name != name:
        raise ModelError(f"There is no model file '{name}'.")
    near = difflib.get_close_matches(name, files, n=1)
    raise ModelError(
        f"There is no model '{name}'"
        + (f": did you mean '{near[0]}'?" if near else ".")
        + f" There are: {', '.join(files) or 'none'}."
    )


def load_model(name_or_path: str | Path = "default") -> Model:
    """Return a model of the library or of a file, on the CPU and in evaluation mode.

    Parameters
    ----------
    name_or_path : str or Path
        ``"default"``, a name that :func:`list_models` gives, or the path of a file.

    Raises
    ------
    ModelError
        If there is no such model or it cannot be used.
    """
    return load_model_file(find_model(name_or_path))


def save_to_library(model: Model, name: str, *, half: bool = False, overwrite: bool = False) -> Path:
    """Write a model to the user's models folder, which is made if need be.

    Parameters
    ----------
    model : Model
        What to save.
    name : str
        Its name in the library: letters, digits, spaces and ``._+-``.
    half, overwrite : bool
        As in :func:`~napari_feedback_seg.models.model_file.save_model`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        If the network is not the one of the card, or holds NaN or infinity.
    OutputError
        If the name is not valid, belongs to a bundled model or is taken, or if the file cannot
        be written.
    """
    _check_free(name)
    return save_model(model, _make_folder() / f"{name}{SUFFIX}", half=half, overwrite=overwrite)


def add_to_library(path: Path) -> str:
    """Copy a model file to the user's models folder, if it can be used; return its name there.

    A file that is there already, with the same content, is taken as it is.

    Raises
    ------
    ModelError
        If the file is no model that can be used.
    OutputError
        If its name is that of another model, or the folder cannot be written to.
    """
    model = load_model_file(path)
    name = path.stem
    target = models_folder() / f"{name}{SUFFIX}"
    if target.is_file() and load_model_file(target).digest == model.digest:
        return name
    _check_free(name)
    _make_folder()
    with replacing(target) as temporary:
        shutil.copyfile(path, temporary)
    return name


def import_to_library(
    path: Path, name: str | None = None, *, pixel_size_nm: float | None = None, overwrite: bool = False
) -> str:
    """Add a model file, or a bioimage.io package, to the user's models folder; return its name there.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` of this package, or a zip file.
    name : str, optional
        What it is to be called; if not given, as the file.
    pixel_size_nm : float, optional
        Side of the pixels that a package was trained on, in nm, where it does not say it.
    overwrite : bool
        Replace a model of that name.

    Raises
    ------
    ModelError
        If it cannot be used.
    OutputError
        If the name is taken, or the folder cannot be written to.
    """
    from napari_feedback_seg.models.bioimageio.read import import_bioimageio, is_package

    if is_package(path):
        stem = path.name.removesuffix(".zip").removesuffix(".bioimage.io")
        name = name or re.sub(r"[^\w .+-]+", "-", stem).strip("-. ") or "model"
        _check_free(name)
        model = import_bioimageio(path, name, pixel_size_nm=pixel_size_nm)
    elif name is None and not overwrite:
        return add_to_library(path)
    else:
        name = name or path.stem
        model = load_model_file(path)
    save_to_library(model, name, overwrite=overwrite)
    return name


def check_name(name: str) -> None:
    """Raise OutputError unless ``name`` can name a model and its file."""
    if not re.fullmatch(r"\w([\w .+-]{0,98}[\w+-])?", name):
        raise OutputError(
            f"'{name}' cannot name a model: take up to 100 letters, digits, spaces, and . _ + - within."
        )
    if is_device(name):
        raise OutputError(f"'{name}' cannot name a model: Windows keeps that name for itself.")


def _check_free(name: str) -> None:
    check_name(name)
    reserved = {"default", *(path.stem.casefold() for path in _in_folder(BUNDLED))}
    if name.casefold() in reserved:
        raise OutputError(f"'{name}' is the name of a model that came with the package: choose another.")


def _make_folder() -> Path:
    folder = models_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The models folder '{folder}' cannot be made: {error.strerror}.") from error
    return folder


def _files() -> dict[str, Path]:
    """Return the file of each name, in the order in which they are listed."""
    bundled = sorted(_in_folder(BUNDLED), key=lambda path: (path.stem != DEFAULT_MODEL, path.stem))
    files = {path.stem: path for path in bundled}
    for path in sorted(_in_folder(models_folder())):
        files[str(path) if path.stem in files else path.stem] = path
    return files


def _in_folder(folder: Path) -> list[Path]:
    # Names with a dot in front are being written, or macOS's shadows of other files.
    return [path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith(".")]


def _entry(name: str, path: Path) -> ModelEntry:
    bundled = path.parent == BUNDLED
    try:
        return ModelEntry(name, path, bundled, read_card(path))
    except ModelError as error:
        return ModelEntry(name, path, bundled, None, str(error))

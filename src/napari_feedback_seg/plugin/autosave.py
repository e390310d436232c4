"""What a person painted and a model learnt, kept in the user's folder until it is saved or discarded."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.io import replacing
from napari_feedback_seg.models.library import models_folder
from napari_feedback_seg.plugin.layers import em_sections

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Image

ABOUT = "about.json"


@dataclass(frozen=True)
class Autosave:
    """The folder that keeps the corrections of one image.

    Attributes
    ----------
    folder : Path
        It need not exist yet.
    image : str
        Name of the image.
    shape : tuple of int
        Its shape.
    """

    folder: Path
    image: str
    shape: tuple[int, ...]

    @property
    def checkpoint(self) -> Path:
        """Where a fine-tune keeps its state, so that one that was cut off can go on."""
        return self.folder / "finetune.pt"

    def save_section(self, z: int, labels: np.ndarray) -> None:
        """Write the corrections of a section (Y, X); without any, remove them.

        Raises
        ------
        OutputError
            If they cannot be written, a full disk included.
        """
        path = self.folder / f"section-{z:05d}.npz"
        if not labels.any():
            path.unlink(missing_ok=True)
            return
        with replacing(path, overwrite=True) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, labels=labels)
        self.note({})

    def note(self, what: dict[str, Any]) -> None:
        """Write down what else belongs to the corrections, such as the model that learnt from them."""
        about = {**self.about, **what, "image": self.image, "shape": list(self.shape), "time": time.time()}
        with replacing(self.folder / ABOUT, overwrite=True) as temporary:
            temporary.write_text(json.dumps(about, indent=2), encoding="utf-8")

    @property
    def about(self) -> dict[str, Any]:
        """What is written down; empty if that is nothing, or cannot be read."""
        try:
            found = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def saved(self) -> list[int]:
        """The sections of which there are corrections."""
        return sorted(int(path.stem.rpartition("-")[2]) for path in self.folder.glob("section-*.npz"))

    def load_section(self, z: int) -> np.ndarray:
        """Return the corrections (Y, X) of a section.

        Raises
        ------
        InputError
            If they cannot be read, or do not fit the image.
        """
        path = self.folder / f"section-{z:05d}.npz"
        try:
            with np.load(path, allow_pickle=False) as content:
                labels: np.ndarray = content["labels"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"The saved corrections of section {z} cannot be read ({path}).") from error
        count = self.shape[0] if len(self.shape) == 3 else 1
        if labels.shape != self.shape[-2:] or labels.dtype != np.uint8 or not 0 <= z < count:
            raise InputError(f"The saved corrections of section {z} do not fit the image '{self.image}'.")
        return labels

    def remove(self) -> None:
        """Remove all of it."""
        for path in (*self.folder.glob("section-*.npz"), self.folder / ABOUT, self.checkpoint):
            path.unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:
            pass  # something of somebody else's is in it, or it never was


def unsaved_folder() -> Path:
    """Return the folder of what is not saved yet."""
    return models_folder() / "unsaved"


def autosave_of(image: Image) -> Autosave:
    """Return where the corrections of an image are kept: by its file, name and shape.

    Raises
    ------
    InputError
        If the layer is no EM image.
    """
    shape = tuple(int(length) for length in em_sections(image).data.shape)
    source = getattr(image.source, "path", None) or ""
    key = hashlib.sha256(f"{source}\n{image.name}\n{shape}".encode()).hexdigest()[:16]
    return Autosave(unsaved_folder() / key, image.name, shape)


def make_unsaved_folder() -> Path:
    """Return the folder of what is not saved yet, which is made if need be.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    folder = unsaved_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder '{folder}' cannot be made: {error.strerror}.") from error
    return folder

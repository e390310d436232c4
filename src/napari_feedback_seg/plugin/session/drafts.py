"""Drafts: corrections that are not saved yet, in the user's folder, one folder a layer; and their writer."""

from __future__ import annotations

import hashlib
import json
import re
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.io import replacing
from napari_feedback_seg.models.library import models_folder
from napari_feedback_seg.plugin.session.regions import places

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

ABOUT = "about.json"

_DENSE = 5  # from every so many-th pixel on, all are written, else only those that are corrected
_LARGEST = 255  # label of a class


@dataclass(frozen=True)
class Draft:
    """The folder that keeps the corrections of one layer."""

    folder: Path  # it need not exist yet
    image: str  # name of the image
    shape: tuple[int, ...]  # its shape

    @property
    def checkpoint(self) -> Path:
        """Where a fine-tune keeps its state, so that one that was cut off can go on."""
        return self.folder / "finetune.pt"

    def save_section(self, z: int, labels: np.ndarray) -> None:
        """Write the corrections of a section, (Y, X) uint8; without any, remove them.

        Raises OutputError if they cannot be written, a full disk included.
        """
        path = self._path(z)
        corrected = np.count_nonzero(labels)
        if not corrected:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(f"'{path}' cannot be removed: {error.strerror}.") from error
            return
        if corrected > labels.size // _DENSE:
            content: dict[str, Any] = {"labels": labels}
        else:
            where = places(labels)
            flat = np.ravel_multi_index(where, labels.shape).astype(np.uint32)
            content = {"shape": labels.shape, "places": flat, "values": labels[where]}
        with replacing(path, overwrite=True, beside=False) as temporary, temporary.open("wb") as file:
            np.savez(file, **content)  # not compressed: a person paints on meanwhile

    def note(self, what: Mapping[str, Any]) -> None:
        """Write down what else belongs to the corrections, such as the models that learnt from them."""
        about = {**self.about, **what, "image": self.image, "shape": list(self.shape), "time": time.time()}
        with replacing(self.folder / ABOUT, overwrite=True, beside=False) as temporary:
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
    def of(self) -> str:
        """Name that the image had when it was written last."""
        return str(self.about.get("image", self.image))

    @property
    def noted_models(self) -> list[Path]:
        """The files of the models that learnt from the corrections, the oldest first, there or not."""
        about = self.about
        found = about.get("models") or [about.get("model")]  # an earlier version noted one
        return [Path(each) for each in found if isinstance(each, str)] if isinstance(found, list) else []

    @property
    def models(self) -> list[Path]:
        """Those of them that are there: they are not saved."""
        return [each for each in self.noted_models if each.is_file()]

    @property
    def time(self) -> float:
        """When it was written last, in seconds."""
        found = self.about.get("time")
        return float(found) if isinstance(found, int | float) else 0.0

    @property
    def saved(self) -> list[int]:
        """The sections of which there are corrections."""
        found = (re.fullmatch(r"section-(\d{5,})\.npz", path.name) for path in self.folder.glob("section-*"))
        return sorted(int(each[1]) for each in found if each)

    def load_section(self, z: int) -> np.ndarray:
        """Return the corrections (Y, X) of a section.

        Raises InputError if they cannot be read, or do not fit the image.
        """
        path = self._path(z)
        try:
            with np.load(path, allow_pickle=False) as content:
                if "labels" in content:
                    labels: np.ndarray = content["labels"]
                else:
                    flat = np.zeros(int(np.prod(content["shape"])), np.uint8)
                    flat[content["places"]] = content["values"]
                    labels = flat.reshape(content["shape"])
        except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"The saved corrections of section {z} cannot be read ({path}).") from error
        sections = self.shape[0] if len(self.shape) == 3 else 1
        whole = np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool
        if labels.shape != self.shape[-2:] or not whole or not 0 <= z < sections:
            raise InputError(f"The saved corrections of section {z} do not fit the image '{self.image}'.")
        if labels.min(initial=0) < 0 or labels.max(initial=0) > _LARGEST:
            raise InputError(f"The saved corrections of section {z} hold labels that no class can have.")
        return labels.astype(np.uint8)

    @property
    def taken(self) -> bool:
        """Whether there is something of it."""
        return bool(self.saved) or (self.folder / ABOUT).exists() or self.checkpoint.exists()

    def beside(self, number: int) -> Draft:
        """Return another folder for the same image; number 1 is this one."""
        return self if number == 1 else replace(self, folder=Path(f"{self.folder}-{number}"))

    def _path(self, z: int) -> Path:
        return self.folder / f"section-{z:05d}.npz"

    def remove(self) -> None:
        """Remove all of it."""
        for path in (*self.folder.glob("section-*.npz"), self.folder / ABOUT, self.checkpoint):
            with suppress(OSError):  # a virus scanner may be at it
                path.unlink(missing_ok=True)
        with suppress(OSError):  # something of somebody else's is in it, or it never was
            self.folder.rmdir()


def unsaved_folder() -> Path:
    """Return the folder of what is not saved yet."""
    return models_folder() / "unsaved"


def first_draft(source: str, name: str, shape: tuple[int, ...]) -> Draft:
    """Return where the corrections of an image are kept first.

    Parameters
    ----------
    source : str
        The file of the image or its address; empty if it is from elsewhere, and then the name counts.
    name : str
        Name of the image.
    shape : tuple of int
        Its shape.
    """
    what = f"file {source}" if source else f"name {name}"
    key = hashlib.sha256(f"{what}\n{shape}".encode()).hexdigest()[:16]
    return Draft(unsaved_folder() / key, name, shape)


def drafts(first: Draft) -> list[Draft]:
    """Return the drafts of an image that hold corrections, the newest first."""
    numbers = [1]
    for folder in unsaved_folder().glob(f"{first.folder.name}-*"):
        number = folder.name.rpartition("-")[2]
        numbers += [int(number)] if number.isdecimal() and int(number) > 1 else []
    found = [each for each in map(first.beside, numbers) if each.saved]
    return sorted(found, key=lambda each: -each.time)


def free(first: Draft, others: Collection[Draft]) -> Draft:
    """Return where to keep something else of the same image: nothing is there, nor among ``others``."""
    folders = (first.beside(number) for number in count(1))
    return next(each for each in folders if not each.taken and each not in others)


class Writer:
    """Writes sections, the newest state of each; what fails is tried again with what comes next.

    Parameters
    ----------
    failed : callable
        Called in the thread with the error, once until something can be written again.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._lock = Lock()
        self._thread: Thread | None = None
        self._sections: dict[tuple[Draft, int], np.ndarray] = {}
        self._abouts: dict[Draft, Mapping[str, Any]] = {}
        self._told = False

    def write(self, draft: Draft, sections: Mapping[int, np.ndarray], about: Mapping[str, Any]) -> None:
        """Write sections (Y, X) of a draft soon, as they are then, and what is to be noted of it."""
        with self._lock:
            self._sections.update({(draft, z): labels for z, labels in sections.items()})
            self._abouts[draft] = {**self._abouts.get(draft, {}), **about}
            if self._thread is None:
                self._thread = Thread(target=self._work, name="feedback-seg-journal")
                self._thread.start()

    def wait(self) -> None:
        """Return when all is written that can be."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def forget(self, draft: Draft) -> None:
        """Write nothing of a draft that waits, because it is about to be removed."""
        with self._lock:
            self._sections = {key: labels for key, labels in self._sections.items() if key[0] != draft}
            self._abouts.pop(draft, None)
        self.wait()

    def _work(self) -> None:
        failed: dict[tuple[Draft, int], np.ndarray] = {}
        while True:
            with self._lock:
                if not self._sections and not self._abouts:
                    self._sections.update(failed)
                    self._thread = None
                    return
                sections, self._sections = self._sections, {}
                abouts, self._abouts = self._abouts, {}
            for (draft, z), labels in sections.items():
                if not self._try(lambda: draft.save_section(z, labels)):  # noqa: B023  # called at once
                    failed[draft, z] = labels
            for draft, about in abouts.items():
                if draft.saved or about.get("models"):
                    self._try(lambda: draft.note(about))  # noqa: B023

    def _try(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except (OutputError, OSError) as error:
            if not self._told:
                self._told = True
                self._failed(error)
            return False
        self._told = False
        return True

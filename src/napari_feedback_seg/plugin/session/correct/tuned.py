"""The models that were fine-tuned in this session, and what each says: kept, undone and redone."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import ModelError
from napari_feedback_seg.models.library import ModelEntry, list_models, save_to_library
from napari_feedback_seg.models.model_file import SUFFIX, load_model_file, read_card
from napari_feedback_seg.plugin.session.drafts import unsaved_folder
from napari_feedback_seg.plugin.session.versions import Version
from napari_feedback_seg.segmentation.prediction import name_sections

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from napari.layers import Image

    from napari_feedback_seg.plugin.session.records import ResultRecord
    from napari_feedback_seg.plugin.session.session import Session


class TunedModels:
    """A chain of models, from the one that was first fine-tuned to the last one.

    Each is in a file and among the models of the session, so that all tabs can use it. Choosing a
    model of the chain moves along it; fine-tuning any other one begins a new chain.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._chain: list[str] = []

    @property
    def current(self) -> str:
        """Name of the model in use."""
        return self._session.model_name

    @property
    def earlier(self) -> str | None:
        """Name of the model before."""
        return self._chain[self._at - 1] if self._at > 0 else None

    @property
    def later(self) -> str | None:
        """Name of the model that was undone."""
        return self._chain[self._at + 1] if 0 <= self._at < len(self._chain) - 1 else None

    @property
    def unsaved(self) -> bool:
        """Whether the model in use is not in the library."""
        return self.current in self._session.unsaved

    @property
    def _at(self) -> int:
        return self._chain.index(self.current) if self.current in self._chain else -1

    def add(self, path: Path, parent: str | None = None) -> None:
        """Take a model file into use, as what comes after its parent, the model in use if not given.

        Raises ModelError if it cannot be read.
        """
        entry = ModelEntry(path.stem, path, False, read_card(path))
        self._session.unsaved[entry.name] = entry
        parent = parent or self.current
        before = self._chain[: self._chain.index(parent) + 1] if parent in self._chain else [parent]
        self._chain = [*before, entry.name]
        self._session.refresh_models(entry.name)

    def undo(self) -> None:
        """Go back to the model before."""
        if self.earlier is not None:
            self._session.model_name = self.earlier

    def redo(self) -> None:
        """Take the model again that was undone."""
        if self.later is not None:
            self._session.model_name = self.later

    def path_for(self, name: str) -> Path:
        """Return a file for a model of this name: one that is not there, nor in the library or the chain."""
        folder = unsaved_folder()
        taken = {*self._session.unsaved, *(each.name for each in list_models())}
        names = chain([name], (f"{name} {number}" for number in count(2)))
        paths = (folder / f"{each}{SUFFIX}" for each in names if each not in taken)
        return next(each for each in paths if not os.path.lexists(each))  # of an earlier time

    def save_as(self, name: str) -> None:
        """Save the model in use to the library, and take it into use from there.

        Raises ModelError or OutputError if it cannot be saved under this name.
        """
        if not name:
            raise ModelError("Give the model a name, such as 'bright membranes'.")
        entry = self._session.unsaved[self.current]
        model = load_model_file(entry.path)
        save_to_library(replace(model, card=replace(model.card, name=name)), name)
        del self._session.unsaved[entry.name]
        self._chain = [name if each == entry.name else each for each in self._chain]
        session = self._session
        session.refresh_models(name)
        if session.entry is not None:
            session.instant.teaching.renamed(entry.path, session.entry.path)
            for result in filter(None, map(session.result_of, session.images)):
                record = session.layers.record_of(result)
                if record is not None:
                    session.layers.write_record(result, record.renamed(entry.path, name, session.entry.path))
        with suppress(OSError):  # it is in the library, and in the folder of what is not saved, too
            entry.path.unlink(missing_ok=True)


class Answers:
    """What each model of the chain says of an image: kept where another one writes over it."""

    def __init__(self, session: Session, models: TunedModels) -> None:
        self._session, self._models = session, models
        self._of_image: dict[Any, dict[str, Version]] = {}  # by identity of the image

    def known(self, model: str | None) -> bool:
        """Return whether labels are kept of what a model says of the image: others than those shown."""
        answers = self._of(self._session.image)
        return model in answers and bool(answers[model].sections)

    def before_write(self, z: int) -> None:
        """Keep what is shown of a section that the model in use is about to write, for the one before it."""
        session, result, earlier = self._session, self._session.result, self._models.earlier
        if result is not None and earlier is not None:
            version = self._of(session.image).setdefault(earlier, Version())
            version.keep(z, session.layers.plane(result, z), session.layers.record_of(result))

    def swap(self, image: Image | None, now: str, wanted: str) -> None:
        """Show what another model says of an image, and keep what is shown as that of ``now``."""
        layers, result, answers = self._session.layers, self._session.result_of(image), self._of(image)
        if result is None or wanted not in answers:
            return
        version = answers.pop(wanted)
        if version.sections or version.beside in (None, layers.record_of(result)):  # else it was written anew
            version.swap(layers, result)
            answers[now] = version
            self._session.tell("result")

    def same(self, image: Image | None, model: str, record: ResultRecord, beside: ResultRecord) -> None:
        """Take note that a model says, by its own record, what is shown by another one's."""
        version = self._of(image).setdefault(model, Version())
        version.record, version.beside = record, beside

    def rename(self, before: str, after: str) -> None:
        """Take note that a model has another name now."""
        for answers in self._of_image.values():
            if before in answers:
                answers[after] = answers.pop(before)

    def _of(self, image: Image | None) -> dict[str, Version]:
        present = self._session.layers.identities
        for gone in self._of_image.keys() - present:
            del self._of_image[gone]
        return self._of_image.setdefault(image.unique_id, {}) if image is not None else {}


def emptied(model: str, sections: Collection[int]) -> str:
    """Return that a model that was gone back to has not segmented these sections; empty if there are none."""
    if not sections:
        return ""
    which, many = name_sections(sorted(sections)).lower(), len(sections) > 1
    empty = "they are empty until you segment them" if many else "it is empty until you segment it"
    return f"'{model}' has not segmented {which}: {empty}."

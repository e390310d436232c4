"""The models that were fine-tuned since napari started: kept in files, undone and redone."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, count
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_feedback_seg.models.library import ModelEntry, list_models, save_to_library
from napari_feedback_seg.models.model_file import SUFFIX, load_model_file, read_card
from napari_feedback_seg.plugin.autosave import make_unsaved_folder

if TYPE_CHECKING:
    from pathlib import Path

    from napari_feedback_seg.plugin.state import DockState


class FinetunedModels(QObject):
    """A chain of models, from the one that was first fine-tuned to the last one.

    Each is in a file and among the dock's models, so that all tabs can use it. Choosing a
    model of the chain moves along it, choosing any other one begins a new chain.

    Signals
    -------
    changed
        The place in the chain is another, or the chain is.
    """

    changed = Signal()

    def __init__(self, state: DockState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._entries: dict[str, ModelEntry] = {}
        self._chain = [state.model_name]
        self._at = 0
        state.model_changed.connect(self._follow)

    @property
    def current(self) -> str:
        """Name of the model in use."""
        return self._chain[self._at]

    @property
    def earlier(self) -> str | None:
        """Name of the model before."""
        return self._chain[self._at - 1] if self._at else None

    @property
    def later(self) -> str | None:
        """Name of the model that was undone."""
        return self._chain[self._at + 1] if self._at + 1 < len(self._chain) else None

    @property
    def unsaved(self) -> bool:
        """Whether the model in use is not in the library."""
        return self.current in self._entries

    def add(self, path: Path) -> None:
        """Take a model file into use, as what comes after the model in use."""
        entry = ModelEntry(path.stem, path, False, read_card(path))
        self._entries[entry.name] = entry
        self._chain = [*self._chain[: self._at + 1], entry.name]
        self._at += 1
        self._state.models.append(entry)
        self._state.model_name = entry.name

    def undo(self) -> None:
        """Go back to the model before."""
        if self.earlier is not None:
            self._state.model_name = self.earlier

    def redo(self) -> None:
        """Take the model again that was undone."""
        if self.later is not None:
            self._state.model_name = self.later

    def path_for(self, name: str) -> Path:
        """Return a file for a model of this name: one that neither the library nor the chain has.

        Raises
        ------
        OutputError
            If its folder cannot be made.
        """
        folder, taken = make_unsaved_folder(), {each.name for each in list_models()}
        names = chain([name], (f"{name} {number}" for number in count(2)))
        free = (each for each in names if each not in taken and each not in self._entries)
        return folder / f"{next(free)}{SUFFIX}"

    def save_as(self, name: str) -> None:
        """Save the model in use to the library, and take it into use from there.

        Raises
        ------
        ModelError, OutputError
            If it cannot be saved under this name.
        """
        entry = self._entries[self.current]
        model = load_model_file(entry.path)
        save_to_library(replace(model, card=replace(model.card, name=name)), name)
        del self._entries[entry.name]
        self._chain[self._at] = name
        self._state.refresh_models()
        self._state.model_name = name
        entry.path.unlink(missing_ok=True)

    def _follow(self) -> None:
        """Keep our models among the dock's, which reads the library again and again."""
        missing = [entry for entry in self._entries.values() if entry not in self._state.models]
        if missing:
            lost = self.current in self._entries and self.current != self._state.model_name
            self._state.models.extend(missing)
            if lost:
                self._state.model_name = self.current
            else:
                self._state.model_changed.emit()
            return
        name = self._state.model_name
        if name not in self._chain:
            self._chain, self._at = [name], 0
        else:
            self._at = self._chain.index(name)
        self.changed.emit()

"""Saves corrections and models by themselves, and offers them again after a crash."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from napari_feedback_seg.classes import UNLABELLED, LabelClass
from napari_feedback_seg.errors import FeedbackSegError, OutputError
from napari_feedback_seg.plugin.autosave import Autosave, autosave_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_feedback_seg.plugin.corrections import CorrectionStore
    from napari_feedback_seg.plugin.finetuned import FinetunedModels
    from napari_feedback_seg.plugin.state import DockState

_PAUSE = 1000  # ms without a change, and it is saved


class Recovery(QObject):
    """Keeps what is not saved, and knows whether there is something of an earlier time.

    Nothing is written for an image while the offer of an earlier time stands.

    Signals
    -------
    changed
        There is another offer, or none.
    """

    changed = Signal()

    def __init__(
        self,
        state: DockState,
        store: CorrectionStore,
        models: FinetunedModels,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state, self._store, self._models = state, store, models
        self._autosave: Autosave | None = None
        self._offered = False
        self._answered: set[Path] = set()
        self._dirty: set[int] = set()
        self._failed = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE)
        self._timer.timeout.connect(self.save)
        store.changed.connect(self._take)
        store.leaving.connect(self._leave)
        state.image_changed.connect(self._follow)
        self._follow()

    @property
    def offer(self) -> str:
        """What is offered, in words; empty if that is nothing."""
        if not self._offered or self._autosave is None:
            return ""
        about = self._autosave.about
        when = time.strftime("%d %B, %H:%M", time.localtime(about.get("time", 0)))
        model = " and the model that learnt from them" if self._model_path() else ""
        count = len(self._autosave.saved)
        return (
            f"There are corrections of '{self._autosave.image}' from {when}, on {count} "
            f"section{'s' * (count != 1)}{model}."
        )

    @property
    def autosave(self) -> Autosave | None:
        """Where the corrections of the image are kept."""
        return self._autosave

    def restore(self) -> None:
        """Put back what is offered."""
        autosave = self._autosave
        if autosave is None or not self._offered:
            return
        if self._state.image is None or self._state.image.name != autosave.image:
            show_warning(f"The image '{autosave.image}' is no longer there: open it, and try again.")
            return
        self._answer()
        for value in autosave.about.get("classes", []):
            self._restore_class(value)
        problems = []
        for z in autosave.saved:
            try:
                labels = autosave.load_section(z)
                if self._store.layer is not None:
                    now = self._store.plane(z)
                    labels = np.where(now != UNLABELLED, now, labels)  # what is newer stays
                self._store.write(z, labels)
            except FeedbackSegError as error:
                problems.append(str(error))
        path = self._model_path()
        if path is not None:
            try:
                self._models.add(path)
            except FeedbackSegError as error:
                problems.append(str(error))
        for problem in problems:
            show_warning(problem)
        if not problems:
            show_info("The corrections are back.")

    def discard(self) -> None:
        """Remove what is offered."""
        if self._autosave is not None and self._offered:
            self._autosave.remove()
            self._answer()
            self._dirty.update(self._store.counts)
            self._timer.start()

    def note_model(self, path: Path | None) -> None:
        """Remember which file holds the model that learnt from the corrections; None: it is saved."""
        self._try(lambda autosave: autosave.note({"model": str(path) if path else None}))

    def save(self) -> None:
        """Write the corrections that have changed."""
        self._timer.stop()
        if self._offered or self._store.layer is None:
            return
        dirty, self._dirty = sorted(self._dirty), set()
        classes = [each.to_json() for each in self._store.new_classes]
        for z in dirty:
            if not self._try(partial(Autosave.save_section, z=z, labels=self._store.plane(z))):
                self._dirty.add(z)  # with the next change it is tried again
        if dirty and classes:
            self._try(lambda autosave: autosave.note({"classes": classes}))

    def cleanup(self) -> None:
        """Save what is not saved yet, and stop; may be called again."""
        if self._timer.isActive():
            self.save()
        self._autosave = None

    def _try(self, write: Callable[[Autosave], None]) -> bool:
        if self._autosave is None:
            return False
        try:
            write(self._autosave)
        except (OutputError, OSError) as error:
            if not self._failed:
                show_warning(f"The corrections could not be saved by themselves: {error}")
            self._failed = True
            return False
        self._failed = False
        return True

    def _leave(self) -> None:
        """Save what was painted on the image that is left now."""
        if self._timer.isActive():
            self.save()
        self._dirty.clear()

    def _take(self, sections: list[int]) -> None:
        self._dirty.update(sections)
        if self._dirty:
            self._timer.start()

    def _follow(self) -> None:
        """Turn to another image."""
        image = self._state.image
        if image is not None or not self._offered:
            try:
                self._autosave = autosave_of(image) if image is not None else None
            except FeedbackSegError:
                self._autosave = None
            fresh = self._autosave is not None and self._autosave.folder not in self._answered
            self._offered = bool(fresh and self._autosave and self._autosave.saved and not self._store.counts)
            if self._autosave is not None and not self._offered:
                self._answered.add(self._autosave.folder)
        self._take(list(self._store.counts))
        self.changed.emit()

    def _answer(self) -> None:
        assert self._autosave is not None
        self._answered.add(self._autosave.folder)
        self._offered = False
        self.changed.emit()

    def _model_path(self) -> Path | None:
        found = self._autosave.about.get("model") if self._autosave else None
        path = Path(found) if isinstance(found, str) else None
        return path if path is not None and path.is_file() else None

    def _restore_class(self, value: object) -> None:
        try:
            self._store.add_class(LabelClass(**value))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            show_warning("A class of the saved corrections cannot be read.")

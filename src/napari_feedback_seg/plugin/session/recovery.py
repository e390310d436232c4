"""Saves corrections and models by themselves, and offers them again after a crash."""

from __future__ import annotations

import math
import time
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.errors import FeedbackSegError, OutputError
from napari_feedback_seg.plugin.session.autosave import Autosave, autosave_of, free, kept
from napari_feedback_seg.plugin.session.corrections_classes import read_classes

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_feedback_seg.plugin.correct.finetuned import FinetunedModels
    from napari_feedback_seg.plugin.session.corrections import CorrectionStore
    from napari_feedback_seg.plugin.session.state import DockState

_PAUSE = 1000  # ms without a change, and it is saved
_LATEST = 5000  # ms, and it is saved all the same
_AT_ONCE = 0.1  # s of writing, and the window gets a turn

_FOLDERS: WeakKeyDictionary[Viewer, dict[Any, Autosave]] = WeakKeyDictionary()  # by identity of the layer


class Recovery(QObject):
    """Keeps what is not saved, and knows whether there is something of an earlier time.

    Each layer of corrections has a folder of its own, in which there was nothing before. What is kept
    in another one, of an earlier session or of a layer that was deleted, is offered until it was
    restored in full or discarded, and nobody writes there.

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
        self._first: Autosave | None = None
        self._image: Image | None = None
        self._of_layer = _FOLDERS.setdefault(state.viewer, {})
        self._offers: list[Autosave] = []
        self._dirty: set[int] = set()
        self._noted: dict[Any, dict[int, int]] = {}  # by folder, what was written of a section
        self._failed = False
        self._timer, self._latest, self._soon = QTimer(self), QTimer(self), QTimer(self)
        for timer, wait in ((self._timer, _PAUSE), (self._latest, _LATEST), (self._soon, 0)):
            timer.setSingleShot(True)
            timer.setInterval(wait)
            timer.timeout.connect(self._save_some)
        store.changed.connect(self._take)
        store.leaving.connect(self._leave)
        store.followed.connect(self._follow)
        self._follow()

    @property
    def offer(self) -> str:
        """What is offered, in words; empty if that is nothing."""
        if not self._offers:
            return ""
        newest, others = self._offers[0], len(self._offers) - 1
        model = " and the model that learnt from them" if _model_path(newest) else ""
        count = len(newest.saved)
        more = f" After that, {others} older one{'s' * (others > 1)} will be offered." if others else ""
        return (
            f"There are corrections of '{newest.of}' from {_when(newest)}, on {count} "
            f"section{'s' * (count != 1)}{model}.{more}"
        )

    @property
    def autosave(self) -> Autosave | None:
        """Where the corrections of the image are kept; None if there are none, or no place for them."""
        layer = self._store.layer
        if layer is None or self._first is None:
            return None
        if layer.unique_id not in self._of_layer:
            self._of_layer[layer.unique_id] = free(self._first, list(self._of_layer.values()))
        return self._of_layer[layer.unique_id]

    def restore(self) -> None:
        """Put back what is offered; what cannot be put back stays where it is."""
        if not self._offers:
            return
        offered = self._offers[0]
        if self._state.image is None or self._state.image != self._image:
            show_warning(f"The image '{offered.of}' is no longer there: open it, and try again.")
            return
        problems, sections = [], {}
        for z in offered.saved:
            try:
                sections[z] = offered.load_section(z)
            except FeedbackSegError as error:
                problems.append(str(error))
        used = {int(value) for labels in sections.values() for value in np.unique(labels)}
        try:
            table = self._store.take_classes(read_classes(offered.about.get("classes")), used)
            for z, labels in sections.items():
                labels = table[labels]
                if self._store.layer is not None:
                    now = self._store.painted(z)
                    labels = np.where(now != UNLABELLED, now, labels)  # what is newer stays
                self._store.write(z, labels)
        except FeedbackSegError as error:
            problems.append(str(error))
        path = _model_path(offered)
        if path is not None:
            try:
                self._models.add(path)
            except FeedbackSegError as error:
                problems.append(str(error))
        for problem in problems:
            show_warning(problem)
        if not problems:
            self._settle(offered)
            show_info("The corrections are back.")
        self._look_for_offers()

    def discard(self) -> None:
        """Remove what is offered, if a person really wants that."""
        if not self._offers:
            return
        parent = self.parent()
        answer = QMessageBox.question(
            parent if isinstance(parent, QWidget) else None,
            "Discard the corrections?",
            f"The corrections of '{self._offers[0].of}' from {_when(self._offers[0])} will be deleted.",
        )
        if answer == QMessageBox.StandardButton.Yes:
            self._remove(self._offers[0])
            self._look_for_offers()

    def note_model(self, path: Path | None, of: Autosave | None = None) -> None:
        """Remember which file holds the model that learnt from corrections; None: it is saved.

        Parameters
        ----------
        path : Path or None
            The file.
        of : Autosave, optional
            Where those corrections are kept; those of the image if not given.
        """
        self._try(lambda autosave: autosave.note({"model": str(path) if path else None}), of)

    def _save_some(self) -> None:
        """Write some of what has changed, lest the window stand still, and soon the rest."""
        self.save(briefly=True)

    def save(self, *, briefly: bool = False) -> None:
        """Write the corrections that have changed; some of them, if it is to be brief."""
        for timer in (self._timer, self._latest, self._soon):
            timer.stop()
        autosave = self.autosave
        if self._store.layer is None or autosave is None:
            return
        classes, failed = [each.to_json() for each in self._store.classes], set()
        noted = self._noted.setdefault(autosave.folder, {})
        until = time.monotonic() + (_AT_ONCE if briefly else math.inf)
        written = False
        while self._dirty:
            z = self._dirty.pop()
            labels = self._store.painted(z)
            digest = zlib.crc32(np.ascontiguousarray(labels).data)
            if noted.get(z) == digest:
                continue
            if self._try(partial(Autosave.save_section, z=z, labels=labels)):
                noted[z], written = digest, True
            else:
                failed.add(z)  # with the next change it is tried again
            if time.monotonic() >= until:
                break
        if written:
            self._try(lambda autosave: autosave.note({"classes": classes}))
        if self._dirty:
            self._soon.start()
        self._dirty |= failed

    def save_now(self) -> None:
        """Write what was painted up to now."""
        if self._first is not None:
            self._store.look()
            self.save()

    def cleanup(self) -> None:
        """Save what is not saved yet, and stop; may be called again."""
        self.save_now()
        self._first = self._image = None
        for timer in (self._timer, self._latest, self._soon):
            timer.stop()

    def _settle(self, restored: Autosave) -> None:
        """Go on in the folder of what was restored; if there is another one already, it takes that in."""
        layer, own = self._store.layer, self.autosave
        if layer is None or own is None:
            return
        if not own.taken:
            self._of_layer[layer.unique_id] = restored
            return
        self.save()
        if "model" in restored.about:
            model = {"model": restored.about["model"]}
            self._try(lambda autosave: autosave.note(model))
        if not self._failed and set(restored.saved) <= set(own.saved):
            self._remove(restored)

    def _remove(self, autosave: Autosave) -> None:
        self._noted.pop(autosave.folder, None)
        autosave.remove()

    def _try(self, write: Callable[[Autosave], None], autosave: Autosave | None = None) -> bool:
        autosave = autosave or self.autosave
        if autosave is None:
            return False
        try:
            write(autosave)
        except (OutputError, OSError) as error:
            if not self._failed:
                show_warning(f"The corrections could not be saved by themselves: {error}")
            self._failed = True
            return False
        self._failed = False
        return True

    def _leave(self) -> None:
        """Save what was painted on the layer that is left now."""
        self.save()
        self._dirty.clear()

    def _take(self, sections: list[int]) -> None:
        self._dirty.update(sections)
        if self._dirty:
            self._timer.start()
            if not self._latest.isActive():
                self._latest.start()

    def _follow(self) -> None:
        """Turn to another image or layer."""
        image = self._state.image
        if image is not None or not self._offers:
            try:
                self._image, self._first = image, autosave_of(image) if image is not None else None
            except FeedbackSegError:
                self._first = None
            self._look_for_offers()
        self._take(list(self._store.counts))

    def _look_for_offers(self) -> None:
        """Offer what is kept of the image and belongs to no layer that is there."""
        layer, first = self._store.layer, self._first
        found = [each for each in kept(first) if self._is_of_image(each)] if first is not None else []
        present = {each.unique_id for each in self._state.viewer.layers}
        used = [each for identity, each in self._of_layer.items() if identity in present]
        if layer is not None and layer.unique_id not in self._of_layer:
            same = next((each for each in found if each not in used and self._is_here(each)), None)
            if same is not None:  # it was saved as a file, too, and opened from there
                self._of_layer[layer.unique_id] = same
                used.append(same)
        self._offers = [each for each in found if each not in used]
        self.changed.emit()

    def _is_of_image(self, autosave: Autosave) -> bool:
        """Whether it was not kept for another image that is there, too, of the same file and shape."""
        name = autosave.about.get("image")
        others = [each for each in self._state.images if each != self._image and each.name == name]
        first = self._first
        return first is None or all(autosave_of(each).folder != first.folder for each in others)

    def _is_here(self, autosave: Autosave) -> bool:
        """Whether the layer has all that is kept, and there is no model."""
        if _model_path(autosave) is not None:
            return False
        for z in autosave.saved:
            try:
                labels = autosave.load_section(z)
            except FeedbackSegError:
                return False
            if (labels != self._store.painted(z))[labels != UNLABELLED].any():
                return False
        return True


def _when(autosave: Autosave) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(autosave.time))


def _model_path(autosave: Autosave) -> Path | None:
    found = autosave.about.get("model")
    path = Path(found) if isinstance(found, str) else None
    return path if path is not None and path.is_file() else None

"""The one store of corrections of an image, and the result that always shows them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.plugin.corrections_layer import (
    Count,
    corrections_colormap,
    count,
    find_layer,
    fits,
    new_layer,
)
from napari_feedback_seg.plugin.layers import RESULT_KEY, class_features, displayed_section
from napari_feedback_seg.plugin.results import note_written

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.plugin.state import DockState

_PAUSE = 250  # ms without a change, and what was painted is looked at


@dataclass
class _Section:
    """What was seen of a section at the last look."""

    shown: np.ndarray | None = None
    predicted: np.ndarray | None = None
    digest: int | None = None
    written: int | None = None
    counts: dict[int, Count] = field(default_factory=dict)


class CorrectionStore(QObject):
    """The corrections of the dock's image, in a Labels layer "<image> corrections".

    What is painted on the result is copied there; what is corrected is shown in the result,
    whatever the model says. Both are looked at when something was painted, undone or segmented:
    undoing announces itself no other way.

    Signals
    -------
    changed : list of int
        The corrections of these sections are others than before.
    leaving
        Another image or layer is about to be followed.
    """

    changed = Signal(list)
    leaving = Signal()

    def __init__(self, state: DockState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._sections: dict[int, _Section] = {}
        self._image: Image | None = None
        self._layer: Labels | None = None
        self._result: Labels | None = None
        self._looking = False
        self._warned = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE)
        self._timer.timeout.connect(self.look)
        self.new_classes: list[LabelClass] = []
        state.image_changed.connect(self._bind)
        state.layers_changed.connect(self._bind)
        state.result_changed.connect(self._bind)
        state.model_changed.connect(self._recolour)
        self._bind()

    # --- what there is

    @property
    def layer(self) -> Labels | None:
        """The layer of corrections; None if nothing was painted yet."""
        return self._layer

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """The classes to paint with: those of the model, and new ones."""
        known = self._state.card.classes if self._state.card else ()
        taken = {each.value for each in known} | {each.name for each in known}
        return (*known, *(each for each in self.new_classes if not {each.value, each.name} & taken))

    @property
    def counts(self) -> dict[int, dict[int, Count]]:
        """Section to class value to count."""
        return {z: each.counts for z, each in sorted(self._sections.items()) if each.counts}

    @property
    def odd_values(self) -> list[int]:
        """Values in the corrections that are no class."""
        known = {each.value for each in self.classes}
        return sorted({value for counts in self.counts.values() for value in counts} - known)

    def plane(self, z: int) -> np.ndarray:
        """Return the corrections of a section (Y, X)."""
        assert self._layer is not None
        return _plane(self._layer.data, z)

    @property
    def predicted(self) -> dict[int, np.ndarray]:
        """Section to what the model says of it, without the corrections; not to be written to."""
        found = ((z, each.predicted) for z, each in self._sections.items())
        return {z: predicted for z, predicted in found if predicted is not None}

    def make_layer(self) -> Labels:
        """Return the layer of corrections, which is made if need be.

        Raises
        ------
        InputError
            If there is no image, or a layer of its name that cannot hold its corrections.
        """
        if self._layer is not None:
            return self._layer
        layer = new_layer(self._state.viewer, self._state.image, self.classes)
        self._bind()
        return layer

    def write(self, z: int, labels: np.ndarray) -> None:
        """Replace the corrections of a section."""
        layer = self.make_layer()
        _plane(layer.data, z)[:] = labels
        layer.refresh()
        self._sections.setdefault(z, _Section())
        self.look()

    # --- looking

    def look(self) -> None:
        """Take over what was painted, and show it in the result."""
        self._timer.stop()
        if self._looking or self._image is None:
            return
        if self._layer is None and self._was_painted():
            self.make_layer()  # and looks
            return
        self._looking = True
        try:
            touched = [z for z in self._to_look_at() if self._look_at(z)]
        finally:
            self._looking = False
        if touched:
            self.changed.emit(touched)

    def show_instead(self, z: int, predicted: np.ndarray) -> None:
        """Show a prediction of a section, with the corrections on it, as the current one.

        Parameters
        ----------
        z : int
            The section.
        predicted : ndarray
            (Y, X) labels of a model.
        """
        seen = self._sections.setdefault(z, _Section())
        if self._result is not None:
            self._looking = True
            try:
                self._compose(z, seen, self._result)  # what was painted in the meantime is not lost
                seen.predicted = predicted
                self._compose(z, seen, self._result)
            finally:
                self._looking = False

    def add_class(self, new: LabelClass) -> None:
        """Add a class that the model does not know yet."""
        self.new_classes.append(new)
        self._recolour()
        self.changed.emit([])

    def cleanup(self) -> None:
        """Let go of the layers; may be called again."""
        self._timer.stop()
        self._unwatch()
        self._image = self._layer = self._result = None
        self._sections.clear()

    def _to_look_at(self) -> list[int]:
        """Return the section that is shown, those with corrections, and those that were segmented anew."""
        layers = [each for each in (self._layer, self._result) if each is not None]
        if not layers:
            return []
        count = layers[0].data.shape[0] if layers[0].ndim == 3 else 1
        if any(each.n_edit_dimensions > 2 for each in layers):
            return list(range(count))
        corrected = [z for z, seen in self._sections.items() if seen.counts or seen.digest is None]
        new = [
            z
            for z, digest in self._digests.items()
            if z not in self._sections or self._sections[z].written != digest
        ]
        shown = displayed_section(self._state.viewer, layers[0])
        return sorted({shown, *corrected, *new} & set(range(count)))

    def _was_painted(self) -> bool:
        """Whether there is a stroke on the result, while there is no layer of corrections."""
        if self._result is None:
            return False
        seen = {z: each for z, each in self._sections.items() if each.written == self._digests.get(z)}
        z = displayed_section(self._state.viewer, self._result)
        before = seen[z].shown if z in seen else None
        return before is not None and not np.array_equal(_plane(self._result.data, z), before)

    def _look_at(self, z: int) -> bool:
        """Look at a section; return whether its corrections have changed."""
        seen = self._sections.setdefault(z, _Section())
        if self._result is not None:
            self._compose(z, seen, self._result)
        if self._layer is None:
            return False
        plane = self.plane(z)
        digest = zlib.crc32(np.ascontiguousarray(plane).data)
        if digest == seen.digest:
            return False
        counts = count(plane)
        changed = counts != seen.counts or seen.digest is not None
        seen.digest, seen.counts = digest, counts
        return changed

    @property
    def _digests(self) -> dict[int, int]:
        """What the result notes of each section that was segmented."""
        return self._result.metadata[RESULT_KEY].get("digests", {}) if self._result is not None else {}

    def _compose(self, z: int, seen: _Section, result: Labels) -> None:
        """Let the result of a section be what the model says, and where it was corrected, that."""
        shown = _plane(result.data, z)
        noted = self._digests.get(z)
        if noted is None:
            return  # nothing was segmented here
        if seen.predicted is None or seen.shown is None:
            seen.predicted = shown.copy()
        elif noted != seen.written:  # it was segmented again
            part = _last_region(result)
            seen.predicted = seen.predicted.copy()  # others may hold what was said before
            seen.predicted[part] = shown[part]
        elif self._layer is not None and not np.array_equal(shown, seen.shown):
            self._take_over(shown, shown != seen.shown, seen.predicted, z)
        wanted = seen.predicted.copy()
        if self._layer is not None:
            corrected = self.plane(z)
            np.copyto(wanted, corrected, where=corrected != UNLABELLED)
        if not np.array_equal(wanted, shown):
            shown[:] = wanted
            result.refresh()
        note_written(result, z)
        seen.shown, seen.written = wanted, self._digests[z]

    def _take_over(self, shown: np.ndarray, painted: np.ndarray, predicted: np.ndarray, z: int) -> None:
        """Copy what was painted on the result into the corrections; what was undone, leaves them."""
        assert self._layer is not None
        values = shown[painted]
        known = np.isin(values, [each.value for each in self.classes])
        if (values[~known] != UNLABELLED).any() and not self._warned:
            self._warned = True
            show_warning("What was painted on the result with a label that is no class was taken back.")
        self.plane(z)[painted] = np.where(known & (values != predicted[painted]), values, UNLABELLED)
        self._layer.refresh()

    # --- the layers

    def _bind(self) -> None:
        """Follow the image, its result and its corrections."""
        if self._looking:
            return
        image = self._state.image
        layer, result = find_layer(self._state.viewer, image), self._state.result_of(image)
        result = result if fits(result, image) else None
        if (image, layer, result) != (self._image, self._layer, self._result):
            self.leaving.emit()
            self._unwatch()
            if image != self._image or (self._layer is not None and layer != self._layer):
                self._sections.clear()
            elif result != self._result:
                for seen in self._sections.values():
                    seen.shown = seen.predicted = seen.written = None
            new = layer is not None and layer != self._layer
            self._image, self._layer, self._result = image, layer, result
            for z in self._labelled() if new else ():
                self._sections.setdefault(z, _Section()).digest = None
            for each in (layer, result):
                if each is not None:
                    each.events.paint.connect(self._soon)
                    each.events.set_data.connect(self._soon)
            self._recolour()
            self.look()
            self.changed.emit(list(self.counts))
        elif result is not None:
            self.look()

    def _soon(self, event: Any = None) -> None:
        if not self._looking:
            self._timer.start()

    def _unwatch(self) -> None:
        for layer in (self._layer, self._result):
            if layer is not None:
                layer.events.paint.disconnect(self._soon)
                layer.events.set_data.disconnect(self._soon)

    def _labelled(self) -> list[int]:
        if self._layer is None:
            return []
        data = self._layer.data
        return [z for z in range(len(data)) if data[z].any()] if data.ndim == 3 else [0]

    def _recolour(self) -> None:
        if self._layer is None:
            return
        wanted = corrections_colormap(self.classes)
        if set(wanted.color_dict) != set(getattr(self._layer.colormap, "color_dict", {})):
            self._layer.colormap = wanted
            self._layer.features = class_features(self.classes)


def _plane(data: np.ndarray, z: int) -> np.ndarray:
    return data[z] if data.ndim == 3 else data


def _last_region(result: Labels) -> tuple[slice, slice]:
    (top, bottom), (left, right) = result.metadata[RESULT_KEY]["runs"][-1]["region"]
    return slice(top, bottom), slice(left, right)

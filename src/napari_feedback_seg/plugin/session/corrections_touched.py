"""Which sections of the layers that are painted on may have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_feedback_seg.plugin.layers.image import displayed_section

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from napari.layers import Labels
    from napari.viewer import Viewer

_PAUSE = 250  # ms without a change, and what was painted is looked at
_LATEST = 2000  # ms, and it is looked at all the same


class Touched(QObject):
    """Listens to what napari tells of its Labels layers.

    Painting tells which sections it has touched; undoing tells only that the layer has to be drawn
    anew, so that then all sections count that were ever painted on.

    Attributes
    ----------
    sections : set of int
        What may have changed.
    quiet : bool
        Whether changes are our own, and to be passed over.

    Signals
    -------
    due
        It is time to look at them.
    """

    due = Signal()

    def __init__(self, viewer: Viewer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.sections: set[int] = set()
        self.quiet = False
        self._viewer = viewer
        self._layers: Sequence[Labels] = ()
        self._painted: set[int] = set()
        self._displayed: dict[Any, int] = {}
        self._pause, self._latest = QTimer(self), QTimer(self)
        for timer, wait in ((self._pause, _PAUSE), (self._latest, _LATEST)):
            timer.setSingleShot(True)
            timer.setInterval(wait)
            timer.timeout.connect(self.due)

    @property
    def waiting(self) -> bool:
        """Whether something has changed that was not looked at yet."""
        return self._pause.isActive()

    def watch(self, layers: Sequence[Labels], painted: Collection[int] = ()) -> None:
        """Listen to other layers of the same image, with strokes on these sections."""
        self.stop()
        for layer in self._layers:
            layer.events.paint.disconnect(self._take)
            layer.events.set_data.disconnect(self._take)
        self._layers = layers
        self._painted.update(painted)
        self.sections.update(painted)
        self._displayed = {layer.unique_id: displayed_section(self._viewer, layer) for layer in layers}
        for layer in layers:
            layer.events.paint.connect(self._take)
            layer.events.set_data.connect(self._take)

    def forget(self) -> None:
        """Know of no section that was painted on."""
        self._painted.clear()
        self.sections.clear()

    def soon(self) -> None:
        """Let it be time to look in a moment."""
        self._pause.start()
        if not self._latest.isActive():
            self._latest.start()

    def stop(self) -> None:
        """Wait no longer."""
        self._pause.stop()
        self._latest.stop()

    def _take(self, event: Any) -> None:
        if self.quiet:
            return
        layer = event.source
        if event.type == "paint":
            sections = _sections_of(event.value, layer)
            self.sections |= sections
            self._painted |= sections
        else:
            displayed = displayed_section(self._viewer, layer)
            if self._displayed[layer.unique_id] == displayed:  # nobody has moved: undone, perhaps
                self.sections |= self._painted
            self._displayed[layer.unique_id] = displayed
        self.soon()


def section_count(layer: Labels) -> int:
    """Return the number of sections of a layer (Y, X) or (Z, Y, X)."""
    return int(layer.data.shape[0]) if layer.data.ndim == 3 else 1


def _sections_of(atoms: Any, layer: Labels) -> set[int]:
    """Return the sections that an event of painting tells of."""
    if layer.data.ndim < 3:
        return {0}
    sections: set[int] = set()
    try:
        for atom in atoms:
            first = (atom.slice_key if hasattr(atom, "slice_key") else atom[0])[0]
            if isinstance(first, slice):
                sections.update(range(*first.indices(section_count(layer))))
            else:
                sections.update(np.unique(first).tolist())
    except (TypeError, IndexError):  # another napari tells it otherwise
        return set(range(section_count(layer)))
    return sections

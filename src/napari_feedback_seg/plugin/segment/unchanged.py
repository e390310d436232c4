"""Whether the pixels of layers are still those that something was computed from."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer, Signal

from napari_feedback_seg.plugin.layers.image import displayed_section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.viewer import Viewer

_PAUSE = 250  # ms without another event, and the pixels are looked at


class Unchanged(QObject):
    """Watches layers, and tells when their pixels change.

    napari tells when labels are painted or replaced; of an undo only that the layer is drawn anew, as
    it is when the slider moves. So then the checksums of its sections are compared, one section at a
    time while nothing else is to be done; of an array that is not in memory only the section on display.

    Signals
    -------
    changed
        Once after :meth:`watch`: nothing is watched any more.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layers: tuple[Labels, ...] = ()
        self._sums: list[list[int]] = []
        self._to_do: Iterator[bool] = iter(())
        self._turn = QTimer(self)
        self._turn.timeout.connect(self._look_on)
        parent.destroyed.connect(self.forget)

    def watch(self, *layers: Labels) -> None:
        """Watch these layers and no others."""
        self.forget()
        self._layers = layers
        for layer in layers:
            if isinstance(layer, Labels):
                layer.events.paint.connect(self._tell)
            layer.events.data.connect(self._tell)
            layer.events.set_data.connect(self._look_soon)

    def read(self, *sums: list[int]) -> None:
        """Take the :func:`checksums` of the layers as they were read."""
        if len(sums) == len(self._layers):  # else they have changed in the meantime
            self._sums = list(sums)
            self._look_soon()

    def look(self) -> None:
        """Look now, and not in a moment."""
        self._turn.stop()
        if not all(self._same()):
            self._tell()

    @property
    def looking(self) -> bool:
        """Whether the pixels are about to be looked at."""
        return self._turn.isActive()

    def forget(self) -> None:
        """Watch nothing; may be called again."""
        layers, self._layers, self._sums = self._layers, (), []
        for layer in layers:
            if isinstance(layer, Labels):
                layer.events.paint.disconnect(self._tell)
            layer.events.data.disconnect(self._tell)
            layer.events.set_data.disconnect(self._look_soon)
        self._turn.stop()
        self._to_do = iter(())

    def _tell(self, _: Any = None) -> None:
        if self._layers:
            self.forget()
            self.changed.emit()

    def _look_soon(self, _: Any = None) -> None:
        self._to_do = self._same()
        self._turn.start(_PAUSE)

    def _look_on(self) -> None:
        self._turn.setInterval(0)
        same = next(self._to_do, None)
        if same is None:
            self._turn.stop()
        elif not same:
            self._tell()

    def _same(self) -> Iterator[bool]:
        """Yield for one section after the other whether it is as it was read."""
        for layer, sums in zip(self._layers, self._sums, strict=False):  # no sums yet: nothing was read
            sections = _sections(pixels(layer))
            if len(sections) != len(sums):
                yield False
                return
            lazy = not isinstance(sections, np.ndarray)
            for z in [displayed_section(self._viewer, layer)] if lazy else range(len(sums)):
                yield _checksum(sections[z]) == sums[z]


def pixels(layer: Labels) -> Any:
    """Return the array of a layer; of several resolutions the finest."""
    return layer.data[0] if layer.multiscale else layer.data


def checksums(data: Any) -> list[int]:
    """Return a number for each section of an array (Y, X) or (..., Y, X), which tells it from another."""
    return [_checksum(section) for section in _sections(data)]


def _sections(data: Any) -> Any:
    """Return what has a section, or for more than three axes a stack, for each index."""
    return data if data.ndim > 2 else [data]


def _checksum(section: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(section).view(np.uint8).data)

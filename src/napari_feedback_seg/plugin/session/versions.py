"""Sections of a result as they are not shown: without the last run, or by another model. No Qt, no napari."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_feedback_seg.plugin.layers.viewer import ViewerLayers
    from napari_feedback_seg.plugin.session.records import ResultRecord


@dataclass
class Version:
    """Sections of a result as they are not shown, and the record that goes with them.

    Only sections that differ are kept.
    """

    record: ResultRecord | None = None
    beside: ResultRecord | None = None  # the record under which all that is not kept here is the same
    _kept: dict[int, np.ndarray | tuple[tuple[int, ...], bytes]] = field(default_factory=dict)

    @property
    def sections(self) -> list[int]:
        """The sections that are kept."""
        return sorted(self._kept)

    def plane(self, z: int) -> np.ndarray:
        """Return a section (Y, X), uint8."""
        kept = self._kept[z]
        if isinstance(kept, np.ndarray):
            return kept
        shape, packed = kept
        return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)

    def put(self, z: int, plane: np.ndarray) -> None:
        """Keep a section in place of what was kept of it."""
        self._kept[z] = plane

    def keep(self, z: int, plane: np.ndarray, record: ResultRecord | None) -> None:
        """Keep a section that is about to be written for the first time; packed, labels hardly take room."""
        self.record = self.record or record
        if z not in self._kept:
            self._kept[z] = _packed(plane)

    def drop(self, z: int) -> None:
        """Keep nothing of a section."""
        self._kept.pop(z, None)

    def swap(self, layers: ViewerLayers, result: Labels) -> None:
        """Show it in the result, and be what was shown."""
        shown = layers.record_of(result)
        for z, kept in self._kept.items():
            plane = layers.plane(result, z).copy()
            layers.write_plane(result, z, self.plane(z))
            self._kept[z] = plane if isinstance(kept, np.ndarray) else _packed(plane)
        if self.record is not None and shown is not None:
            layers.write_record(result, replace(self.record, classes=shown.classes))
        self.record, self.beside = shown, self.record


def _packed(plane: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return plane.shape, zlib.compress(np.ascontiguousarray(plane, np.uint8).data, 1)

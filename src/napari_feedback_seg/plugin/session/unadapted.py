"""What the model says without strokes, kept of each section that shows what it says with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Labels

    from napari_feedback_seg.plugin.session.records import ResultRecord
    from napari_feedback_seg.plugin.session.session import Session


class Unadapted:
    """Keeps sections of the result as they are without strokes, and shows them in place of the others."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._planes: dict[int, np.ndarray] = {}
        self._result: Labels | None = None
        self._record: ResultRecord | None = None
        self.shown = False

    @property
    def known(self) -> bool:
        """Whether anything is kept of the result."""
        result = self._result
        return bool(self._planes) and result is not None and result in self._session.layers

    def keep(self, z: int, region: tuple[slice, slice], labels: np.ndarray) -> None:
        """Keep what the model says of a region of a section, which is about to be written."""
        result = self._session.result
        if result is None:
            return
        if result != self._result:
            self.forget()
            self._result = result
        if z not in self._planes:
            self._planes[z] = self._session.layers.plane(result, z).copy()
        self._planes[z][region] = labels

    def show(self, wanted: bool) -> None:
        """Show them, or what was there."""
        layers, result = self._session.layers, self._result
        if wanted == self.shown:
            return
        self.shown = wanted
        record = layers.record_of(result) if result is not None and self.known else None
        if result is None or record is None:
            self.forget()
            return
        for z, plane in self._planes.items():
            self._planes[z] = layers.plane(result, z).copy()
            layers.write_plane(result, z, plane)
        if wanted:
            self._record = record
            record = replace(record, runs=tuple(replace(each, strokes="") for each in record.runs))
        layers.write_record(result, record if wanted or self._record is None else self._record)
        self._session.tell("result")

    def forget(self, z: int | None = None) -> None:
        """Keep nothing, or nothing of a section, which others write to; what is shown stays."""
        if z is None:
            self._planes, self._result, self._record, self.shown = {}, None, None, False
        else:
            self._planes.pop(z, None)

"""The last segmentation: undone, done again, and shown beside what was there before. No Qt, no napari."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.session.regions import common, whole, within
from napari_feedback_seg.plugin.session.segment.beside import Side

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.layers.results import ResultWriter
    from napari_feedback_seg.plugin.session.session import Session


class LastRun:
    """Undoes the last segmentation and does it again, and shows both side by side."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._writer: ResultWriter | None = None
        self.undone = False  # whether what is shown is what was there before

    @property
    def writer(self) -> ResultWriter | None:
        """What wrote it; None if nothing did, its layer is gone, or another image is chosen."""
        writer, session = self._writer, self._session
        if writer is None or not writer.there or writer.image != session.image or session.jobs.busy:
            return None
        return writer

    @writer.setter
    def writer(self, writer: ResultWriter) -> None:
        self._writer, self.undone = writer, False

    def undo(self) -> None:
        """Bring back what was there before; called again, what the run says."""
        writer, session = self.writer, self._session
        if writer is None or writer.layer is None:
            return
        session.correcting.before_segmenting()  # the model before is shown no longer
        session.beside.close()
        before, sections = writer.before.record, writer.before.sections
        there = before.sections if before is not None else frozenset()
        writer.before.swap(session.layers, writer.layer)
        for z in sections:
            session.layers.forget_probabilities(writer.layer, z)
        if not there:
            session.layers.remove_probabilities(writer.layer)
        self.undone = not self.undone
        session.tell("result", "segmenting")
        if there.isdisjoint(sections):
            session.note("The result of the last run is gone: there was none before.")
        else:
            session.note(f"The result {'before' if self.undone else 'of'} the last run is back.")

    def forget(self) -> None:
        """Undo it no more, because the result says what another model says."""
        self._writer, self.undone = None, False

    def show_split(self) -> None:
        """Show both side by side: what of it is on the screen."""
        writer, layers = self.writer, self._session.layers
        if writer is None or writer.layer is None or writer.image not in layers:
            return
        shown, written = layers.displayed_section(writer.image), writer.before.sections
        section = shown if shown in written else written[0]
        region = writer.region or whole(writer.shape)
        with suppress(InputError):  # then all of it
            region = common(layers.visible_region(writer.image), region) or region
        part = within(region, writer.part)
        planes = [writer.before.plane(section)[part], layers.plane(writer.layer, section)[part].copy()]
        before, after = (
            Side(title, plane, partial(self._have, title == "before"))
            for title, plane in zip(("before", "after"), planes[:: -1 if self.undone else 1], strict=True)
        )
        self._session.beside.show(writer.image, section, region, writer.classes, before, after)

    def _have(self, before: bool) -> None:
        if self._writer is not None and self.undone is not before:
            self._session.image = self._writer.image  # another one may have been chosen meanwhile
            self.undo()

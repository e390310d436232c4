"""The last run: what was there before, and what it says."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.session.beside import Side

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_feedback_seg.plugin.layers.results import ResultWriter
    from napari_feedback_seg.plugin.session.session import Session

Region = tuple[slice, slice]


class LastRun:
    """Undoes the last segmentation and does it again, and shows both side by side."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._writer: ResultWriter | None = None
        self.undone = False  # whether what is shown is what was there before

    @property
    def writer(self) -> ResultWriter | None:
        """What wrote it; None if there is none, or its layer is gone."""
        there = self._writer is not None and self._writer.there
        return self._writer if there and not self._session.jobs.busy else None

    @writer.setter
    def writer(self, writer: ResultWriter) -> None:
        self._writer, self.undone = writer, False

    def undo(self) -> None:
        """Bring back what was there before; called again, what the run says."""
        writer = self.writer
        if writer is None:
            return
        self._session.correcting.before_segmenting()  # the model before is shown no longer
        self._session.beside.close()
        writer.swap()
        self.undone = not self.undone
        self._session.tell("result", "segmenting")
        self._session.note(f"The result {'before' if self.undone else 'of'} the last run is back.")

    def forget(self) -> None:
        """Undo it no more, because the result says what another model says."""
        self._writer, self.undone = None, False

    def show_split(self) -> None:
        """Show both side by side: what of it is on the screen."""
        writer, session = self.writer, self._session
        if writer is None or writer.image not in session.layers:
            return
        shown = session.layers.displayed_section(writer.image)
        section = shown if shown in writer.sections_written else writer.sections_written[0]
        whole, other = writer.before(section)
        before, after = (writer.now(section), other) if self.undone else (other, writer.now(section))
        region = self._in_view(writer.image, whole)
        part = within(region, whole)
        session.beside.show(
            writer.image,
            section,
            region,
            writer.classes,
            Side("before", before[part], partial(self._have, before=True)),
            Side("after", after[part], partial(self._have, before=False)),
        )

    def _have(self, *, before: bool) -> None:
        if self.undone is not before:
            self.undo()

    def _in_view(self, image: Image, region: Region) -> Region:
        """Return what of a region the canvas shows; all of it if that is none."""
        try:
            view = self._session.layers.visible_region(image)
        except InputError:
            return region
        rows, columns = (
            slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(view, region, strict=True)
        )
        empty = rows.start >= rows.stop or columns.start >= columns.stop
        return region if empty else (rows, columns)


def within(region: Region, part: Region | None) -> Region:
    """Return where a region of the image lies in an array of a part of it."""
    if part is None:
        return region
    rows, columns = (
        slice(one.start - whole.start, one.stop - whole.start)
        for one, whole in zip(region, part, strict=True)
    )
    return rows, columns

"""What a result says besides what it shows: without the last run, or by the model before."""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.session.regions import common, whole, within
from napari_feedback_seg.plugin.session.segment.beside import Side

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from napari_feedback_seg.plugin.layers.results import ResultWriter
    from napari_feedback_seg.plugin.layers.viewer import ViewerLayers
    from napari_feedback_seg.plugin.session.correct.tuned import TunedModels
    from napari_feedback_seg.plugin.session.records import ResultRecord
    from napari_feedback_seg.plugin.session.session import Session


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


class LastRun:
    """Undoes the last segmentation and does it again, and shows both side by side."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._writer: ResultWriter | None = None
        self.undone = False  # whether what is shown is what was there before

    @property
    def writer(self) -> ResultWriter | None:
        """What wrote it; None if nothing did, or its layer is gone."""
        there = self._writer is not None and self._writer.there
        return self._writer if there and not self._session.jobs.busy else None

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
        writer.before.swap(session.layers, writer.layer)
        for z in writer.before.sections:
            session.layers.forget_probabilities(writer.layer, z)
        self.undone = not self.undone
        session.tell("result", "segmenting")
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
        if self.undone is not before:
            self.undo()


class Answers:
    """What each model of the chain says of an image: kept where another one writes over it."""

    def __init__(self, session: Session, models: TunedModels) -> None:
        self._session, self._models = session, models
        self._of_image: dict[Any, dict[str, Version]] = {}  # by identity of the image

    def known(self, model: str | None) -> bool:
        """Return whether something is kept of what a model says of the image."""
        return model is not None and model in self._of(self._session.image)

    def before_write(self, z: int) -> None:
        """Keep what is shown of a section that the model in use is about to write, for the one before it."""
        session, result, earlier = self._session, self._session.result, self._models.earlier
        if result is not None and earlier is not None:
            version = self._of(session.image).setdefault(earlier, Version())
            version.keep(z, session.layers.plane(result, z), session.layers.record_of(result))

    def swap(self, image: Image | None, now: str, wanted: str) -> None:
        """Show what another model says of an image, and keep what is shown as that of ``now``."""
        layers, result, answers = self._session.layers, self._session.result_of(image), self._of(image)
        if result is None or wanted not in answers:
            return
        version = answers.pop(wanted)
        if version.sections or version.beside in (None, layers.record_of(result)):  # else it was written anew
            version.swap(layers, result)
            answers[now] = version
            self._session.tell("result")

    def same(self, image: Image | None, model: str, record: ResultRecord, beside: ResultRecord) -> None:
        """Take note that a model says, by its own record, what is shown by another one's."""
        version = self._of(image).setdefault(model, Version())
        version.record, version.beside = record, beside

    def rename(self, before: str, after: str) -> None:
        """Take note that a model has another name now."""
        for answers in self._of_image.values():
            if before in answers:
                answers[after] = answers.pop(before)

    def _of(self, image: Image | None) -> dict[str, Version]:
        present = self._session.layers.identities
        for gone in self._of_image.keys() - present:
            del self._of_image[gone]
        return self._of_image.setdefault(image.unique_id, {}) if image is not None else {}

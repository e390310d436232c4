"""Segments a volume that is on the disk to the disk, block by block, those in view first."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import in_words
from napari_feedback_seg.io.volume import is_volume
from napari_feedback_seg.models.library import models_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.layers import Image, Labels

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.segmentation.prediction import SegmentOptions
    from napari_feedback_seg.volumes.plan import Block, Plan
    from napari_feedback_seg.volumes.segment import VolumeOptions

BLOCK = (1, 2048, 2048)
"""Sections, rows and columns of a block: small, so that what is looked at comes soon."""


@dataclass(frozen=True)
class Begun:
    """The output is there."""

    folder: str  # of the labels
    levels: tuple[Any, ...]  # the labels, the finest first
    classes: tuple[LabelClass, ...]  # what they mean
    plan: Plan  # what is segmented
    # voxels of the volume's finest level that one of the labels is long, and the centre of the first
    ratio: tuple[float, ...]
    origin: tuple[float, ...]


class VolumeOnDisk:
    """The controller of the segmentation of volumes that lie on the disk.

    Its jobs are those of :class:`~napari_feedback_seg.plugin.session.segment.segmenting.Segmenting`.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._begun: Begun | None = None
        self._image: Image | None = None
        self._layer: Labels | None = None
        self._wanted: list[Block] = []

    def source(self, image: Image | None) -> str | None:
        """Return the store that an image was opened from; None if it is from elsewhere."""
        path = self._session.layers.path(image) if image is not None else ""
        return path if path and is_volume(path) else None

    def output(self, source: str, model: str) -> Path:
        """Return where the labels by a model go: beside the volume, or among the user's data."""
        stem = Path(source.rstrip("/")).name.removesuffix(".zarr").removesuffix(".ome")
        beside = Path(source).absolute().parent
        writable = "://" not in source and os.access(beside, os.W_OK)
        return (beside if writable else models_folder().parent / "volumes") / f"{stem}-{model}.zarr"

    @property
    def begun(self) -> bool:
        """Whether labels of the image by the model in use are on the disk already."""
        source, entry = self.source(self._session.image), self._session.entry
        if source is None or entry is None or entry.card is None:
            return False
        return self.output(source, entry.card.name).exists()

    def segment(self) -> bool:
        """Segment the volume of the image, or go on with it; return whether that has begun."""
        from napari_feedback_seg.volumes.segment import VolumeOptions

        session, image = self._session, self._session.image
        source = self.source(image)
        if image is None or source is None:
            session.said.emit("Open an OME-Zarr to segment a whole volume on the disk.", "error")
            return False
        sizes = session.pixel_sizes
        options = replace(session.segmenting.options, device=session.device)
        wanted = VolumeOptions(pixel_size_nm=sizes.size, rescale=sizes.to_rescale_from is not None)
        before, self._image = self._image, image
        self._wanted, self._begun, self._layer = [], None, None
        begun = session.jobs.run(
            partial(self.work, source, partial(session.load_model, session.entry), wanted, options),
            title=f"Segmenting {image.name}",
            owner=session.segmenting,
            on_event=self._take,
            on_done=self._finish,
            on_failed=lambda error: session.note(in_words(error), image),
            on_stopped=lambda: session.note("Cancelled. What is done stays: Segment goes on.", image),
        )
        if not begun:
            self._image = before
        return begun

    def work(
        self, source: str, load_model: Callable[[], Model], wanted: VolumeOptions, options: SegmentOptions
    ) -> Generator[Any, None, Any]:
        """Yield the output when it is there, then tiles and blocks; off the GUI thread."""
        from napari_feedback_seg.io.volume import open_volume
        from napari_feedback_seg.volumes.output import Output
        from napari_feedback_seg.volumes.segment import prepare_volume, run

        model = load_model()
        self._session.layers.prepare(model.card.classes)
        output = self.output(source, model.card.name)
        wanted = replace(wanted, block=None if output.exists() else BLOCK)
        job, said = prepare_volume(source, output, model, wanted, options)
        made, volume = Output(output), open_volume(source)
        finest, own = volume.grids[0], volume.grids[made.plan.level]
        axes = range(3)
        yield Begun(
            str(made.folder),
            tuple(made.levels),
            model.card.classes,
            made.plan,
            tuple(own.scale[axis] / finest.scale[axis] for axis in axes),
            tuple((own.translation[axis] - finest.translation[axis]) / finest.scale[axis] for axis in axes),
        )
        return (yield from run(job, said, lambda: self._wanted))

    def _take(self, event: Any) -> None:
        session = self._session
        if isinstance(event, Begun):
            assert self._image is not None
            self._begun = event
            place = event.ratio, event.origin
            self._layer = session.layers.show_volume(
                self._image, event.folder, event.levels, event.classes, place
            )
        for message in getattr(event, "messages", ()):
            session.said.emit(message, "info")
        if hasattr(event, "block") and self._layer is not None:
            if self._layer not in session.layers:
                session.segmenting.cancel()
                return
            self._layer.refresh()
            if hasattr(event, "error"):
                session.said.emit(f"{event.block}: {event.error}", "warning")
        self._wanted = self._in_view()

    def _in_view(self) -> list[Block]:
        """Return the blocks that are looked at."""
        if self._begun is None or self._image is None:
            return []
        view = self._session.layers.in_view(self._image)
        if view is None:
            return []
        plan, (down, high, wide) = self._begun.plan, self._begun.ratio
        z, rows, columns = view
        parts = (
            (z / down, z / down + 1),
            (rows.start / high, rows.stop / high),
            (columns.start / wide, columns.stop / wide),
        )
        spans = [
            range(max(0, int((first - start) // side)), min(count, int((last - start - 1e-6) // side) + 1))
            for (first, last), start, side, count in zip(
                parts, plan.start, plan.block, plan.blocks_along, strict=True
            )
        ]
        return [plan.at((z, y, x)) for z in spans[0] for y in spans[1] for x in spans[2]]

    def _finish(self, result: Any) -> None:
        session = self._session
        said = f"Done in {result.seconds:.1f} s on {result.device}: {result.total} blocks."
        if result.failed:
            said = (
                f"{len(result.failed)} of {result.total} blocks could not be segmented; the others are done."
            )
        session.note(said, self._image)
        session.tell("result")

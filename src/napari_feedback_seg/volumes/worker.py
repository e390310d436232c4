"""One process that segments blocks of a volume, whoever gives them to it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.generators import finish
from napari_feedback_seg.io.claim import ClaimedError, claim
from napari_feedback_seg.io.level import Level
from napari_feedback_seg.io.volume import open_volume
from napari_feedback_seg.segmentation.device import choose_device, describe_device, tiles_at_once
from napari_feedback_seg.segmentation.inference import Inference
from napari_feedback_seg.segmentation.lazy import Plane, Pyramid
from napari_feedback_seg.segmentation.one_section import count_tiles, segment_with
from napari_feedback_seg.segmentation.prediction import model_shape
from napari_feedback_seg.volumes.output import Output
from napari_feedback_seg.volumes.surveys import Readable, Surveys, take_survey

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.segmentation.events import TileDone
    from napari_feedback_seg.segmentation.reader import Survey
    from napari_feedback_seg.volumes.plan import Block


class Runs:
    """A level whose chunks are deep: sections are read several at once, and kept for the next one.

    Parameters
    ----------
    level : Level
        (Z, Y, X).
    depth : int
        Sections that are read at once.
    """

    def __init__(self, level: Any, depth: int) -> None:
        self._level, self._depth = level, depth
        self.shape, self.ndim, self.dtype, self.chunks = level.shape, level.ndim, level.dtype, level.chunks
        self._key: tuple[int, ...] | None = None
        self._held: np.ndarray | None = None

    def __getitem__(self, key: tuple[int, slice, slice]) -> np.ndarray:
        z, rows, columns = key
        first = z - z % self._depth
        place = (first, rows.start, rows.stop, columns.start, columns.stop)
        if self._held is None or place != self._key:
            self._held = None  # two would not fit
            self._held = self._level[first : first + self._depth, rows, columns]
            self._key = place
        section: np.ndarray = self._held[z - first]
        return section


@dataclass(frozen=True)
class Job:
    """What a process needs to know to segment blocks.

    Attributes
    ----------
    source : str
        The volume.
    output : Path
        The output, which is there.
    model : Model
        The model.
    device : str
        ``auto``, ``cpu``, ``cuda:1`` ...
    """

    source: str
    output: Path
    model: Model
    device: str = "auto"

    def open(self, gpu: int | None = None) -> Worker:
        """Return what segments blocks in a process; on a GPU of this number, if any may be taken."""
        chosen = gpu is not None and self.device == "auto"
        return Worker(replace(self, device=f"cuda:{gpu}") if chosen else self)


class Worker:
    """Segments blocks of a volume, until :meth:`close`.

    Parameters
    ----------
    job : Job
        What to segment, where to, and by which model.
    """

    def __init__(self, job: Job) -> None:
        self.output = Output(job.output)
        plan = self.plan = self.output.plan
        self._model, self._device_name = job.model, job.device
        volume = open_volume(job.source)
        self._levels = tuple(volume.levels[plan.level :])
        depth = plan.block[0]
        image = Runs(self._levels[0], depth) if depth > 1 else self._levels[0]
        self._planes = (image, *self._levels[1:])
        self._shape = model_shape(plan.shape[1:], job.model.card, plan.pixel_size_nm)
        pyramid, readable = Pyramid(self._planes), Pyramid([_readable(each) for each in self._levels])
        self._surveys = Surveys(
            self.output.progress,
            lambda z: take_survey(pyramid, z, self._shape),
            lambda z: take_survey(readable, z, self._shape),
            plan.slab,
            plan.shape[0],
        )
        device = choose_device(job.device)
        self.device = describe_device(device)
        tiles = count_tiles(plan.shape[1:], job.model.card, plan.options(job.device))
        batches = -(-tiles // tiles_at_once(device, job.model.card.tile))
        batch = -(-tiles // batches)  # of one size, so that few are filled up
        self._inference = Inference(job.model, device, 1, plan.flips, batch, plan.precision, steady=True)

    def close(self) -> None:
        """Free the network."""
        self._inference.close()

    def survey(self, z: int) -> Survey | str:
        """Return what is known of a section; of one with nothing to see, the sentence that says so."""
        return self._surveys.of(z)

    def plane(self, z: int) -> Plane:
        """Return a section, to be read in parts."""
        return Plane(self._planes, z)

    def do(self, block: Block, step: str = "") -> tuple[str, ...] | None:
        """Segment a block, as :meth:`segment` does; there is one step."""
        del step
        return finish(self.segment(block))

    def segment(self, block: Block) -> Generator[TileDone, None, tuple[str, ...] | None]:
        """Segment a block, unless it is done or another process is at it; yield an event for each tile.

        Returns
        -------
        tuple of str or None
            Sentences that the user should read; None if another process is at it.

        Raises
        ------
        InputError
            If its part of the volume cannot be read.
        OutputError
            If it cannot be written.
        ModelError, DeviceError
            If the model or the device fails.
        """
        lock = self.output.progress / ("block-" + "-".join(map(str, block.index)) + ".lock")
        try:
            with claim(lock):
                if self.output.is_done(block):
                    return ()
                said = yield from self._segment(block)
                with suppress(OSError):  # whoever waits for it sees that the block is done
                    lock.unlink()
                return said
        except ClaimedError:
            return None

    def _segment(self, block: Block) -> Generator[TileDone, None, tuple[str, ...]]:
        options = self.plan.options(self._device_name, block)
        shape = tuple(part.stop - part.start for part in (block.z, block.rows, block.columns))
        labels = np.zeros(shape, np.uint8)
        classes = len(self._model.card.classes)
        probabilities = np.zeros((classes, *shape), np.uint8) if self.plan.probabilities else None
        said: list[str] = []
        for number, z in enumerate(range(block.z.start, block.z.stop)):
            survey = self._surveys.of(z)
            if isinstance(survey, str):
                said.append(f"Section {z}: {survey} Its labels are 0.")
                continue
            rows = _Rows(None if probabilities is None else probabilities[:, number])
            prediction = yield from segment_with(
                Plane(self._planes, z), self._model, options, self._inference, z, survey=survey, write=rows
            )
            labels[number] = prediction.labels
            said += prediction.messages
        missing = self._levels[0].missing((block.z, block.rows, block.columns))
        if missing:
            said.append(
                f"{missing} chunks of the volume are missing at {block}: their fill value was taken. If the "
                "volume was still being written, segment it again when it is whole (--overwrite)."
            )
        self.output.write(block, labels, probabilities)
        return tuple(dict.fromkeys(said))


def _readable(level: Any) -> Any:
    """Return what can be read of a level, chunk by chunk; a section of a file is damaged as a whole."""
    return Readable(level) if isinstance(level, Level) else level


class _Rows:
    """Takes the probabilities of a block row by row."""

    def __init__(self, to: np.ndarray | None) -> None:
        self._to, self._done = to, 0

    def __call__(self, rows: np.ndarray) -> None:
        if self._to is not None:
            stop = self._done + rows.shape[1]
            self._to[:, self._done : stop] = np.rint(rows.astype(np.float32) * 255)
            self._done = stop

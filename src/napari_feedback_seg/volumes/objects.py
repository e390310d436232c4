"""Objects of a volume on a disk, block by block, in this process or in many."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.io import check_output
from napari_feedback_seg.io.claim import ClaimedError, claim
from napari_feedback_seg.io.level import Grid
from napari_feedback_seg.objects.blocks import beyond, block_at, first_plane, one_object
from napari_feedback_seg.objects.files import ObjectsDone, beside, check_labels, class_named, voxel_in_words
from napari_feedback_seg.objects.measures import (
    count_segmented,
    measure_cells,
    measure_image,
    measure_objects,
    parts_of,
)
from napari_feedback_seg.objects.options import CellOptions
from napari_feedback_seg.objects.union import pair_counts
from napari_feedback_seg.volumes.events import BlockDone, BlockFailed, VolumeDone, VolumeOpened
from napari_feedback_seg.volumes.labelled import open_labelled
from napari_feedback_seg.volumes.numbering import STEPS, NumbersOutput, NumbersPlan, prepare_numbers
from napari_feedback_seg.volumes.plan import block_shape
from napari_feedback_seg.volumes.todo import Blocks, do_here, needs_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.objects.files import ObjectsJob
    from napari_feedback_seg.volumes.plan import Block

    Events = Generator[VolumeOpened | BlockDone | BlockFailed, None, VolumeDone]


def number_objects(
    job: ObjectsJob,
    *,
    classes: tuple[LabelClass, ...] = EM_CLASSES,
    overwrite: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    dashboard: bool = False,
) -> Generator[Any, None, ObjectsDone | VolumeDone]:
    """Find the objects of a volume, number and measure them; ``output`` is an OME-Zarr.

    Called again, it goes on where it was. Several processes may work at one output.

    Parameters
    ----------
    job : ObjectsJob
        What is made of which labels.
    classes : tuple of LabelClass
        What labels mean that do not say it themselves.
    overwrite : bool
        Whether objects and tables that are there may be replaced.
    workers, scheduler, dashboard
        As for :func:`~napari_feedback_seg.volumes.segment.start`.

    Yields
    ------
    VolumeOpened, BlockDone, BlockFailed
        And then an event of the same ``done`` and ``total`` for each part that was measured.

    Returns
    -------
    ObjectsDone or VolumeDone
        What was found; or, where blocks failed, which ones: nothing is joined then.

    Raises
    ------
    InputError
        If the labels cannot be used, or there is no such class.
    OutputError
        If an output cannot be written, or was begun with other settings.
    """
    for path in (each for each in (job.table, job.cell_table) if each):
        check_output(path, overwrite)
    volume = open_labelled(str(job.source), classes)
    own = volume.grid.pixel_size
    size = job.pixel_size_nm or ((own.y, own.x) if own else None)
    spacing = job.spacing_nm or (own.z if own else None)
    voxel, known, messages = voxel_in_words(size, spacing, volume.shape[1:] if volume.flat else volume.shape)
    cells = isinstance(job.options, CellOptions)
    labels = None if volume.soft else parts_of(volume.labels)
    each = None if cells else class_named(job.label, volume.classes, job.source, labels)
    plan = NumbersPlan(
        source=str(Path(volume.path).resolve()),
        start=(0, 0, 0),
        stop=volume.shape,
        block=(0, 0, 0),
        name="cells" if each is None else each.name.replace(" ", "-"),
        value=0 if each is None else each.value,
        soft=volume.soft,
        options=job.options,
        voxel=voxel,
    )
    if each is None:
        check_labels(labels, job.source)
        volume.borders()[_CORNER]  # refuses labels without membrane before anything is made
    plan = replace(plan, block=block_shape(volume.shape, 1, plan.method_for_whole.size))
    grid = volume.grid if own or size is None else Grid(voxel, units=("nanometer",) * 3)
    made = prepare_numbers(
        job.output, plan, grid, flat=volume.flat, version=volume.version, overwrite=overwrite
    )
    steps = number_volume(
        NumbersJob(volume.path, job.output, plan.name), workers, scheduler, dashboard=dashboard
    )
    result = yield from steps
    if result.failed:
        return result
    if not made.count:
        messages.append(f"There is no object: nothing in '{job.source}' is {plan.name}, or all is too small.")
    objects = whole = None
    if job.table or job.cell_table:
        numbers = made.numbers()
        near = {
            name: volume.evidence(class_named(name, volume.classes, job.source).value) for name in job.near
        }
        of_cells = beside(job.cells, numbers.shape)
        objects = yield from measure_objects(
            numbers,
            voxel if known else None,
            grey=beside(job.image, numbers.shape),
            cells=of_cells,
            near=near,
            count=made.count,
        )
        segmented = yield from count_segmented(parts_of(volume.labels), each.value if each else None)
        whole = measure_image(objects, numbers.shape, voxel if known else None, segmented)
        if job.cell_table is not None:
            table = yield from measure_objects(of_cells, voxel if known else None)
            measure_cells(objects, table).write_csv(
                job.cell_table, overwrite=overwrite, decimal_comma=job.decimal_comma
            )
        if job.table is not None:
            objects.write_csv(job.table, overwrite=overwrite, decimal_comma=job.decimal_comma)
    return ObjectsDone(made.count, objects, whole, tuple(messages))


_CORNER = (slice(0, 1), slice(0, 1), slice(0, 1))


@dataclass(frozen=True)
class NumbersJob:
    """What a process needs to know to number objects.

    Attributes
    ----------
    source : str
        The labels.
    output : Path
        The OME-Zarr, which is there.
    name : str
        Of the labels in it.
    """

    source: str
    output: Path
    name: str

    def open(self, gpu: int | None = None) -> NumbersWorker:
        """Return what does it in a process; no GPU is needed."""
        del gpu
        return NumbersWorker(self)


class NumbersWorker:
    """Numbers objects in blocks of a volume.

    Parameters
    ----------
    job : NumbersJob
        What to number, and where to.
    """

    device = "the CPU"

    def __init__(self, job: NumbersJob) -> None:
        self.output = NumbersOutput(job.output, job.name)
        plan = self._plan = self.output.plan
        volume = open_labelled(job.source)
        cells = isinstance(plan.options, CellOptions)
        self._evidence = volume.borders() if cells else volume.evidence(plan.value)
        self._method = plan.method

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def do(self, block: Block, step: str) -> tuple[str, ...] | None:
        """Do a step of a block, unless it is done; return None if another process is at it.

        Raises
        ------
        InputError
            If its part of the labels cannot be read.
        OutputError
            If it cannot be written.
        """
        lock = self.output.note(step, block).with_suffix(".lock")
        try:
            with claim(lock):
                if not self.output.is_done(step, block):
                    {"label": self._label, "meet": self._meet, "write": self._write}[step](block)
                with suppress(OSError):  # whoever waits for it sees that the block is done
                    lock.unlink()
                return ()
        except ClaimedError:
            return None

    def _label(self, block: Block) -> None:
        method = self._method
        part = block_at(block.index, self._plan.size, method.size, method.margin)
        labels = method.label(np.asarray(self._evidence[part.seen]))
        own = labels[part.inner]
        self.output.raw[part.own] = own
        planes = {f"plane{axis}": plane for axis, plane in beyond(part, labels).items()}
        sizes = np.bincount(own.ravel().astype(np.int64), minlength=int(labels.max(initial=0)) + 1)[1:]
        self.output.save("label", block, sizes=sizes, **planes)

    def _meet(self, block: Block) -> None:
        found = {}
        own = self._raw(block)
        for axis in range(3):
            name = f"plane{axis}"
            before = _step(block.index, axis, -1)
            if block.index[axis]:
                planes = self.output.load("label", self._plan.at(before))
                if name in planes:
                    found[f"face{axis}"] = one_object(planes[name], first_plane(own, axis))
        if self._method.decide is not None:
            for step in range(1, self._method.gap + 2):
                if block.index[0] + step < self._plan.blocks_along[0]:
                    there = self._raw(self._plan.at(_step(block.index, 0, step)))
                    pairs, counts = pair_counts(own[0], there[0])
                    found[f"over{step}"] = np.column_stack([pairs, counts])
        self.output.save("meet", block, **found)

    def _write(self, block: Block) -> None:
        self.output.write(block, self.output.final(block)[self._raw(block)])

    def _raw(self, block: Block) -> np.ndarray:
        return np.asarray(self.output.raw[block.z, block.rows, block.columns])


def _step(index: tuple[int, int, int], axis: int, by: int) -> tuple[int, int, int]:
    z, y, x = (each + by * (number == axis) for number, each in enumerate(index))
    return z, y, x


def number_volume(
    job: NumbersJob, workers: int | None = None, scheduler: str | None = None, *, dashboard: bool = False
) -> Events:
    """Do what is left of all three steps; yield events.

    Parameters
    ----------
    job : NumbersJob
        The output is there, see :func:`~napari_feedback_seg.volumes.numbering.prepare_numbers`.
    workers, scheduler, dashboard
        As for :func:`~napari_feedback_seg.volumes.segment.start`.

    Raises
    ------
    ValueError
        If there are to be no workers.
    InputError
        If dask is not installed.
    DeviceError
        If no scheduler answers.
    """
    if not needs_workers(job.source, workers, scheduler):
        worker = job.open()
        return _in_steps(job, (), lambda blocks, step: _here(worker, blocks, step))
    return _on_workers(job, workers or 0, scheduler, dashboard)


def _on_workers(job: NumbersJob, workers: int, scheduler: str | None, dashboard: bool) -> Events:
    from napari_feedback_seg.volumes.cluster import connected, hand_out, set_up

    with connected(workers, scheduler, dashboard) as (client, threads, _):
        set_up(client, job, threads, 0)
        said = (f"The work is shown at {client.dashboard_link}",) if dashboard else ()
        return (yield from _in_steps(job, said, lambda blocks, step: hand_out(client, blocks, step)))


def _in_steps(
    job: NumbersJob,
    said: Sequence[str],
    run: Callable[[Blocks, str], Generator[BlockDone | BlockFailed, None, tuple[list[Block], str]]],
) -> Events:
    started = time.perf_counter()
    output = NumbersOutput(job.output, job.name)
    total = output.plan.count * len(STEPS)
    before, device = 0, ""
    for number, name in enumerate(STEPS):
        blocks = Blocks(output.step(name))
        if name == STEPS[0]:
            done = sum(Blocks(output.step(each)).done for each in STEPS[1:]) + blocks.done
            yield VolumeOpened(done, total, tuple(said))
        events = run(blocks, name)
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                failed, device = stop.value
                break
            if isinstance(event, BlockDone):
                event = BlockDone(event.block, before + event.done, total, event.messages)
            yield event
        if failed:
            return VolumeDone(
                time.perf_counter() - started, before + blocks.done, total, tuple(failed), device
            )
        before = (number + 1) * output.plan.count
        if name == "meet":
            output.decide()
    output.tidy()
    return VolumeDone(time.perf_counter() - started, total, total, (), device)


def _here(
    worker: NumbersWorker, blocks: Blocks, step: str
) -> Generator[BlockDone | BlockFailed, None, tuple[list[Block], str]]:
    """Do a step in this process."""

    def do(block: Block) -> Generator[Any, None, tuple[str, ...] | None]:
        yield from ()
        return worker.do(block, step)

    failed = yield from do_here(blocks, do)
    return failed, worker.device

"""Segment a volume of any size, block by block; it can be stopped at any moment, and goes on."""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.io.volume import open_volume
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.models.model import Model, weights_digest
from napari_feedback_seg.segmentation.device import choose_device, inference_dtype
from napari_feedback_seg.segmentation.one_section import INVERTED, UNLIKE
from napari_feedback_seg.segmentation.prediction import SegmentOptions, model_shape
from napari_feedback_seg.segmentation.reader import TileReader
from napari_feedback_seg.segmentation.tiles import tiles_of
from napari_feedback_seg.segmentation.unlike import UNLIKE_FROM, spread, unlikeness
from napari_feedback_seg.volumes.events import BlockDone, BlockFailed, VolumeDone, VolumeOpened
from napari_feedback_seg.volumes.output import Description, Output, prepare
from napari_feedback_seg.volumes.plan import Block, Plan, block_shape, name_of, whole_region
from napari_feedback_seg.volumes.surveys import is_damage
from napari_feedback_seg.volumes.todo import Blocks, do_here, needs_workers
from napari_feedback_seg.volumes.worker import Job, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from napari_feedback_seg.io.volume import Volume
    from napari_feedback_seg.segmentation.events import TileDone

    Events = Generator[TileDone | VolumeOpened | BlockDone | BlockFailed, None, VolumeDone]

_PRECISIONS = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


@dataclass(frozen=True)
class VolumeOptions:
    """What of a volume is segmented, and where its labels go.

    Parameters
    ----------
    level : int, optional
        Which resolution; the one nearest to the model's pixel size if not given.
    region : tuple of (slice or None), optional
        Sections, rows and columns of that level; all of them if not given.
    pixel_size_nm : tuple of float, optional
        (y, x) or (z, y, x) of the finest level, instead of what the volume says.
    rescale : bool
        Whether sections are resampled to the model's pixel size, and the result back.
    block : tuple of int, optional
        (Z, Y, X) of a block; it changes nothing but how much is done at once.
    slab : int
        So many sections share the grey values that their middle one is normalised by: 1 for serial
        sections, more for FIB-SEM, whose brightness is steady.
    into : bool
        Whether the output is the store of the volume itself.
    overwrite : bool
        Whether labels that are there may be replaced. Otherwise what was begun goes on.
    """

    level: int | None = None
    region: Sequence[slice | None] | None = None
    pixel_size_nm: Sequence[float] | None = None
    rescale: bool = True
    block: Sequence[int] | None = None
    slab: int = 1
    into: bool = False
    overwrite: bool = False


def segment_volume(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    model: str | Path | Model = "default",
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    dashboard: bool = False,
    on_event: Callable[[Any], None] | None = None,
    **options: Any,
) -> Path:
    """Segment a volume into an OME-Zarr, block by block.

    If it is stopped, the same call continues. Several processes may work at one output.

    Parameters
    ----------
    source : path-like
        An OME-Zarr, a Zarr array, an image file, or a folder of images that are sections.
    output : path-like
        The OME-Zarr to write. Its labels are in ``labels/feedback-seg``.
    model : str, Path or Model
        As for :func:`~napari_feedback_seg.segment`.
    workers : int, optional
        Processes on this computer. If not given: one per GPU if there are several, otherwise none.
    scheduler : str, optional
        Address of a dask cluster to use instead, like ``tcp://host:8786``.
    dashboard : bool
        Whether dask serves its page that shows the work, on this computer only.
    on_event : callable, optional
        Is called with each :class:`BlockDone`, :class:`BlockFailed`, ...
    **options
        As :class:`VolumeOptions` takes them, and ``pixel_size_nm`` also as one number for y and x; and of
        :class:`SegmentOptions` ``device``, ``overlap``, ``flips``, ``remove_specks``, ``probabilities`` and
        ``precision``.

    Returns
    -------
    Path
        The folder of the labels.

    Raises
    ------
    InputError
        If the volume cannot be used, or blocks of it could not be read; the others are done then.
    OutputError
        If the output cannot be written, or was begun with another model or other settings.
    ModelError, DeviceError
        If the model or the device fails.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(
            "A volume is read from the disk: give the path of an OME-Zarr, an image file or a folder of "
            "images. For an array there is napari_feedback_seg.segment."
        )
    of_volume = {name: options.pop(name) for name in VolumeOptions.__annotations__ if name in options}
    if isinstance(size := of_volume.get("pixel_size_nm"), int | float):
        of_volume["pixel_size_nm"] = (size, size)
    loaded = model if isinstance(model, Model) else load_model(model)
    job, said = prepare_volume(source, output, loaded, VolumeOptions(**of_volume), SegmentOptions(**options))
    failures: list[BlockFailed] = []
    with closing(start(job, said, workers, scheduler, dashboard=dashboard)) as events:
        for event in events:
            if isinstance(event, BlockFailed):
                failures.append(event)
            if on_event is not None:
                on_event(event)
    if failures:
        raise InputError(
            f"{len(failures)} blocks could not be segmented, and all others are done. The first is "
            f"{failures[0].block}: {failures[0].error}"
        )
    return Output(job.output).folder


def prepare_volume(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    model: Model,
    wanted: VolumeOptions,
    options: SegmentOptions,
) -> tuple[Job, tuple[str, ...]]:
    """Make the output, or find the one that was begun; return what its workers need, and what is to be said.

    Raises
    ------
    InputError
        If the volume cannot be used as it is, or the region lies outside.
    OutputError
        If the output cannot be written, or was begun with another model or other settings.
    """
    place = str(source if wanted.into else output)
    if "://" in place:
        raise OutputError(f"'{place}' is a URL, and labels are written to a disk. Name a folder as output.")
    source, output = str(source), Path(output)
    volume = open_volume(source)
    if wanted.pixel_size_nm is not None:
        volume = volume.with_pixel_size(wanted.pixel_size_nm)
    _check_store(volume, source, output, wanted.into)
    said = list(volume.messages) if wanted.pixel_size_nm is None or len(wanted.pixel_size_nm) == 2 else []
    level = volume.nearest_level(model.card.pixel_size_nm) if wanted.level is None else wanted.level
    if not 0 <= level < len(volume.levels):
        raise InputError(f"The volume has the levels 0 to {len(volume.levels) - 1}, and no level {level}.")
    said += _about_level(volume, level, model, wanted)
    image, grid = volume.levels[level], volume.grids[level]
    size = grid.pixel_size
    start, stop = whole_region(image.shape, wanted.region)
    shape = (stop[0] - start[0], stop[1] - start[1], stop[2] - start[2])
    device = choose_device(options.device)
    depth = 1 if options.probabilities else image.chunks[0]  # they take four times the memory of labels
    plan = Plan(
        source="" if wanted.into else name_of(source),
        shape=image.shape,
        dtype=str(image.dtype),
        level=level,
        start=start,
        stop=stop,
        block=block_shape(shape, depth, wanted.block),
        model=model.card.name,
        digest=weights_digest(model),
        pixel_size_nm=(size.y, size.x) if size and wanted.rescale else None,
        overlap=options.overlap,
        flips=options.flips,
        remove_specks=options.remove_specks,
        precision=_PRECISIONS[inference_dtype(device, options.precision)],
        probabilities=options.probabilities,
        slab=wanted.slab,
    )
    model_shape(image.shape[1:], model.card, plan.pixel_size_nm)  # refuses sizes too far apart
    version = volume.version
    description = Description(grid.part(start), model.card.classes, version, volume.flat, wanted.into)
    made = prepare(output, plan, description, overwrite=wanted.overwrite)
    if wanted.block is not None and made.plan.block != plan.block:
        raise OutputError(
            f"'{output}' was begun with blocks of {' x '.join(map(str, made.plan.block))}. Leave --block "
            "out, or begin anew (--overwrite)."
        )
    return Job(source, output, model, options.device), tuple(said)


def start(
    job: Job,
    messages: Sequence[str] = (),
    workers: int | None = None,
    scheduler: str | None = None,
    *,
    dashboard: bool = False,
) -> Events:
    """Segment what is not done yet, in this process or in many; yield events.

    Parameters
    ----------
    job : Job
        As :func:`prepare_volume` returns it.
    messages : sequence of str
        To be said at the beginning.
    workers : int, optional
        Processes on this computer; if not given, one a GPU where there are several, and else this one.
    scheduler : str, optional
        Address of a dask cluster to use instead, like ``tcp://host:8786``.
    dashboard : bool
        Whether dask serves its page that shows the work, on this computer only.

    Raises
    ------
    ValueError
        If there are to be no workers.
    InputError
        If dask is not installed.
    DeviceError
        If no scheduler answers.
    """
    if workers is None and scheduler is None and job.device in ("auto", "cuda"):
        count = torch.cuda.device_count()
        workers = count if count > 1 else None
    if not needs_workers(job.source, workers, scheduler):
        return run(job, messages)
    from napari_feedback_seg.volumes.cluster import run_on_workers

    return run_on_workers(job, messages, workers=workers or 0, scheduler=scheduler, dashboard=dashboard)


def run(job: Job, messages: Sequence[str] = (), first: Callable[[], Iterable[Block]] | None = None) -> Events:
    """Segment in this process what is not done yet; yield an event for each tile and block.

    Parameters
    ----------
    job : Job
        As :func:`prepare_volume` returns it.
    messages : sequence of str
        To be said at the beginning.
    first : callable, optional
        Returns the blocks that should come next, asked before each block: those in view.
    """
    started = time.perf_counter()
    worker = Worker(job)
    try:
        blocks = Blocks(worker.output)
        yield VolumeOpened(blocks.done, blocks.total, (*messages, *doubts(worker, job.model)))
        failed = yield from do_here(blocks, worker.segment, first)
        seconds = time.perf_counter() - started
        return VolumeDone(seconds, blocks.done, blocks.total, tuple(failed), worker.device)
    finally:
        worker.close()


def doubts(worker: Worker, model: Model) -> tuple[str, ...]:
    """Return what speaks against a volume, as its middle section shows: the model is not for such images."""
    try:
        return _doubts(worker, model)
    except InputError as error:
        if is_damage(error):
            return ()  # its block will say it
        raise


def _doubts(worker: Worker, model: Model) -> tuple[str, ...]:
    plan = worker.plan
    z = (plan.start[0] + plan.stop[0]) // 2
    survey = worker.survey(z)
    if isinstance(survey, str):
        return ()
    if survey.inverted:
        return (INVERTED,)
    card = model.card
    shape = model_shape(plan.shape[1:], card, plan.pixel_size_nm)
    seen = []
    for tile in spread(tiles_of(shape, card.tile, plan.overlap)):
        part = slice(tile.y, tile.y + card.tile), slice(tile.x, tile.x + card.tile)
        reader = TileReader(worker.plane(z), shape, part, survey)
        if reader.shows_tissue(tile, card.tile):
            seen.append(reader.read(tile, card.tile))
    far = unlikeness(model, seen) if seen else None
    return (UNLIKE,) if far is not None and far > UNLIKE_FROM else ()


def _about_level(volume: Volume, level: int, model: Model, wanted: VolumeOptions) -> list[str]:
    size = volume.grids[level].pixel_size
    of_model = f"{model.card.pixel_size_nm:g} nm"
    if size is None:
        return [
            f"The pixel size of the model, {of_model}, was taken. If it is another, give it (--pixel-size)."
        ]
    said = []
    if wanted.level is None and len(volume.levels) > 1:
        said.append(
            f"Level {level} was taken, whose pixels of {size} are nearest to the {of_model} of the model."
        )
    away = [abs(side / model.card.pixel_size_nm - 1) for side in (size.y, size.x)]
    if wanted.rescale and max(away) > 0.01:
        said.append(
            f"Its pixels are {size}, and the model's {of_model}: it is rescaled for the model, and the "
            "result back."
        )
    return said


def _check_store(volume: Volume, source: str, output: Path, into: bool) -> None:
    same = Path(source).resolve() == output.resolve() if "://" not in source else False
    if same and not into:
        raise OutputError(
            f"'{output}' is the volume itself. Choose another output, or write into it (--into)."
        )
    if into and not same:
        raise OutputError("To write into the volume (--into), name it as the output, too.")
    if into and volume.of_array:
        raise OutputError(f"'{source}' has no group that labels can be written into. Leave --into out.")

"""From a section, or a stack of them, to what the network says about every pixel."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_feedback_seg.errors import InputError, ModelError
from napari_feedback_seg.generators import finish
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.models.model import Model
from napari_feedback_seg.segmentation.device import choose_device, describe_device
from napari_feedback_seg.segmentation.events import SectionDone, TileDone
from napari_feedback_seg.segmentation.inference import Inference
from napari_feedback_seg.segmentation.lazy import open_section
from napari_feedback_seg.segmentation.prediction import (
    Prediction,
    SegmentOptions,
    StackBuilder,
    absolute_region,
    cut_prediction,
    empty_prediction,
    fill_rows,
    merge_messages,
    model_shape,
)
from napari_feedback_seg.segmentation.reader import TileReader
from napari_feedback_seg.segmentation.sections import BlankSection, image_shape
from napari_feedback_seg.segmentation.specks import SpeckRemover, speck_channel, with_surroundings
from napari_feedback_seg.segmentation.tiles import (
    RollingBlend,
    RowResampler,
    intersection,
    scaled,
    seen_by_tiles,
    tiles_within,
)
from napari_feedback_seg.segmentation.unlike import UNLIKE_FROM, spread, unlikeness

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from napari_feedback_seg.models.model import ModelCard
    from napari_feedback_seg.segmentation.lazy import Plane
    from napari_feedback_seg.segmentation.reader import Survey
    from napari_feedback_seg.segmentation.specks import Cut
    from napari_feedback_seg.segmentation.tiles import Tile
    from napari_feedback_seg.segmentation.tissue import Border

__all__ = [
    "Prediction",
    "SegmentOptions",
    "count_tiles",
    "merge_messages",
    "segment",
    "segment_section",
    "segment_stack",
]

BORDER = "The border or bar of one grey value is no tissue: its labels are 0, and no measure counts it."
BURNT_IN = "The bar that is burnt into the image is no tissue: its labels are 0, and no measure counts it."
NO_NUMBERS = "Pixels that are not a number or infinite are no tissue: their labels are 0."
INVERTED = (
    "The contrast looks inverted: the models expect dark membranes on a brighter ground. "
    "If the membranes are bright here, invert the image and segment again."
)

UNLIKE = (
    "The image is unlike anything that the model learnt from: check the pixel size, and invert it if "
    "membranes are bright. If both are right, correct a few places with strokes and fine-tune."
)


def segment(image: Any, model: str | Path | Model = "default", **options: Any) -> Prediction:
    """Segment a section or a stack of sections.

    Parameters
    ----------
    image : array-like
        Grey values (Y, X) or (Z, Y, X), numpy, dask, zarr, torch or a list of sections. A
        lazy stack is read section by section.
    model : str, Path or Model
        ``default``, a name that :func:`list_models` gives, the path of a model file, or a
        model.
    **options
        As :class:`SegmentOptions` takes them: ``device``, ``overlap``, ``pixel_size_nm``,
        ``region``, ``flips``, ``remove_specks``, ``probabilities``, ``first_round``, ``batch``,
        ``precision``.

    Returns
    -------
    Prediction
        The labels have the image's shape, or the region's.

    Raises
    ------
    ValueError
        If an option makes no sense.
    InputError
        If the image cannot be used as it is.
    ModelError
        If the model cannot be used.
    DeviceError
        If the device is not there or fails.
    """
    chosen = SegmentOptions(**options)
    if isinstance(image, torch.Tensor):
        with suppress(TypeError):  # numpy lacks bfloat16, which is then refused like other unknown types
            image = image.numpy(force=True)
    shape = image_shape(image)
    loaded = model if isinstance(model, Model) else load_model(model)
    if len(shape) == 2:
        return finish(segment_section(image, loaded, chosen))
    stack = StackBuilder(shape[0])
    for event in segment_stack(image, loaded, chosen):
        if isinstance(event, SectionDone):
            stack.add(event.section, event.prediction)
    return stack.result()


def segment_section(
    section: Any,
    model: Model,
    options: SegmentOptions | None = None,
    *,
    write: Callable[[np.ndarray], None] | None = None,
) -> Generator[TileDone, None, Prediction]:
    """Segment one section; yield an event for each tile.

    Closing the generator frees everything.

    Parameters
    ----------
    section : array-like
        (Y, X), integers or floats.
    model : Model
        The model.
    options : SegmentOptions, optional
        How to segment.
    write : callable, optional
        Takes the probabilities (C, n, X) float16 of the next rows of the region as soon as
        they are final; never more than a row of tiles is held. Rows below the tissue do not come.

    Returns
    -------
    Prediction
        Of the section, or of the region asked for.

    Raises
    ------
    InputError
        If the section cannot be used as it is, or has nothing to see.
    ModelError, DeviceError
        If the model or the device fails.
    """
    options = options or SegmentOptions()
    if len(shape := image_shape(section)) != 2:
        raise InputError(f"A section has two axes (Y, X), and this one has the shape {shape}.")
    section = open_section(section, part=options.region is not None)
    inference = _inference(model, options)
    try:
        return (yield from segment_with(section, model, options, inference, 0, write=write))
    finally:
        inference.close()


def segment_stack(
    sections: Any,
    model: Model,
    options: SegmentOptions | None = None,
    only: Sequence[int] | None = None,
    *,
    write: Callable[[np.ndarray], None] | None = None,
) -> Generator[TileDone | SectionDone, None, None]:
    """Segment a stack section by section; memory does not grow with their number.

    A section that has nothing to see, one grey value or no numbers, gets the label 0
    everywhere and a message.

    Parameters
    ----------
    sections : array-like or sequence
        (Z, Y, X), or anything that gives section z, (Y, X), for ``sections[z]``.
    model : Model
        The model.
    options : SegmentOptions, optional
        How to segment.
    only : sequence of int, optional
        Indices of the sections to segment; all of them if not given.
    write : callable, optional
        As for :func:`segment_section`. Of a section that has nothing to see no rows come.

    Raises
    ------
    InputError
        If a section cannot be used as it is. The sentence names the section, counted from
        0 as napari's slider does, unless it is the only one.
    ModelError, DeviceError
        If the model or the device fails.
    """
    options = options or SegmentOptions()
    shape = image_shape(sections)
    if len(shape) != 3:
        raise InputError(f"A stack has three axes (Z, Y, X), and this one has the shape {shape}.")
    inference = _inference(model, options)
    try:
        for z in range(shape[0]) if only is None else only:
            prediction = yield from _segment_of_stack(sections, z, shape, model, options, inference, write)
            yield SectionDone(z, prediction)
    finally:
        inference.close()


def count_tiles(shape: tuple[int, int], card: ModelCard, options: SegmentOptions | None = None) -> int:
    """Return how many tiles a section (Y, X) of this shape takes."""
    options = options or SegmentOptions()
    region = absolute_region(shape, options.region)
    target = model_shape(shape, card, options.pixel_size_nm)
    if options.remove_specks and speck_channel(card) is not None:
        region = with_surroundings(region, shape, _sides_nm(shape, target, card))
    resampler = None if target == shape else RowResampler(target, shape, *region)
    return len(tiles_within(target, card.tile, options.overlap, resampler.needed if resampler else region))


def _segment_of_stack(
    sections: Any,
    z: int,
    shape: tuple[int, ...],
    model: Model,
    options: SegmentOptions,
    inference: Inference,
    write: Callable[[np.ndarray], None] | None,
) -> Generator[TileDone, None, Prediction]:
    try:
        section = open_section(sections, z, part=options.region is not None)
        if section.shape != shape[1:] or image_shape(sections) != shape:
            raise InputError(
                f"it has the shape {section.shape}, and the stack had {shape} at the start. The sections of "
                "a stack have one shape; if the image was replaced meanwhile, start again."
            )
        return (yield from segment_with(section, model, options, inference, z, write=write))
    except BlankSection as blank:
        region = absolute_region(section.shape, options.region)
        prediction = empty_prediction(region, model.card, options, describe_device(inference.device))
        return replace(prediction, messages=(f"{blank} Its labels are 0.",))
    except InputError as error:
        raise InputError(f"Section {z}: {error}" if shape[0] > 1 else str(error)) from error


def segment_with(
    section: np.ndarray | Plane,
    model: Model,
    options: SegmentOptions,
    inference: Inference,
    index: int = 0,
    reader: TileReader | None = None,
    *,
    survey: Survey | None = None,
    write: Callable[[np.ndarray], None] | None = None,
    surroundings: bool = True,
) -> Generator[TileDone, None, Prediction]:
    """Segment one section with an inference, holding of the probabilities no more than a row of tiles.

    Parameters
    ----------
    section : ndarray or Plane
        (Y, X), as :func:`~napari_feedback_seg.segmentation.lazy.open_section` gives it.
    model : Model
        The model.
    options : SegmentOptions
        How to segment.
    inference : Inference
        What the tiles go through; it is not closed.
    index : int
        Of the section in its stack, for the events.
    reader : TileReader, optional
        Of the whole section at the model's pixel size, if there is one already; whether the image
        suits the model is not asked again then.
    survey : Survey, optional
        What is known of the whole section already; whether it suits the model is not asked then.
    write : callable, optional
        As for :func:`segment_section`.
    surroundings : bool
        Whether to look around a region, to tell specks at its edge. Otherwise they stay, and it is quicker.
    """
    wanted = absolute_region(section.shape, options.region)
    shape = model_shape(section.shape, model.card, options.pixel_size_nm)
    channel = speck_channel(model.card) if options.remove_specks else None
    if channel is None:
        return (
            yield from _segment_region(
                section, wanted, wanted, shape, model, options, inference, index, reader, survey, write
            )
        )
    sides = _sides_nm(section.shape, shape, model.card)
    region = with_surroundings(wanted, section.shape, sides) if surroundings else wanted
    write = write and _only(write, wanted, region)
    prediction = yield from _segment_region(
        section, wanted, region, shape, model, options, inference, index, reader, survey, write, channel
    )
    return prediction if region == wanted else cut_prediction(prediction, wanted)


def _segment_region(
    section: np.ndarray | Plane,
    wanted: tuple[slice, slice],
    region: tuple[slice, slice],
    shape: tuple[int, int],
    model: Model,
    options: SegmentOptions,
    inference: Inference,
    index: int,
    reader: TileReader | None,
    survey: Survey | None,
    write: Callable[[np.ndarray], None] | None,
    channel: int | None = None,
) -> Generator[TileDone, None, Prediction]:
    """Segment a region of a section, without specks of a channel.

    What is said is about the part of it that is wanted. The section has a shape of its own at the
    model's pixel size.
    """
    card = model.card
    known = reader is not None or survey is not None
    tissue = survey.statistics.box if survey else None
    reader = reader or TileReader(
        section,
        shape,
        seen_by_tiles(section.shape, shape, region, card.tile, options.overlap, tissue),
        survey,
    )
    prediction = empty_prediction(region, card, options)
    said: set[str] = set()
    # The tissue is segmented as if it were all there is: a border then moves no tile.
    box = reader.statistics.box or (slice(0, section.shape[0]), slice(0, section.shape[1]))
    inner = intersection(region[0], box[0]), intersection(region[1], box[1])
    if inner != region:
        there = intersection(wanted[0], box[0]), intersection(wanted[1], box[1])
        said.update(_why_beside(reader.statistics.border, wanted, there))
        if any(each.start >= each.stop for each in inner):
            return replace(prediction, device=describe_device(inference.device), messages=tuple(sorted(said)))
    part = cut_prediction(prediction, inner)
    resampler = None if shape == section.shape else RowResampler(shape, section.shape, *inner)
    needed = resampler.needed if resampler else inner
    tiles = tiles_within(shape, card.tile, options.overlap, needed, scaled(box, section.shape, shape))
    blend = RollingBlend(inference.rounds * len(card.classes), card.tile, *needed)
    values = np.array([each.value for each in card.classes], np.uint8)
    removers = []
    if channel is not None:
        sides = _sides_nm(section.shape, shape, card)
        for labels in (part.labels, part.first_round):
            if labels is not None:
                removers.append(SpeckRemover(labels, int(values[channel]), sides, _cut(inner, box)))
    nothing = np.zeros((inference.rounds * len(values), card.tile, card.tile), np.float32)
    filled = 0
    beside = (
        (0, 0),
        (0, 0),
        (inner[1].start - region[1].start, region[1].stop - inner[1].stop),
    )
    if write is not None:
        for top in range(region[0].start, inner[0].start, card.tile):
            height = min(card.tile, inner[0].start - top)
            write(np.zeros((len(values), height, region[1].stop - region[1].start), np.float16))

    def fill(finished: np.ndarray) -> None:
        nonlocal filled
        for rows in resampler.add(finished) if resampler else [finished]:
            top = inner[0].start + filled
            place = slice(top, top + rows.shape[1]), inner[1]
            outside = reader.outside(*place)
            if outside is not None:
                asked = _within(wanted, place)
                said.update(_why(reader, reader.pixels(*place)[asked][outside[asked]]))
            fill_rows(part, filled, rows, values, outside)
            if write is not None:
                answer = rows[: len(values)].astype(np.float16)
                if outside is not None:
                    answer[:, outside] = 0
                write(np.pad(answer, beside))
            if channel is not None:
                rows[channel :: len(values)] = -1
            for first, remover in zip(range(0, len(rows), len(values)), removers, strict=False):
                remover.add(values[rows[first : first + len(values)].argmax(axis=0)])
            filled += rows.shape[1]

    inference.messages.clear()
    shows_tissue = cache(lambda tile: reader.shows_tissue(tile, card.tile))
    predictions = inference(reader.read(tile, card.tile) for tile in tiles if shows_tissue(tile))
    for done, tile in enumerate(tiles, start=1):
        for finished in blend.add(tile, next(predictions) if shows_tissue(tile) else nothing):
            fill(finished)
        yield TileDone(done, len(tiles), index)
    for finished in blend.rest():
        fill(finished)
    for remover in removers:
        remover.finish()
    if not known:
        said.update(_doubts(reader, model, tiles))
    messages = (*sorted(said), *inference.messages)
    return replace(prediction, device=describe_device(inference.device), messages=messages)


def _why_beside(
    border: Border | None, region: tuple[slice, slice], inner: tuple[slice, slice]
) -> Iterator[str]:
    """Yield why the rows and columns of a region that are beside the tissue are none."""
    spans = [np.arange(each.start, each.stop) for each in region]
    rows, columns = map(np.setdiff1d, spans, [np.arange(each.start, each.stop) for each in inner])
    for strip in ((rows, spans[1]), (spans[0], columns)):
        if all(each.size for each in strip):
            unexplained = 1.0 if border is None else border.tissue_share(*strip)
            if unexplained > 0:
                yield NO_NUMBERS
            if unexplained < 1:
                yield BORDER


def _cut(region: tuple[slice, slice], tissue: tuple[slice, slice]) -> Cut:
    """Return at which edges of a region the tissue goes on."""
    rows, columns = (
        (own.start > all_.start, own.stop < all_.stop) for own, all_ in zip(region, tissue, strict=True)
    )
    return rows, columns


def _within(wanted: tuple[slice, slice], place: tuple[slice, slice]) -> tuple[slice, slice]:
    """Return the part of a place that is wanted, as rows and columns of the place."""
    rows, columns = (
        slice(max(0, one.start - own.start), max(0, one.stop - own.start))
        for one, own in zip(wanted, place, strict=True)
    )
    return rows, columns


def _only(
    write: Callable[[np.ndarray], None], wanted: tuple[slice, slice], region: tuple[slice, slice]
) -> Callable[[np.ndarray], None]:
    """Return what takes the rows of a region, and passes on those of a part of it."""
    top = region[0].start
    columns = slice(wanted[1].start - region[1].start, wanted[1].stop - region[1].start)

    def take(rows: np.ndarray) -> None:
        nonlocal top
        kept = intersection(slice(top, top + rows.shape[1]), wanted[0])
        if kept.start < kept.stop:
            write(rows[:, kept.start - top : kept.stop - top, columns])
        top += rows.shape[1]

    return take


def _sides_nm(shape: tuple[int, int], own: tuple[int, int], card: ModelCard) -> tuple[float, float]:
    """Return height and width in nm of a pixel of a section, which has its own shape for the model."""
    height, width = (card.pixel_size_nm * each / length for each, length in zip(own, shape, strict=True))
    return height, width


def _why(reader: TileReader, pixels: np.ndarray) -> Iterator[str]:
    """Yield why pixels (N,) are no tissue."""
    finite = np.isfinite(pixels)
    burnt_in = reader.statistics.burnt_in(pixels)
    if not finite.all():
        yield NO_NUMBERS
    if burnt_in.any():
        yield BURNT_IN
    if np.any(finite & ~burnt_in):
        yield BORDER


def _doubts(reader: TileReader, model: Model, tiles: Sequence[Tile]) -> Iterator[str]:
    """Yield what speaks against the result: an image that the model is not for."""
    if reader.looks_inverted():
        yield INVERTED
        return
    size = model.card.tile
    seen = [reader.read(tile, size) for tile in spread(tiles) if reader.shows_tissue(tile, size)]
    far = unlikeness(model, seen) if seen else None
    if far is not None and far > UNLIKE_FROM:
        yield UNLIKE


def _inference(model: Model, options: SegmentOptions) -> Inference:
    card = model.card
    if card.spec.in_channels != 1:
        raise ModelError(
            f"The model {card.name} takes images of {card.spec.in_channels} channels, and a section has one. "
            "Take a model for one channel."
        )
    rounds = card.spec.rounds if options.first_round else 1
    device = choose_device(options.device)
    return Inference(model, device, rounds, options.flips, options.batch, options.precision)

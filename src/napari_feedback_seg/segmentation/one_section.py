"""One section, or a region of it: tiles through the network, their sums, and what is to be said of it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.segmentation.device import describe_device
from napari_feedback_seg.segmentation.events import TileDone
from napari_feedback_seg.segmentation.prediction import (
    Prediction,
    SegmentOptions,
    absolute_region,
    cut_prediction,
    empty_prediction,
    fill_rows,
    model_shape,
)
from napari_feedback_seg.segmentation.reader import TileReader
from napari_feedback_seg.segmentation.specks import SpeckRemover, speck_channel, with_surroundings
from napari_feedback_seg.segmentation.tiles import (
    RollingBlend,
    RowResampler,
    intersection,
    scaled,
    seen_by_tiles,
    tiles_within,
    within,
)
from napari_feedback_seg.segmentation.unlike import UNLIKE_FROM, spread, unlikeness

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from napari_feedback_seg.models.model import Model, ModelCard
    from napari_feedback_seg.segmentation.inference import Inference
    from napari_feedback_seg.segmentation.lazy import Plane
    from napari_feedback_seg.segmentation.reader import Survey
    from napari_feedback_seg.segmentation.specks import Cut
    from napari_feedback_seg.segmentation.tiles import Tile
    from napari_feedback_seg.segmentation.tissue import Border

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
    card = model.card
    wanted = region = absolute_region(section.shape, options.region)
    shape = model_shape(section.shape, card, options.pixel_size_nm)
    sides = _sides_nm(section.shape, shape, card)
    channel = speck_channel(card) if options.remove_specks else None
    if channel is not None and surroundings:
        region = with_surroundings(wanted, section.shape, sides)
        write = write and _only(write, wanted, region)
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
            device, messages = describe_device(inference.device), tuple(sorted(said))
            return replace(cut_prediction(prediction, wanted), device=device, messages=messages)
    part = cut_prediction(prediction, inner)
    resampler = None if shape == section.shape else RowResampler(shape, section.shape, *inner)
    needed = resampler.needed if resampler else inner
    tiles = tiles_within(shape, card.tile, options.overlap, needed, scaled(box, section.shape, shape))
    blend = RollingBlend(inference.rounds * len(card.classes), card.tile, *needed)
    values = np.array([each.value for each in card.classes], np.uint8)
    removers = []
    if channel is not None:
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
                asked = within(wanted, place)
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
    result = cut_prediction(prediction, wanted)
    return replace(result, device=describe_device(inference.device), messages=messages)


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


def count_tiles(shape: tuple[int, int], card: ModelCard, options: SegmentOptions | None = None) -> int:
    """Return how many tiles a section (Y, X) of this shape takes."""
    options = options or SegmentOptions()
    region = absolute_region(shape, options.region)
    target = model_shape(shape, card, options.pixel_size_nm)
    if options.remove_specks and speck_channel(card) is not None:
        region = with_surroundings(region, shape, _sides_nm(shape, target, card))
    resampler = None if target == shape else RowResampler(target, shape, *region)
    return len(tiles_within(target, card.tile, options.overlap, resampler.needed if resampler else region))

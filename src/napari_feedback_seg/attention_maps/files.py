"""Attention maps of image files: what is read, what is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_feedback_seg.attention_maps.colours import contrast_limits
from napari_feedback_seg.attention_maps.figure import FigureRow, attention_figure
from napari_feedback_seg.attention_maps.maps import SectionAttention
from napari_feedback_seg.attention_maps.support import why_no_attention
from napari_feedback_seg.errors import InputError, ModelError
from napari_feedback_seg.io import check_output, file_keys, open_image, replacing
from napari_feedback_seg.segmentation.lazy import open_section

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_feedback_seg.attention_maps.tile import PixelAttention
    from napari_feedback_seg.io import EMImage
    from napari_feedback_seg.models.model import Model

_LARGEST_IMAGEJ = 2**31
"""Bytes; what is larger becomes a BigTIFF, which ImageJ opens with Bio-Formats."""

_FIGURE_CLASSES = ("membrane", "cytoplasm")


@dataclass(frozen=True)
class AttentionJob:
    """Which maps of which image to write.

    Attributes
    ----------
    source : Path
        The image.
    pixels : tuple of (int, int)
        Row and column of the pixels, one at least; all in the tile of the first.
    output : Path
        The TIFF of the maps.
    section : int or None
        Which section of a stack, counted from 0.
    figure : Path or None
        A picture to write too; of a single pixel with the nearest ones of membrane and
        cytoplasm, as in the paper's Figure 4.
    truth : Path or None
        Labels of the image, for the picture.
    recentre : bool
        Lay the tile around the first pixel instead of taking the segmentation's nearest.
    """

    source: Path
    pixels: tuple[tuple[int, int], ...]
    output: Path
    section: int | None = None
    figure: Path | None = None
    truth: Path | None = None
    recentre: bool = False

    def __post_init__(self) -> None:
        read = set().union(*(file_keys(path) for path in (self.source, self.truth) if path))
        for path in filter(None, (self.output, self.figure)):
            if file_keys(path) & read:
                raise ValueError(f"'{path}' is read and would be written to. Choose another output.")


def write_attention(
    job: AttentionJob, models: Sequence[Model], *, overwrite: bool = False, **options: Any
) -> list[tuple[str, PixelAttention]]:
    """Write the attention maps of pixels of an image, and a figure if asked for.

    Parameters
    ----------
    job : AttentionJob
        What to read and to write. The TIFF has float32 pages in the size of the section, in
        times the average place, NaN outside of the tile: each pixel with the first model, then
        with the next.
    models : sequence of Model
        Models with attention, one at least.
    overwrite : bool
        Whether outputs that are there may be replaced.
    **options
        ``overlap``, ``pixel_size_nm``, ``device`` and ``precision``, as
        :class:`SectionAttention` takes them. The file's own pixel size is taken if none is given.

    Returns
    -------
    list of (str, PixelAttention)
        Name of the model, and what was written, in the order of the pages.

    Raises
    ------
    InputError
        If the image, the ground truth or a pixel cannot be used.
    ModelError
        If a model has no attention.
    OutputError
        If an output is there already or cannot be written.
    DeviceError
        If the device fails.
    """
    for path in filter(None, (job.output, job.figure)):
        check_output(path, overwrite)
    for model in models:
        reason = why_no_attention(model.card)
        if reason:
            raise ModelError(reason)
    image = open_image(job.source)
    number = _section_number(image, job.section)
    section = open_section(image.sections, number, part=True)
    truth = None if job.truth is None else _read_truth(job.truth, number, image.shape)
    if options.get("pixel_size_nm") is None:
        options["pixel_size_nm"] = image.pixel_size_nm
    rows = [_row(model, SectionAttention(section, model, **options), job) for model in models]
    found = [(row.name, pixel) for row in rows for pixel in row.pixels]
    pages = np.full((len(found), *section.shape), np.nan, np.float32)
    regions = [row.tile.frame.region for row in rows for _ in row.pixels]
    for page, region, (_, pixel) in zip(pages, regions, found, strict=True):
        page[region] = pixel.map
    with replacing(job.output, overwrite) as temporary:
        _write_pages(temporary, pages, found, options["pixel_size_nm"])
    if job.figure:
        with replacing(job.figure, overwrite) as temporary:
            picture = attention_figure(image.sections[number], _with_figure_pixels(rows), truth)
            picture.save(temporary, format="PNG", optimize=True)
    return found


def _row(model: Model, engine: SectionAttention, job: AttentionJob) -> FigureRow:
    tile = engine.at(*job.pixels[0], recentre=job.recentre)
    pixels = [tile.pixel(*pixel) for pixel in job.pixels]
    return FigureRow(model.card.name, model.card.spec.mode, tile, pixels)


def _with_figure_pixels(rows: Sequence[FigureRow]) -> list[FigureRow]:
    """Return the rows with a membrane and a cytoplasm pixel, the same in all, if there is but one pixel."""
    first = rows[0]
    if len(first.pixels) > 1:
        return list(rows)
    clicked = first.pixels[0]
    chosen = {(clicked.y, clicked.x): None}
    for each in first.tile.classes:
        if each.name in _FIGURE_CLASSES and each != clicked.label_class:
            nearest = first.tile.nearest_of(each.value, clicked.y, clicked.x)
            if nearest:
                chosen[nearest] = None
    value = {at: first.tile.pixel(*at).label_class.value for at in chosen}
    order = sorted(chosen, key=lambda at: value[at])
    return [
        replace(row, pixels=[row.tile.pixel(*at) for at in order if row.tile.frame.shows(*at)])
        for row in rows
    ]


def _write_pages(
    path: Path,
    pages: np.ndarray,
    found: Sequence[tuple[str, PixelAttention]],
    pixel_size_nm: float | tuple[float, float] | None,
) -> None:
    names = [f"{name}: {pixel.label_class.name} at {pixel.y}, {pixel.x}" for name, pixel in found]
    limits = [contrast_limits(pixel.map) for _, pixel in found]
    metadata: dict[str, Any] = {"axes": "CYX", "Labels": names, "min": limits[0][0], "max": limits[0][1]}
    metadata |= {"Ranges": tuple(np.ravel(limits).tolist()), "mode": "grayscale"}
    resolution: dict[str, Any] = {}
    big = pages.nbytes > _LARGEST_IMAGEJ
    if pixel_size_nm:
        metadata["unit"] = "nm"
        height, width = pixel_size_nm if isinstance(pixel_size_nm, tuple) else (pixel_size_nm,) * 2
        per_unit = 1e7 if big else 1.0  # of cm: only ImageJ's own files name another unit
        resolution["resolution"] = (per_unit / width, per_unit / height)
        resolution["resolutionunit"] = "CENTIMETER" if big else "NONE"
    tifffile.imwrite(
        path,
        pages,
        imagej=not big,
        bigtiff=big,
        compression="zlib",
        metadata={"axes": "CYX"} if big else metadata,
        **resolution,
    )


def _section_number(image: EMImage, wanted: int | None) -> int:
    count = len(image.sections)
    if wanted is None and count > 1:
        raise InputError(f"'{image.path}' has {count} sections: say which (--section 0 to {count - 1}).")
    if not 0 <= (wanted or 0) < count:
        raise InputError(f"'{image.path}' has no section {wanted}: they go from 0 to {count - 1}.")
    return wanted or 0


def _read_truth(path: Path, number: int, shape: tuple[int, ...]) -> np.ndarray:
    labels = open_image(path, labels=True)
    if labels.shape != shape:
        raise InputError(
            f"The ground truth '{path}' has the shape {labels.shape} and the image {shape}: take labels of "
            "the same image."
        )
    section = labels.sections[number]
    if section.dtype != np.uint8:
        raise InputError(f"The ground truth '{path}' must be 8-bit labels, and is {section.dtype}.")
    return section

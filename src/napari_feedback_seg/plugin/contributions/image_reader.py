"""Opens EM images in napari: the sections that the command line reads, with their pixel size."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from napari.utils.notifications import show_info

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import OtherImageError, Sections, open_images
from napari_feedback_seg.plugin.contributions.reader import read_result, record_beside
from napari_feedback_seg.segmentation.lazy import LARGEST_READ

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.types import LayerDataTuple

    from napari_feedback_seg.io import EMImage

    Reader = Callable[[str | list[str]], list[LayerDataTuple]]

LAZY_BYTES = 256 * 2**20
"""A larger stack is read section by section, when it is looked at."""


BLOCK_SIDE = 1024
"""Of a section that is too large to be read whole, blocks of so many rows and columns are read."""


def get_reader(path: str | list[str]) -> Reader | None:
    """Return the reader of EM images; None for a photograph, or what else only napari's own reader may read.

    Labels of an export are opened with all else of it, as the result that they are. Several files, which
    napari wants in one layer, are the sections of a stack. A damaged file has a reader: what it raises says
    what is wrong and what to do.
    """
    record = record_beside(path)
    if record is not None:
        return lambda _: read_result(record)
    paths = path if isinstance(path, list) else [path]
    try:
        images = [image for each in paths for image in open_images(each)]
        if len(paths) > 1:
            images = [_stacked(images)]
    except OtherImageError:
        return None
    except InputError as error:
        return _raising(error)

    def read(path: str | list[str]) -> list[LayerDataTuple]:
        for message in dict.fromkeys(message for image in images for message in image.messages):
            show_info(message)
        return [(_data(image), _attributes(image), "image") for image in images]

    return read


def _raising(error: InputError) -> Reader:
    def read(path: str | list[str]) -> list[LayerDataTuple]:
        raise error

    return read


def _stacked(images: Sequence[EMImage]) -> EMImage:
    """Return the stack of the sections of several files."""
    first = images[0]
    for each in images:
        if (each.shape[-2:], each.dtype) != (first.shape[-2:], first.dtype):
            raise InputError(
                f"'{each.path}' is {each.shape[-2:]}, {each.dtype}, and '{first.path}' {first.shape[-2:]}, "
                f"{first.dtype}: they are no sections of one stack. Save them in one size and type."
            )
    places = [(image, z) for image in images for z in range(len(image.sections))]
    shape = (len(places), first.shape[-2], first.shape[-1])

    def read(z: int) -> np.ndarray:
        image, inside = places[z]
        return image.sections[inside]

    def read_block(z: int, rows: slice, columns: slice) -> np.ndarray:
        image, inside = places[z]
        return image.sections.block(inside, rows, columns)

    messages = tuple(message for image in images for message in image.messages)
    sections = Sections(first.path, shape, first.dtype, read, read_block)
    return replace(first, shape=shape, sections=sections, messages=messages)


def _data(image: EMImage) -> Any:
    """Return the pixels (Y, X) or (Z, Y, X): of a large stack a lazy array that reads what is looked at."""
    if len(image.shape) == 2:
        return image.sections[0]
    if math.prod(image.shape) * image.dtype.itemsize <= LAZY_BYTES:
        return np.stack(list(image.sections))
    count, height, width = image.shape

    def read(block_info: Any) -> np.ndarray:
        (z, _), *part = block_info[None]["array-location"]
        rows, columns = (slice(*each) for each in part)
        return image.sections.block(z, rows, columns)[None]

    side = BLOCK_SIDE if height * width > LARGEST_READ else max(height, width)
    chunks = da.core.normalize_chunks((1, side, side), (count, height, width))
    return da.map_blocks(read, chunks=chunks, dtype=image.dtype, meta=np.empty((0, 0, 0), image.dtype))


def _attributes(image: EMImage) -> dict[str, Any]:
    """Return the name, the axes and the scale of the layer; an unknown distance of sections has no unit."""
    attributes: dict[str, Any] = {
        "name": image.path.stem,
        "rgb": False,  # however narrow
        "axis_labels": ("z", "y", "x")[-len(image.shape) :],
    }
    size = image.pixel_size
    if size is not None:
        scale, units = [size.y, size.x], ["nanometer", "nanometer"]
        if len(image.shape) == 3:
            scale.insert(0, size.z or size.x)
            units.insert(0, "nanometer" if size.z else "pixel")
        attributes |= {"scale": scale, "units": units}
    return attributes

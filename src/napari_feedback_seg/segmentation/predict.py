"""From a section, or a stack of them, to what the network says about every pixel."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from napari_feedback_seg.errors import InputError, ModelError
from napari_feedback_seg.generators import finish
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.models.model import Model
from napari_feedback_seg.segmentation.device import choose_device, describe_device
from napari_feedback_seg.segmentation.events import SectionDone, TileDone
from napari_feedback_seg.segmentation.inference import Inference
from napari_feedback_seg.segmentation.lazy import open_section
from napari_feedback_seg.segmentation.one_section import segment_with
from napari_feedback_seg.segmentation.prediction import (
    Prediction,
    SegmentOptions,
    StackBuilder,
    absolute_region,
    empty_prediction,
    merge_messages,
)
from napari_feedback_seg.segmentation.sections import BlankSection, image_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    import numpy as np


__all__ = [
    "Prediction",
    "SegmentOptions",
    "merge_messages",
    "segment",
    "segment_section",
    "segment_stack",
]


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

"""Segment image files, one after the other."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.io import check_output, label_writer, open_image, probability_writer
from napari_feedback_seg.segmentation.events import FileDone, FileFailed, FileTile, SectionDone, TileDone
from napari_feedback_seg.segmentation.lazy import open_section
from napari_feedback_seg.segmentation.prediction import (
    absolute_region,
    empty_prediction,
    merge_messages,
    painted_over,
)
from napari_feedback_seg.segmentation.whole_sections import WholeSections

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from napari_feedback_seg.io import EMImage
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.segmentation.file_jobs import FileJob
    from napari_feedback_seg.segmentation.prediction import SegmentOptions


def segment_files(
    jobs: Sequence[FileJob],
    model: Model,
    options: SegmentOptions,
    *,
    sections: Sequence[int] | None = None,
    rescale: bool = True,
    overwrite: bool = False,
    painted: Mapping[Path, Mapping[int, np.ndarray]] | None = None,
) -> Generator[FileTile | FileDone | FileFailed, None, None]:
    """Segment image files one after the other, section by section.

    A job says what is written, whatever ``options`` says of probabilities and the first
    round. The file's own pixel size is used where neither the job nor ``options`` has one, and the
    outputs carry the size that was used. All outputs are checked before any work is done. A file that
    cannot be read is reported and passed over.

    Parameters
    ----------
    jobs : sequence of FileJob
        What to segment.
    model : Model
        The model.
    options : SegmentOptions
        How to segment. Outside its region the outputs are 0.
    sections : sequence of int, optional
        The sections to segment, all if not given; the outputs of the others are 0.
    rescale : bool
        Whether an image is resampled to the model's pixel size, and the result back.
    overwrite : bool
        Whether outputs that are there may be replaced.
    painted : mapping, optional
        Of an image file, section by number, (Y, X) labels that a person painted, which the
        outputs say; 0 where nothing was painted.

    Raises
    ------
    OutputError
        If an output is there already or cannot be written.
    ModelError, DeviceError
        If the model or the device fails.
    """
    for job in jobs:
        for path in job.outputs:
            check_output(path, overwrite)
    if model.card.spec.rounds < 2 and any(job.first_round for job in jobs):
        raise OutputError(f"The model {model.card.name} looks once: it has no first round to write.")
    for job in jobs:
        try:
            of_file = (painted or {}).get(job.source, {})
            yield from _segment_file(job, model, options, sections, rescale, overwrite, of_file)
        except InputError as error:
            yield FileFailed(job, error)


def _segment_file(
    job: FileJob,
    model: Model,
    options: SegmentOptions,
    sections: Sequence[int] | None,
    rescale: bool,
    overwrite: bool,
    painted: Mapping[int, np.ndarray],
) -> Generator[FileTile | FileDone, None, None]:
    started = time.perf_counter()
    image = open_image(job.source)
    said = list(image.messages)
    _check_part(image, options.region, sections)
    given = job.pixel_size_nm or options.pixel_size_nm
    options = replace(options, pixel_size_nm=given, probabilities=False, first_round=bool(job.first_round))
    pixel_size_nm = options.pixel_size_nm or image.pixel_size_nm
    if not rescale:
        options = replace(options, pixel_size_nm=None)
    elif options.pixel_size_nm is None:
        options = replace(options, pixel_size_nm=image.pixel_size_nm)
        said += about_pixel_size(image, model)
    painted = {z: each for z, each in painted.items() if sections is None or z in sections}
    messages: list[tuple[str, ...]] = []
    device = ""
    with ExitStack() as writers:
        write, write_probabilities = _writers(writers, job, image, model, pixel_size_nm, overwrite)
        probabilities = None
        if write_probabilities:
            height, width = image.shape[-2:]
            region = absolute_region((height, width), options.region)
            values = [each.value for each in model.card.classes]
            probabilities = WholeSections(write_probabilities, (height, width), region, values, painted)
        for event in _sections(image, model, options, sections, probabilities):
            if isinstance(event, TileDone):
                yield FileTile(job, event.section, len(image.sections), event.done, event.total)
            elif isinstance(event, SectionDone):
                prediction = event.prediction
                if event.section in painted:
                    prediction = painted_over(prediction, painted[event.section])
                for name, write_section in write.items():
                    array = getattr(prediction, name)
                    write_section(_whole(array, prediction.region, image.shape[-2:]))
                if probabilities:
                    probabilities.end_section()
                messages.append(event.prediction.messages)
                device = event.prediction.device or device
    said += merge_messages(messages)
    yield FileDone(job, time.perf_counter() - started, device, tuple(said), pixel_size_nm is not None)


def about_pixel_size(image: EMImage, model: Model) -> list[str]:
    """Say which pixel size was taken, where the person named none and it is not plain."""
    of_model = f"{model.card.pixel_size_nm:g} nm"
    if image.pixel_size is None:
        return [
            f"The file does not say its pixel size: that of the model, {of_model}, was taken. If it is "
            "another, give it (--pixel-size)."
        ]
    if all(abs(side / model.card.pixel_size_nm - 1) <= 0.01 for side in image.pixel_size_nm or ()):
        return []
    return [
        f"Its pixels are {image.pixel_size}, as the file says, and the model's {of_model}: it was rescaled "
        "for the model, and the result back."
    ]


def _check_part(image: EMImage, region: tuple[slice, slice] | None, sections: Sequence[int] | None) -> None:
    """Make sure that what is to be segmented lies within the image."""
    if region is not None:
        for each, length, name in zip(region, image.shape[-2:], ("row", "column"), strict=True):
            if max(each.start or 0, (each.stop or 1) - 1) >= length:
                raise InputError(
                    f"The region reaches beyond the image, which has {length} {name}s (0 to {length - 1})."
                )
    count = len(image.sections)
    beyond = [z for z in sections or () if not 0 <= z < count]
    if beyond:
        has = f"the sections 0 to {count - 1}" if count > 1 else "one section, number 0"
        raise InputError(f"It has {has}, and no section {beyond[0]}.")


def _sections(
    image: EMImage,
    model: Model,
    options: SegmentOptions,
    chosen: Sequence[int] | None,
    write: Callable[[np.ndarray], None] | None,
) -> Generator[TileDone | SectionDone, None, None]:
    """Yield all sections in their order; the ones that were not chosen are empty."""
    from napari_feedback_seg.segmentation.predict import segment_section, segment_stack  # imports torch

    if len(image.shape) == 2:
        section = open_section(image.sections, 0, part=options.region is not None)
        prediction = yield from segment_section(section, model, options, write=write)
        yield SectionDone(0, prediction)
        return
    count = len(image.sections)
    height, width = image.shape[-2:]
    whole = slice(0, height), slice(0, width)
    expected = 0
    only = range(count) if chosen is None else sorted(set(chosen))
    with closing(segment_stack(image.sections, model, options, only, write=write)) as events:
        for event in events:
            if isinstance(event, SectionDone):
                for z in range(expected, event.section):
                    yield SectionDone(z, empty_prediction(whole, model.card, options))
                expected = event.section + 1
            yield event
    for z in range(expected, count):
        yield SectionDone(z, empty_prediction(whole, model.card, options))


def _whole(array: np.ndarray, region: tuple[slice, slice], shape: tuple[int, ...]) -> np.ndarray:
    """Return an array about a region as one about the whole section, 0 elsewhere."""
    if array.shape[-2:] == shape:
        return array
    whole = np.zeros((*array.shape[:-2], *shape), array.dtype)
    whole[(..., *region)] = array
    return whole


def _writers(
    stack: ExitStack,
    job: FileJob,
    image: EMImage,
    model: Model,
    pixel_size_nm: float | tuple[float, float] | None,
    overwrite: bool,
) -> tuple[dict[str, Callable[[np.ndarray], None]], Callable[[np.ndarray], None] | None]:
    """Return what writes the next section of each array of a prediction, and rows of probabilities."""
    settings: dict[str, Any] = {
        "pixel_size_nm": pixel_size_nm,
        "spacing_nm": image.spacing_nm,
        "flavour": "ome" if image.flavour == "ome" else "imagej",
        "overwrite": overwrite,
        "made_by": job.made_by,
    }
    classes = model.card.classes
    write = {}
    for name, path in (("labels", job.labels), ("first_round", job.first_round)):
        if path:
            write[name] = stack.enter_context(label_writer(path, image.shape, classes=classes, **settings))
    if not job.probabilities:
        return write, None
    names = [each.name for each in classes]
    writer = probability_writer(job.probabilities, image.shape, names, **settings)
    return write, stack.enter_context(writer)

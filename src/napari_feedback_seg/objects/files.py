"""Objects of files: what is read, what is written."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.classes import EM_CLASSES, MOST_VALUES, UNLABELLED, LabelClass
from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.io import check_output, file_keys, number_writer
from napari_feedback_seg.io.level import FlatLevel
from napari_feedback_seg.io.volume import open_volume
from napari_feedback_seg.objects.cells import find_cells
from napari_feedback_seg.objects.make import find_objects
from napari_feedback_seg.objects.measures import (
    count_segmented,
    measure_cells,
    measure_image,
    measure_objects,
)
from napari_feedback_seg.objects.options import CellOptions, ObjectOptions, voxel_of
from napari_feedback_seg.objects.sources import open_segmentation

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from napari_feedback_seg.objects.blocks import BlockDone
    from napari_feedback_seg.objects.options import Voxel
    from napari_feedback_seg.objects.sources import Segmentation
    from napari_feedback_seg.objects.table import Table

_SPARE = 1.2
"""So many times what temporary files need is to be free."""

_AT_ONCE = 2**23
"""Voxels that are measured at once."""


@dataclass(frozen=True)
class ObjectsJob:
    """A file of labels or probabilities, and what is made of it.

    Attributes
    ----------
    source, output : Path
        The file, and the TIFF of numbered objects to write.
    label : str
        Name or label value of the class.
    options : ObjectOptions or CellOptions
        How; with CellOptions cells are made.
    pixel_size_nm : (float, float), optional
        Height and width of a pixel; what the file says if not given.
    spacing_nm : float, optional
        Distance of the sections; what the file says if not given.
    table, cell_table : Path, optional
        CSV files of the measures of each object, and of each cell.
    image, cells : Path, optional
        The image, for mean grey values; numbered cells, for the cell in which an object lies.
    near : tuple of str
        Names of the classes whose distance is measured.
    decimal_comma : bool
        Whether tables have decimal commas, and semicolons between columns.
    """

    source: Path
    output: Path
    label: str = "mitochondria"
    options: ObjectOptions | CellOptions = field(default_factory=ObjectOptions)
    pixel_size_nm: tuple[float, float] | None = None
    spacing_nm: float | None = None
    table: Path | None = None
    cell_table: Path | None = None
    image: Path | None = None
    cells: Path | None = None
    near: tuple[str, ...] = ()
    decimal_comma: bool = False

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that are written."""
        return tuple(filter(None, (self.output, self.table, self.cell_table)))


@dataclass(frozen=True)
class ObjectsDone:
    """What was found.

    Attributes
    ----------
    count : int
        Objects, or cells.
    objects, image : Table
        Measures of each object, and of what is segmented of the image as a whole.
    messages : tuple of str
        Sentences that the user should read.
    """

    count: int
    objects: Table | None
    image: Table | None
    messages: tuple[str, ...]


def write_objects(
    job: ObjectsJob, *, classes: tuple[LabelClass, ...] = EM_CLASSES, overwrite: bool = False
) -> Generator[BlockDone, None, ObjectsDone]:
    """Find the objects of a file, number and measure them.

    Raises
    ------
    InputError
        If a file cannot be used, or they do not go together.
    OutputError
        If an output is there already or cannot be written, a full disk included.
    """
    for path in job.outputs:
        check_output(path, overwrite)
        if file_keys(path) & file_keys(job.source):
            raise OutputError(f"'{path}' is the input and would be written to. Choose another output.")
    segmentation, about = open_segmentation(job.source, classes)
    labels_of = None if segmentation.soft else segmentation.each()
    size = job.pixel_size_nm or ((about.pixel_size.y, about.pixel_size.x) if about.pixel_size else None)
    spacing = job.spacing_nm or (about.pixel_size.z if about.pixel_size else None)
    voxel, known, messages = voxel_in_words(size, spacing, segmentation.shape)
    with scratch(segmentation.shape, job.output, np.uint8, np.uint32) as (evidence, labels):
        if isinstance(job.options, CellOptions):
            check_labels(labels_of, job.source)
            what, value = "cells", None
            _fill(evidence, segmentation.borders())
            _, count = yield from find_cells(evidence, job.options, voxel, out=labels)
        else:
            each = class_named(job.label, classes, job.source, labels_of)
            what, value = each.name, each.value
            _fill(evidence, segmentation.of_class(each.value))
            _, count = yield from find_objects(evidence, job.options, voxel, out=labels)
        if not count:
            messages.append(f"There is no object: nothing in '{job.source}' is {what}, or all is too small.")
        objects = whole = None
        if job.table or job.cell_table:
            objects = yield from _measure(job, labels, count, voxel if known else None, segmentation)
            segmented = yield from count_segmented(segmentation.each(), value, soft=segmentation.soft)
            whole = measure_image(objects, segmentation.shape, voxel if known else None, segmented)
        with number_writer(
            job.output, segmentation.shape, count, pixel_size_nm=size, spacing_nm=spacing, overwrite=overwrite
        ) as write:
            for z in range(len(labels) if labels.ndim == 3 else 1):
                write(np.asarray(labels[z] if labels.ndim == 3 else labels))
        if job.cell_table is not None and objects is not None:
            cells = yield from measure_objects(
                beside(job.cells, segmentation.shape), voxel if known else None
            )
            _write(measure_cells(objects, cells), job.cell_table, job, overwrite)
    if job.table is not None and objects is not None:
        _write(objects, job.table, job, overwrite)
    return ObjectsDone(count, objects, whole, tuple(messages))


def check_labels(labels: Iterable[np.ndarray] | None, path: Path) -> None:
    """Refuse what has more values in its first part than labels of classes have.

    Raises
    ------
    InputError
        If it has.
    """
    try:
        first = next(iter(labels or ()), None)
    except InputError:  # damaged: that is said of the block that needs it
        return
    count = 0 if first is None else len(np.unique(first))
    if count > MOST_VALUES:
        raise InputError(
            f"'{path}' is no label image: it has {count} values, as an image or numbered objects have. "
            "Give labels, or what 'feedback-seg segment --probabilities' wrote."
        )


def class_named(
    name: str, classes: tuple[LabelClass, ...], path: Path, labels: Iterable[np.ndarray] | None = None
) -> LabelClass:
    """Return the class of this name, or of this label value; if ``labels`` are given, any value.

    Parameters
    ----------
    name : str
        The name, or the value.
    classes : tuple of LabelClass
        What is known.
    path : Path
        Of the file, to be named.
    labels : iterable of ndarray, optional
        The labels in it, part by part.

    Raises
    ------
    InputError
        If there is no such class, or these are no labels of classes.
    """
    for each in classes:
        if name == str(each.value):
            return each
        if name == each.name:
            check_labels(labels, path)
            return each
    if name.isdecimal() and 0 < int(name) < 256 and labels is not None:
        return LabelClass(int(name), f"label {name}", "#ffffff")
    values = {int(value) for part in labels or () for value in np.unique(part)}
    others = sorted(values - {UNLABELLED} - {each.value for each in classes})
    known = ", ".join(f"{each.value} {each.name}" for each in classes)
    more = (
        f" There is also {', '.join(map(str, others))}, which has no name here: choose it by its number."
        if 0 < len(others) <= MOST_VALUES
        else ""
    )
    raise InputError(
        f"'{name}' is no class of '{path}'. The classes are {known}; a label value will do, too.{more}"
    )


@contextmanager
def scratch(shape: tuple[int, ...], beside: Path, *dtypes: Any) -> Iterator[list[np.ndarray]]:
    """Give arrays that lie in temporary files, one for each type.

    Raises
    ------
    OutputError
        If the disk has too little room for them.
    """
    folder = beside.parent if beside.parent.is_dir() else Path(tempfile.gettempdir())
    needed = sum(np.dtype(each).itemsize for each in dtypes) * int(np.prod(shape))
    try:
        if shutil.disk_usage(folder).free < _SPARE * needed:
            raise OutputError(
                f"The disk of '{folder}' is too full: {_SPARE * needed / 1e9:.1f} GB are needed meanwhile. "
                "Free some space."
            )
        with ExitStack() as files:
            opened = [files.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in dtypes]
            yield [
                np.memmap(file, dtype, "w+", shape=shape) for file, dtype in zip(opened, dtypes, strict=True)
            ]
    except OSError as error:
        raise OutputError(f"No temporary file can be written in '{folder}': {error.strerror}.") from error


def voxel_in_words(
    size: tuple[float, float] | None, spacing: float | None, shape: tuple[int, ...]
) -> tuple[Voxel, bool, list[str]]:
    """Return the voxel, whether it is known, and what to say if it is not."""
    voxel = voxel_of(size, spacing)
    if size is None:
        return (
            voxel,
            False,
            [
                f"The file does not say its pixel size: measures are in pixels, and lengths take "
                f"{voxel[1]:g} nm for one. If you know it, give it (--pixel-size)."
            ],
        )
    if len(shape) == 3 and spacing is None:
        return (
            voxel,
            False,
            [
                f"The file does not say how far its sections are apart: {voxel[0]:g} nm were taken, "
                "and measures are in pixels. If you know it, give it (--spacing)."
            ],
        )
    return voxel, True, []


def _fill(evidence: np.ndarray, sections: Iterator[np.ndarray]) -> None:
    planes = evidence[None] if evidence.ndim == 2 else evidence
    for plane, section in zip(planes, sections, strict=True):
        plane[:] = section


def _measure(
    job: ObjectsJob, labels: np.ndarray, count: int, voxel: Voxel | None, segmentation: Segmentation
) -> Generator[BlockDone, None, Table]:
    with scratch(segmentation.shape, job.output, *[np.uint8] * len(job.near)) as masks:
        for name, mask in zip(job.near, masks, strict=True):
            _fill(mask, segmentation.of_class(class_named(name, segmentation.classes, job.source).value))
        return (
            yield from measure_objects(
                labels,
                voxel,
                grey=beside(job.image, labels.shape),
                cells=beside(job.cells, labels.shape),
                near=dict(zip(job.near, masks, strict=True)),
                count=count,
                size=_sections_at_once(labels.shape),
            )
        )


def _sections_at_once(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return how much is measured at once: whole sections, which a file gives best."""
    height, width = shape[-2:]
    return max(1, min(8, _AT_ONCE // (height * width))), height, width


def beside(path: Path | None, shape: tuple[int, ...]) -> Any:
    """Return what belongs to the labels, read in parts; None if there is no path.

    Raises
    ------
    InputError
        If it has another shape.
    """
    if path is None:
        return None
    level = open_volume(path).levels[0]
    if tuple(level.shape) != ((1, *shape) if len(shape) == 2 else tuple(shape)):
        found = level.shape[-len(shape) :] if level.shape[0] == 1 else level.shape
        raise InputError(f"'{path}' has the shape {found}, and the labels {tuple(shape)}: they differ.")
    return FlatLevel(level) if len(shape) == 2 else level


def _write(table: Table, path: Path, job: ObjectsJob, overwrite: bool) -> None:
    table.write_csv(path, overwrite=overwrite, decimal_comma=job.decimal_comma)

"""What finding objects needs, taken on the GUI thread, and the work itself, off it. No Qt, no napari."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.objects.options import voxel_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from napari.layers import Image, Labels

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.objects.blocks import BlockDone
    from napari_feedback_seg.objects.editor import ObjectEditor
    from napari_feedback_seg.objects.meshes import Mesh
    from napari_feedback_seg.objects.options import CellOptions, ObjectOptions, Voxel
    from napari_feedback_seg.objects.table import Table
    from napari_feedback_seg.plugin.session.session import Session

CELLS = "cells"
"""What cells are called among the classes."""


@dataclass(frozen=True)
class Order:
    """Objects that are wanted."""

    image: Image  # the image, and the result that they are made from
    result: Labels
    what: str  # name of a class, or CELLS
    labels: Any  # the result with its corrections
    probabilities: Mapping[str, Any]  # of the classes, by name, as far as they are known
    classes: Sequence[LabelClass]  # what the labels mean
    options: ObjectOptions | CellOptions  # how
    voxel: Voxel  # depth, height and width of a voxel in nm, nominal where they are unknown
    known: bool  # whether they are known
    grey: Any = None  # the image, and its numbered cells
    cells: Any = None

    @property
    def key(self) -> tuple[Any, str]:
        """What tells them from others: the image and the class."""
        return self.image.unique_id, self.what

    @property
    def measured_in(self) -> Voxel | None:
        """The voxel, if it is known."""
        return self.voxel if self.known else None

    def to_json(self, near: Iterable[str]) -> dict[str, Any]:
        """Return how they were found, and the classes to which distances were measured, as plain JSON."""
        options = {name: getattr(value, "value", value) for name, value in vars(self.options).items()}
        return {
            "what": self.what,
            "options": options,
            "from_probabilities": len(self.probabilities) == len(self.classes),
            "in_cells": self.cells is not None,
            "near": list(near),
            "spacing_nm": self.voxel[0] if self.known and len(self.labels.shape) == 3 else None,
        }

    @property
    def title(self) -> str:
        """What a person reads meanwhile."""
        return f"Finding {self.what} of {self.image.name}"


@dataclass
class Found:
    """Objects that were found, and are edited in place."""

    order: Order  # what they were made from
    labels: np.ndarray  # their numbers
    count: int  # how many there were at first
    near: dict[str, Any]  # where the classes are to which distances are measured
    table: Table = field(init=False)  # their measures
    segmented: int | None = None  # voxels that are segmented; None for all
    layer: Labels = field(init=False)  # in which they are shown, and what edits them
    editor: ObjectEditor = field(init=False)
    selected: int = 0
    meshes: dict[int, Any] = field(default_factory=dict)

    @property
    def others(self) -> dict[str, Any]:
        """What else is measured."""
        return {"grey": self.order.grey, "cells": self.order.cells, "near": self.near}


@dataclass(frozen=True)
class _OfClass:
    """Where a class is in labels, as it is read."""

    labels: Any
    value: int

    @property
    def ndim(self) -> int:
        return self.labels.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.labels.shape)

    def __getitem__(self, place: Any) -> np.ndarray:
        return np.asarray(self.labels[place]) == self.value


@dataclass(frozen=True)
class _Evidence:
    """What objects are made from, as it is read: uint8."""

    order: Order

    @property
    def ndim(self) -> int:
        return self.order.labels.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.order.labels.shape)

    def __getitem__(self, place: Any) -> np.ndarray:
        if place is None:  # a section, as a stack
            return self[(slice(None), slice(None))][None]
        from napari_feedback_seg.objects.options import CellOptions
        from napari_feedback_seg.objects.sources import borders_in, class_in

        order, classes = self.order, tuple(self.order.classes)
        labels, known = np.asarray(order.labels[place]), order.probabilities
        soft = bool(known) and len(known) == len(classes)
        if isinstance(order.options, CellOptions):
            channels = [np.asarray(known[each.name][place]) for each in classes] if soft else ()
            return borders_in(np.stack(channels) if soft else labels, classes, soft=soft)
        right = class_in(labels, next(each.value for each in classes if each.name == order.what))
        if not soft:
            return right
        section = class_in(np.asarray(known[order.what][place])[None], 0, 0)
        # What a person corrected is in the labels, and not in the probability: the labels count.
        return np.where(right > 0, np.maximum(section, 128), np.minimum(section, 127))


def make_order(session: Session, what: str, options: ObjectOptions | CellOptions) -> Order:
    """Return what is needed to find objects in the result of the image.

    Raises InputError if there is nothing to find them in.
    """
    image, result, layers = session.image, session.result, session.layers
    if image is None or result is None or not what:
        raise InputError("There is nothing to find objects in. Segment the image first.")
    session.correcting.corrections.look()
    size = session.pixel_sizes.of(image)
    spacing = layers.spacing(image) or session.pixel_sizes.spacing_of(image)
    whole = layers.region_of(result) is None
    cells = layers.objects.layer_of(image, CELLS) if what != CELLS else None
    same = cells is not None and cells.data.shape == result.data.shape
    return Order(
        image=image,
        result=result,
        what=what,
        labels=session.correcting.corrections.of_result(result),
        probabilities=layers.objects.probabilities(result),
        classes=layers.classes_of(result),
        options=options,
        voxel=voxel_of(size, spacing),
        known=size is not None and (result.ndim == 2 or spacing is not None),
        grey=layers.sections(image).data if whole else None,
        cells=cells.data if cells is not None and same else None,
    )


def find(order: Order) -> Generator[BlockDone, None, Found]:
    """Find the objects, number and measure them."""
    from napari_feedback_seg.metrics import BORDERS
    from napari_feedback_seg.objects.cells import find_cells
    from napari_feedback_seg.objects.make import find_objects
    from napari_feedback_seg.objects.measures import count_segmented, measure_objects, parts_of
    from napari_feedback_seg.objects.options import CellOptions

    evidence = _Evidence(order)
    if isinstance(order.options, CellOptions):
        labels, count = yield from find_cells(evidence, order.options, order.voxel)
    else:
        labels, count = yield from find_objects(evidence, order.options, order.voxel)
    near = {
        each.name: _OfClass(order.labels, each.value)
        for each in (order.classes if order.what != CELLS else ())
        if each.name in BORDERS and each.name != order.what
    }
    found = Found(order, labels, count, near)
    found.table = yield from measure_objects(labels, order.measured_in, count=count, **found.others)
    value = next((each.value for each in order.classes if each.name == order.what), None)
    found.segmented = yield from count_segmented(parts_of(order.labels), value)
    return found


def preview(order: Order, z: int) -> Generator[None, None, np.ndarray]:
    """Find the objects of one section (Y, X) alone."""
    from napari_feedback_seg.objects.cells import cells_of_section
    from napari_feedback_seg.objects.instances import instances
    from napari_feedback_seg.objects.options import CellOptions

    yield
    evidence = _Evidence(order)
    every = (slice(None), slice(None))
    section = evidence[(slice(z, z + 1), *every)][0] if evidence.ndim == 3 else evidence[every]
    if isinstance(order.options, CellOptions):
        return cells_of_section(section, order.options, order.voxel[1:])
    return instances(section[None], order.options, order.voxel)[0]


def in_words_of(found: Found) -> str:
    """Return how many there are, and how dense they lie."""
    count = len(found.table)
    if not count:
        return f"No {found.order.what} were found: there are none, or all are smaller than the least."
    from napari_feedback_seg.objects.measures import measure_image

    whole = measure_image(found.table, found.labels.shape, found.order.measured_in, found.segmented)
    name = next(each for each in whole.columns if each.startswith("density"))
    unit = {"um3": "µm³", "um2": "µm²", "px": "pixel"}[name.rpartition("_")[2]]
    of = " of what is segmented" if whole["segmented"][0] < 1 else ""
    return f"{count:,} {found.order.what}, {float(whole[name][0]):.3g} per {unit}{of}."


def measured_again(found: Found, numbers: Sequence[int] | None = None) -> Table:
    """Return the table after some objects have changed, or all of them."""
    from napari_feedback_seg.generators import finish
    from napari_feedback_seg.objects.measures import measure_again, measure_objects

    if numbers is None:
        return finish(measure_objects(found.labels, found.order.measured_in, **found.others))
    return measure_again(found.table, found.labels, numbers, found.order.measured_in, **found.others)


def deep(labels: np.ndarray) -> np.ndarray:
    """Return labels as a stack."""
    return labels[None] if labels.ndim == 2 else labels


def note_what_cells_hold(cells: Found, of_image: Mapping[str, Found]) -> None:
    """Give the table of cells how many objects of each class lie in each, and which part they fill."""
    from napari_feedback_seg.objects.measures import measure_cells

    for what, each in of_image.items():
        if "cell" in each.table.columns:
            held = measure_cells(each.table, cells.table)
            columns = {f"{name}_{what}": held[name] for name in ("count", "fraction")}
            cells.table = cells.table.with_columns(columns)


def meshes_of(
    labels: np.ndarray, numbers: Sequence[int], voxel: Voxel
) -> Generator[BlockDone, None, list[Mesh]]:
    """Return the meshes of some objects."""
    from napari_feedback_seg.objects.blocks import BlockDone
    from napari_feedback_seg.objects.meshes import mesh_of

    meshes = []
    for done, number in enumerate(numbers, start=1):
        meshes.append(mesh_of(labels, number, voxel))
        yield BlockDone(done, len(numbers))
    return meshes


def with_meshes(table: Table, meshes: Sequence[Mesh]) -> Table:
    """Return a table with the volumes and surfaces of meshes."""
    columns = {}
    for name, measure in (("mesh_volume_um3", "volume_um3"), ("mesh_surface_um2", "surface_um2")):
        column = np.full(len(table), np.nan)
        for mesh in meshes:
            column[table["object"] == mesh.number] = getattr(mesh, measure)
        columns[name] = column
    return table.with_columns(columns)

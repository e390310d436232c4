"""Labels, or probabilities, of a volume on a disk, where a class is in them: read block by block."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.classes import EM_CLASSES, LabelClass
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io.image import decoding, library
from napari_feedback_seg.io.volume import open_volume
from napari_feedback_seg.objects.sources import borders_in, channel_of
from napari_feedback_seg.volumes.output import NAME, PROBABILITIES

if TYPE_CHECKING:
    from napari_feedback_seg.io.level import Grid

    Place = tuple[slice, slice, slice]


@dataclass(frozen=True)
class LabelledVolume:
    """Labels of a volume, and the probabilities beside them where there are any.

    Attributes
    ----------
    path : str
        Of the labels.
    labels : Level
        (Z, Y, X).
    probabilities : array-like or None
        (C, [Z,] Y, X) uint8, in the order of the classes.
    classes : tuple of LabelClass
        What the labels mean.
    grid : Grid
        Where their pixels lie.
    flat : bool
        Whether there is no axis z.
    version : {"0.4", "0.5"}
        Of OME-Zarr.
    """

    path: str
    labels: Any
    probabilities: Any
    classes: tuple[LabelClass, ...]
    grid: Grid
    flat: bool
    version: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        z, y, x = self.labels.shape
        return z, y, x

    @property
    def soft(self) -> bool:
        """Whether there are probabilities."""
        return self.probabilities is not None

    def evidence(self, value: int) -> Evidence:
        """Return where a class is: bool of labels, or its probability as uint8."""
        return Evidence(self, value)

    def borders(self) -> Evidence:
        """Return what parts cells; see :func:`~napari_feedback_seg.objects.sources.borders_in`."""
        return Evidence(self, None)

    def channels(self, place: Place, which: slice) -> np.ndarray:
        """Return some channels (C, Z, Y, X) of the probabilities."""
        where = place[1:] if self.flat else place
        with decoding(self.path):
            found = np.asarray(self.probabilities[(which, *where)])
        return found[:, None] if self.flat else found


class Evidence:
    """Where a class is in a volume, or what parts cells if ``value`` is None; read in blocks."""

    ndim = 3

    def __init__(self, volume: LabelledVolume, value: int | None) -> None:
        self._volume, self._value, self.shape = volume, value, volume.shape

    def __getitem__(self, place: Place) -> np.ndarray:
        volume, value = self._volume, self._value
        if volume.probabilities is None:
            labels = volume.labels[place]
            if value is None:
                return borders_in(labels, volume.classes, soft=False)
            mask: np.ndarray = labels == value
            return mask
        if value is None:
            soft = volume.channels(place, slice(None)).astype(np.float32) / 255
            return borders_in(soft, volume.classes, soft=True)
        channel = channel_of(value, volume.classes)
        found: np.ndarray = volume.channels(place, slice(channel, channel + 1))[0]
        return found


def open_labelled(path: str, classes: tuple[LabelClass, ...] = EM_CLASSES) -> LabelledVolume:
    """Open the labels of a volume; of a store that ``feedback-seg segment`` wrote, those in it.

    Parameters
    ----------
    path : str
        An OME-Zarr or an array of labels, a store with labels by ``feedback-seg segment``, or an image file.
    classes : tuple of LabelClass
        What labels mean that do not say it themselves.

    Raises
    ------
    InputError
        If it holds no labels.
    """
    inner = Path(path) / "labels" / NAME
    path = str(inner) if "://" not in path and inner.is_dir() else path.rstrip("/")
    volume = open_volume(path)
    labels = volume.levels[0]
    if labels.dtype.kind not in "uib":
        raise InputError(
            f"'{path}' holds {labels.dtype} and no labels. Give the labels that 'feedback-seg segment' wrote."
        )
    probabilities = None
    if not volume.of_array:
        group = library("zarr", Path(path)).open_group(path, mode="r")
        noted = group.attrs.get(NAME)
        if isinstance(noted, dict) and "classes" in noted:
            by_name = {each.name: each for each in classes}
            classes = tuple(
                by_name.get(name, LabelClass(int(value), name, "#ffffff"))
                for name, value in zip(noted["classes"], noted["values"], strict=True)
            )
            if f"{PROBABILITIES}/0" in group:
                probabilities = group[f"{PROBABILITIES}/0"]
    return LabelledVolume(path, labels, probabilities, classes, volume.grids[0], volume.flat, volume.version)

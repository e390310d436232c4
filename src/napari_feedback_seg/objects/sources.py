"""Where a class is, and what parts cells, of labels or of probabilities: as bytes, section by section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import ChannelImage, open_channels, open_image
from napari_feedback_seg.metrics import BORDERS
from napari_feedback_seg.objects.cells import NO_TISSUE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.io import EMImage


@dataclass(frozen=True)
class Segmentation:
    """Labels, or probabilities, of the classes of an image.

    Attributes
    ----------
    sections : sequence
        Of each section (Y, X) labels, or (C, Y, X) probabilities in the order of ``classes``.
    classes : tuple of LabelClass
        What the labels mean, or the channels are.
    shape : tuple of int
        (Y, X), or (Z, Y, X) for a stack.
    soft : bool
        Whether they are probabilities.
    """

    sections: Any
    classes: tuple[LabelClass, ...]
    shape: tuple[int, ...]
    soft: bool = False

    def of_class(self, value: int) -> Iterator[np.ndarray]:
        """Yield of each section (Y, X) where a class is, 0 to 255 as uint8: its probability, or 0 and 255."""
        channel = channel_of(value, self.classes) if self.soft else None
        for section in self.each():
            yield class_in(section, value, channel)

    def borders(self) -> Iterator[np.ndarray]:
        """Yield of each section (Y, X) what parts cells, 0 to 254; :data:`NO_TISSUE` where nothing is."""
        for section in self.each():
            yield borders_in(section, self.classes, soft=self.soft)

    def each(self) -> Iterator[np.ndarray]:
        """Yield each section: (Y, X) labels, or (C, Y, X) probabilities."""
        for z in range(self.shape[0] if len(self.shape) == 3 else 1):
            yield np.asarray(self.sections[z])


def channel_of(value: int, classes: Sequence[LabelClass]) -> int:
    """Return which channel of probabilities is that of a class."""
    return next(index for index, each in enumerate(classes) if each.value == value)


def class_in(array: np.ndarray, value: int, channel: int | None = None) -> np.ndarray:
    """Return where a class is, 0 to 255 as uint8: its probability, or 0 and 255.

    Parameters
    ----------
    array : ndarray
        Labels (..., Y, X), or probabilities (C, ..., Y, X).
    value : int
        Of the class.
    channel : int, optional
        Which one of the probabilities is its.
    """
    if channel is None:
        return np.where(array == value, 255, 0).astype(np.uint8)
    found: np.ndarray = np.round(np.clip(array[channel], 0, 1) * 255).astype(np.uint8)
    return found


def borders_in(array: np.ndarray, classes: Sequence[LabelClass], *, soft: bool) -> np.ndarray:
    """Return what parts cells, 0 to 254 as uint8; :data:`NO_TISSUE` where nothing is segmented.

    Parameters
    ----------
    array : ndarray
        Labels (..., Y, X), or probabilities (C, ..., Y, X).
    classes : sequence of LabelClass
        What labels mean, or the channels are.
    soft : bool
        Whether they are probabilities.

    Raises
    ------
    InputError
        If no class parts cells.
    """
    between = [each for each in classes if each.name in BORDERS]
    if not between:
        known = ", ".join(each.name for each in classes)
        raise InputError(f"Cells are made from the class membrane, and the classes here are {known}.")
    if soft:
        border = np.clip(sum(array[channel_of(each.value, classes)] for each in between), 0, 1)
        tissue = array.any(axis=0)
    else:
        border = np.isin(array, [each.value for each in between])
        tissue = array != UNLABELLED
    return np.where(tissue, np.round(border * 254.0), NO_TISSUE).astype(np.uint8)


class _Channels:
    def __init__(self, image: ChannelImage) -> None:
        self._image = image

    def __getitem__(self, z: int) -> np.ndarray:
        return self._image.section(z)


def open_segmentation(
    path: Path, classes: Sequence[LabelClass]
) -> tuple[Segmentation, EMImage | ChannelImage]:
    """Open a file of labels, or of probabilities.

    Parameters
    ----------
    path : Path
        A file of labels, or what ``feedback-seg segment --probabilities`` wrote.
    classes : sequence of LabelClass
        What labels mean; channels are known by their names.

    Raises
    ------
    InputError
        If it is neither.
    """
    channels = open_channels(path)
    if channels is not None:
        by_name = {each.name: each for each in classes}
        unknown = [name for name in channels.names if name not in by_name]
        if unknown:
            raise InputError(
                f"The channel '{unknown[0]}' of '{path}' is no class. The classes are {', '.join(by_name)}."
            )
        found = tuple(by_name[name] for name in channels.names)
        return Segmentation(_Channels(channels), found, channels.shape, soft=True), channels
    image = open_image(path, labels=True)
    if image.dtype.kind not in "uib":
        raise InputError(
            f"'{path}' holds {image.dtype} and no labels. Give labels, or what 'feedback-seg segment "
            "--probabilities' wrote."
        )
    return Segmentation(image.sections, tuple(classes), image.shape), image

"""What a fine-tune sees: windows of a corrected section, on the grid of the model's pixel size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.correction.corrections import CELL
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.segmentation.prediction import model_shape
from napari_feedback_seg.segmentation.reader import section_reader
from napari_feedback_seg.segmentation.sections import BlankSection
from napari_feedback_seg.segmentation.tiles import Tile

if TYPE_CHECKING:
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.models.model import ModelCard
    from napari_feedback_seg.segmentation.inference import Inference

REACH = 6
"""Pixels around a corrected one that do not count as left alone."""


class RescaledSection:
    """A corrected section, rescaled window by window; what lies beyond is mirrored and unlabelled.

    Parameters
    ----------
    section : CorrectedSection
        Image and corrections.
    cells : ndarray
        Its ``region_map``.
    card : ModelCard
        Of the model.

    Attributes
    ----------
    shape : tuple of int
        (Y, X) at the model's pixel size.

    Raises
    ------
    InputError
        If there is nothing to see in the section, or its pixel size is far from the model's.
    """

    def __init__(self, section: CorrectedSection, cells: npt.NDArray[np.int32], card: ModelCard) -> None:
        self.shape = model_shape(section.labels.shape, card, section.pixel_size_nm)
        try:
            self._reader = section_reader(section.image, self.shape)
        except BlankSection as error:
            raise InputError(f"Section {section.index} has corrections, but: {error}") from error
        self._labels = section.labels
        self._cells = cells
        self._ratio = tuple(
            source / own for source, own in zip(section.labels.shape, self.shape, strict=True)
        )

    def to_own(self, places: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Return (N, 2) rows and columns of the image as those at the model's pixel size."""
        own = np.floor((places + 0.5) / np.array(self._ratio)).astype(np.int64)
        inside: npt.NDArray[np.int64] = np.minimum(own, np.array(self.shape) - 1)
        return inside

    def image(self, y: int, x: int, size: int) -> npt.NDArray[np.float32]:
        """Return the normalised image (size, size) from row ``y`` and column ``x`` on."""
        return self._reader.read(Tile(y, x), size)

    def labels(self, y: int, x: int, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        """Return the corrections (size, size) and the number of the region of each."""
        rows, row_there = self._source(y, size, 0)
        columns, column_there = self._source(x, size, 1)
        labels = self._labels[np.ix_(rows, columns)]
        labels = np.where(row_there[:, None] & column_there, labels, UNLABELLED).astype(np.uint8)
        regions = self._cells[np.ix_(rows // CELL, columns // CELL)]
        return labels, np.where(labels != UNLABELLED, regions, 0).astype(np.int32)

    def inside(self, y: int, x: int, size: int) -> npt.NDArray[np.bool_]:
        """Return which pixels (size, size) of a window lie in the section."""
        rows, columns = np.arange(y, y + size), np.arange(x, x + size)
        return ((rows >= 0) & (rows < self.shape[0]))[:, None] & (columns >= 0) & (columns < self.shape[1])

    def touches(self, y: int, x: int, size: int) -> bool:
        """Whether any pixel of a window lies in the section."""
        return all(start < own and start + size > 0 for start, own in zip((y, x), self.shape, strict=True))

    def _source(
        self, start: int, size: int, axis: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        own = np.arange(start, start + size)
        there = (own >= 0) & (own < self.shape[axis])
        source = np.floor((own + 0.5) * self._ratio[axis]).astype(np.int64)
        return np.clip(source, 0, self._labels.shape[axis] - 1), there


class CachedPrediction:
    """The probabilities that the model gave before it was fine-tuned, each block computed once.

    A block is the middle of a tile, so that what is said does not depend on the window.

    Parameters
    ----------
    section : RescaledSection
        The section.
    inference : Inference
        The model's network.
    tile : int
        Side of the model's tile.
    """

    def __init__(self, section: RescaledSection, inference: Inference, tile: int) -> None:
        self._section, self._inference, self._tile = section, inference, tile
        self._block = max(1, tile * 3 // 4)
        self._blocks: dict[tuple[int, int], npt.NDArray[np.float16]] = {}

    def window(self, y: int, x: int, size: int) -> npt.NDArray[np.float16]:
        """Return the probabilities (C, size, size), 0 beyond the section, of which it shows a part."""
        side = self._block
        parts = [
            (_overlap((row * side, column * side), side, (y, x), size), self._get(row, column))
            for row in range(y // side, (y + size - 1) // side + 1)
            for column in range(x // side, (x + size - 1) // side + 1)
            if self._section.touches(row * side, column * side, side)
        ]
        whole = np.zeros((len(parts[0][1]), size, size), np.float16)
        for (to, of), said in parts:
            whole[:, *to] = said[:, *of]
        whole[:, ~self._section.inside(y, x, size)] = 0
        return whole

    def _get(self, row: int, column: int) -> npt.NDArray[np.float16]:
        if (row, column) not in self._blocks:
            margin = (self._tile - self._block) // 2
            start = row * self._block - margin, column * self._block - margin
            (said,) = self._inference([self._section.image(*start, self._tile)])
            middle = slice(margin, margin + self._block)
            self._blocks[row, column] = said[:, middle, middle].astype(np.float16)
        return self._blocks[row, column]


def _overlap(
    block: tuple[int, int], side: int, window: tuple[int, int], size: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the part of the window that the block covers, and the part of the block."""
    to, of = [], []
    for start, origin in zip(block, window, strict=True):
        first, last = max(start, origin), min(start + side, origin + size)
        to.append(slice(first - origin, last - origin))
        of.append(slice(first - start, last - start))
    return (to[0], to[1]), (of[0], of[1])

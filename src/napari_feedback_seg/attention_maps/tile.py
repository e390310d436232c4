"""Attention maps of one tile: of a pixel, of a class, of all; exact, and without the matrix.

``w_ij = softmax_j(query_i . key_j)`` says how much of what the second round gets at pixel i
comes from place j. All maps are in times the average place: 1 is what every place would get
if the network looked everywhere alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from napari_feedback_seg.attention_maps.changes import compare_rounds
from napari_feedback_seg.attention_maps.grid import check_inside

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch import Tensor

    from napari_feedback_seg.attention_maps.changes import FeedbackChange
    from napari_feedback_seg.attention_maps.grid import TileFrame
    from napari_feedback_seg.classes import LabelClass

_BLOCK_ELEMENTS = 2**22
"""Elements of one block of rows of the matrix; 16 MB in float32."""


@dataclass(frozen=True)
class BlockDone:
    """A block of rows of the attention matrix has been added up.

    Attributes
    ----------
    done, total : int
        Blocks so far, and in all.
    """

    done: int
    total: int


@dataclass(frozen=True)
class StrongPlace:
    """A place that was looked at much.

    Attributes
    ----------
    y, x : int
        The pixel of the section in its middle.
    times : float
        Times the average place.
    label_class : LabelClass
        Of most of its pixels.
    """

    y: int
    x: int
    times: float
    label_class: LabelClass


@dataclass(frozen=True)
class PixelAttention:
    """Where the second round looked for one pixel.

    Attributes
    ----------
    y, x : int
        The pixel of the section.
    label_class : LabelClass
        What the network says it is.
    map : ndarray
        (Y, X) float32 over the tile's region, in times the average place.
    strongest : tuple of StrongPlace
        The places with the largest values, apart from each other; the first is the largest.
    """

    y: int
    x: int
    label_class: LabelClass
    map: np.ndarray
    strongest: tuple[StrongPlace, ...]


@dataclass(frozen=True)
class AttentionSummary:
    """The attention of all pixels of a tile.

    Attributes
    ----------
    received : ndarray
        (Y, X) float32 over the tile's region: how much each place was looked at, the mean
        over all pixels, in times the average place.
    class_maps : dict of int to ndarray
        The same for the pixels of one predicted class, by its label; a class that is
        nowhere in the tile has none.
    matrix : ndarray
        (C, C): how much class a (row) looks at class b (column), in times of what it would
        if it looked everywhere alike. NaN for a class that is nowhere in the tile.
    """

    received: np.ndarray
    class_maps: dict[int, np.ndarray]
    matrix: np.ndarray


@dataclass(frozen=True, eq=False)
class TileAttention:
    """What the network computed for one tile, and the maps that follow from it.

    Attributes
    ----------
    frame : TileFrame
        Where the tile lies.
    classes : tuple of LabelClass
        Of the model.
    place : int
        Side in pixels of the model of a place that is looked at: 1 for exact attention,
        else the key pooling.
    query : Tensor
        (N, D), the pixels of the tile row by row.
    key : Tensor
        (h, w, D), the places of the tile.
    probabilities : ndarray
        (2, C, T, T) float32, of both rounds.
    """

    frame: TileFrame
    classes: tuple[LabelClass, ...]
    place: int
    query: Tensor
    key: Tensor
    probabilities: np.ndarray

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels (Y, X) uint8 of round 2 over the tile's region, from this tile alone."""
        return self.frame.to_section(self._tile_labels[1])

    @cached_property
    def first_round(self) -> np.ndarray:
        """Labels (Y, X) uint8 of round 1 over the tile's region, from this tile alone."""
        return self.frame.to_section(self._tile_labels[0])

    def row(self, y: int, x: int) -> np.ndarray:
        """Return the attention (h, w) float32 of a pixel to each place, in times the average place.

        It is the exact row of the matrix, at the resolution that the network has. Places in
        the mirrored border are among them.

        Raises
        ------
        InputError
            If the pixel is outside of the tile or of the section.
        """
        row, column = self.frame.pixel(y, x)
        places = self.key.shape[:2]
        with torch.inference_mode():
            query = self.query[row * self.frame.size + column]
            weights = (self.key.flatten(0, 1) @ query).float().softmax(dim=0)
            times: np.ndarray = (weights * len(weights)).reshape(places).cpu().numpy()
        return times

    def pixel(self, y: int, x: int, strongest: int = 3) -> PixelAttention:
        """Return where the second round looked for a pixel of the section.

        Parameters
        ----------
        y, x : int
            The pixel of the section.
        strongest : int
            How many places to name.

        Raises
        ------
        InputError
            If the pixel is outside of the tile or of the section.
        """
        times = self.row(y, x)
        row, column = self.frame.pixel(y, x)
        value = self._tile_labels[1, row, column]
        return PixelAttention(
            y, x, self._class_of(value), self._to_section(times), self._strongest(times, strongest)
        )

    def summarise(self) -> Generator[BlockDone, None, AttentionSummary]:
        """Add the attention of all pixels up, a block of rows of the matrix at a time.

        Memory does not grow with the matrix. Pixels of the mirrored border do not look, but
        they are looked at, as they are in the network. Closing the generator stops it.
        """
        places = self.key.shape[:2]
        count = places[0] * places[1]
        rows = max(1, _BLOCK_ELEMENTS // count)
        member = self._members()
        sums = np.zeros((len(self.classes), count))
        blocks = list(zip(self.query.split(rows), member.split(rows), strict=True))
        for done, (queries, members) in enumerate(blocks, start=1):
            sums += self._block(queries, members)
            yield BlockDone(done, len(blocks))
        pixels = member.sum(dim=0).cpu().numpy()
        shares = sums / np.maximum(pixels, 1)[:, None]
        composition = self._composition.reshape(len(self.classes), -1).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            matrix = shares @ composition.T / composition.mean(axis=1)
        matrix[pixels == 0] = np.nan

        def shown(weights: np.ndarray) -> np.ndarray:
            return self._to_section((weights * count).reshape(places).astype(np.float32))

        return AttentionSummary(
            shown(sums.sum(axis=0) / pixels.sum()),
            {
                each.value: shown(share)
                for each, share, size in zip(self.classes, shares, pixels, strict=True)
                if size
            },
            matrix,
        )

    def change(self, truth: np.ndarray | None = None) -> FeedbackChange:
        """Return what the feedback changed in this tile, over its region.

        Parameters
        ----------
        truth : ndarray, optional
            (Y, X), the right labels of the whole section; 0 is unlabelled.

        Raises
        ------
        InputError
            If the ground truth does not fit the section or the model.
        """
        moved = 0.5 * np.abs(self.probabilities[1] - self.probabilities[0]).sum(axis=0)
        if truth is not None and truth.shape == self.frame.shape:
            truth = truth[self.frame.region]
        return compare_rounds(
            self.first_round, self.labels, self.frame.to_section(moved), self.classes, truth
        )

    def nearest_of(self, value: int, y: int, x: int) -> tuple[int, int] | None:
        """Return a pixel of a predicted class near to a pixel, or None where the class is absent.

        One well within its class is worth a way: a step away from the class's edge, up to
        eight, as much as three steps of distance.
        """
        from scipy.ndimage import distance_transform_edt

        check_inside(self.frame.shape, y, x)
        of_class = self.labels == value
        if not of_class.any():
            return None
        rows, columns = self.frame.region
        distance = np.hypot(
            np.arange(rows.start, rows.stop)[:, None] - y, np.arange(columns.start, columns.stop) - x
        )
        depth = np.minimum(distance_transform_edt(of_class), 8)
        score = np.where(of_class, distance - 3 * depth, np.inf)
        row, column = np.unravel_index(score.argmin(), score.shape)
        return int(row) + rows.start, int(column) + columns.start

    @cached_property
    def _tile_labels(self) -> np.ndarray:
        """Labels (2, T, T) uint8 of both rounds over the whole tile."""
        values = np.array([each.value for each in self.classes], np.uint8)
        labels: np.ndarray = values[self.probabilities.argmax(axis=1)]
        return labels

    def _to_section(self, places: np.ndarray) -> np.ndarray:
        return self.frame.to_section(places, self.place)

    def _class_of(self, value: int) -> LabelClass:
        return self.classes[self._index_of(value)]

    def _index_of(self, value: int) -> int:
        return [each.value for each in self.classes].index(value)

    def _members(self) -> Tensor:
        """Return 1 for the class of each pixel, (N, C); the mirrored border is of no class."""
        offset = np.array([self.frame.tile.y, self.frame.tile.x])
        inside = [
            (start + np.arange(self.frame.size) >= 0) & (start + np.arange(self.frame.size) < length)
            for start, length in zip(offset, self.frame.model_shape, strict=True)
        ]
        index = self.probabilities[1].argmax(axis=0)
        member = (index.reshape(-1, 1) == np.arange(len(self.classes))) & np.outer(*inside).reshape(-1, 1)
        return torch.from_numpy(member.astype(np.float32)).to(self.query.device)

    @torch.inference_mode()
    def _block(self, queries: Tensor, members: Tensor) -> np.ndarray:
        weights = (queries @ self.key.flatten(0, 1).T).float().softmax(dim=1)
        block: np.ndarray = (members.T @ weights).cpu().numpy()
        return block

    @cached_property
    def _composition(self) -> np.ndarray:
        """The share of each class in each place, (C, h, w)."""
        index = torch.from_numpy(self.probabilities[1].argmax(axis=0))
        one_hot = functional.one_hot(index, len(self.classes)).permute(2, 0, 1).float()
        pooled = functional.avg_pool2d(one_hot, self.place, ceil_mode=True, count_include_pad=False)
        composition: np.ndarray = pooled.numpy()
        return composition

    def _strongest(self, times: np.ndarray, count: int) -> tuple[StrongPlace, ...]:
        """Return the largest places, each at least a sixteenth of the tile from those before."""
        centres = self.frame.centres(self.place)
        height, width = self.frame.shape
        inside = (centres > -0.5).all(axis=2) & (centres < (height - 0.5, width - 0.5)).all(axis=2)
        left = np.where(inside, times, -np.inf)
        ratio = np.divide(self.frame.shape, self.frame.model_shape)
        apart = max(self.place, self.frame.size / 16) * 1.01
        composition = self._composition.argmax(axis=0)
        found: list[StrongPlace] = []
        while len(found) < count and np.isfinite(left).any():
            at = np.unravel_index(left.argmax(), left.shape)
            y, x = np.rint(centres[at] - 0.001).astype(int)
            found.append(StrongPlace(int(y), int(x), float(times[at]), self.classes[composition[at]]))
            distance = np.abs((centres - centres[at]) / ratio).max(axis=2)
            left = np.where(distance < apart, -np.inf, left)
        return tuple(found)

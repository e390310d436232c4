"""Samples: the pixels that strokes teach, and those on which the answer of a network is to stay.

One pass of the network over the tiles with strokes gives the maps inside it. What is kept of
them is a few pixels: so many of each stroke, and some that the network is sure of, of each
class and tile, on which its answer is to stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from napari_feedback_seg.correction.fitting import PIXELS_OF_STROKE, Pixels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_feedback_seg.correction.feature_maps import TileMaps
    from napari_feedback_seg.correction.strokes import Stroke
    from napari_feedback_seg.models.model import ModelCard
    from napari_feedback_seg.segmentation.reader import TileReader
    from napari_feedback_seg.segmentation.tiles import Tile

MOST_PIXELS = 8_000
"""Of all strokes; of very many strokes fewer pixels each are taken, and then fewer strokes."""

CONFIDENT = 0.7
AWAY = 12
"""So many pixels around what is painted, the network's own answer is not kept."""

KEPT_OF_TILE = 60
MOST_KEPT = 600
"""Pixels of each class whose answer is kept: of a tile, and of all."""

OTHER_TILES = 4
"""Tiles of a painted section, without strokes, whose answer is kept too."""


@dataclass(eq=False)
class Sampled:
    """Pixels of some tiles, with their features.

    Attributes
    ----------
    places : list of ndarray
        (n, 2) rows and columns on the image's grid.
    features, logits : list of Tensor
        (n, F) float16 and (n, C) float32.
    """

    places: list[np.ndarray] = field(default_factory=list)
    features: list[torch.Tensor] = field(default_factory=list)
    logits: list[torch.Tensor] = field(default_factory=list)

    def add(self, maps: TileMaps, rows: np.ndarray, columns: np.ndarray, places: np.ndarray) -> None:
        """Add pixels of a tile (rows and columns in it); ``places`` is where they are in the image."""
        if len(rows):
            across, down = torch.from_numpy(columns), torch.from_numpy(rows)
            self.places.append(places)
            self.features.append(maps.features(down, across).half())
            self.logits.append(maps.logits[:, down, across].T.contiguous())


@dataclass(frozen=True, eq=False)
class _Placed:
    """The pixels of a stroke that are learnt from, and the tiles in which they are looked at."""

    taken: np.ndarray  # (n, 2) rows and columns of the image
    places: np.ndarray  # the same at the model's pixel size
    of_tiles: np.ndarray  # (n,) the tile of each
    tiles: tuple[int, ...]  # all of these tiles

    def in_tile(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels in a tile: at the model's pixel size, and as they came."""
        own = self.of_tiles == number
        return self.places[own], self.taken[own]


class SectionSamples:
    """What is learnt of a section: its strokes' pixels, and pixels whose answer is kept.

    What was computed stays, so that a further stroke costs the tiles that it lies in.

    Parameters
    ----------
    index : int
        Number of the section.
    shape : tuple of int
        (Y, X) as it came.
    reader : TileReader
        Of the section at the model's pixel size.
    model_shape : tuple of int
        (Y, X) of the section at that size.
    card : ModelCard
        Of the model.
    """

    def __init__(
        self,
        index: int,
        shape: tuple[int, int],
        reader: TileReader,
        model_shape: tuple[int, int],
        card: ModelCard,
    ) -> None:
        from napari_feedback_seg.segmentation.tiles import Tile, starts

        self.index = index
        self._shape, self._model_shape, self._card = shape, model_shape, card
        self._reader = reader
        rows, columns = (starts(length, card.tile, 0.25, slice(0, length)) for length in model_shape)
        self._starts = np.array(rows), np.array(columns)
        self._tiles = [Tile(y, x) for y in rows for x in columns]
        self._kept: dict[int, Sampled] = {}
        self._counts: dict[int, np.ndarray] = {}
        self._doubts: dict[int, tuple[float, int]] = {}  # summed over a tile, and of how many pixels
        self._painted: dict[str, dict[int, tuple[torch.Tensor, torch.Tensor]]] = {}
        self._placed: dict[str, _Placed] = {}

    def missing(self, strokes: Sequence[Stroke], others: int = OTHER_TILES) -> list[Tile]:
        """Return the tiles that have to be looked at for these strokes, and so many others."""
        placed = {stroke.key: self._placed.get(stroke.key) or self._place(stroke) for stroke in strokes}
        self._placed = placed
        wanted = [
            number
            for key, each in placed.items()
            for number in each.tiles
            if number not in self._painted.get(key, {})
        ]
        random = np.random.default_rng((self.index, 1))
        chosen = random.permutation(len(self._tiles))[:others].tolist()
        wanted += [number for number in chosen if number not in self._kept]
        return [
            self._tiles[number]
            for number in dict.fromkeys(wanted)
            if self._reader.shows_tissue(self._tiles[number], self._card.tile)
        ]

    def add(self, strokes: Sequence[Stroke], maps: Mapping[Tile, TileMaps]) -> None:
        """Take from the maps of tiles what is learnt of these strokes."""
        numbers = {tile: number for number, tile in enumerate(self._tiles)}
        for tile, of_tile in maps.items():
            self._keep(numbers[tile], tile, of_tile)
        placed = {stroke.key: self._placed.get(stroke.key) or self._place(stroke) for stroke in strokes}
        for tile, of_tile in maps.items():
            number = numbers[tile]
            here = {key: each.in_tile(number) for key, each in placed.items() if number in each.tiles}
            if not here:
                continue
            places, as_came = (np.concatenate(each) for each in zip(*here.values(), strict=True))
            found = Sampled()
            found.add(of_tile, places[:, 0] - tile.y, places[:, 1] - tile.x, as_came)
            sizes = [len(each) for each, _ in here.values()]
            split = (found.features[0].split(sizes), found.logits[0].split(sizes))
            for key, features, logits in zip(here, *split, strict=True):
                self._painted.setdefault(key, {})[number] = features.clone(), logits.clone()

    @property
    def doubt(self) -> tuple[float, int]:
        """How many of the pixels that were seen the network expects to have wrong, and how many these are."""
        doubts, counts = zip(*self._doubts.values(), strict=True) if self._doubts else ((), ())
        return sum(doubts), sum(counts)

    def painted(self, stroke: Stroke) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return features and logits of a stroke's pixels; None if it lies where nothing is to see."""
        seen = list(self._painted.get(stroke.key, {}).values())
        return (
            (torch.cat([each[0] for each in seen]), torch.cat([each[1] for each in seen])) if seen else None
        )

    def kept(self, labels: npt.NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Return features and logits of pixels whose answer is kept, and how often each class is there.

        Parameters
        ----------
        labels : ndarray
            (Y, X), what is painted: near it nothing is kept.
        """
        from scipy import ndimage

        near = np.zeros(tuple(-(-length // AWAY) for length in labels.shape), bool)
        rows, columns = np.nonzero(labels)
        near[rows // AWAY, columns // AWAY] = True
        near = ndimage.binary_dilation(near, np.ones((3, 3)))
        features, logits = [], []
        for found in self._kept.values():
            for places, f, z in zip(found.places, found.features, found.logits, strict=True):
                away = torch.from_numpy(np.flatnonzero(~near[places[:, 0] // AWAY, places[:, 1] // AWAY]))
                features.append(f[away])
                logits.append(z[away])
        counts = sum(self._counts.values(), np.zeros(len(self._card.classes)))
        if not features:
            return torch.zeros(0, 0), torch.zeros(0, 0), counts
        return torch.cat(features), torch.cat(logits), counts

    def tiles_of(self, box: tuple[slice, slice]) -> list[tuple[Tile, slice, slice]]:
        """Return the tiles in whose middle a part of the section lies, and the rows and columns in each.

        Rows and columns are those of the model's pixel size.
        """
        axes = []
        for each, starts in zip(box, self._starts, strict=True):
            nearest = self._nearest(np.arange(each.start, each.stop), starts)
            edges = [0, *(np.flatnonzero(np.diff(nearest)) + 1).tolist(), len(nearest)]
            axes.append(
                [(int(nearest[a]), slice(each.start + a, each.start + b)) for a, b in pairwise(edges)]
            )
        across = len(self._starts[1])
        return [(self._tiles[i * across + j], rows, columns) for i, rows in axes[0] for j, columns in axes[1]]

    def _keep(self, number: int, tile: Tile, maps: TileMaps) -> None:
        if number in self._kept:
            return
        size = self._card.tile
        inside = tuple(
            slice(max(0, start), min(start + size, length))
            for start, length in zip((tile.y, tile.x), self._model_shape, strict=True)
        )
        part = maps.logits[:, inside[0].start - tile.y :, inside[1].start - tile.x :]
        part = part[:, : inside[0].stop - inside[0].start, : inside[1].stop - inside[1].start]
        certainty, channels = part.softmax(dim=0).max(dim=0)
        self._doubts[number] = float((1 - certainty).sum()), certainty.numel()
        random = np.random.default_rng((self.index, number, 2))
        found, self._counts[number] = Sampled(), np.zeros(len(part))
        for channel in range(len(part)):
            of_class = (channels == channel).numpy()
            self._counts[number][channel] = np.count_nonzero(of_class)
            sure = np.flatnonzero(of_class & (certainty > CONFIDENT).numpy())
            sure = random.choice(sure, KEPT_OF_TILE, replace=False) if len(sure) > KEPT_OF_TILE else sure
            rows, columns = np.unravel_index(sure, of_class.shape)
            rows, columns = rows + inside[0].start, columns + inside[1].start
            scale = np.array(self._shape) / np.array(self._model_shape)
            places = ((np.stack([rows, columns], axis=1) + 0.5) * scale).astype(np.int64)
            found.add(maps, rows - tile.y, columns - tile.x, places)
        self._kept[number] = found

    def _place(self, stroke: Stroke) -> _Placed:
        taken = stroke.pixels[:PIXELS_OF_STROKE]
        places = self._model_places(taken)
        of_tiles = self._tiles_of(places)
        return _Placed(taken, places, of_tiles, tuple(np.unique(of_tiles).tolist()))

    def _model_places(self, places: np.ndarray) -> np.ndarray:
        scale = np.array(self._model_shape) / np.array(self._shape)
        found = ((places + 0.5) * scale).astype(np.int64)
        last = np.array(self._model_shape) - 1
        result: np.ndarray = np.minimum(found, last)
        return result

    def _tiles_of(self, places: np.ndarray) -> np.ndarray:
        """Return the tile in whose middle each of these places lies most."""
        nearest = [self._nearest(places[:, axis], starts) for axis, starts in enumerate(self._starts)]
        result: np.ndarray = nearest[0] * len(self._starts[1]) + nearest[1]
        return result

    def _nearest(self, places: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Return the number of the tile in whose middle each of these rows, or columns, lies most."""
        result: np.ndarray = np.abs(places[:, None] - (starts + (self._card.tile - 1) / 2)).argmin(axis=1)
        return result


def pixels_to_learn(
    sections: Sequence[tuple[SectionSamples, npt.NDArray[np.uint8], Sequence[Stroke]]], card: ModelCard
) -> tuple[Pixels, Pixels, list[Stroke]] | None:
    """Return the painted pixels, those whose answer is kept, and the strokes by number.

    Each class counts alike among the painted ones, and by the root of its share among the kept
    ones.

    Parameters
    ----------
    sections : sequence of tuple
        What was seen of each section, what is painted on it, and its strokes to learn from.
    card : ModelCard
        Of the model.

    Returns
    -------
    tuple or None
        None if there is nothing to learn from.
    """
    found = [
        (stroke, seen)
        for samples, _, strokes in sections
        for stroke in strokes
        if (seen := samples.painted(stroke)) is not None
    ]
    found = _spread(found)
    if not found:
        return None
    each = max(1, min(PIXELS_OF_STROKE, MOST_PIXELS // len(found)))
    features = torch.cat([seen[0][:each] for _, seen in found]).float().numpy()
    logits = torch.cat([seen[1][:each] for _, seen in found]).numpy()
    sizes = [len(seen[0][:each]) for _, seen in found]
    order = [label_class.value for label_class in card.classes]
    channels = np.repeat([order.index(stroke.value) for stroke, _ in found], sizes)
    weights = 1 / np.bincount(channels)[channels]
    painted = Pixels(
        features,
        logits,
        np.eye(len(order), dtype=np.float32)[channels],
        (weights / weights.sum()).astype(np.float32),
        np.repeat(np.arange(len(found)), sizes),
    )
    return painted, _kept(sections, features.shape[1], len(order)), [stroke for stroke, _ in found]


def _kept(
    sections: Sequence[tuple[SectionSamples, npt.NDArray[np.uint8], Sequence[Stroke]]],
    width: int,
    classes: int,
) -> Pixels:
    seen = [samples.kept(labels) for samples, labels, _ in sections]
    features = torch.cat([each[0] for each in seen if len(each[0])] or [torch.zeros(0, width)])
    logits = torch.cat([each[1] for each in seen if len(each[1])] or [torch.zeros(0, classes)])
    counts = np.sum([each[2] for each in seen], axis=0)
    share = np.sqrt(counts / max(1, counts.sum()))
    channels = logits.argmax(dim=1).numpy()
    random = np.random.default_rng(3)
    chosen = [
        random.permutation(np.flatnonzero(channels == channel))[:MOST_KEPT] for channel in range(classes)
    ]
    weights = np.concatenate(
        [np.full(len(each), share[channel] / max(1, len(each))) for channel, each in enumerate(chosen)]
    )
    index = torch.from_numpy(np.concatenate(chosen))
    kept = logits[index]
    return Pixels(
        features[index].float().numpy(),
        kept.numpy(),
        kept.softmax(dim=1).numpy(),
        (weights / max(1e-12, weights.sum())).astype(np.float32),
        np.full(len(index), -1),
    )


def _spread(
    found: list[tuple[Stroke, tuple[torch.Tensor, torch.Tensor]]],
) -> list[tuple[Stroke, tuple[torch.Tensor, torch.Tensor]]]:
    """Return no more strokes than there may be pixels, the classes in turn."""
    if len(found) <= MOST_PIXELS:
        return found
    turn: dict[int, int] = {}
    order = []
    for number in np.random.default_rng(4).permutation(len(found)):
        value = found[number][0].value
        turn[value] = turn.get(value, 0) + 1
        order.append((turn[value], int(number)))
    return [found[number] for _, number in sorted(order)[:MOST_PIXELS]]

"""What a network has seen of sections: the maps of tiles, and the pixels that strokes teach."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.correction.map_cache import MapCache
from napari_feedback_seg.correction.samples import SectionSamples
from napari_feedback_seg.correction.strokes import Stroke
from napari_feedback_seg.segmentation.lazy import Plane
from napari_feedback_seg.segmentation.prediction import model_shape
from napari_feedback_seg.segmentation.reader import section_reader
from napari_feedback_seg.segmentation.sections import BlankSection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    import torch

    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.correction.feature_maps import TileMaps
    from napari_feedback_seg.models.model import Model, ModelCard
    from napari_feedback_seg.networks.residual import Residual
    from napari_feedback_seg.segmentation.reader import TileReader
    from napari_feedback_seg.segmentation.tiles import Tile

_MOST_READERS = 8
_SAMPLED = 16


class Readers:
    """The readers of the sections that were looked at last."""

    def __init__(self, card: ModelCard) -> None:
        self._card = card
        self._readers: OrderedDict[bytes, TileReader] = OrderedDict()

    @staticmethod
    def key(section: CorrectedSection) -> bytes:
        """Return what tells an image from another in its place: every 16th row, or the array of a plane."""
        image = section.image
        about = section.source, section.index, image.shape, image.dtype.str, section.pixel_size_nm
        digest = hashlib.blake2b(repr(about).encode(), digest_size=16)
        if isinstance(image, Plane):
            digest.update(image.identity.encode())
        else:
            digest.update(np.ascontiguousarray(image[::_SAMPLED]).data)
        return digest.digest()

    def shape(self, section: CorrectedSection) -> tuple[int, int]:
        """Return (Y, X) of a section at the model's pixel size."""
        return model_shape(section.image.shape, self._card, section.pixel_size_nm)

    def of(self, section: CorrectedSection) -> TileReader:
        """Return the reader of a section.

        Raises
        ------
        BlankSection
            If there is nothing to see.
        """
        key = self.key(section)
        if key not in self._readers:
            self._readers[key] = section_reader(section.image, self.shape(section))
            if len(self._readers) > _MOST_READERS:
                self._readers.popitem(last=False)
        self._readers.move_to_end(key)
        return self._readers[key]


class Seen:
    """What one network has seen.

    Parameters
    ----------
    model : Model
        Its own network stays as it is.
    readers : Readers
        Of the sections.
    device : torch.device
        Where to begin.
    memory_mb : float
        What may be kept of the maps.

    Attributes
    ----------
    model : Model
        The model.
    cache : MapCache
        Its inference.
    """

    def __init__(self, model: Model, readers: Readers, device: torch.device, memory_mb: float) -> None:
        self.model = model
        self.cache = MapCache(model, device, memory_mb)
        self._readers = readers
        self._samples: dict[bytes, SectionSamples] = {}

    def samples(self, section: CorrectedSection) -> SectionSamples | None:
        """Return what is learnt of a section; None if there is nothing to see."""
        key = self._readers.key(section)
        if key not in self._samples:
            try:
                self._samples[key] = self._fresh(section)
            except BlankSection:
                return None
        return self._samples[key]

    def look(self, section: CorrectedSection, strokes: Sequence[Stroke]) -> Iterator[tuple[int, int]]:
        """Look at the tiles that these strokes need; yield how many are done, and how many there are."""
        samples = self.samples(section)
        if samples is None:
            return
        tiles = samples.missing(strokes)
        for done, tile in enumerate(tiles, 1):
            samples.add(strokes, {tile: self._maps(section, tile)})
            yield done, len(tiles)

    def pixel(
        self, section: CorrectedSection, row: int, column: int
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return features (1, F) and logits (1, C) of a pixel; None if there is no tissue."""
        samples, probe = self._fresh(section), Stroke(("", 0), 0, np.array([[row, column]], np.int32))
        tiles = samples.missing([probe], others=0)
        samples.add([probe], {tile: self._maps(section, tile) for tile in tiles})
        return samples.painted(probe)

    def shape(self, section: CorrectedSection) -> tuple[int, int]:
        """Return (Y, X) of a section at the model's pixel size."""
        return self._readers.shape(section)

    def outside(self, section: CorrectedSection, region: tuple[slice, slice]) -> npt.NDArray[np.bool_] | None:
        """Return where in a region of a section there is no tissue; None if there is everywhere."""
        return self._readers.of(section).outside(*region)

    def tiles_of(
        self, section: CorrectedSection, box: tuple[slice, slice]
    ) -> list[tuple[Tile, slice, slice]]:
        """Return the tiles in whose middle a part of a section lies, and the rows and columns in each."""
        samples = self.samples(section)
        return [] if samples is None else samples.tiles_of(box)

    def look_at(
        self, section: CorrectedSection, tile: Tile, residual: Residual
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None:
        """Return what the network says of a tile, and what a residual changes, (C, T, T) logits each.

        None if there is no tissue.
        """
        if not self._readers.of(section).shows_tissue(tile, self.model.card.tile):
            return None
        maps = self._maps(section, tile)
        size = (maps.logits.shape[-2], maps.logits.shape[-1])
        change = residual.of_maps([each[None] for each in maps.maps], size)[0]
        return maps.logits.numpy(), change.numpy()

    def _fresh(self, section: CorrectedSection) -> SectionSamples:
        reader, shape = self._readers.of(section), self._readers.shape(section)
        return SectionSamples(section.index, section.image.shape, reader, shape, self.model.card)

    def _maps(self, section: CorrectedSection, tile: Tile) -> TileMaps:
        return self.cache.maps(self._readers.of(section).read(tile, self.model.card.tile))

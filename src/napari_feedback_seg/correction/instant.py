"""A stroke answers at once: what was learnt of strokes, and what is in view, without a training.

No window is needed. What a network says of a tile, with the maps inside it, is kept in memory
within a budget and computed again where it does not fit; a stroke costs a fit, and the tiles in
view.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.correction.adaptation import Adaptation, weights_digest
from napari_feedback_seg.correction.classes import add_classes
from napari_feedback_seg.correction.fitting import Fit, Fitting
from napari_feedback_seg.correction.map_cache import MapCache
from napari_feedback_seg.correction.strokes import (
    SectionKey,
    SectionSamples,
    Stroke,
    find_strokes,
    pixels_to_learn,
)
from napari_feedback_seg.segmentation.device import choose_device
from napari_feedback_seg.segmentation.predict import segment_with
from napari_feedback_seg.segmentation.prediction import (
    SegmentOptions,
    absolute_region,
    model_shape,
    painted_over,
)
from napari_feedback_seg.segmentation.reader import TileReader
from napari_feedback_seg.segmentation.sections import BlankSection

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Sequence

    import numpy.typing as npt

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.correction.feature_maps import TileMaps
    from napari_feedback_seg.correction.residual import Residual
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.segmentation.prediction import Prediction
    from napari_feedback_seg.segmentation.tiles import Tile

MEMORY_MB = 1024
_MOST_READERS = 8
_MOST_VIEWS = 32
_SAMPLED = 16


@dataclass(frozen=True)
class FitProgress:
    """A step of :meth:`InstantAnswers.fit` is done, and the answer may be asked for anew.

    Attributes
    ----------
    what : str
        ``"looking"`` while tiles with strokes go through the network, ``"fitting"`` after it.
    done, total : int
        Tiles.
    changed : bool
        Whether the answer is another than before this step.
    """

    what: str
    done: int
    total: int
    changed: bool


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says with the strokes.

    Attributes
    ----------
    prediction : Prediction
        Of the region, with what was painted.
    before : ndarray
        (Y, X) uint8 labels, what the model says of the region without strokes.
    changed : dict
        Class value to the number of pixels that have become of this class.
    """

    prediction: Prediction
    before: npt.NDArray[np.uint8]
    changed: dict[int, int]


@dataclass(frozen=True)
class Reason:
    """A stroke that moved the answer at a place.

    Attributes
    ----------
    stroke : Stroke
        The stroke.
    moved : float
        By how much it moved the class that is said now, against that which was said before (or
        the next likely), in logits. Below 0 if it speaks against it.
    """

    stroke: Stroke
    moved: float


class InstantAnswers:
    """Answers to strokes, for one model.

    Strokes are set, fitted, and the answer is asked for, region by region; each is a generator
    that may be dropped between its steps, and whose return value is its result. It belongs to
    one thread at a time.

    Parameters
    ----------
    model : Model
        The model; another one needs another object.
    new_classes : sequence of LabelClass
        Classes that the model lacks, to be learnt from strokes alone.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    memory_mb : float
        What may be kept in memory of the maps inside the network.

    Attributes
    ----------
    model : Model
        The model, with the new classes.
    strokes : list of Stroke
        All that are painted, muted ones too.
    adaptation : Adaptation
        What was learnt, to be saved or applied.
    """

    def __init__(
        self,
        model: Model,
        *,
        new_classes: Sequence[LabelClass] = (),
        device: str = "auto",
        memory_mb: float = MEMORY_MB,
    ) -> None:
        self.model = add_classes(model, new_classes)
        self.strokes: list[Stroke] = []
        self.adaptation = Adaptation(None, model.card.name, weights_digest(model), tuple(new_classes))
        self._cache = MapCache(self.model, choose_device(device), memory_mb)
        self._sections: dict[SectionKey, CorrectedSection] = {}
        self._strokes_of: dict[bytes, list[Stroke]] = {}
        self._samples: dict[bytes, SectionSamples] = {}
        self._readers: OrderedDict[bytes, TileReader] = OrderedDict()
        self._before: OrderedDict[tuple[object, ...], npt.NDArray[np.uint8]] = OrderedDict()
        self._muted: Collection[str] = ()
        self._muted_classes: Collection[int] = ()
        self._fitting: tuple[Fitting, Fit, list[Stroke]] | None = None
        self._solution: npt.NDArray[np.float32] | None = None

    @property
    def cached_mb(self) -> float:
        """Memory that the cached maps take, in MB."""
        return self._cache.bytes / 2**20

    def set_strokes(
        self,
        sections: Sequence[CorrectedSection],
        *,
        muted: Collection[str] = (),
        muted_classes: Collection[int] = (),
    ) -> None:
        """Take what is painted now, in place of what was.

        Sections are known by ``source`` and ``index``. What was learnt of a section stays, unless
        its image is another.

        Parameters
        ----------
        sections : sequence of CorrectedSection
            Those with strokes.
        muted : collection
            ``key`` of strokes that are not to be learnt from. They are right where they are.
        muted_classes : collection of int
            Classes whose strokes are not to be learnt from.
        """
        self._sections = {(each.source, each.index): each for each in sections if each.labels.any()}
        self._muted, self._muted_classes = frozenset(muted), frozenset(muted_classes)
        known, self._strokes_of = self._strokes_of, {}
        self.strokes = []
        for key, section in self._sections.items():
            digest = hashlib.blake2b(np.ascontiguousarray(section.labels).data, digest_size=16)
            digest.update(repr(key).encode())
            found = known.get(digest.digest()) or find_strokes(section.labels, key)
            self._strokes_of[digest.digest()] = found
            self.strokes += found

    def fit(self) -> Generator[FitProgress, None, Adaptation]:
        """Learn from the strokes; yield after each step; return what was learnt."""
        of_section: dict[SectionKey, list[Stroke]] = {key: [] for key in self._sections}
        for stroke in self.strokes:
            if stroke.key not in self._muted and stroke.value not in self._muted_classes:
                of_section[stroke.section].append(stroke)
        seen = []
        for key, strokes in of_section.items():
            samples = (yield from self._look(self._sections[key], strokes)) if strokes else None
            if samples is not None:
                seen.append((samples, self._sections[key].labels, strokes))
        found = pixels_to_learn(seen, self.model.card)
        if found is None:
            self._take(None, 0)
            yield FitProgress("fitting", 1, 1, True)
            return self.adaptation
        painted, kept, strokes = found
        fitting = Fitting(painted, kept, len(self.adaptation.new_classes))
        last: Fit | None = None
        for fit in fitting.run(self._solution):
            changed = last is None or fit.strength != last.strength
            last = fit
            self._fitting, self._solution = (fitting, fit, strokes), fit.solution
            self._take(fit, len(strokes))
            yield FitProgress("fitting", 1, 1, changed)
        return self.adaptation

    def answer(
        self, section: CorrectedSection, region: tuple[slice, slice] | None = None
    ) -> Generator[object, None, Answer]:
        """Say what the model says of a region with the strokes; yield after each tile.

        Parameters
        ----------
        section : CorrectedSection
            Any section, painted or not.
        region : tuple of slice, optional
            Rows and columns; the whole section if not given.

        Raises
        ------
        BlankSection
            If there is nothing to see in the section.
        """
        residual = self.adaptation.residual
        key = self._fingerprint(section)
        region = absolute_region(section.image.shape, region)
        view = key, *((each.start, each.stop) for each in region)
        before = self._before.get(view)
        if before is None or residual is None:
            prediction = yield from self._segment(section, region, None)
            self._before[view] = before = prediction.labels.copy()
            if len(self._before) > _MOST_VIEWS:
                self._before.popitem(last=False)
        if residual is not None:
            prediction = yield from self._segment(section, region, residual)
        prediction = painted_over(prediction, section.labels)
        moved = prediction.labels[prediction.labels != before]
        changed = {int(value): count for value, count in Counter(moved.tolist()).items()}
        return Answer(prediction, before, changed)

    def why(self, section: CorrectedSection, row: int, column: int) -> list[Reason]:
        """Return the strokes that moved a pixel, those that moved it most first.

        Empty if nothing was learnt, or there is nothing to see.
        """
        if self._fitting is None or (seen := self._pixel(section, row, column)) is None:
            return []
        fitting, fit, strokes = self._fitting
        features, own, now = seen
        said, was = int(now.argmax()), int(own.argmax())
        other = was if was != said else int(np.argsort(now)[-2])
        direction = np.zeros(len(now), np.float32)
        direction[said], direction[other] = 1, -1
        moved = fitting.influence(fit, features, direction)
        reasons = [Reason(strokes[number], value) for number, value in moved.items()]
        return sorted(reasons, key=lambda each: -abs(each.moved))

    def logits(self, section: CorrectedSection, row: int, column: int) -> npt.NDArray[np.float32] | None:
        """Return what the model says of a pixel with the strokes, (C,) logits; None if there is no tissue."""
        seen = self._pixel(section, row, column)
        return None if seen is None else seen[2]

    def _pixel(
        self, section: CorrectedSection, row: int, column: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]] | None:
        """Return the features (1, F) of a pixel, and its logits without and with the strokes."""
        shape = model_shape(section.image.shape, self.model.card, section.pixel_size_nm)
        samples = SectionSamples(0, section.image.shape, self._reader(section), shape, self.model.card)
        probe = Stroke(("", 0), 0, np.array([[row, column]], np.int32))
        tiles = samples.missing([probe], others=0)
        samples.add([probe], {tile: self._maps_of(section, tile) for tile in tiles})
        seen = samples.painted(probe)
        if seen is None:
            return None
        features, own = seen[0].float(), seen[1][0]
        residual = self.adaptation.residual
        change = 0 if residual is None else (features @ residual.weight.T + residual.bias)[0]
        return features.numpy(), own.numpy(), (own + change).numpy()

    def close(self) -> None:
        """Free the network and what is cached."""
        self._cache.close()

    def _take(self, fit: Fit | None, strokes: int) -> None:
        if fit is None:
            self._fitting = self._solution = None
        residual = fit.residual if fit is not None and fit.strength > 0 else None
        strength = fit.strength if fit is not None else 0.0
        self.adaptation = replace(self.adaptation, residual=residual, strokes=strokes, strength=strength)

    def _look(
        self, section: CorrectedSection, strokes: list[Stroke]
    ) -> Generator[FitProgress, None, SectionSamples | None]:
        key = self._fingerprint(section)
        if key not in self._samples:
            shape = model_shape(section.image.shape, self.model.card, section.pixel_size_nm)
            try:
                reader = self._reader(section)
            except BlankSection:
                return None
            self._samples[key] = SectionSamples(
                section.index, section.image.shape, reader, shape, self.model.card
            )
        samples = self._samples[key]
        tiles = samples.missing(strokes)
        # A few at once: of a large section with many strokes, not all maps fit into memory.
        for done, tile in enumerate(tiles, 1):
            samples.add(strokes, {tile: self._maps_of(section, tile)})
            yield FitProgress("looking", done, len(tiles), False)
        return samples

    def _segment(
        self, section: CorrectedSection, region: tuple[slice, slice], residual: Residual | None
    ) -> Generator[object, None, Prediction]:
        options = SegmentOptions(pixel_size_nm=section.pixel_size_nm, region=region)
        reader = self._reader(section)
        events = segment_with(section.image, self.model, options, self._cache, section.index, reader)
        while True:
            self._cache.residual = residual
            try:
                event = next(events)
            except StopIteration as stop:
                result: Prediction = stop.value
                return result
            yield event

    def _maps_of(self, section: CorrectedSection, tile: Tile) -> TileMaps:
        return self._cache.maps(self._reader(section).read(tile, self.model.card.tile))

    def _reader(self, section: CorrectedSection) -> TileReader:
        key = self._fingerprint(section)
        if key not in self._readers:
            shape = model_shape(section.image.shape, self.model.card, section.pixel_size_nm)
            self._readers[key] = TileReader(section.image, shape)
            if len(self._readers) > _MOST_READERS:
                self._readers.popitem(last=False)
        self._readers.move_to_end(key)
        return self._readers[key]

    @staticmethod
    def _fingerprint(section: CorrectedSection) -> bytes:
        """Return what tells an image from another in its place, of every 16th row."""
        image = section.image
        about = section.source, section.index, image.shape, image.dtype.str, section.pixel_size_nm
        digest = hashlib.blake2b(repr(about).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(image[::_SAMPLED]).data)
        return digest.digest()

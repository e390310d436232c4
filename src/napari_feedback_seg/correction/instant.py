"""A stroke answers at once: what was learnt of strokes, and what is in view, without a training.

No window is needed. What a network says of a tile, with the maps inside it, is kept in memory
within a budget and computed again where it does not fit; a stroke costs a fit, and the tiles in
view.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_feedback_seg.correction.adaptation import Adaptation
from napari_feedback_seg.correction.answer import Answer, FitProgress, Reason
from napari_feedback_seg.correction.classes import add_classes, check_learns
from napari_feedback_seg.correction.fitting import UNSURE, Fit, Fitting
from napari_feedback_seg.correction.image_statistics import (
    FAR,
    LEAST_STROKES,
    explain,
    gather,
    statistics_shift,
    with_statistics,
)
from napari_feedback_seg.correction.mistakes import put_right
from napari_feedback_seg.correction.samples import pixels_to_learn
from napari_feedback_seg.correction.seen import Readers, Seen
from napari_feedback_seg.correction.strokes import SectionKey, Stroke, classes_of, find_strokes, not_muted
from napari_feedback_seg.generators import finish, forward
from napari_feedback_seg.models.model import weights_digest
from napari_feedback_seg.segmentation.device import choose_device
from napari_feedback_seg.segmentation.one_section import segment_with
from napari_feedback_seg.segmentation.prediction import SegmentOptions, absolute_region, painted_over

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Sequence

    import numpy.typing as npt
    import torch

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.correction.fitting import Pixels
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.networks.residual import Residual
    from napari_feedback_seg.segmentation.prediction import Prediction

MEMORY_MB = 1024
_MOST_VIEWS = 32


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
    overlap : float
        Fraction of a tile that it shares with the next, in the answers.
    remove_specks : bool
        As :class:`SegmentOptions` takes it.

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
        overlap: float = 0.25,
        remove_specks: bool = True,
    ) -> None:
        check_learns(model.card)
        self.model = add_classes(model, new_classes)
        self.strokes: list[Stroke] = []
        self.adaptation = Adaptation(None, model.card.name, weights_digest(model), tuple(new_classes))
        self._device, self._memory_mb = choose_device(device), memory_mb
        self._options = SegmentOptions(overlap=overlap, remove_specks=remove_specks)
        self._readers = Readers(self.model.card)
        self._plain = Seen(self.model, self._readers, self._device, memory_mb)
        self._restated: Seen | None = None
        self._statistics: dict[str, torch.Tensor] = {}
        self._statistics_of: frozenset[bytes] = frozenset()
        self._sections: dict[SectionKey, CorrectedSection] = {}
        self._strokes_of: dict[bytes, list[Stroke]] = {}
        self._learnt_from: dict[SectionKey, tuple[npt.NDArray[np.uint8], list[Stroke]]] = {}
        self._before: OrderedDict[tuple[object, ...], npt.NDArray[np.uint8]] = OrderedDict()
        self._muted: Collection[tuple[int, int, int]] = ()
        self._muted_classes: Collection[int] = ()
        self._fitting: tuple[Fitting, Fit, list[Stroke]] | None = None
        self._solution: npt.NDArray[np.float32] | None = None

    @property
    def cached_mb(self) -> float:
        """Memory that the cached maps take, in MB."""
        return sum(each.cache.bytes for each in self._all_seen) / 2**20

    def set_strokes(
        self,
        sections: Sequence[CorrectedSection],
        *,
        muted: Collection[tuple[int, int, int]] = (),
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
            Section, row and column of a pixel of each stroke that is not to be learnt from. It is right
            where it is.
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
        of_section: dict[SectionKey, list[Stroke]] = {}
        for stroke in not_muted(self.strokes, self._muted, self._muted_classes):
            of_section.setdefault(stroke.section, []).append(stroke)
        found = yield from self._learn_from(self._plain, of_section)
        if found is None:
            self._forget()
            self._restated = None
            yield FitProgress("fitting", 1, 1, True)
            return self.adaptation
        seen, other = self._plain, None
        if len(found[2]) >= LEAST_STROKES:
            other = yield from self._with_statistics(of_section)
        if other is not None and self._want_statistics(found[0], other[0], of_section):
            assert self._restated is not None
            seen, found = self._restated, other
        painted, kept, strokes = found
        statistics = {} if seen is self._plain else self._statistics
        if statistics.keys() != self.adaptation.statistics.keys():
            self._solution = None
        self._learnt_from = {key: (self._sections[key].labels, each) for key, each in of_section.items()}
        fitting = Fitting(painted, kept, len(self.adaptation.new_classes))
        known = self._doubt(of_section) < UNSURE
        fit = fitting.run(self._solution, known=known)
        self._fitting, self._solution = (fitting, fit, strokes), fit.solution
        self.adaptation = replace(
            self.adaptation,
            residual=fit.residual,
            statistics=statistics,
            strokes=len(strokes),
            share=fit.share,
            known=known,
            of_class=Counter(each.value for each in strokes),
            muted=tuple(sorted(self._muted)),
            muted_classes=tuple(sorted(self._muted_classes)),
        )
        yield FitProgress("fitting", 1, 1, True)
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
        changes = self.adaptation.changes
        key = self._readers.key(section)
        region = absolute_region(section.image.shape, region)
        view = key, *((each.start, each.stop) for each in region)
        before = self._before.get(view)
        if before is None or not changes:
            prediction = yield from self._segment(section, region, self._plain, None)
            self._before[view] = before = prediction.labels.copy()
            if len(self._before) > _MOST_VIEWS:
                self._before.popitem(last=False)
        if changes:
            residual = self.adaptation.residual
            prediction = yield from self._segment(section, region, self._now, residual)
        if section.settled is not None:
            settled = section.settled[region]
            before = np.where(settled > 0, settled, before)
            prediction = painted_over(prediction, section.settled)
        if changes:
            right = yield from self._right(section, region)
            prediction.labels[right > 0] = right[right > 0]
        prediction = painted_over(prediction, section.labels)
        moved = prediction.labels[prediction.labels != before]
        changed = {int(value): count for value, count in Counter(moved.tolist()).items()}
        return Answer(prediction, before, changed)

    def why(self, section: CorrectedSection, row: int, column: int) -> list[Reason]:
        """Return the strokes that moved a pixel, those that moved it most first.

        Empty if nothing was learnt, if what was learnt is not taken, or if there is nothing to see.
        """
        if self._fitting is None or self.adaptation.residual is None:
            return []
        if (seen := self._pixel(section, row, column)) is None:
            return []
        fitting, fit, strokes = self._fitting
        features, own, now = seen
        here = slice(row, row + 1), slice(column, column + 1)
        right = int(finish(self._right(section, here))[0, 0])
        order = [each.value for each in self.model.card.classes]
        said, was = order.index(right) if right else int(now.argmax()), int(own.argmax())
        other = was if was != said else int(np.argsort(now)[-2])
        direction = np.zeros(len(now), np.float32)
        direction[said], direction[other] = 1, -1
        moved = fitting.influence(fit, features, direction)
        reasons = [Reason(strokes[number], value) for number, value in moved.items()]
        return sorted(reasons, key=lambda each: -abs(each.moved))

    def _pixel(
        self, section: CorrectedSection, row: int, column: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]] | None:
        """Return the features (1, F) of a pixel, and its logits without and with the strokes."""
        found, plain = (each.pixel(section, row, column) for each in (self._now, self._plain))
        if found is None or plain is None:
            return None
        features, now = found[0].float(), found[1][0]
        residual = self.adaptation.residual
        if residual is not None:
            now = now + (features @ residual.weight.T + residual.bias)[0]
        return features.numpy(), plain[1][0].numpy(), now.numpy()

    def close(self) -> None:
        """Free the network and what is cached."""
        for each in self._all_seen:
            each.cache.close()

    @property
    def _all_seen(self) -> list[Seen]:
        return [self._plain] if self._restated is None else [self._plain, self._restated]

    @property
    def _now(self) -> Seen:
        """What the answer comes from."""
        if self.adaptation.statistics:
            assert self._restated is not None
            return self._restated
        return self._plain

    def _forget(self) -> None:
        """Have learnt nothing."""
        self._fitting = self._solution = None
        self._learnt_from = {}
        learnt = self.adaptation
        self.adaptation = Adaptation(None, learnt.model_name, learnt.model_digest, learnt.new_classes)

    def _learn_from(
        self, seen: Seen, of_section: dict[SectionKey, list[Stroke]]
    ) -> Generator[FitProgress, None, tuple[Pixels, Pixels, list[Stroke]] | None]:
        """Return the pixels to learn from, as a network sees them."""
        found = []
        for key, strokes in of_section.items():
            section = self._sections[key]
            for done, total in seen.look(section, strokes):
                yield FitProgress("looking", done, total, False)
            samples = seen.samples(section)
            if samples is not None:
                found.append((samples, section.labels, strokes))
        return pixels_to_learn(found, self.model.card)

    def _want_statistics(
        self, before: Pixels, after: Pixels, of_section: dict[SectionKey, list[Stroke]]
    ) -> bool:
        """Return whether strokes on sections that the model does not know want the sections' statistics."""
        assert self._restated is not None
        far = statistics_shift(self.model, self._restated.model) > FAR
        return (far or self._doubt(of_section) >= UNSURE) and explain(before, after, far=far)

    def _doubt(self, of_section: dict[SectionKey, list[Stroke]]) -> float:
        """Return the share of the pixels of sections that the model expects to have wrong."""
        seen = [self._plain.samples(self._sections[key]) for key in of_section]
        doubts = [each.doubt for each in seen if each is not None]
        return sum(wrong for wrong, _ in doubts) / max(1, sum(count for _, count in doubts))

    def _with_statistics(
        self, of_section: dict[SectionKey, list[Stroke]]
    ) -> Generator[FitProgress, None, tuple[Pixels, Pixels, list[Stroke]] | None]:
        """Return the pixels to learn from, as the network sees them with the statistics of the images."""
        sections = [self._sections[key] for key in of_section]
        keys = frozenset(self._readers.key(each) for each in sections)
        if not self._statistics_of <= keys:  # an image went, or is another
            self._restated = None
        if self._restated is None:
            seen = [each for each in sections if self._plain.samples(each) is not None]
            readers = [(self._readers.of(each), self._readers.shape(each)) for each in seen]
            looked = FitProgress("looking", 1, 1, False)
            self._statistics = yield from forward(gather(self.model, readers), lambda _: looked)
            if not self._statistics:
                return None
            self._statistics_of = keys
            model = with_statistics(self.model, self._statistics)
            self._restated = Seen(model, self._readers, self._device, self._memory_mb)
        return (yield from self._learn_from(self._restated, of_section))

    def _right(
        self, section: CorrectedSection, region: tuple[slice, slice]
    ) -> Generator[None, None, npt.NDArray[np.uint8]]:
        """Return the classes of what strokes put right around themselves in a region, 0 elsewhere."""
        key = section.source, section.index
        labels, strokes = self._learnt_from.get(key, (section.labels, []))
        section = replace(section, labels=labels)
        owners = yield from put_right(self._now, section, strokes, self.adaptation, region)
        return classes_of(owners, strokes)

    def _segment(
        self,
        section: CorrectedSection,
        region: tuple[slice, slice],
        seen: Seen,
        residual: Residual | None,
    ) -> Generator[object, None, Prediction]:
        options = replace(self._options, pixel_size_nm=section.pixel_size_nm, region=region)
        reader = self._readers.of(section)
        events = segment_with(
            section.image, seen.model, options, seen.cache, section.index, reader, surroundings=False
        )
        while True:
            seen.cache.residual = residual
            try:
                event = next(events)
            except StopIteration as stop:
                result: Prediction = stop.value
                return result
            yield event

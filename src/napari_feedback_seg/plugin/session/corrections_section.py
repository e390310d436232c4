"""A section as it was last seen: its corrections, and the result that shows them; numpy only.

A stroke is small and a section may be large: only the box that has changed is looked at closely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_feedback_seg.classes import UNLABELLED
from napari_feedback_seg.plugin.session.corrections_count import Box, Count, Counter, difference, tiles, union


@dataclass(frozen=True)
class Looked:
    """What a look has found.

    Attributes
    ----------
    corrected : bool
        The corrections are others than at the last look.
    taken_over : bool
        What was painted on the result was copied into the corrections.
    shown : bool
        Something else is shown in the result than before.
    refused : bool
        Something was painted on the result that is no class.
    """

    corrected: bool = False
    taken_over: bool = False
    shown: bool = False
    refused: bool = False


@dataclass
class SeenSection:
    """What was seen of a section at the last look.

    Attributes
    ----------
    predicted : ndarray or None
        (Y, X) what the model says; never written to, as others may hold it.
    shown : ndarray or None
        (Y, X) what the result shows; the same array as ``predicted`` where nothing is corrected.
    labels : ndarray or None
        (Y, X) the corrections; None if there were none.
    written : int or None
        What was noted of the result when it was last written.
    """

    predicted: np.ndarray | None = None
    shown: np.ndarray | None = None
    labels: np.ndarray | None = None
    written: int | None = None
    counter: Counter | None = None

    @property
    def counts(self) -> dict[int, Count]:
        """Class value to count."""
        return self.counter.counts if self.counter is not None else {}

    def look(
        self,
        labels: np.ndarray | None,
        shown: np.ndarray | None,
        known: np.ndarray,
        segmented: Box | None = None,
    ) -> Looked:
        """Take over what was painted on the result, and show the corrections in it.

        Parameters
        ----------
        labels : ndarray or None
            (Y, X) uint8 corrections as they are now; written to.
        shown : ndarray or None
            (Y, X) the result as it is now, written to; None if nothing was segmented here.
        known : ndarray
            What to show for each of the 256 values: itself, or 0 if it is no class.
        segmented : tuple of slice, optional
            What was segmented since the last look.
        """
        corrected = None if labels is None else difference(labels, self.labels)
        box, painted, refused = corrected, None, False
        if shown is not None:
            if self.predicted is None or self.shown is None:
                self.predicted = self.shown = shown.copy()
                box = None if labels is None else difference(labels, None)
            elif segmented is not None:
                self.predicted, self.shown = self.predicted.copy(), self.shown.copy()
                self.predicted[segmented] = self.shown[segmented] = shown[segmented]
                box = union(box, segmented)
            elif labels is not None:
                painted = difference(shown, self.shown)
                if painted is not None:
                    refused = self._take_over(labels, shown, known, painted)
                    corrected, box = union(corrected, painted), union(box, painted)
        changed = shown is not None and box is not None and self._compose(labels, shown, known, box)
        if labels is not None and corrected is not None:
            self._count(labels, corrected)
        return Looked(corrected is not None, painted is not None, changed, refused)

    def say(
        self, predicted: np.ndarray, labels: np.ndarray | None, shown: np.ndarray, known: np.ndarray
    ) -> None:
        """Show another prediction (Y, X), with the corrections on it."""
        self.predicted, self.shown = predicted, shown.copy()
        rows, columns = shown.shape
        self._compose(labels, shown, known, (slice(0, rows), slice(0, columns)))

    def forget_labels(self) -> None:
        """See all corrections as new ones at the next look."""
        self.labels = self.counter = None

    def forget_result(self) -> None:
        """See the result as a new one at the next look."""
        self.predicted = self.shown = self.written = None

    def _take_over(self, labels: np.ndarray, shown: np.ndarray, known: np.ndarray, box: Box) -> bool:
        """Copy what was painted on the result; what was undone there leaves the corrections."""
        assert self.predicted is not None
        assert self.shown is not None
        painted = shown[box] != self.shown[box]
        values, said = shown[box][painted], self.predicted[box][painted]
        fine = np.isin(values, np.flatnonzero(known))
        labels[box][painted] = np.where(fine & (values != said), values, UNLABELLED)
        return bool((values[~fine] != UNLABELLED).any())

    def _compose(self, labels: np.ndarray | None, shown: np.ndarray, known: np.ndarray, box: Box) -> bool:
        """Let the result be what the model says, and where it was corrected, that."""
        assert self.predicted is not None
        assert self.shown is not None
        changed = False
        for part in tiles(box, shown.shape):
            wanted = self.predicted[part]
            if labels is not None and labels[part].any():
                corrected = known[labels[part]]
                wanted = np.where(corrected != UNLABELLED, corrected, wanted)
            if not np.array_equal(wanted, self.shown[part]):
                if self.shown is self.predicted:
                    self.shown = self.shown.copy()
                self.shown[part] = wanted
            if not np.array_equal(wanted, shown[part]):
                shown[part] = wanted
                changed = True
        return changed

    def _count(self, labels: np.ndarray, box: Box) -> None:
        if self.labels is None or self.counter is None:
            rows, columns = labels.shape
            self.labels, self.counter = np.zeros_like(labels), Counter((rows, columns))
        self.counter.update(labels, self.labels, box)
        self.labels[box] = labels[box]

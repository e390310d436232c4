"""What is painted on the image, and what of it is learnt from. No Qt, no napari."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.correction.strokes import digest_of_labels, painted_digest
from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.plugin.session.records import CorrectionsRecord
from napari_feedback_seg.plugin.session.strokes import Strokes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari.layers import Image

    from napari_feedback_seg.correction.strokes import Settled, Stroke
    from napari_feedback_seg.plugin.session.session import Session

Digests = list[tuple[int, str]]


class Teaching:
    """Copies of what is painted, read anew where it has changed, and which strokes are muted.

    What is muted is noted in the layer of corrections and in its draft, by a pixel of each stroke.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels: dict[int, tuple[str, np.ndarray]] = {}  # with its digest
        self._of: tuple[Any, Any] = (None, None)  # the image and the layer that these are of
        # file of a model to the image and what strokes had put right there when it learnt them
        self._settled: dict[str, tuple[str, Mapping[int, Settled]]] = {}
        self._versions: dict[Any, int] = {}

    def strokes(self, on: bool) -> Strokes | None:
        """Return what there is to learn, nothing if it is off; None without an image, or a model."""
        session, image = self._session, self._session.image
        card, entry = session.card, session.entry
        if image is None or card is None or entry is None:
            return None
        try:
            sections = session.layers.sections(image)
        except FeedbackSegError:
            return None
        digests, corrections = self.digests, session.correcting.corrections
        of_image = corrections.image == image
        labels = {z: each[1] for z, each in self._labels.items()} if of_image else {}
        known = {each.value for each in card.classes}
        used = {value for counts in corrections.counts.values() for value in counts} if of_image else set()
        new = tuple(each for each in corrections.classes if each.value in used - known)
        size = session.segmenting.options_of_result.pixel_size_nm
        model, token = str(entry.path), ""
        muted, muted_classes = self._record.muted, self._record.muted_classes
        painted = painted_digest(digests, muted, muted_classes)
        known_already = card.recipe.get("painted") == painted
        if on and labels and used - set(muted_classes) and not known_already:
            about = model, digests, size, [each.to_json() for each in new], muted, muted_classes
            token = hashlib.blake2b(repr(about).encode(), digest_size=12).hexdigest()
        source = self._source(image)
        of_settled, settled = self._settled.get(model, ("", {}))
        return Strokes(
            source,
            sections,
            labels,
            muted=muted,
            muted_classes=frozenset(muted_classes),
            new_classes=new,
            pixel_size_nm=size,
            painted=painted,
            known=known_already,
            token=token,
            settled=settled if of_settled == source else {},
        )

    @property
    def digests(self) -> Digests:
        """What tells all that is painted on the image from what else may be."""
        corrections = self._session.correcting.corrections
        image, layer = corrections.image, corrections.layer
        of = (None if image is None else image.unique_id, None if layer is None else layer.unique_id)
        if of != self._of:
            self._of, self._labels = of, {}
        counts = corrections.counts if layer is not None else {}
        for z in self._labels.keys() - counts.keys():
            del self._labels[z]
        for z in counts.keys() - self._labels.keys():
            labels = corrections.labels(z)
            if labels.any():
                self._labels[z] = digest_of_labels(labels), labels
        return sorted((z, each[0]) for z, each in self._labels.items())

    def labels(self, z: int) -> np.ndarray | None:
        """Return what was painted on a section when it was read, (Y, X); None if nothing was."""
        return self._labels[z][1] if z in self._labels else None

    def read_again(self, z: int) -> np.ndarray | None:
        """Let a section be read anew; return what was painted on it before."""
        return self._labels.pop(z, ("", None))[1]

    @property
    def muted(self) -> list[Stroke]:
        """A stroke of one pixel for each stroke that is not learnt from. It is right where it is."""
        from napari_feedback_seg.correction.strokes import Stroke

        found = []
        for z, row, column in self._record.muted:
            labels = self.labels(z)
            if labels is not None and labels[row, column]:
                pixels = np.array([[row, column]], np.int32)
                found.append(Stroke(("", z), int(labels[row, column]), pixels))
        return found

    @property
    def muted_classes(self) -> tuple[int, ...]:
        """Classes that are not learnt from."""
        return self._record.muted_classes

    def is_muted(self, stroke: Stroke) -> bool:
        """Return whether a stroke is not learnt from."""
        return any(stroke.lies_on(*each) for each in self._record.muted)

    def mute_class(self, value: int, muted: bool) -> None:
        """Learn from no stroke of a class, or from all again."""
        others = set(self.muted_classes) - {value}
        self._note(muted_classes=tuple(sorted(others | {value} if muted else others)))

    def mute(self, stroke: Stroke, muted: bool) -> None:
        """Do not learn from a stroke, or learn from it again."""
        others = [each for each in self._record.muted if not stroke.lies_on(*each)]
        self._note(muted=tuple(sorted([*others, (stroke.section[1], *stroke.centre)] if muted else others)))

    @property
    def _record(self) -> CorrectionsRecord:
        layer = self._session.correcting.corrections.layer
        corrections = self._session.layers.corrections
        return CorrectionsRecord("") if layer is None else corrections.record(layer)

    def _note(self, **muted: Any) -> None:
        layer = self._session.correcting.corrections.layer
        if layer is not None:
            self._session.layers.corrections.note(layer, **muted)
            self._session.correcting.journal.note(muted)

    def _source(self, image: Image) -> str:
        """Return what tells the pixels of an image from others."""
        return f"{image.unique_id} {self._versions.get(image.unique_id, 0)}"

    def replaced(self, image: Any) -> None:
        """Take note that an image has other pixels."""
        self._versions[image.unique_id] = self._versions.get(image.unique_id, 0) + 1

    def keep_right(self, model: Path, strokes: Strokes, settled: Mapping[int, Settled]) -> None:
        """Let what strokes had put right when a model learnt them stay right, as long as they are there."""
        self._settled[str(model)] = strokes.image, settled

    def renamed(self, before: Path, after: Path) -> None:
        """Take note that a model is in another file now."""
        if str(before) in self._settled:
            self._settled[str(after)] = self._settled.pop(str(before))

"""What is painted on an image, as work off the GUI thread takes it along. No Qt, no napari."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.generators import forward

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.correction.adaptation import Adaptation
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.correction.strokes import Settled
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.plugin.layers.image import Sections
    from napari_feedback_seg.segmentation.events import SectionDone
    from napari_feedback_seg.segmentation.lazy import Plane


@dataclass(frozen=True, eq=False)
class Strokes:
    """What is painted on an image, and what it is to teach."""

    image: str  # identity of the image
    sections: Sections  # its grey values
    labels: Mapping[int, np.ndarray]  # section to what is painted on it, (Y, X) class values
    muted: tuple[tuple[int, int, int], ...] = ()  # section, row, column of a pixel of each muted stroke
    muted_classes: frozenset[int] = frozenset()  # classes that are not learnt from
    new_classes: tuple[LabelClass, ...] = ()  # those that the model lacks
    pixel_size_nm: Any = None  # side of a pixel, if the image is rescaled for the model
    painted: str = ""  # what tells all that is painted from anything else, as in the card of a model
    known: bool = False  # whether the model has learnt all that
    token: str = ""  # what tells all of that from others; empty if nothing is learnt
    learnt: Adaptation | None = None  # what was learnt of them, if it was already
    # section to what strokes had put right when the model learnt them
    settled: Mapping[int, Settled] = field(default_factory=dict)

    def section(self, z: int, image: np.ndarray | Plane | None = None) -> CorrectedSection:
        """Return a section, with what is painted on it; of its image it may be given what was read."""
        from napari_feedback_seg.correction.corrections import CorrectedSection

        image = self.sections.plane(z) if image is None else image
        labels = self.labels.get(z)
        if labels is None:
            labels = np.zeros(image.shape, np.uint8)
        return CorrectedSection(image, labels, z, self.pixel_size_nm, self.image)

    def settled_on(self, z: int) -> np.ndarray | None:
        """Return what is still right of what strokes had put right on a section; None if that is nothing."""
        still = self._still(z)
        return None if still is None else still[1]

    def merged(self, z: int, settled: Settled | None) -> Settled | None:
        """Return what strokes have put right on a section, and what is still right of what they had."""
        from scipy import sparse

        still = self._still(z)
        if still is None or settled is None:
            return settled if still is None else replace(self.settled[z], owners=sparse.csr_array(still[0]))
        now, before = settled.owners.toarray(), still[0]
        number = np.arange(len(self.settled[z].values) + 1) + len(settled.values)
        painted = (self.labels[z] > 0) & (now > 0)
        number[before[painted]] = now[painted]  # a stroke that is among both
        owners = np.where((now == 0) & (before > 0), number[before], now).astype(np.int32)
        values = np.concatenate([settled.values, self.settled[z].values])
        return replace(settled, owners=sparse.csr_array(owners), values=values)

    def _still(self, z: int) -> tuple[np.ndarray, np.ndarray] | None:
        from napari_feedback_seg.correction.strokes import find_strokes, not_muted

        settled, labels = self.settled.get(z), self.labels.get(z)
        if settled is None or labels is None:
            return None
        strokes = not_muted(find_strokes(labels, (self.image, z)), self.muted, self.muted_classes)
        return settled.still(labels, strokes)


def adaptation_to(
    strokes: Strokes | None, model: Model, device: str
) -> Generator[None, None, Adaptation | None]:
    """Return what is to be learnt of strokes, by a model: what was learnt of them, or learn it now.

    None if that is nothing.
    """
    from napari_feedback_seg.correction.adapt import learn

    if strokes is None or not strokes.token:
        return None
    if strokes.learnt is not None:
        return strokes.learnt
    sections = [strokes.section(z) for z in strokes.labels]
    events = learn(
        model,
        sections,
        new_classes=strokes.new_classes,
        device=device,
        muted=strokes.muted,
        muted_classes=strokes.muted_classes,
    )
    adaptation: Adaptation = yield from forward(events)
    return adaptation


def adapted_to(strokes: Strokes | None, model: Model, device: str) -> Generator[None, None, Model]:
    """Return a model that says what it says with strokes, if there are any."""
    adaptation = yield from adaptation_to(strokes, model, device)
    return model if adaptation is None else adaptation.apply(model)


def corrected_section(
    strokes: Strokes | None, adaptation: Adaptation | None, model: Model, device: str, done: SectionDone
) -> Generator[None, None, SectionDone]:
    """Return a segmented section with what its strokes put right around themselves."""
    from napari_feedback_seg.correction.adapt import corrected
    from napari_feedback_seg.segmentation.prediction import painted_over

    z = done.section
    if strokes is None or z not in strokes.labels:
        return done
    right, values = strokes.settled_on(z), [each.value for each in model.card.classes]
    if adaptation is not None:
        section = replace(strokes.section(z), settled=right)
        right = yield from corrected(model, adaptation, section, device=device, region=done.prediction.region)
        values += [each.value for each in adaptation.new_classes]
    if right is not None:
        # What is painted lies on top of the result, and is not written into it.
        painted_over(done.prediction, np.where(strokes.labels[z] > 0, 0, right), values)
    return done


def settle(
    strokes: Strokes, adaptation: Adaptation | None, model: Model, device: str
) -> Generator[None, None, dict[int, Settled]]:
    """Return what strokes put right around themselves: a model that learns them does not have that."""
    from napari_feedback_seg.correction.adapt import settled_by

    found = {}
    for z in strokes.labels:
        now = None
        if adaptation is not None:
            now = yield from settled_by(model, adaptation, strokes.section(z), device=device)
        settled = strokes.merged(z, now)
        if settled is not None:
            found[z] = settled
    return found


def settle_known(
    strokes: Strokes, sections: Collection[int], model: Model, device: str
) -> Generator[None, None, Strokes]:
    """Return strokes with what they had put right on sections, if the model learnt them another day."""
    from napari_feedback_seg.correction.adaptation import taken_apart

    wanted = set(sections) - strokes.settled.keys()
    missing = {z: labels for z, labels in strokes.labels.items() if z in wanted}
    apart = taken_apart(model) if strokes.known and missing else None
    if apart is None:
        return strokes
    plain, adaptation = apart
    found = yield from settle(replace(strokes, labels=missing), adaptation, plain, device)
    return replace(strokes, settled={**strokes.settled, **found})

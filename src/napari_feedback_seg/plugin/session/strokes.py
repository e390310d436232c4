"""What is painted on an image, as work off the GUI thread takes it along. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.generators import forward

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.correction.adaptation import Adaptation
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.plugin.layers.image import Sections
    from napari_feedback_seg.plugin.session.regions import Region
    from napari_feedback_seg.segmentation.events import SectionDone
    from napari_feedback_seg.segmentation.lazy import Plane

Settled = Mapping[int, Any]
"""Section to a sparse array (Y, X) of class values."""


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
    token: str = ""  # what tells all of that from others; empty if nothing is learnt
    learnt: Adaptation | None = None  # what was learnt of them, if it was already
    # what strokes had put right when the model learnt them
    settled: Settled = field(default_factory=dict)

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
        from napari_feedback_seg.correction.strokes import find_strokes, not_muted, still_settled

        settled, labels = self.settled.get(z), self.labels.get(z)
        if settled is None or labels is None:
            return None
        strokes = not_muted(find_strokes(labels, (self.image, z)), self.muted, self.muted_classes)
        return still_settled(settled.toarray(), labels, strokes)


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
    from napari_feedback_seg.segmentation.prediction import painted_over

    z = done.section
    if strokes is None or z not in strokes.labels:
        return done
    right = yield from _put_right(strokes, z, adaptation, model, device, done.prediction.region)
    if right is not None:
        new = adaptation.new_classes if adaptation is not None else ()
        painted_over(done.prediction, right, [each.value for each in (*model.card.classes, *new)])
    return done


def settle(
    strokes: Strokes | None, adaptation: Adaptation | None, model: Model, device: str
) -> Generator[None, None, Settled]:
    """Return what strokes put right around themselves: a model that learns them does not have that."""
    from scipy import sparse

    found = {}
    for z in strokes.labels if strokes is not None else ():
        assert strokes is not None
        right = yield from _put_right(strokes, z, adaptation, model, device)
        if right is not None and right.any():
            found[z] = sparse.csr_array(right)
    return found


def _put_right(
    strokes: Strokes,
    z: int,
    adaptation: Adaptation | None,
    model: Model,
    device: str,
    region: Region | None = None,
) -> Generator[None, None, np.ndarray | None]:
    """Return what strokes put right on a section, (Y, X), but for what is painted; None if that is nothing.

    What is painted lies on top of a result, and is not written into it.
    """
    from napari_feedback_seg.correction.adapt import corrected

    settled = strokes.settled_on(z)
    if adaptation is None:
        return settled
    section = replace(strokes.section(z), settled=settled)
    right = yield from corrected(model, adaptation, section, device=device, region=region)
    return np.where(strokes.labels[z] > 0, 0, right)

"""What each model of the chain says of an image: kept where another one writes over it. No Qt, no napari."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image

    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.plugin.session.tuned import TunedModels


@dataclass
class _Answer:
    """What a model says of sections that show another model's labels now, and the record of its result."""

    planes: dict[int, np.ndarray] = field(default_factory=dict)
    record: Any = None


class Answers:
    """Keeps what a model of the chain said of a section before another one writes it, and swaps the two.

    The result shows what one model says; of another one only those sections are kept that differ.
    """

    def __init__(self, session: Session, models: TunedModels) -> None:
        self._session, self._models = session, models
        self._of_image: dict[Any, dict[str, _Answer]] = {}  # by identity of the image

    def known(self, model: str | None) -> bool:
        """Return whether something is kept of what a model says of the image."""
        return model is not None and model in self._of(self._session.image)

    def before_write(self, z: int) -> None:
        """Keep what is shown of a section that the model in use is about to write, for the one before it."""
        session, result, earlier = self._session, self._session.result, self._models.earlier
        if result is None or earlier is None:
            return
        answer = self._of(session.image).setdefault(earlier, _Answer())
        answer.record = answer.record or session.layers.record_of(result)
        if z not in answer.planes:
            answer.planes[z] = session.layers.plane(result, z).copy()

    def swap(self, image: Image | None, now: str, wanted: str) -> None:
        """Show what another model says of an image, and keep what is shown as that of ``now``."""
        layers, result, answers = self._session.layers, self._session.result_of(image), self._of(image)
        if result is None or wanted not in answers:
            return
        other, mine = answers.pop(wanted), answers.setdefault(now, _Answer())
        mine.record = layers.record_of(result)
        for z, plane in other.planes.items():
            mine.planes[z] = layers.plane(result, z).copy()
            layers.write_plane(result, z, plane)
        if other.record is not None:
            layers.write_record(result, other.record)
        self._session.tell("result")

    def rename(self, before: str, after: str) -> None:
        """Take note that a model has another name now."""
        for answers in self._of_image.values():
            if before in answers:
                answers[after] = answers.pop(before)

    def _of(self, image: Image | None) -> dict[str, _Answer]:
        present = self._session.layers.identities
        for gone in self._of_image.keys() - present:
            del self._of_image[gone]
        return self._of_image.setdefault(image.unique_id, {}) if image is not None else {}

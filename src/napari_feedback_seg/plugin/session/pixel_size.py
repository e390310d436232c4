"""The pixel size of the image, beside that which the model has learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_feedback_seg.plugin.session.session import Session

NOTABLE = 0.25
"""Pixels that differ by more than this fraction from the model's deserve a note."""


class PixelSizes:
    """What is known of the size of pixels.

    Attributes
    ----------
    rescale : bool
        Whether the image is to be resampled for the model, and the result back.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._typed: dict[Any, float] = {}  # by identity of the image
        self.rescale = False

    @property
    def typed(self) -> float:
        """What was typed in for the image, in nm; 0 if nothing was."""
        image = self._session.image
        return self._typed.get(image.unique_id, 0.0) if image is not None else 0.0

    @typed.setter
    def typed(self, value: float) -> None:
        if self._session.image is not None and value != self.typed:
            self._typed[self._session.image.unique_id] = value
            self._session.tell("image")

    @property
    def own(self) -> tuple[float, float] | None:
        """What the layer says: height and width in nm."""
        image = self._session.image
        return self._session.layers.pixel_size(image) if image is not None else None

    @property
    def size(self) -> tuple[float, float] | None:
        """Height and width of a pixel of the image in nm, as the layer says, or else as typed in for it."""
        return self.own or ((self.typed, self.typed) if self.typed > 0 else None)

    @property
    def to_rescale_from(self) -> tuple[float, float] | None:
        """The pixel size, if the image is to be rescaled."""
        return self.size if self.rescale and self.can_rescale else None

    @property
    def factor(self) -> float:
        """By how much the image's pixels and the model's differ, at least 1; 1 if that is unknown."""
        size, card = self.size, self._session.card
        if not size or not card:
            return 1.0
        return max(max(side / card.pixel_size_nm, card.pixel_size_nm / side) for side in size)

    @property
    def notable(self) -> bool:
        """Whether they differ by enough to tell."""
        return self.factor > 1 + NOTABLE

    @property
    def can_rescale(self) -> bool:
        """Whether they differ by enough to rescale, and not by too much."""
        from napari_feedback_seg.segmentation.prediction import MAX_RATIO

        return self.notable and self.factor <= MAX_RATIO

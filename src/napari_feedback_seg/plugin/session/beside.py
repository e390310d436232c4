"""Two answers about the same part, side by side, for a person to choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from napari.layers import Image, Layer

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.plugin.layers.side_by_side import SideBySide
    from napari_feedback_seg.plugin.session.session import Session


@dataclass(frozen=True)
class Side:
    """One of two answers."""

    title: str  # what it is, as a person reads it
    labels: np.ndarray  # (Y, X) of the part
    take: Callable[[], object]  # called if this one is chosen


class Beside:
    """Shows two answers side by side; ``sides`` are empty while nothing is shown."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._shown: SideBySide | None = None
        self._image: Image | None = None
        self.sides: tuple[Side, ...] = ()

    def show(
        self,
        image: Image,
        section: int,
        region: tuple[slice, slice],
        classes: Sequence[LabelClass],
        left: Side,
        right: Side,
    ) -> None:
        """Show two answers about a region of a section of an image."""
        self.close()
        self._image, self.sides = image, (left, right)
        self._shown = self._session.layers.side_by_side(
            image, section, region, [(each.title, each.labels) for each in self.sides], classes
        )
        self._session.tell("beside")

    def take(self, number: int) -> None:
        """Choose the left answer, 0, or the right one, 1."""
        sides = self.sides
        self.close()
        if sides:
            sides[number].take()

    def close(self) -> None:
        """Show what there was before; may be called again."""
        shown, self._shown, self._image, self.sides = self._shown, None, None, ()
        if shown is not None:
            shown.close()
            self._session.tell("beside")

    def layer_removed(self, layer: Layer) -> None:
        """Close if a part of it, or its image, was deleted."""
        if self._shown is not None and (layer == self._image or layer in self._shown.layers):
            self.close()

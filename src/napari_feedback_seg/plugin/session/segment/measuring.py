"""The areas and profiles of the result at hand. No Qt, no napari."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_feedback_seg.plugin.session.segment.derived import Derived
from napari_feedback_seg.segmentation.measure import (
    LEAST_PIXELS,
    LEAST_UM2,
    measure,
)
from napari_feedback_seg.segmentation.stored import StoredLabels, StoredSection

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari.layers import Labels

    from napari_feedback_seg.segmentation.measure import Measures, SectionMeasured


class Measuring(Derived):
    """Measures the result at hand; ``value`` is the table."""

    part = "measuring"

    @property
    def measures(self) -> Measures | None:
        """The table."""
        found: Measures | None = self.value
        return found

    @property
    def result(self) -> Labels | None:
        """The result at hand; labels on the disk if they are active, or there is no other."""
        result, layers = self._session.result_at_hand, self._session.layers
        on_disk = layers.volume_at_hand()
        wanted = on_disk is not None and (result is None or on_disk == layers.active)
        return on_disk if wanted else result

    @property
    def in_um2(self) -> bool:
        """Whether areas are in square micrometres; else in pixels."""
        return self.result is not None and self._size(self.result) is not None

    def _size(self, result: Labels) -> Any:
        layers = self._session.layers
        return layers.pixel_size(result) if self._on_disk(result) else layers.measured_size(result)

    def _on_disk(self, result: Labels) -> bool:
        return not self._session.layers.classes_of(result)

    @property
    def least(self) -> float:
        """Least size of a profile that is usual, in the unit of the areas."""
        return LEAST_UM2 if self.in_um2 else LEAST_PIXELS

    def key(self) -> tuple[tuple[Labels, ...], Any] | None:
        """Return the result, and what tells it from itself after another run."""
        result = self.result
        return None if result is None else ((result,), self._session.layers.stamp(result))

    def start(self, least: float) -> bool:
        """Measure the profiles from a size on; return whether that has begun."""
        session, result = self._session, self.result
        if result is None:
            return False
        session.correcting.corrections.look()
        labels: Any
        if self._on_disk(result):
            stored = session.layers.pixels(result)
            labels = StoredLabels(stored) if stored.ndim == 3 else StoredSection(stored)
            classes = session.layers.classes_on_disk(result)
        else:
            labels = session.correcting.corrections.of_result(result)
            classes = session.layers.classes_of(result)
        size = self._size(result)

        def work() -> Generator[SectionMeasured, None, Measures]:
            return measure(labels, classes, size, least)

        return self._compute(work, f"Measuring {result.name}")

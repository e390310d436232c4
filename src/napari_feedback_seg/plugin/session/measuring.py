"""The areas and profiles of the result at hand. No Qt, no napari."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_feedback_seg.plugin.session.derived import Derived
from napari_feedback_seg.segmentation.measure import LEAST_PIXELS, LEAST_UM2, measure

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
        """What is measured: the result at hand."""
        return self._session.result_at_hand

    @property
    def in_um2(self) -> bool:
        """Whether areas are in square micrometres; else in pixels."""
        return self.result is not None and self._session.layers.measured_size(self.result) is not None

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
        labels = session.correcting.corrections.of_result(result)
        classes, size = session.layers.classes_of(result), session.layers.measured_size(result)

        def work() -> Generator[SectionMeasured, None, Measures]:
            return measure(labels, classes, size, least)

        return self._compute(work, f"Measuring {result.name}")

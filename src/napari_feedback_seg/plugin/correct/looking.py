"""Where to look next: the places where the model is least sure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, Signal

from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.plugin.correct.work import LookWork, Place, SectionLooked
from napari_feedback_seg.plugin.layers.image import displayed_section, em_sections

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image

    from napari_feedback_seg.plugin.session.corrections import CorrectionStore
    from napari_feedback_seg.plugin.session.state import DockState
    from napari_feedback_seg.segmentation.prediction import SegmentOptions

APART = 32
"""A place with a correction within so many pixels has been seen to."""

_ZOOM = 4.0  # canvas pixels for a pixel of the image, at the least


class Looking(QObject):
    """Finds doubtful places over all sections, once for each image and model, and goes to them.

    Signals
    -------
    said : str
        What there is to say about it.
    """

    said = Signal(str)

    def __init__(
        self,
        state: DockState,
        store: CorrectionStore,
        options: Callable[[], SegmentOptions],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state, self._store, self._options = state, store, options
        self._of: tuple[Any, str] | None = None
        self._places: list[Place] = []
        self._waiting = False

    def next_place(self) -> None:
        """Go to the least certain place that is not corrected yet."""
        image = self._state.image
        of = (image, self._state.model_name)
        if self._of is not None and self._of[1] == of[1] and self._of[0] == image:
            self._go()
            return
        try:
            sections = em_sections(image)
        except FeedbackSegError as error:
            show_error(str(error))
            return
        assert image is not None
        shown = displayed_section(self._state.viewer, image)
        segmented = self._store.predicted
        chosen = sorted(range(sections.count), key=lambda z: (z not in segmented, z != shown))
        entry = self._state.entry
        work = LookWork(sections, chosen, self._options(), lambda: self._state.load_model(entry))
        started = self._state.jobs.run(
            work,
            title="Looking for doubtful places",
            on_event=self._take,
            on_done=lambda _: self._done(),
            on_failed=self._failed,
            on_stopped=self._done,
        )
        if started:
            self._of, self._places, self._waiting = of, [], True
            self.said.emit("Looking for places where the model is in doubt...")

    def cleanup(self) -> None:
        """Forget the places; may be called again."""
        self._of, self._places, self._waiting = None, [], False

    def _take(self, event: Any) -> None:
        if isinstance(event, SectionLooked):
            self._places += event.places
            if self._waiting:
                self._waiting = False
                self._go()

    def _done(self) -> None:
        if self._waiting:
            self._waiting, self._of = False, None
            self.said.emit("No place was found.")

    def _failed(self, error: Exception) -> None:
        self._of = None
        self.said.emit(str(error))

    def _go(self) -> None:
        image = self._state.image
        segmented = self._store.predicted
        self._places.sort(key=lambda place: (place.section not in segmented, -place.doubt))
        while self._places:
            place = self._places.pop(0)
            if image is not None and not self._corrected(place):
                self._show(image, place)
                on = f" on section {place.section}" if image.ndim > 2 else ""
                where = f"Row {place.row}, column {place.column}{on}, in the middle of the view"
                unsegmented = (
                    "" if place.section in segmented else " Press Segment to see what it says there."
                )
                self.said.emit(f"{where}: is it right?{unsegmented}")
                return
        self.said.emit("There is no doubtful place left. After the next fine-tune there will be others.")

    def _corrected(self, place: Place) -> bool:
        if self._store.layer is None:
            return False
        rows = slice(max(0, place.row - APART), place.row + APART)
        columns = slice(max(0, place.column - APART), place.column + APART)
        return bool(self._store.painted(place.section)[rows, columns].any())

    def _show(self, image: Image, place: Place) -> None:
        viewer = self._state.viewer
        point = [place.row, place.column] if image.ndim == 2 else [place.section, place.row, place.column]
        world = np.asarray(image.data_to_world(point))
        for axis, value in enumerate(world[:-2], start=viewer.dims.ndim - image.ndim):
            viewer.dims.set_point(axis, value)
        camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera  # before napari 0.9
        camera.center = tuple(world[-2:])
        side = abs(np.asarray(image.data_to_world(np.asarray(point) + 1.0)) - world)[-2:].max()
        camera.zoom = max(camera.zoom, _ZOOM / side if side else _ZOOM)

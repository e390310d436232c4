"""Two answers about the same part, side by side, for a person to choose from."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.plugin.session.regions import Part
from napari_feedback_seg.plugin.session.segment.segmenting import Run
from napari_feedback_seg.segmentation.events import SectionDone, TileDone

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import numpy as np
    from napari.layers import Image, Layer

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.plugin.layers.side_by_side import SideBySide
    from napari_feedback_seg.plugin.session.regions import Region
    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.segmentation.prediction import Prediction


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
        region: Region,
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


class Scales:
    """Shows which is better, the image as it is or rescaled for the model: nobody can know before."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def compare(self) -> bool:
        """Segment the visible part as it is and rescaled, and show both; return whether that has begun."""
        session = self._session
        try:
            image = session.segmenting.current_image()
            part = Part((session.layers.section_shown(image),), session.layers.visible_region(image))
            sections = session.layers.sections(image)
        except FeedbackSegError as error:
            session.said.emit(str(error), "error")
            return False
        size = session.pixel_sizes.size
        options = replace(session.segmenting.options, device=session.device, region=part.region)
        runs = [
            Run(image, sections, part, replace(options, pixel_size_nm=each), size, time.perf_counter())
            for each in (None, size)
        ]
        strokes = session.instant.strokes()
        for run in runs:
            run.strokes, scale = strokes, run.options.pixel_size_nm
            if strokes is not None and strokes.token and strokes.pixel_size_nm != scale:
                token = f"{strokes.token} at {scale}"
                run.strokes = replace(strokes, pixel_size_nm=scale, token=token, learnt=None)
        load_model = partial(session.load_model, session.entry)
        found: list[Any] = []

        def work() -> Generator[Any, None, None]:
            for number, run in enumerate(runs):
                for event in session.segmenting.work(run, load_model):
                    if isinstance(event, TileDone):
                        yield TileDone(number * event.total + event.done, 2 * event.total)
                    elif event is not None:
                        found.append(event)

        def show(_: None) -> None:
            model, plain, _, rescaled = found
            if image not in session.layers:
                return
            classes, predictions = model.card.classes, (plain.prediction, rescaled.prediction)
            left, right = (
                Side(title, each.labels, partial(self._take, run, model, each, on))
                for title, each, run, on in zip(
                    ("as it is", "rescaled"), predictions, runs, (False, True), strict=True
                )
            )
            session.beside.show(image, part.sections[0], predictions[0].region, classes, left, right)

        return session.jobs.run(work, title="Segmenting both ways", owner=session.segmenting, on_done=show)

    def _take(self, run: Run, model: Model, prediction: Prediction, rescale: bool) -> None:
        """Take one of the two scales, for this part and for what is segmented from now on."""
        self._session.pixel_sizes.set_rescale(rescale)
        self._session.segmenting.show(run, model, SectionDone(run.part.sections[0], prediction))
        how = "is rescaled for the model" if rescale else "is taken as it is"
        self._session.note(f"The image {how} from now on.")

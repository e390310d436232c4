"""The visible part segmented as it is and rescaled, to choose from."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.plugin.session.beside import Side
from napari_feedback_seg.plugin.session.segmenting import Part, Run
from napari_feedback_seg.segmentation.events import SectionDone, TileDone

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.segmentation.prediction import Prediction


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
        load_model = partial(session.load_model, session.entry)
        found: list[Any] = []

        def work() -> Generator[Any, None, None]:
            for number, run in enumerate(runs):
                for event in session.segmenting.work(run, load_model):
                    if isinstance(event, TileDone):
                        yield TileDone(number * event.total + event.done, 2 * event.total)
                    else:
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

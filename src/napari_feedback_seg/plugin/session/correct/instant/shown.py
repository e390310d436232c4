"""Writes answers to strokes into the result, and keeps what it says without them. No Qt, no napari."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_feedback_seg.plugin.session.correct.instant.places import last_run
from napari_feedback_seg.plugin.session.regions import within
from napari_feedback_seg.plugin.session.versions import Version

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

    from napari_feedback_seg.plugin.session.correct.instant.engine import Answered
    from napari_feedback_seg.plugin.session.records import ResultRecord, RunRecord
    from napari_feedback_seg.plugin.session.session import Session
    from napari_feedback_seg.plugin.session.strokes import Strokes


class ShownAnswers:
    """What of the answers to strokes is in the result.

    Attributes
    ----------
    changed_pixels : dict
        Section to class value to the number of pixels that have become of it by the strokes.
    outlines : int
        How often something was outlined.
    shows_before : bool
        Whether the result shows what the model says without the strokes.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.changed_pixels: dict[int, dict[int, int]] = {}
        self.outlines = 0
        self.shows_before = False
        self._before = Version()  # what the model says without the strokes, of the sections with answers
        self._result: Labels | None = None  # of which that is

    @property
    def knows_before(self) -> bool:
        """Whether it is known what the model says without the strokes, of any section that has answers."""
        return self._is_there and any(z in self.changed_pixels for z in self._before.sections)

    @property
    def unknown(self) -> list[int]:
        """The sections that were segmented with strokes, and not without them."""
        result = self._session.result
        record = self._session.layers.record_of(result) if result is not None else None
        taught = (
            {z for run in record.runs if run.strokes for z in run.sections} if record is not None else set()
        )
        return sorted(taught - set(self._before.sections if result == self._result else ()))

    @property
    def _is_there(self) -> bool:
        return self._result is not None and self._result in self._session.layers

    def is_in(self, layer: Layer) -> bool:
        """Return whether a layer is the result that has the answers."""
        return self._result is not None and layer == self._result

    def write(self, answered: Answered, strokes: Strokes, *, in_view: bool) -> bool:
        """Write an answer; in view, outline what it changes. Return False if there is no place for it."""
        session, image = self._session, self._session.image
        result = session.result
        record = session.layers.record_of(result) if result is not None else None
        if image is None or record is None or not strokes.image.startswith(str(image.unique_id)):
            return False
        assert result is not None
        place, answer = answered.place, answered.answer
        z, region = place.section, answer.prediction.region
        here = in_view and z == session.layers.displayed_section(image)
        session.correcting.answers.before_write(z)
        plane = session.layers.plane(result, z)
        inside = within(region, session.layers.region_of(result))
        moved = plane[inside] != answer.prediction.labels
        painted = session.instant.teaching.labels(z)
        if painted is not None:
            moved &= painted[region] == 0
        if result != self._result:
            self._forget_before()
            self._result = result
        if z not in self._before.sections:
            self._before.put(z, plane.copy())
        self._before.plane(z)[inside] = answer.before
        run = last_run(record, session)
        run = replace(run, settings=replace(run.settings, flips=False, probabilities=False), sections=())
        writer = session.layers.result_writer(
            image, strokes.sections.shape, answered.classes, replace(run, strokes=strokes.token), region
        )
        writer.write(z, answer.prediction)
        self.changed_pixels[z] = answer.changed
        if not strokes.token:
            self.changed_pixels.pop(z, None)
        if here and moved.any():
            session.layers.changes.show(image, z, region, moved)
            self.outlines += 1
        session.tell("result", "instant")
        return True

    def show_before(self, wanted: bool) -> None:
        """Show what the model says without the strokes, or with them."""
        layers, result = self._session.layers, self._result
        if wanted == self.shows_before:
            return
        self.shows_before = wanted
        record = layers.record_of(result) if result is not None and self._is_there else None
        if result is None or record is None:
            self._forget_before()
            return
        if wanted:
            self._before.record = replace(record, runs=self._without_strokes(record))
        self._before.swap(layers, result)
        self._session.tell("result")

    def _without_strokes(self, record: ResultRecord) -> tuple[RunRecord, ...]:
        """Return the runs as they are without the strokes, on the sections where that is known."""
        known, runs = set(self._before.sections), []
        for run in record.runs:
            here = tuple(z for z in run.sections if z in known)
            others = tuple(z for z in run.sections if z not in known)
            runs += [replace(run, strokes="", sections=here)] if here else []
            runs += [replace(run, sections=others)] if others else []
        return tuple(runs)

    def forget(self, z: int | None = None) -> None:
        """Forget what was changed, or what was changed on a section that is about to be segmented anew."""
        if z is None:
            self._forget_before()
            self.changed_pixels = {}
            self._session.layers.changes.hide()
        else:
            self._before.drop(z)
            self.changed_pixels.pop(z, None)

    def _forget_before(self) -> None:
        self._before, self._result, self.shows_before = Version(), None, False

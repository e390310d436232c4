"""Fine-tunes the model in use, shows what it says then, and goes back and forth."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, Signal

from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.correction.corrections import LEAST_PIXELS
from napari_feedback_seg.errors import FeedbackSegError, InputError, TrainingError
from napari_feedback_seg.plugin.correct.work import FinetuneWork
from napari_feedback_seg.plugin.layers.image import RESULT_KEY, displayed_section, em_sections, visible_region
from napari_feedback_seg.plugin.session.segmenting import Part
from napari_feedback_seg.segmentation.prediction import SegmentOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_feedback_seg.plugin.correct.finetuned import FinetunedModels
    from napari_feedback_seg.plugin.session.autosave import Autosave
    from napari_feedback_seg.plugin.session.corrections import CorrectionStore
    from napari_feedback_seg.plugin.session.recovery import Recovery
    from napari_feedback_seg.plugin.session.state import DockState

_Answers = dict[str, tuple[dict[str, Any], dict[int, np.ndarray]]]

# By identity of the image, what models have said, by their names: record, and section to labels.
_SAID: WeakKeyDictionary[Viewer, dict[Any, _Answers]] = WeakKeyDictionary()

_OF_MODEL = ("model", "model_file", "model_sha256", "runs")


class Learning(QObject):
    """The fine-tune of the tab Correct, and what comes after it.

    What models have said of an image is kept as long as that is in the viewer, also for a dock that is
    opened again.

    Signals
    -------
    said : str
        What a person should read.
    part
        Another part begins: a trial with other corrections held out, or the last pass.
    step : int, int, float
        Step, steps in all, and training loss.
    check : int, int, float, bool
        Step, steps in all, loss on the corrections to judge by, and whether they were held out.
    swapped
        Another model's answer is shown, or can be.
    """

    said = Signal(str)
    part = Signal()
    step = Signal(int, int, float)
    check = Signal(int, int, float, bool)
    swapped = Signal()

    def __init__(
        self,
        state: DockState,
        store: CorrectionStore,
        models: FinetunedModels,
        recovery: Recovery,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state, self._store, self._models, self._recovery = state, store, models, recovery
        self._work: FinetuneWork | None = None
        self._image: Image | None = None
        self._autosave: Autosave | None = None
        self._parent = ""
        self._keep = False
        self._of_image = _SAID.setdefault(state.viewer, {})
        self.what = ""
        self.shows_before = False
        store.leaving.connect(self._leave)
        store.followed.connect(self.swapped)
        state.segmenting_begins.connect(self._leave)
        state.jobs.ended.connect(self.swapped.emit)

    @property
    def running(self) -> bool:
        """Whether a fine-tune is running."""
        return self._work is not None

    def config(self, **settings: Any) -> FinetuneConfig:
        """Return the settings of a fine-tune."""
        card = self._state.card
        known = {each.value for each in card.classes} if card else set()
        corrected = {value for counts in self._store.counts.values() for value in counts}
        new = [each for each in self._store.classes if each.value in corrected - known]
        return FinetuneConfig(new_classes=tuple(new), **settings)

    def options(self) -> SegmentOptions:
        """Return how the result was segmented, with all that tells where the model is in doubt."""
        card = self._state.card
        rounds = card.spec.rounds if card else 1
        return self._options(None, overlap=0.1, probabilities=True, first_round=rounds > 1)

    # --- the fine-tune

    def start(self, config: FinetuneConfig) -> bool:
        """Begin; return whether it has begun.

        Raises
        ------
        InputError, TrainingError
            If there is nothing to learn from.
        """
        store, image = self._store, self._state.image
        sections = em_sections(image)
        assert image is not None
        pixels = sum(each.pixels for counts in store.counts.values() for each in counts.values())
        if store.layer is None or pixels == 0:
            raise TrainingError("Nothing is corrected yet: choose a class and paint over what is wrong.")
        if pixels < LEAST_PIXELS:
            raise TrainingError(f"{pixels} corrected px are too little to learn from: paint a few strokes.")
        if self._recovery.autosave is None:
            raise InputError("This image has no place for its corrections. Save it as a TIFF, and open that.")
        entry, autosave = self._state.entry, self._recovery.autosave
        work = FinetuneWork(
            sections,
            {z: store.plane(z).copy() for z in store.counts},
            lambda: self._state.load_model(entry),
            config,
            self._state.device,
            self._options(None).pixel_size_nm,
            image.name,
            autosave.checkpoint,
            self._models.path_for,
        )
        self._work = work
        if not self._state.jobs.run(
            work,
            title="Fine-tuning",
            on_event=self._take,
            on_done=self._finish,
            on_failed=self._failed,
            on_stopped=self._stopped,
        ):
            self._work = None
            return False
        self._image, self._autosave, self._parent = image, autosave, self._models.current
        self._keep, self.what = False, ""
        self.said.emit("Getting ready: loading the model, and asking it what it is sure of.")
        return True

    def stop_and_keep(self) -> None:
        """Stop the fine-tune, and take the best that it has found."""
        self._keep = True
        self._state.jobs.cancel(quietly=True)

    def _take(self, event: Any) -> None:
        from napari_feedback_seg.correction.events import FinetuneCheck

        if isinstance(event, FinetuneCheck):
            self.check.emit(event.done, event.total, event.loss, event.held_out)
            iou = ", ".join(f"{name} {value:.0%}" for name, value in event.iou.items())
            which = "held-out IoU" if event.held_out else "IoU"
            self.what = f"{self.what.partition(' (')[0]} ({which}: {iou})"
        else:
            what = event.what.capitalize()
            if what != self.what.partition(" (")[0]:
                self.part.emit()
            self.what = what
            if event.loss is not None:
                self.step.emit(event.done, event.total, event.loss)

    def _failed(self, error: Exception) -> None:
        self._work = None
        self.said.emit(str(error))

    def _stopped(self) -> None:
        work, self._work = self._work, None
        if self._keep and work is not None:
            self._state.jobs.run(work.best, title="Judging what was learnt", on_done=self._finish)
            return
        if self._autosave is not None:
            _remove(self._autosave.checkpoint)
        self.said.emit("Stopped: the model stays as it was.")

    def _finish(self, found: tuple[Any, Path | None] | None) -> None:
        self._work = None
        if found is None:
            self.said.emit("Stopped before anything was learnt: the model stays as it was.")
            return
        result, path = found
        lines = [*result.problems, result.sentence]
        keep = result.recommendation == "keep"
        if keep:
            which = "held-out corrections" if result.held_out else "the corrections that it learnt from"
            lines += [f"IoU on {which}:", *result.changes]
        else:
            lines.append("The model stays as it was.")
        lines.append(f"{result.seconds:.0f} s")
        self.said.emit("\n".join(lines))
        (show_info if keep else show_warning)(result.sentence)
        if path is None:
            return
        if self._autosave is not None:
            _remove(self._autosave.checkpoint)
        if self._models.current == self._parent and self._image == self._store.image:
            self._remember()
        self._models.add(path, self._parent)
        self._recovery.note_model(path, self._autosave)
        if self._image is None or self._image not in self._state.viewer.layers:
            show_warning("The image is no longer there: the new model is chosen, and nothing was segmented.")
        elif self._image != self._state.image:
            show_info(
                f"The new model is chosen. To see what it says, go to '{self._image.name}' and segment."
            )
        else:
            self.segment_visible()

    # --- what it says then

    def segment_visible(self) -> None:
        """Segment what the canvas shows with the model in use."""
        viewer, image = self._state.viewer, self._state.image
        if image is None:
            return
        try:
            region: tuple[slice, slice] | None = visible_region(viewer, image)
        except FeedbackSegError:
            region = None
        self._segment([displayed_section(viewer, image)], region)

    def segment_rest(self) -> None:
        """Segment all sections with the model in use."""
        try:
            count = em_sections(self._state.image).count
        except FeedbackSegError as error:
            show_warning(str(error))
            return
        self._segment(list(range(count)), None)

    def _segment(self, chosen: Sequence[int], region: tuple[slice, slice] | None) -> None:
        self.show_before(False)
        before = self._state.result
        size = before.metadata[RESULT_KEY].get("pixel_size_nm") if before is not None else None
        self._state.segmenting.segment(
            Part(tuple(chosen), region),
            options=self._options(region),
            pixel_size_nm=tuple(size) if size else None,
            title="Segmenting with the new model",
        )

    # --- back and forth

    @property
    def can_show_before(self) -> bool:
        """Whether it is known what the model before said."""
        return self._models.earlier in self._said and self._store.result is not None

    def show_before(self, wanted: bool) -> None:
        """Show what the model before said, or what the one in use says; not while a job runs."""
        if wanted == self.shows_before:
            return
        if wanted:
            if not self.can_show_before or self._state.jobs.busy:
                return
            self._remember()
        self.shows_before = wanted
        self._show(self._models.earlier if wanted else self._models.current)

    def undo(self) -> None:
        """Go back to the model before, and to what it said."""
        self._move(self._models.undo)

    def redo(self) -> None:
        """Take the model again that was undone, and what it said."""
        self._move(self._models.redo)

    def _move(self, step: Any) -> None:
        self.show_before(False)
        self._remember()
        step()
        self._show(self._models.current)

    def _remember(self) -> None:
        """Remember what the model in use has said, and which it is."""
        result = self._store.result
        if result is not None and not self.shows_before:
            self._store.look()
            noted = result.metadata[RESULT_KEY]
            record = {name: copy.deepcopy(noted.get(name)) for name in _OF_MODEL}
            self._said[self._models.current] = (record, dict(self._store.predicted))

    def _show(self, name: str | None) -> None:
        result = self._store.result
        if name in self._said and result is not None:
            record, predicted = self._said[name]
            for z, now in self._store.predicted.items():
                # A section that this model had not segmented was empty then.
                self._store.show_instead(z, predicted[z] if z in predicted else np.zeros_like(now))
            result.metadata[RESULT_KEY] |= copy.deepcopy(record)
        self.swapped.emit()

    def _leave(self) -> None:
        """Show what the model in use says: nobody else knows of another answer."""
        self.show_before(False)

    @property
    def _said(self) -> _Answers:
        """What models have said of the image."""
        image = self._store.image
        present = {each.unique_id for each in self._state.viewer.layers}
        for gone in self._of_image.keys() - present:
            del self._of_image[gone]
        return self._of_image.setdefault(image.unique_id, {}) if image is not None else {}

    # --- how

    def _options(self, region: tuple[slice, slice] | None, **others: Any) -> SegmentOptions:
        """Return options with the scale and the overlap of the result."""
        result = self._state.result
        settings = result.metadata[RESULT_KEY].get("settings", {}) if result is not None else {}
        size = settings.get("rescaled_from_nm")
        overlap = settings.get("overlap", self._state.settings.overlap)
        return SegmentOptions(
            **{
                "device": self._state.device,
                "overlap": overlap,
                "pixel_size_nm": tuple(size) if size else None,
                "region": region,
                **others,
            }
        )

    def cleanup(self) -> None:
        """Let go of layers; may be called again."""
        self._leave()
        self._work = self._image = self._autosave = None


def _remove(checkpoint: Path) -> None:
    try:
        checkpoint.unlink(missing_ok=True)
    except OSError:
        pass  # the next fine-tune writes over it

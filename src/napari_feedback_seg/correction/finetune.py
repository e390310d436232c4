"""Fine-tune a model on a person's corrections, and keep it only if that helped."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from napari_feedback_seg.correction.card import finetuned_model
from napari_feedback_seg.correction.classes import grow
from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.correction.corrections import (
    RegionKey,
    check_corrections,
    corrected_sections,
    hold_out,
)
from napari_feedback_seg.correction.course import Course, NotFiniteError, mixed
from napari_feedback_seg.correction.events import FinetuneCheck, Finetuned, FinetuneStep
from napari_feedback_seg.correction.exam import Exam, Marks
from napari_feedback_seg.correction.material import Lesson, Material
from napari_feedback_seg.correction.start import choose_start, settle
from napari_feedback_seg.correction.store import Store, digest_of
from napari_feedback_seg.correction.verdict import Verdict, judge, not_finite
from napari_feedback_seg.errors import OutputError, TrainingError
from napari_feedback_seg.models.model import Model
from napari_feedback_seg.segmentation.device import (
    choose_device,
    describe_device,
    is_out_of_memory,
    release_memory,
)
from napari_feedback_seg.segmentation.inference import Inference

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from napari_feedback_seg.correction.corrections import CorrectedSection

_EXAM_PLACES = 3
_LAST_RATE = 0.3
_TURN = 0.4
_FIRST_ROUND = 0.4


@dataclass
class _Trial:
    """A course with some regions held out, and its best network so far."""

    held: frozenset[RegionKey]
    steps: int
    begin: Model
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    step: int = 0
    marks: Marks | None = None


class FineTuning:
    """A fine-tune of a model on corrections.

    Parameters
    ----------
    model : Model
        The parent; it stays as it is.
    sections : sequence of CorrectedSection
        What a person labelled; see :func:`~napari_feedback_seg.correction.corrections.corrected_sections`.
    config : FinetuneConfig, optional
        The settings.
    device : str
        As :func:`~napari_feedback_seg.segmentation.device.choose_device` takes it.
    checkpoint : Path, optional
        A file that is written as the fine-tune goes on; a later one with the same model,
        corrections and settings goes on from it.

    Raises
    ------
    TrainingError
        If there is nothing to learn from.
    ModelError
        If the new classes do not go with those of the model.
    DeviceError
        If there is no such device.
    """

    def __init__(
        self,
        model: Model,
        sections: Sequence[CorrectedSection],
        config: FinetuneConfig | None = None,
        *,
        device: str = "auto",
        checkpoint: Path | None = None,
    ) -> None:
        check_corrections(sections)
        self.config = config or FinetuneConfig()
        self._sections = list(sections)
        self._parent = model
        self._grown = grow(model, self.config.new_classes)
        self._begin = self._grown
        self._device = choose_device(device)
        self._store = Store(checkpoint, digest_of(model, sections, self.config)) if checkpoint else None
        self._first_round = _first_round_weight(model)
        self._started = time.perf_counter()
        self._done = self._total = 0
        self._trials: list[_Trial] = []
        self._held_out = False
        self._differs: tuple[str, ...] = ()
        self._problems: list[str] = []
        self._rehearsal = self.config.rehearsal

    def run(self) -> Generator[FinetuneStep | FinetuneCheck, None, Finetuned]:
        """Fine-tune; yield after each step; return the better model, or the parent and why.

        The checkpoint of a better model stays, to be removed when that is in a file.

        Close the generator to stop; :meth:`best_so_far` then has what there is.

        Raises
        ------
        InputError
            If a corrected section cannot be used.
        TrainingError
            If memory does not suffice even on the CPU, where it goes on if that of a GPU does not.
        """
        self._started = time.perf_counter()
        while True:
            try:
                verdict, weights = yield from self._learn()
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            self._give_way()
        if self._store and not verdict.accepted:
            self._store.remove()
        return self._result(verdict, weights)

    def best_so_far(self) -> Finetuned | None:
        """Return what was learnt before the fine-tune was stopped, judged; None if that is nothing."""
        self._trials = [trial for trial in self._trials if trial.weights]
        if not self._trials:
            return None
        return self._result(self._judge(), self._towards(self._trials[0].begin, self._trials[0].weights))

    # --- what is done, in its order

    def _learn(self) -> Generator[FinetuneStep | FinetuneCheck, None, tuple[Verdict, Mapping[str, Tensor]]]:
        try:
            yield from self._prepare()
            for index, trial in enumerate(self._trials):
                yield from self._try(index, trial)
            verdict = self._judge()
            return verdict, ((yield from self._finish()) if verdict.accepted else {})
        except NotFiniteError:
            return not_finite(), {}

    def _give_way(self) -> None:
        """Go on on the CPU."""
        where = describe_device(self._device)
        if self._device == torch.device("cpu"):
            raise TrainingError(
                f"The memory of this computer does not suffice to fine-tune on the {where}. Close other "
                "programs, and try again."
            )
        release_memory(self._device)
        self._problems.append(f"The memory of the {where} did not suffice: it went on on the CPU.")
        self._device, self._trials = torch.device("cpu"), []

    def _prepare(self) -> Generator[FinetuneStep, None, None]:
        yield self._event("looking at the corrections")
        config = self.config
        self._material = material = Material(self._sections, self._grown.card, config)
        parts = hold_out(material.regions, config.hold_out, config.seed)
        self._held_out = bool(parts)
        # Where nothing can be held out, all is learnt and looked at; the verdict says what that is worth.
        steps = config.steps if len(parts) < 2 else max(1, round(config.steps * _TURN))
        last = {0: 0, 1: config.last_steps}.get(len(parts), config.steps)
        self._total = steps * max(1, len(parts)) + last
        start = choose_start(self._grown, material, self._device, config.seed)
        self._begin, self._differs = start.model, start.differs
        # As much as keeps mistakes as rare among all that is learnt, were all corrections mistakes or few.
        if config.rehearsal:
            self._rehearsal = max(0.0, (config.rehearsal + 1) * start.wrong_share - 1)
        self._remember()
        for held in parts or [frozenset(material.regions)]:
            begin = self._settled(self._begin, set(material.regions) - held or held)
            self._trials.append(_Trial(held, steps, begin))
        if config.new_classes:
            self._begin = self._settled(self._begin, set(material.regions))
            self._remember()

    def _settled(self, model: Model, regions: Collection[RegionKey]) -> Model:
        """Return the model with its new classes fitted to the corrections of regions, if it has any."""
        if not self.config.new_classes:
            return model
        return settle(model, len(self._parent.card.classes), self._material, regions, self._device)

    def _remember(self) -> None:
        material = self._material
        if self.config.rehearsal:
            material.remember(Inference(self._begin, self._device, 1, False, None))
        self._rehearsed, self._examined = material.places[_EXAM_PLACES:], material.places[:_EXAM_PLACES]

    def _try(self, index: int, trial: _Trial) -> Generator[FinetuneStep | FinetuneCheck, None, None]:
        exam = self._exam(trial)
        learnt = set(self._material.regions) - trial.held
        begin, rate = trial.begin.network, self.config.learning_rate
        course = self._course(index, learnt or trial.held, trial.steps, rate, begin)
        before = trial.steps * index
        self._go_on(index, trial, course, exam)
        what = "learning" if len(self._trials) == 1 else f"trial {index + 1} of {len(self._trials)}"
        count = self.config.checks
        checks = {max(1, round(trial.steps * number / count)) for number in range(1, count + 1)}
        while course.done < trial.steps:
            loss = course.step()
            self._done = before + course.done
            yield self._event(what, loss)
            if course.done not in checks:
                continue
            marks = self._mark(exam, self._towards(trial.begin, course.weights()))
            best = trial.marks is None or marks.loss < trial.marks.loss
            if best:
                trial.weights, trial.step, trial.marks = course.weights(), course.done, marks
            self._save(index, trial, course)
            iou = marks.iou(self._names)
            yield FinetuneCheck(
                self._done, self._total, marks.loss, iou, marks.kept_share, best, self._held_out
            )

    def _go_on(self, index: int, trial: _Trial, course: Course, exam: Exam) -> None:
        saved = self._store.load(f"trial {index}") if self._store else None
        if saved:
            course.load_state_dict(saved["course"])
            trial.weights, trial.step = saved["weights"], saved["step"]
            trial.marks = self._mark(exam, self._towards(trial.begin, trial.weights))

    def _save(self, index: int, trial: _Trial, course: Course) -> None:
        if self._store:
            state = {"weights": trial.weights, "step": trial.step, "course": course.state_dict()}
            try:
                self._store.save(f"trial {index}", state)
            except OutputError as error:  # no reason to lose what is learnt
                self._store = None
                self._problems.append(f"{error} Had it been cut off, it would have begun anew.")

    def _judge(self) -> Verdict:
        parent = self._grown.network.state_dict()
        before = Marks.pooled(self._mark(self._exam(trial), parent) for trial in self._trials)
        after = Marks.pooled(trial.marks for trial in self._trials if trial.marks is not None)
        unlike = bool(self._differs or self.config.new_classes)
        return judge(before, after, held_out=self._held_out, unlike=unlike)

    def _finish(self) -> Generator[FinetuneStep, None, Mapping[str, Tensor]]:
        """Learn from all corrections, also from those that were held out; return the weights."""
        first, everything, phase = self._trials[0], set(self._material.regions), len(self._trials)
        rate, weights = self.config.learning_rate, first.weights
        if len(self._trials) > 1:
            taken = sum(trial.step for trial in self._trials) / sum(trial.steps for trial in self._trials)
            steps, begin = max(1, round(self.config.steps * taken)), self._begin.network
            course = self._course(phase, everything, steps, rate, begin)
        elif self._held_out:
            steps, begin = self.config.last_steps, self._model(weights).network
            course = self._course(phase, everything, steps, rate * _LAST_RATE, begin)
        else:
            return self._towards(first.begin, weights)
        before = self._done
        self._total = before + course.steps
        try:
            while course.done < course.steps:
                loss = course.step()
                self._done = before + course.done
                yield self._event("learning from all corrections", loss)
        except NotFiniteError:
            return self._towards(first.begin, weights)  # what was found before stays
        return self._towards(self._begin, course.weights())

    def _result(self, verdict: Verdict, weights: Mapping[str, Tensor]) -> Finetuned:
        seconds = time.perf_counter() - self._started
        model = self._parent
        if verdict.accepted:
            model = finetuned_model(
                self._parent,
                self._model(weights),
                sections=self._sections,
                config=self.config,
                verdict=verdict,
                about={
                    "start": list(self._differs) or ["as it was"],
                    "steps_taken": self._done,
                    "rehearsal": round(self._rehearsal, 3),
                    "first_round": self._first_round,
                },
                seconds=seconds,
                device=self._device,
            )
        before, after = (marks.iou(self._names) if marks else {} for marks in (verdict.before, verdict.after))
        return Finetuned(
            model,
            verdict.accepted,
            verdict.sentence,
            verdict.certainty,
            before,
            after,
            seconds,
            self._held_out,
            tuple(self._problems),
        )

    # --- parts

    @property
    def _names(self) -> list[str]:
        return [each.name for each in self._grown.card.classes]

    def _exam(self, trial: _Trial) -> Exam:
        return Exam(self._material, trial.held, self._examined)

    def _mark(self, exam: Exam, weights: Mapping[str, Tensor]) -> Marks:
        inference = Inference(self._model(weights), self._device, 1, False, None)
        marks = exam.mark(list(inference(exam.images)))
        inference.close()
        return marks

    def _model(self, weights: Mapping[str, Tensor]) -> Model:
        network = copy.deepcopy(self._grown.network)
        network.load_state_dict(weights)
        return Model(self._grown.card, network)

    def _towards(self, begin: Model, learnt: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return mixed(begin.network.state_dict(), learnt, self.config.share)

    def _course(
        self,
        phase: int,
        regions: Collection[RegionKey],
        steps: int,
        rate: float,
        begin: nn.Module,
    ) -> Course:
        places = self._rehearsed if self._rehearsal else []
        lesson = Lesson(self._material, regions, places, self.config, phase)
        return Course(
            begin,
            lesson,
            self.config,
            steps=steps,
            rate=rate,
            rehearsal=self._rehearsal,
            first_round=self._first_round,
            device=self._device,
        )

    def _event(self, what: str, loss: float | None = None) -> FinetuneStep:
        return FinetuneStep(self._done, self._total, what, loss)


def finetune(
    model: Model,
    image: Any,
    corrections: Any,
    config: FinetuneConfig | None = None,
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    device: str = "auto",
) -> Finetuned:
    """Fine-tune a model on the corrections of an image; return the better of it and the parent.

    Parameters
    ----------
    model : Model
        The parent; it stays as it is.
    image : array-like
        (Y, X) or (Z, Y, X), numpy or lazy.
    corrections : array-like
        Of the same shape: class values, 0 where nothing is said. Dense labels do as well.
    config : FinetuneConfig, optional
        The settings.
    pixel_size_nm : float or tuple of float, optional
        Side of a pixel in nm, or height and width; the model's own if not given.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises
    ------
    InputError, TrainingError
        If image and corrections do not go together, or there is nothing to learn from.
    """
    classes = (*model.card.classes, *(config.new_classes if config else ()))
    sections = corrected_sections(image, corrections, classes, pixel_size_nm=pixel_size_nm)
    events = FineTuning(model, sections, config, device=device).run()
    while True:
        try:
            next(events)
        except StopIteration as stop:
            result: Finetuned = stop.value
            return result


def _first_round_weight(model: Model) -> float:
    """Return the weight of the loss on round 1, as in the training of the model."""
    weight = model.card.recipe.get("first_round")
    if isinstance(weight, (int, float)):
        return float(weight)
    return 0.0 if model.card.spec.detach_first_round else _FIRST_ROUND

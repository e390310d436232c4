"""Fine-tune a model on a person's corrections, and recommend whether to keep it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from napari_feedback_seg.correction.card import finetuned_model
from napari_feedback_seg.correction.checkpoint import FinetuneCheckpoint, digest_of
from napari_feedback_seg.correction.classes import add_classes, check_learns
from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.correction.corrections import (
    RegionKey,
    check_corrections,
    corrected_sections,
    hold_out,
)
from napari_feedback_seg.correction.events import FinetuneCheck, FinetuneResult, FinetuneStep
from napari_feedback_seg.correction.held_out import HeldOutEvaluation, Scores, compare_unpainted
from napari_feedback_seg.correction.learner import Learner
from napari_feedback_seg.correction.optimisation import NotFiniteError, Optimisation
from napari_feedback_seg.correction.recommendation import familiar_doubt, recommend, starts_elsewhere
from napari_feedback_seg.errors import OutputError, TrainingError
from napari_feedback_seg.generators import finish
from napari_feedback_seg.segmentation.device import (
    choose_device,
    describe_device,
    is_out_of_memory,
    release_memory,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.models.model import Model

_LAST_RATE = 0.3
_TURN = 0.4


@dataclass
class _Fold:
    """A fine-tune with some regions held out, and its best network so far."""

    held: frozenset[RegionKey]
    steps: int
    begin: Model
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    step: int = 0
    scores: Scores | None = None


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
        check_learns(model.card)
        check_corrections(sections)
        self.config = config or FinetuneConfig()
        self._sections = list(sections)
        self._parent = model
        self._grown = add_classes(model, self.config.new_classes)
        self._device = choose_device(device)
        self._checkpoint = (
            FinetuneCheckpoint(checkpoint, digest_of(model, sections, self.config)) if checkpoint else None
        )
        self._started = time.perf_counter()
        self._done = self._total = 0
        self._folds: list[_Fold] = []
        self._held_out = False
        self._problems: list[str] = []

    def run(self) -> Generator[FinetuneStep | FinetuneCheck, None, FinetuneResult]:
        """Fine-tune; yield after each step; return both models and which of them to use.

        The checkpoint stays, so that the tuned model can be had again at once. Remove it when
        the model is in a file.

        Close the generator to stop; :meth:`best_so_far` then has what there is.

        Raises
        ------
        InputError
            If a corrected section cannot be used.
        TrainingError
            If the loss is not finite, or memory does not suffice even on the CPU, where it
            goes on if that of a GPU does not.
        """
        self._started = time.perf_counter()
        while True:
            try:
                weights = yield from self._learn()
                return self._result(weights)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            self._give_way()

    def best_so_far(self) -> FinetuneResult | None:
        """Return what was learnt before the fine-tune was stopped; None if that is nothing."""
        weights = self._best()
        return None if weights is None else self._result(weights)

    # --- what is done, in its order

    def _learn(self) -> Generator[FinetuneStep | FinetuneCheck, None, Mapping[str, Tensor]]:
        yield from self._prepare()
        try:
            for index, fold in enumerate(self._folds):
                yield from self._try(index, fold)
            return (yield from self._finish())
        except NotFiniteError:
            weights = self._best()
            if weights is None:
                raise TrainingError("The loss became infinite. Try a lower learning rate.") from None
            self._problems.append("The loss became infinite: the best model before that was taken.")
            return weights

    def _best(self) -> Mapping[str, Tensor] | None:
        """Return the weights of the first fold that has any, and leave out the folds that have none."""
        self._folds = [fold for fold in self._folds if fold.weights]
        return self._learner.towards(self._folds[0].begin, self._folds[0].weights) if self._folds else None

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
        self._device, self._folds = torch.device("cpu"), []

    def _prepare(self) -> Generator[FinetuneStep, None, None]:
        yield self._event("looking at the corrections")
        config = self.config
        self._learner = learner = Learner(self._grown, self._sections, config, self._device)
        everything = set(learner.source.regions)
        parts = hold_out(learner.source.regions, config.hold_out, config.seed)
        self._held_out = bool(parts)
        # Where nothing can be held out, all is learnt and looked at; the sentence says what that is worth.
        steps = config.steps if len(parts) < 2 else max(1, round(config.steps * _TURN))
        last = {0: 0, 1: config.last_steps}.get(len(parts), config.steps)
        self._total = steps * max(1, len(parts)) + last
        for held in parts or [frozenset(everything)]:
            self._folds.append(_Fold(held, steps, learner.begin_with(everything - held or held)))
        learner.begin_with_all()

    def _try(self, index: int, fold: _Fold) -> Generator[FinetuneStep | FinetuneCheck, None, None]:
        learner = self._learner
        evaluation = learner.evaluation(fold.held)
        learnt = set(learner.source.regions) - fold.held
        begin, rate = fold.begin.network, self.config.learning_rate
        optimisation = learner.optimisation(index, learnt or fold.held, fold.steps, rate, begin)
        before = fold.steps * index
        self._go_on(index, fold, optimisation, evaluation)
        what = "learning" if len(self._folds) == 1 else f"fold {index + 1} of {len(self._folds)}"
        count = self.config.checks
        checks = {max(1, round(fold.steps * number / count)) for number in range(1, count + 1)}
        while optimisation.done < fold.steps:
            loss = optimisation.step()
            self._done = before + optimisation.done
            yield self._event(what, loss)
            if optimisation.done not in checks:
                continue
            scores = learner.score(evaluation, learner.towards(fold.begin, optimisation.weights()))
            best = fold.scores is None or scores.loss < fold.scores.loss
            if best:
                fold.weights, fold.step, fold.scores = optimisation.weights(), optimisation.done, scores
            state = {"weights": fold.weights, "step": fold.step, "optimisation": optimisation.state_dict()}
            self._save(f"fold {index}", state)
            yield FinetuneCheck(
                self._done, self._total, scores.loss, scores.iou, scores.kept_share, best, self._held_out
            )

    def _go_on(
        self, index: int, fold: _Fold, optimisation: Optimisation, evaluation: HeldOutEvaluation
    ) -> None:
        saved = self._checkpoint.load(f"fold {index}") if self._checkpoint else None
        if saved:
            optimisation.load_state_dict(saved["optimisation"])
            fold.weights, fold.step = saved["weights"], saved["step"]
            learner = self._learner
            fold.scores = learner.score(evaluation, learner.towards(fold.begin, fold.weights))

    def _save(self, phase: str, state: Any) -> None:
        if self._checkpoint:
            try:
                self._checkpoint.save(phase, state)
            except OutputError as error:  # no reason to lose what is learnt
                self._checkpoint = None
                self._problems.append(f"{error} Had it been cut off, it would have begun anew.")

    def _finish(self) -> Generator[FinetuneStep, None, Mapping[str, Tensor]]:
        """Learn from all corrections, also from those that were held out; return the weights."""
        saved = self._checkpoint.load("tuned") if self._checkpoint else None
        if saved:
            self._done = saved["done"]
            tuned: Mapping[str, Tensor] = saved["weights"]
            return tuned
        learner, first, phase = self._learner, self._folds[0], len(self._folds)
        everything = set(learner.source.regions)
        rate, weights = self.config.learning_rate, first.weights
        if len(self._folds) > 1:
            taken = sum(fold.step for fold in self._folds) / sum(fold.steps for fold in self._folds)
            steps, begin = max(1, round(self.config.steps * taken)), learner.begin.network
            optimisation = learner.optimisation(phase, everything, steps, rate, begin)
        elif self._held_out:
            steps, begin = self.config.last_steps, learner.model(weights).network
            optimisation = learner.optimisation(phase, everything, steps, rate * _LAST_RATE, begin)
        else:
            return learner.towards(first.begin, weights)
        before = self._done
        self._total = before + optimisation.steps
        while optimisation.done < optimisation.steps:
            loss = optimisation.step()
            self._done = before + optimisation.done
            yield self._event("learning from all corrections", loss)
        tuned = learner.towards(learner.begin, optimisation.weights())
        self._save("tuned", {"done": self._done, "weights": tuned})
        return tuned

    def _result(self, weights: Mapping[str, Tensor]) -> FinetuneResult:
        learner, parent, tuned = self._learner, self._grown, self._learner.model(weights)
        known = parent.network.state_dict()
        before = Scores.pooled(learner.score(learner.evaluation(fold.held), known) for fold in self._folds)
        after = Scores.pooled(fold.scores for fold in self._folds if fold.scores is not None)
        changed, doubt = compare_unpainted(learner.source, parent, tuned, self._device, self.config.seed)
        card, start = self._parent.card, learner.start
        advice, sentence = recommend(
            before,
            after,
            changed=changed,
            doubt=doubt,
            held_out=self._held_out,
            unfamiliar=starts_elsewhere(card, start.differs) or bool(self.config.new_classes),
            familiar=familiar_doubt(card),
        )
        seconds = time.perf_counter() - self._started
        tuned = finetuned_model(
            self._parent,
            tuned,
            sections=self._sections,
            config=self.config,
            before=before,
            after=after,
            recommendation=advice,
            sentence=sentence,
            about={
                "start": list(start.differs) or ["as it was"],
                "statistics_shift": start.shift,
                "steps_taken": self._done,
                "rehearsal": round(learner.rehearsal, 3),
                "first_round": learner.first_round,
                "changed": changed,
                "doubt": doubt,
            },
            seconds=seconds,
            device=self._device,
        )
        return FinetuneResult(
            parent=self._parent,
            tuned=tuned,
            before=before,
            after=after,
            held_out=self._held_out,
            changed=changed,
            doubt=doubt,
            recommendation=advice,
            sentence=sentence,
            seconds=seconds,
            problems=tuple(self._problems),
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
) -> FinetuneResult:
    """Fine-tune a model on the corrections of an image; return both models and which of them to use.

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
    return finish(FineTuning(model, sections, config, device=device).run())

"""What a fine-tune begins with, learns from and is scored by: the same for each of its folds."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from napari_feedback_seg.correction.held_out import HeldOutEvaluation
from napari_feedback_seg.correction.optimisation import Optimisation, first_round_weight, mixed
from napari_feedback_seg.correction.patches import PatchSource, TrainingPatches
from napari_feedback_seg.correction.start import choose_start, fit_new_classes
from napari_feedback_seg.models.model import Model
from napari_feedback_seg.segmentation.inference import Inference

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import torch
    from torch import Tensor, nn

    from napari_feedback_seg.correction.config import FinetuneConfig
    from napari_feedback_seg.correction.corrections import CorrectedSection, RegionKey
    from napari_feedback_seg.correction.held_out import Scores

_EVALUATED_PLACES = 3


class Learner:
    """Patches of corrected sections, and the networks that learn from them, on one device.

    Parameters
    ----------
    model : Model
        The model, with its new classes; it stays as it is.
    sections : sequence of CorrectedSection
        What a person labelled.
    config : FinetuneConfig
        The settings.
    device : torch.device
        Where to compute.

    Attributes
    ----------
    source : PatchSource
        The patches.
    start : Start
        How the image is shown to the network.
    begin : Model
        What learning from all corrections begins with.
    rehearsal : float
        How much of what the model is sure of is learnt beside the corrections.
    first_round : float
        Weight of the loss of round 1.
    """

    def __init__(
        self,
        model: Model,
        sections: Sequence[CorrectedSection],
        config: FinetuneConfig,
        device: torch.device,
    ) -> None:
        self._model, self._config, self._device = model, config, device
        self.first_round = first_round_weight(model.card)
        self.source = PatchSource(sections, model.card, config)
        self.start = choose_start(model, self.source, device, config.seed)
        self.begin = self.start.model
        # As much as keeps mistakes as rare among all that is learnt, were all corrections mistakes or few.
        self.rehearsal = max(0.0, (config.rehearsal + 1) * self.start.wrong_share - 1)
        self._choose_rehearsal()

    def begin_with(self, regions: Collection[RegionKey]) -> Model:
        """Return what learning begins with, its new classes fitted to the corrections of regions."""
        if not self._config.new_classes:
            return self.begin
        known = len(self._model.card.classes) - len(self._config.new_classes)
        return fit_new_classes(self.begin, known, self.source, regions, self._device)

    def begin_with_all(self) -> None:
        """Fit the new classes to all corrections."""
        if self._config.new_classes:
            self.begin = self.begin_with(set(self.source.regions))
            self._choose_rehearsal()

    def _choose_rehearsal(self) -> None:
        if self._config.rehearsal:
            self.source.choose_rehearsal(Inference(self.begin, self._device, 1, False, None))
        self._evaluated = self.source.places[:_EVALUATED_PLACES]
        self._rehearsed = self.source.places[_EVALUATED_PLACES:]

    def optimisation(
        self, phase: int, regions: Collection[RegionKey], steps: int, rate: float, begin: nn.Module
    ) -> Optimisation:
        """Return steps that learn from the corrections of regions."""
        places = self._rehearsed if self.rehearsal else []
        return Optimisation(
            begin,
            TrainingPatches(self.source, regions, places, self._config, phase),
            self._config,
            steps=steps,
            rate=rate,
            rehearsal=self.rehearsal,
            first_round=self.first_round,
            device=self._device,
        )

    def evaluation(self, held: frozenset[RegionKey]) -> HeldOutEvaluation:
        """Return what scores networks on regions that were held out."""
        return HeldOutEvaluation(self.source, held, self._evaluated)

    def score(self, evaluation: HeldOutEvaluation, weights: Mapping[str, Tensor]) -> Scores:
        """Score the network with these weights."""
        return evaluation.score(self.model(weights), self._device)

    def model(self, weights: Mapping[str, Tensor]) -> Model:
        """Return the model with these weights."""
        network = copy.deepcopy(self._model.network)
        network.load_state_dict(weights)
        return Model(self._model.card, network)

    def towards(self, begin: Model, learnt: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return weights that go from those of a model as far towards learnt ones as the settings say."""
        return mixed(begin.network.state_dict(), learnt, self._config.share)

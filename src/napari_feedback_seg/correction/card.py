"""The models that come of corrections, with cards that say where they come from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_feedback_seg import __version__
from napari_feedback_seg.correction.corrections import count_pixels
from napari_feedback_seg.correction.strokes import digest_of_labels, painted_digest
from napari_feedback_seg.models.model import Model, ModelCard, TrainingData, descent
from napari_feedback_seg.segmentation.device import machine

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import torch

    from napari_feedback_seg.correction.adaptation import Adaptation
    from napari_feedback_seg.correction.config import FinetuneConfig
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.correction.held_out import Scores


def has_learnt(
    card: ModelCard,
    sections: Sequence[CorrectedSection],
    muted: Collection[tuple[int, int, int]] = (),
    muted_classes: Collection[int] = (),
) -> bool:
    """Return whether a model has learnt all that is painted, and nothing else since.

    Parameters
    ----------
    card : ModelCard
        Of the model.
    sections : sequence of CorrectedSection
        What is painted on an image.
    muted, muted_classes : collection
        What is not to be learnt from, see :func:`~napari_feedback_seg.correction.strokes.not_muted`.
    """
    return bool(sections) and card.recipe.get("painted") == _painted(sections, muted, muted_classes)


def corrected_model(parent: Model, adaptation: Adaptation, sections: Sequence[CorrectedSection]) -> Model:
    """Return a model that says by itself what its parent says with what strokes taught it.

    Parameters
    ----------
    parent : Model
        The model that the strokes were painted for.
    adaptation : Adaptation
        What was learnt.
    sections : sequence of CorrectedSection
        What was painted.

    Raises
    ------
    ModelError
        If the strokes were learnt for another model.
    """
    adapted = adaptation.apply(parent)
    recipe = {
        **_recipe(parent, adapted, sections, adaptation.muted, adaptation.muted_classes),
        "strokes": adaptation.strokes,
        "adaptation": adaptation.about,
    }
    sources = _sources(sections)
    card = replace(
        adapted.card,
        name=_name(parent.card.name, "corrected"),
        description=f"{parent.card.name}, with what strokes on {sources} taught.",
        data=(*parent.card.data, _corrected(sections)),
        recipe=recipe,
        scores={},
        parent=parent.digest or parent.card.parent,
        version=__version__,
    )
    return Model(card, adapted.network)


def finetuned_model(
    parent: Model,
    finetuned: Model,
    *,
    sections: Sequence[CorrectedSection],
    config: FinetuneConfig,
    before: Scores,
    after: Scores,
    recommendation: str,
    sentence: str,
    about: dict[str, Any],
    seconds: float,
    device: torch.device,
) -> Model:
    """Return the fine-tuned model.

    Parameters
    ----------
    parent, finetuned : Model
        The two models; the fine-tuned one with the card of the parent and new classes.
    sections, config
        The data and the settings.
    before, after : Scores
        On the held-out corrections, of the parent and of the fine-tuned model.
    recommendation, sentence : str
        What was recommended, and why.
    about : dict
        What else belongs to the recipe.
    seconds, device
        How long it took, and where.
    """
    card = parent.card
    recipe = {"finetune": config.to_json(), **_recipe(parent, finetuned, sections), **about}
    scores: dict[str, Any] = {
        "recommendation": recommendation,
        "sentence": sentence,
        "regions": len(after.right),
        "before": {"iou": before.iou, "right": before.right_share},
        "after": {"iou": after.iou, "right": after.right_share},
    }
    return Model(
        replace(
            finetuned.card,
            name=_name(card.name, "fine-tuned"),
            description=f"{card.name}, fine-tuned on corrections of {_sources(sections)}.",
            data=(*card.data, _corrected(sections)),
            recipe=recipe,
            seed=config.seed,
            duration_s=round(seconds, 1),
            machine=machine(device),
            scores={"held_out_corrections": scores},
            parent=parent.digest or card.parent,
            version=__version__,
        ),
        finetuned.network,
    )


def _recipe(
    parent: Model,
    child: Model,
    sections: Sequence[CorrectedSection],
    muted: Collection[tuple[int, int, int]] = (),
    muted_classes: Collection[int] = (),
) -> dict[str, Any]:
    card = parent.card
    names = {each.value: each.name for each in child.card.classes}
    # A further fine-tune weighs the rounds as the training did.
    training = {name: card.recipe[name] for name in ("first_round",) if name in card.recipe}
    return {
        **training,
        **descent(parent),
        "painted": _painted(sections, muted, muted_classes),
        "corrected_pixels": {names[value]: count for value, count in count_pixels(sections).items()},
    }


def _painted(
    sections: Sequence[CorrectedSection],
    muted: Collection[tuple[int, int, int]],
    muted_classes: Collection[int],
) -> str:
    digests = [(each.index, digest_of_labels(each.labels)) for each in sections]
    return painted_digest(digests, muted, muted_classes)


def _sources(sections: Sequence[CorrectedSection]) -> str:
    return ", ".join(dict.fromkeys(each.source for each in sections if each.source)) or "an image"


def _corrected(sections: Sequence[CorrectedSection]) -> TrainingData:
    about = {"corrected": [each.index for each in sections]}
    return TrainingData(f"corrections of {_sources(sections)}", sections=about)


def _name(parent: str, how: str) -> str:
    return parent if parent.endswith(how) else f"{parent} {how}"

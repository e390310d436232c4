"""The model that comes of a fine-tune, with a card that says where it comes from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_feedback_seg import __version__
from napari_feedback_seg.correction.corrections import count_pixels
from napari_feedback_seg.models.model import Model, TrainingData
from napari_feedback_seg.segmentation.device import machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from napari_feedback_seg.correction.config import FinetuneConfig
    from napari_feedback_seg.correction.corrections import CorrectedSection
    from napari_feedback_seg.correction.held_out import Scores


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
    names = {each.value: each.name for each in finetuned.card.classes}
    pixels = {names[value]: count for value, count in count_pixels(sections).items()}
    sources = ", ".join(dict.fromkeys(each.source for each in sections if each.source)) or "an image"
    corrected = TrainingData(
        f"corrections of {sources}", sections={"corrected": [each.index for each in sections]}
    )
    ancestors = card.recipe.get("ancestors", [])
    recipe = {
        "finetune": config.to_json(),
        "parent": card.name,
        "ancestors": [*ancestors, {"name": card.name, "sha256": parent.digest}],
        "corrected_pixels": pixels,
        **about,
    }
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
            name=_name(card.name),
            description=f"{card.name}, fine-tuned on corrections of {sources}.",
            data=(*card.data, corrected),
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


def _name(parent: str) -> str:
    return parent if parent.endswith("fine-tuned") else f"{parent} fine-tuned"

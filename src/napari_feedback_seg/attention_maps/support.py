"""Which models have attention, and why the others have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_feedback_seg.models.model import ModelCard

ATTENTION_MODES = ("self", "source_target")
"""The ways back from the output to the input that are attention."""


def why_no_attention(card: ModelCard) -> str | None:
    """Return the sentence that says why a model has no attention maps; None if it has."""
    spec = card.spec
    attends = spec.kind == "feedback_attention" and spec.mode in ATTENTION_MODES
    if attends:
        return None
    if spec.rounds < 2:
        reason = "looks at the image once: it has no feedback, and so no attention to show"
    elif spec.kind == "feedback_attention":
        reason = f"brings its first output back by {spec.mode.replace('_', ' ')}, and not by attention"
    else:
        reason = f"is a {spec.kind.replace('_', ' ')}, whose feedback is no attention"
    return f"The model {card.name} {reason}. Choose a model with feedback attention, such as general."

"""Whether to keep a fine-tuned model, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_feedback_seg.correction.events import Advice
    from napari_feedback_seg.correction.held_out import Scores
    from napari_feedback_seg.models.model import ModelCard

FAMILIAR, FAMILIAR_TO_MANY = 0.06, 0.14
"""A model knows images of which it expects to have a smaller share of the pixels wrong.

The second is for a model that learnt from several data sets: it is less sure of each. See
``benchmarks/guard.py``."""

_SEVERAL = 3

_ENOUGH = 1.2
"""So much progress, of 2, is needed on images that the parent knows."""

_MOST_LOST = 0.2
"""There no more than this share of what it was sure of may change."""

_FEW, _OF_WRONG = 0.25, 0.75
"""Where no more than the first share was wrong, so much progress times that share is enough."""


def familiar_doubt(card: ModelCard) -> float:
    """Return the doubt below which a model knows images."""
    return FAMILIAR_TO_MANY if _knows_several(card) else FAMILIAR


def starts_elsewhere(card: ModelCard, differs: Sequence[str]) -> bool:
    """Return whether what the start of a fine-tune differs in tells that the images are of another kind.

    To a model that learnt from several data sets, other statistics tell nothing.
    """
    return "image inverted" in differs or (bool(differs) and not _knows_several(card))


def _knows_several(card: ModelCard) -> bool:
    return sum(not each.name.startswith("corrections of") for each in card.data) >= _SEVERAL


def recommend(
    before: Scores,
    after: Scores,
    *,
    changed: float,
    doubt: float,
    held_out: bool,
    unfamiliar: bool,
    familiar: float = FAMILIAR,
) -> tuple[Advice, str]:
    """Return whether to keep a fine-tuned model, and a sentence of what is known.

    Corrections lie where the parent is wrong, so that any change puts some of them right. On
    images that it knows, that much is lost again elsewhere, and held-out corrections have to
    become clearly better. On others there is more to win than to lose, and it is enough that
    they become better.

    Parameters
    ----------
    before, after : Scores
        On the held-out corrections, of the parent and of the fine-tuned model.
    changed : float
        Share of the pixels away from all corrections that get another class.
    doubt : float
        Share of these pixels that the parent itself expects to have wrong.
    held_out : bool
        Whether the corrections that the scores are of were held out.
    unfamiliar : bool
        Whether the images are known to be unlike what the parent knows: the fine-tune had to
        start elsewhere, or they have classes that it lacks.
    familiar : float
        Doubt from which on they are taken for unlike it anyway.
    """
    right = _right(before, after, held_out)
    elsewhere = f"{changed:.0%} of the unpainted pixels change class"
    if round(100 * after.right_share) <= round(100 * before.right_share):  # as it is read
        return "go back", f"Go back: {right}; {elsewhere}."
    if after.loss >= before.loss:
        return "go back", f"Go back: {right}, but with lower probabilities than before; {elsewhere}."
    if unfamiliar or doubt >= familiar:
        return "keep", (
            f"Keep: {right}, and on images that the old model is as unsure of as of this one, learning "
            f"mostly helps; {elsewhere}."
        )
    if after.kept_share < 1 - _MOST_LOST:
        return "go back", f"Go back: {right}, but much that the old model was sure of changes; {elsewhere}."
    enough = _OF_WRONG * (1 - before.right_share) if before.wrong_share <= _FEW else _ENOUGH
    if sum(fallen_parts(before, after)) <= enough:
        return "go back", (
            f"Go back: {right}, but the old model knows images like this one, and so small a gain is mostly "
            f"lost again on other sections; {elsewhere}."
        )
    return "keep", f"Keep: {right}; {elsewhere}."


def fallen_parts(before: Scores, after: Scores) -> tuple[float, float]:
    """Return the part by which the loss falls, and the part by which what is wrong becomes less: progress."""
    return _part_gone(before.loss, after.loss), _part_gone(1 - before.right_share, 1 - after.right_share)


def _part_gone(before: float, after: float) -> float:
    return 1 - after / before if before > 0 else -float(after > before)


def _right(before: Scores, after: Scores, held_out: bool) -> str:
    change = f"{before.right_share:.0%} → {after.right_share:.0%}"
    if not held_out:
        return f"{change} of the corrections are right, all of which it has learnt from"
    count = len(after.right)
    places = f"{count} place" if count == 1 else f"{count} places"
    return f"{change} of the held-out corrections are right ({places})"

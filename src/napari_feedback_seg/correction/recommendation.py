"""Whether to keep a fine-tuned model, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_feedback_seg.correction.events import Advice
    from napari_feedback_seg.correction.held_out import Scores

_FEW, _OF_WRONG = 0.25, 0.75
"""Where no more than the first share was wrong, so much progress times that share is needed."""

_ENOUGH, _ENOUGH_AS_KNOWN = 0.4, 1.2
"""So much progress, of 2, is needed elsewhere: for an image unlike those the parent knows, or like them."""

_MOST_LOST = 0.2
"""More than this share of what it was sure of may not change."""


def recommend(
    before: Scores, after: Scores, changed: float, *, held_out: bool, unfamiliar: bool
) -> tuple[Advice, str]:
    """Return whether to keep a fine-tuned model, and a sentence of what is known.

    Parameters
    ----------
    before, after : Scores
        On the held-out corrections, of the parent and of the fine-tuned model.
    changed : float
        Share of the pixels away from all corrections that get another class.
    held_out : bool
        Whether the corrections that the scores are of were held out.
    unfamiliar : bool
        Whether the images are unlike what the parent knows: the fine-tune had to start
        elsewhere, or they have classes that it lacks.
    """
    progress = fallen_parts(before, after)
    if before.wrong_share <= _FEW:
        enough = _OF_WRONG * (1 - before.right_share)
    else:
        enough = _ENOUGH if unfamiliar else _ENOUGH_AS_KNOWN
    known = _known(before, after, changed, held_out)
    if min(progress) < 0 or after.right_share <= before.right_share:
        return "go back", f"Go back: {known}."
    if after.kept_share < 1 - _MOST_LOST:
        return "go back", f"Go back: {known}, which is too much of what the model was sure of."
    if sum(progress) <= enough:
        return "go back", f"Go back: {known}; so small a gain is mostly lost again elsewhere."
    return "keep", f"Keep: {known}."


def fallen_parts(before: Scores, after: Scores) -> tuple[float, float]:
    """Return the part by which the loss falls, and the part by which what is wrong becomes less: progress."""
    return _part_gone(before.loss, after.loss), _part_gone(1 - before.right_share, 1 - after.right_share)


def _part_gone(before: float, after: float) -> float:
    return 1 - after / before if before > 0 else -float(after > before)


def _known(before: Scores, after: Scores, changed: float, held_out: bool) -> str:
    right = f"{before.right_share:.0%} → {after.right_share:.0%}"
    if held_out:
        better, worse = (int(each.sum()) for each in (after.right > before.right, after.right < before.right))
        places = f"better in {better} and worse in {worse} of {len(after.right)} places"
        known = f"{right} of the held-out corrections are right ({places})"
    else:
        known = f"{right} of the corrections are right, all of which it has learnt from"
    return f"{known}, and {changed:.0%} of the unpainted pixels change class"

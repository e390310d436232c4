"""Whether a fine-tune helped, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_feedback_seg.correction.held_out import Scores

_FEW, _OF_WRONG = 0.25, 0.75
"""Where no more than the first share was wrong, so much progress times that share is needed."""

_ENOUGH, _ENOUGH_AS_KNOWN = 0.4, 1.2
"""So much progress, of 2, is needed elsewhere: for an image unlike those the parent knows, or like them."""

_MOST_LOST = 0.2
"""More than this share of what it was sure of may not change."""

_HINT = 4
_CLEARLY = 3


@dataclass(frozen=True)
class Recommendation:
    """What to make of a fine-tune.

    Attributes
    ----------
    accepted : bool
        Whether it is better than the parent.
    sentence, certainty : str
        What a person reads.
    before, after : Scores or None
        Of the parent, and of what was learnt.
    """

    accepted: bool
    sentence: str
    certainty: str
    before: Scores | None = None
    after: Scores | None = None


def recommend(before: Scores, after: Scores, *, held_out: bool, unlike: bool) -> Recommendation:
    """Return the verdict on a fine-tune.

    Corrections lie where the parent was wrong, and any change whatever puts some of them
    right, while it costs as much elsewhere. So there has to be more than a little progress
    where it was wrong in most of them, and far more on images of the kind that it knows:
    there its mistakes are few, and to learn from them alone makes it worse. Where it was
    right in nearly all, as in dense labels, a little will do.

    Parameters
    ----------
    before, after : Scores
        Of the parent, and of what was learnt.
    held_out : bool
        Whether the corrections that they are about were held out.
    unlike : bool
        Whether the images are unlike what the parent knows: it had to begin elsewhere, or
        they have classes that it lacks.
    """
    wrong = 1 - before.fixed_share
    fallen = fallen_parts(before, after)
    if before.wrong_share <= _FEW:
        enough = _OF_WRONG * wrong
    else:
        enough = _ENOUGH if unlike else _ENOUGH_AS_KNOWN
    learnt = min(fallen) >= 0 and sum(fallen) > enough
    forgot = after.kept_share < 1 - _MOST_LOST
    which = "held-out corrections" if held_out else "corrections"
    right = f"{before.fixed_share:.0%} → {after.fixed_share:.0%} of the {which} are right"
    kept = f"{after.kept_share:.0%} of what the model was sure of elsewhere stays"
    if learnt and not forgot:
        sentence = f"Better: {right}, and {kept}."
    elif learnt:
        sentence = (
            f"The model stays as it was: it learnt ({right}) but forgot too much (only {kept}). Take a "
            "stronger rehearsal or a lower learning rate, or correct in more places, and try again."
        )
    else:
        sentence = (
            f"The model stays as it was: what was learnt in one place did not help in others ({right}). "
            "Single mistakes are mended by your strokes alone; of a mistake that it makes again and again, "
            "correct more, in several places, and try again."
        )
    return Recommendation(learnt and not forgot, sentence, _certainty(before, after, held_out), before, after)


def not_finite() -> Recommendation:
    """Return the verdict on a training whose loss is no number."""
    return Recommendation(
        False,
        "The model stays as it was: the loss was no number any more. Try a lower learning rate.",
        "There was nothing to judge.",
    )


def fallen_parts(before: Scores, after: Scores) -> tuple[float, float]:
    """Return the part by which the loss falls, and the part by which what is wrong becomes less: progress."""
    return _part_gone(before.loss, after.loss), _part_gone(1 - before.fixed_share, 1 - after.fixed_share)


def _part_gone(before: float, after: float) -> float:
    return 1 - after / before if before > 0 else -float(after > before)


def _certainty(before: Scores, after: Scores, held_out: bool) -> str:
    if not held_out:
        return (
            "Nothing could be held out, for all corrections lie in one place: how it does elsewhere is not "
            "known. Correct in other places, too."
        )
    places = len(after.right)
    better, worse = (int(each.sum()) for each in (after.right > before.right, after.right < before.right))
    counted = f"better in {better} and worse in {worse} of {places} held-out places"
    if places < _HINT:
        return f"That is a hint and no more: {counted}."
    return f"That is {'fairly sure' if better >= _CLEARLY * max(1, worse) else 'not sure'}: {counted}."

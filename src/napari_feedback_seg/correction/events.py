"""What a fine-tune reports while it runs, and what it ends with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_feedback_seg.models.model import Model


@dataclass(frozen=True)
class FinetuneStep:
    """An optimiser step is taken.

    Attributes
    ----------
    done, total : int
        Steps taken, and steps in all.
    what : str
        What is going on, in words.
    loss : float or None
        Training loss of the step; None while things are made ready.
    """

    done: int
    total: int
    what: str
    loss: float | None = None


@dataclass(frozen=True)
class FinetuneCheck:
    """The held-out corrections were scored.

    Attributes
    ----------
    done, total : int
        Steps taken, and steps in all.
    loss : float
        Loss on the held-out corrections.
    iou : dict
        Class name to IoU on the held-out corrections.
    kept : float
        Share of what was right, as far as is known, that is still so.
    best : bool
        Whether no check before was better.
    held_out : bool
        Whether they were held out; else they are those that it learns from.
    """

    done: int
    total: int
    loss: float
    iou: dict[str, float]
    kept: float
    best: bool
    held_out: bool


@dataclass(frozen=True)
class FinetuneResult:
    """What became of a fine-tune.

    Attributes
    ----------
    model : Model
        The fine-tuned model; the parent where ``accepted`` is false.
    accepted : bool
        Whether it is better, as far as can be told.
    verdict : str
        A sentence that says so, or why not.
    certainty : str
        A sentence on how sure that is.
    before, after : dict
        Class name to IoU on the held-out corrections, of the parent and of the new model.
    seconds : float
        Duration.
    held_out : bool
        Whether those were held out; else they are those that it learnt from.
    problems : tuple of str
        What went wrong on the way, and what that means.
    """

    model: Model
    accepted: bool
    verdict: str
    certainty: str
    before: dict[str, float]
    after: dict[str, float]
    seconds: float
    held_out: bool = True
    problems: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[str, ...]:
        """A line a class: what changed on the held-out corrections."""
        names = dict.fromkeys((*self.before, *self.after))
        return tuple(
            f"{name}: {self.before.get(name, 0.0):.0%} → {self.after.get(name, 0.0):.0%}" for name in names
        )

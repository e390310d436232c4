"""What a fine-tune reports while it runs, and what it ends with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari_feedback_seg.correction.held_out import Scores
    from napari_feedback_seg.models.model import Model

Advice = Literal["keep", "go back"]


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
    """Both models of a fine-tune, how they compare, and which of them to use.

    Attributes
    ----------
    parent, tuned : Model
        The model that was fine-tuned, and what came of it.
    before, after : Scores
        Of the parent and of the tuned model, on the held-out corrections.
    held_out : bool
        Whether these were held out; otherwise the tuned model has learnt from them.
    changed : float
        Share of the pixels away from all corrections to which the tuned model gives another
        class than the parent.
    doubt : float
        Share of these pixels that the parent itself expects to have wrong.
    recommendation : {"keep", "go back"}
        Whether the tuned model is likely to be better on other sections.
    sentence : str
        The recommendation and what is known, for a person to read.
    seconds : float
        Duration.
    problems : tuple of str
        What went wrong on the way, and what that means.
    """

    parent: Model
    tuned: Model
    before: Scores
    after: Scores
    held_out: bool
    changed: float
    doubt: float
    recommendation: Advice
    sentence: str
    seconds: float
    problems: tuple[str, ...] = ()

    @property
    def recommended(self) -> Model:
        """The tuned model or the parent, as recommended."""
        return self.tuned if self.recommendation == "keep" else self.parent

    @property
    def changes(self) -> tuple[str, ...]:
        """A line for each class: its IoU on the held-out corrections before and after."""
        before, after = self.before.iou, self.after.iou
        return tuple(f"{name}: {before[name]:.0%} → {after[name]:.0%}" for name in after)

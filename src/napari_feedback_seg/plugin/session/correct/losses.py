"""The losses of a fine-tune, to be drawn while it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

_SMOOTH = 0.2


@dataclass
class Losses:
    """Losses over the steps."""

    # step and loss, on what is learnt (smoothed) and on the held-out corrections
    training: list[tuple[int, float]] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    # steps after which another part begins, of other corrections: lines do not go on over them
    breaks: list[int] = field(default_factory=list)
    total: int = 1  # steps in all
    # whether corrections could be held out; otherwise the second loss is on all of them
    is_held_out: bool = True

    def begin_part(self) -> None:
        """Begin a part with other corrections held out."""
        if self.training:
            self.breaks.append(self.training[-1][0])

    def add_training(self, step: int, total: int, loss: float) -> None:
        """Add the loss of a step, smoothed."""
        if self.training and self.training[-1][0] not in self.breaks:
            loss = self.training[-1][1] + _SMOOTH * (loss - self.training[-1][1])
        self.training.append((step, loss))
        self.total = max(total, step)

    def add_held_out(self, step: int, total: int, loss: float, is_held_out: bool) -> None:
        """Add the loss on the held-out corrections, or if none are, on all."""
        self.held_out.append((step, loss))
        self.is_held_out = is_held_out
        self.total = max(total, step)

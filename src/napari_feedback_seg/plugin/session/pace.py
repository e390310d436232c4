"""How long the rest of a job takes."""

from __future__ import annotations

BURST_S = 0.02
"""Steps that come within this time of each other were done together, as the tiles of a batch are."""


class Pace:
    """Estimates the time left from the later half of the steps done.

    What is slow only at the beginning, such as the first call of a network, so fades away.
    """

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []

    def begin(self, now: float) -> None:
        """Count the time from now on: what was before, such as loading a model, is no step."""
        self._marks = [(now, self._marks[-1][1] if self._marks else 0)]

    def seconds_left(self, done: int, total: int, now: float) -> float:
        """Note that so many steps of all are done; return the seconds left, negative if unknown."""
        marks = self._marks
        if len(marks) > 1 and now - marks[-1][0] < BURST_S:
            marks[-1] = (marks[-1][0], done)
        else:
            marks.append((now, done))
        now, last = marks[-2] if len(marks) > 2 else marks[-1]  # the latest may be in the middle of a batch
        half = (marks[0][1] + last) / 2
        since, before = [mark for mark in marks if mark[1] <= half][-1] if last > marks[0][1] else marks[0]
        if last == before or now <= since:
            return -1.0
        return (now - since) / (last - before) * max(total - done, 0)

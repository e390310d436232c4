"""One long job at a time: its state, its progress, how it ends. No Qt."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from psygnal import Signal

from napari_feedback_seg.errors import FeedbackSegError, in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

logger = logging.getLogger(__name__)

BURST = 0.2
"""Steps that come within this part of the time of one were done together, as the tiles of a batch are."""


class State(Enum):
    """What a controller is doing.

    It is loading until the first step with a count is done.
    """

    IDLE = "idle"
    LOADING = "loading"
    RUNNING = "running"
    CANCELLING = "cancelling"


@dataclass(frozen=True)
class Returned:
    """The work came to its end, with this result."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """The work raised."""

    error: Exception


class Running(Protocol):
    """A generator that a runner has started."""

    def stop(self) -> None:
        """Close the generator after its next event."""

    def show(self, done: int, total: int) -> None:
        """Show how far it is, where the runner has a place for that."""


class Runner(Protocol):
    """Runs generators off the GUI thread."""

    def start(
        self,
        work: Callable[[], Generator[Any, None, Any]],
        title: str,
        on_event: Callable[[Any], None],
        on_end: Callable[[Returned | Failed | None], None],
    ) -> Running:
        """Start one; what it yields and how it ends (None: stopped) is told on the GUI thread, in turn.

        Without a title it has no progress bar.
        """

    def later(self, call: Callable[[], None]) -> None:
        """Call something when the GUI thread is done with what it is doing now."""


@dataclass
class _Job:
    title: str
    owner: object
    on_event: Callable[[Any], None] | None
    on_done: Callable[[Any], None] | None
    on_failed: Callable[[Exception], None] | None
    on_stopped: Callable[[], None] | None
    running: Running | None = None
    state: State = State.LOADING
    quiet: bool = False
    error: Exception | None = None


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
        if self._marks and done < self._marks[-1][1]:  # another count has begun
            self._marks = [(self._marks[-1][0], 0)]
        marks = self._marks
        of_one = (marks[-1][0] - marks[0][0]) / (len(marks) - 1) if len(marks) > 1 else 0.0
        if marks and now - marks[-1][0] < BURST * of_one:
            marks[-1] = (marks[-1][0], done)
        else:
            marks.append((now, done))
        now, last = marks[-2] if len(marks) > 2 else marks[-1]  # the latest may be in the middle of a batch
        half = (marks[0][1] + last) / 2
        since, before = [mark for mark in marks if mark[1] <= half][-1] if last > marks[0][1] else marks[0]
        if last == before or now <= since:
            return -1.0
        return (now - since) / (last - before) * max(total - done, 0)


class Jobs:
    """Runs long work, one job at a time.

    A job that starts another as it ends hands over to it: in between nothing is idle.

    With ``bar`` napari's activity dock shows it too. Not for what computes: where OpenGL is drawn in
    software, as over a remote desktop, the moving sign beside that bar takes most of a processor.

    Events
    ------
    started : str
        A job with this title has begun.
    progressed : int, int, float
        Steps done, steps in all (0: unknown), and the seconds left (negative: unknown).
    ended
        The job is over, however it ended, and another may begin.
    said : str, str
        What a person should read, and its level: info, warning or error.
    """

    started = Signal(str)
    progressed = Signal(int, int, float)
    ended = Signal()
    said = Signal(str, str)

    def __init__(self, runner: Runner, *, bar: bool = False) -> None:
        self._runner, self._bar = runner, bar
        self._job: _Job | None = None
        self._ending = False
        self._pace = Pace()
        self.title = ""
        self.done = self.total = 0
        self.seconds_left = -1.0

    @property
    def busy(self) -> bool:
        """Whether a job is running, or about to be followed by another."""
        return self._job is not None or self._ending

    @property
    def state(self) -> State:
        """What the job is doing; one that is about to be followed by another is still loading."""
        if self._job is not None:
            return self._job.state
        return State.LOADING if self._ending else State.IDLE

    @property
    def in_words(self) -> str:
        """What the job is doing, and for how long still."""
        if not self.total:
            return f"{self.title}: getting ready"
        left = f", about {duration(self.seconds_left)} left" if self.seconds_left > 0 else ""
        return f"{self.title}: {100 * self.done / self.total:.0f} %{left}"

    def state_of(self, owner: object) -> State:
        """Return what a controller is doing."""
        return self._job.state if self._job is not None and self._job.owner is owner else State.IDLE

    def run(
        self,
        work: Callable[[], Generator[Any, None, Any]],
        *,
        title: str,
        owner: object = None,
        on_event: Callable[[Any], None] | None = None,
        on_done: Callable[[Any], None] | None = None,
        on_failed: Callable[[Exception], None] | None = None,
        on_stopped: Callable[[], None] | None = None,
    ) -> bool:
        """Run a generator off the GUI thread.

        Parameters
        ----------
        work : callable
            Called off the GUI thread, so that what it imports does not hold the window up.
            Returns a generator of events. Those with ``done`` and ``total`` move the
            progress bars. The generator is closed when the job is over.
        title : str
            What a person reads.
        owner : object, optional
            The controller whose job it is.
        on_event, on_done, on_failed, on_stopped : callable, optional
            Called on the GUI thread with each event, with what the generator returned, with
            the error that ended it, and when it was cancelled. An error is said by itself.

        Returns
        -------
        bool
            False, with a sentence said, if another job is running.
        """
        if self._job is not None:
            self.said.emit(f"{self.title} is still running. Wait for it, or cancel it first.", "warning")
            return False
        self.title, self.done, self.total, self.seconds_left = title, 0, 0, -1.0
        self._pace = Pace()
        job = self._job = _Job(title, owner, on_event, on_done, on_failed, on_stopped)
        self.started.emit(title)
        job.running = self._runner.start(
            work,
            title if self._bar else "",
            lambda event: self._take(job, event),
            lambda outcome: self._end(job, outcome),
        )
        return True

    def cancel(self, *, quietly: bool = False) -> None:
        """Stop the job after its next event; with ``quietly`` nothing is said of it."""
        job = self._job
        if job is not None and job.state is not State.CANCELLING:
            job.state, job.quiet = State.CANCELLING, quietly
            if job.running is not None:
                job.running.stop()
            self.progressed.emit(self.done, self.total, -1.0)

    def cleanup(self) -> None:
        """Stop the job and forget it, because the session ends; may be called again."""
        job, self._job = self._job, None
        if job is not None and job.running is not None:
            job.running.stop()

    def _take(self, job: _Job, event: Any) -> None:
        if job is not self._job or job.state is State.CANCELLING:
            return
        if hasattr(event, "done") and hasattr(event, "total"):
            job.state = State.RUNNING
            self.done, self.total = event.done, event.total
            self.seconds_left = self._pace.seconds_left(event.done, event.total, time.monotonic())
            if job.running is not None:
                job.running.show(event.done, event.total)
            self.progressed.emit(event.done, event.total, self.seconds_left)
        elif job.state is State.LOADING:
            self._pace.begin(time.monotonic())
        try:
            if job.on_event is not None:
                job.on_event(event)
        except Exception as error:  # noqa: BLE001  # what cannot be shown ends the job with a sentence
            job.error = error
            self.cancel()

    def _end(self, job: _Job, outcome: Returned | Failed | None) -> None:
        if job is not self._job:
            return
        self._job, self._ending = None, True
        if job.error is not None:
            outcome = Failed(job.error)
        try:
            self._tell(outcome, job)
        finally:
            self._ending = False
            if self._job is None:
                self.ended.emit()

    def _tell(self, outcome: Returned | Failed | None, job: _Job) -> None:
        if isinstance(outcome, Failed):
            self._say(job.title, outcome.error)
            if job.on_failed is not None:
                job.on_failed(outcome.error)
        elif isinstance(outcome, Returned) and job.state is not State.CANCELLING:
            if job.on_done is not None:
                job.on_done(outcome.value)
        else:
            if not job.quiet:
                self.said.emit(f"{job.title}: cancelled.", "info")
            if job.on_stopped is not None:
                job.on_stopped()

    def _say(self, title: str, error: Exception) -> None:
        if isinstance(error, FeedbackSegError):
            self.said.emit(str(error), "error")
            return
        logger.error("%s failed", title, exc_info=error)
        self.said.emit(f"{title} failed: {in_words(error)}", "error")


def duration(seconds: float) -> str:
    """Return a time as a person reads it, at least a second."""
    seconds = max(1, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

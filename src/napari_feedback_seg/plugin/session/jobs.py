"""One long job at a time, off the GUI thread, with progress and cancel."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from contextlib import closing, suppress
from dataclasses import dataclass
from threading import Semaphore
from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker
from napari.utils import cancelable_progress
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QObject, QThreadPool, Signal, Slot

from napari_feedback_seg.errors import FeedbackSegError, in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

logger = logging.getLogger(__name__)

STACK_BYTES = 2**24
"""Least stack of a thread that computes; on macOS Qt gives 512 KB, too little for some linear algebra."""

REDRAW_S = 0.1
"""Least time between two drawings of napari's progress bar, in seconds."""


MOST_WAITING = 50
"""Events that may wait for the GUI thread before the work does."""


@dataclass(frozen=True)
class _Returned:
    """The work came to its end, with this result."""

    value: Any


@dataclass(frozen=True)
class _Failed:
    """The work raised."""

    error: Exception


class _Work(QObject):
    """A generator that is run to its end, or to where it is stopped, and closed, in one thread.

    It outlives the dock if need be: its signals then reach nobody.
    """

    event = Signal(object)
    ended = Signal(object)

    def __init__(self, make: Callable[[], Generator[Any, None, Any]], bar: cancelable_progress) -> None:
        super().__init__()
        self._make: Callable[[], Generator[Any, None, Any]] | None = make
        self.bar = bar
        self.cancelled = self.quiet = False
        self.worker: Any = None
        self.error: Exception | None = None
        self.room = Semaphore(MOST_WAITING)

    def __call__(self) -> None:
        """Run the work in the worker's thread.

        No exception leaves: napari's worker is silent about a RuntimeError, which is what
        torch raises when memory runs out.
        """
        outcome: _Returned | _Failed | None = None
        make, self._make = self._make, None  # napari keeps what it has run: that shall hold nothing
        assert make is not None
        try:
            with closing(make()) as events:
                while not self.stopping:
                    try:
                        event = next(events)
                    except StopIteration as stop:
                        outcome = _Returned(stop.value)
                        break
                    self._emit(event)
                    del event  # or it would be held until the next is there
        except Exception as error:  # noqa: BLE001  # whatever it is, the user hears of it
            outcome = _Failed(error)
        del make
        with suppress(RuntimeError):  # the window is gone, and what would hear of it
            self.ended.emit(outcome)

    @property
    def stopping(self) -> bool:
        """Whether the work is to end before its time."""
        return bool(self.cancelled or self.bar.is_canceled or self.worker.abort_requested)

    def _emit(self, event: Any) -> None:
        """Emit an event, as soon as the GUI thread is not too far behind."""
        while not self.room.acquire(timeout=0.1):
            if self.stopping:
                return
        with suppress(RuntimeError):
            self.event.emit(event)


class Jobs(QObject):
    """Runs the long work of the dock, one job at a time.

    Signals
    -------
    started : str
        A job with this title has begun.
    progressed : int, int, float
        Steps done, steps in all (0: unknown), and the seconds left (negative: unknown).
    ended
        The job is over, however it ended, and another may begin.
    """

    started = Signal(str)
    progressed = Signal(int, int, float)
    ended = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.title = ""
        self._work: _Work | None = None
        self._callbacks: dict[str, Callable[..., None] | None] = {}
        self._bar: cancelable_progress | None = None
        self._first: tuple[float, int] | None = None
        self._drawn = 0.0
        self._waiting: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._handling = False
        pool = QThreadPool.globalInstance()
        if sys.platform == "darwin" and pool is not None and pool.stackSize() < STACK_BYTES:
            pool.setStackSize(STACK_BYTES)

    @property
    def busy(self) -> bool:
        """Whether a job is running."""
        return self._work is not None

    def run(
        self,
        work: Callable[[], Generator[Any, None, Any]],
        *,
        title: str,
        on_event: Callable[[Any], None] | None = None,
        on_done: Callable[[Any], None] | None = None,
        on_failed: Callable[[Exception], None] | None = None,
        on_stopped: Callable[[], None] | None = None,
    ) -> bool:
        """Run a generator in a thread.

        Parameters
        ----------
        work : callable
            Called in the thread, so that what it imports does not hold the window up.
            Returns a generator of events. Those with ``done`` and ``total`` move the
            progress bars. The generator is closed when the job is over.
        title : str
            What a person reads in the panel and in napari's activity dock.
        on_event, on_done, on_failed, on_stopped : callable, optional
            Called on the GUI thread with each event, with what the generator returned, with
            the error that ended it, and when it was cancelled. An error is shown by itself.

        Returns
        -------
        bool
            False, with a sentence shown, if another job is running.
        """
        if self.busy:
            show_warning(f"{self.title} is still running. Wait for it, or cancel it first.")
            return False
        self.title = title
        self._callbacks = {"event": on_event, "done": on_done, "failed": on_failed, "stopped": on_stopped}
        self._first = None
        self._bar = cancelable_progress(total=0, desc=title)
        self._work = _Work(work, self._bar)
        self._work.event.connect(self._take)
        self._work.ended.connect(self._stopped)
        self._work.worker = create_worker(self._work, _start_thread=False)
        self.started.emit(title)
        self._work.worker.start()
        return True

    def cancel(self, *, quietly: bool = False) -> None:
        """Stop the job after its next event; with ``quietly`` no notification says so."""
        if self._work is not None:
            self._work.cancelled, self._work.quiet = True, quietly

    def cleanup(self) -> None:
        """Stop the job and forget it, because the dock goes; may be called again."""
        self._callbacks = {}
        self.cancel()
        self._close_bar()

    # Slots of a QObject are called on its own thread; plain methods may be called on the worker's.
    @Slot(object)
    def _take(self, event: Any) -> None:
        self._in_turn(self._handle, event)

    @Slot(object)
    def _stopped(self, outcome: Any) -> None:
        self._in_turn(self._end, outcome)

    def _in_turn(self, handle: Callable[[Any], None], what: Any) -> None:
        """Handle one thing after the other: napari's progress bars let the next in while they draw."""
        self._waiting.append((handle, what))
        if self._handling:
            return
        self._handling = True
        try:
            while self._waiting:
                handle, what = self._waiting.popleft()
                handle(what)
        finally:
            self._handling = False

    def _handle(self, event: Any) -> None:
        if self._work is None:
            return
        self._work.room.release()
        if self._work.cancelled:
            return
        if hasattr(event, "done") and hasattr(event, "total"):
            self._show(event.done, event.total)
        try:
            self._call("event", event)
        except Exception as error:  # noqa: BLE001  # what cannot be shown ends the job with a sentence
            self._work.error = error
            self.cancel()

    def _show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:  # the first step has the loading in it
            self._first = (now, done)
        since, before = self._first
        left = (now - since) / (done - before) * (total - done) if done > before else -1.0
        if self._bar is not None and (now - self._drawn > REDRAW_S or done == total):
            self._drawn = now
            if self._bar.total != total:
                self._bar.total = total
            self._bar.update(done - self._bar.n)
        self.progressed.emit(done, total, left)

    def _end(self, outcome: Any) -> None:
        work, self._work = self._work, None
        if work is None:
            return
        self._close_bar()
        if work.error is not None:
            outcome = _Failed(work.error)
        try:
            self._tell(outcome, work)
        finally:
            if not self.busy:
                self._callbacks = {}
            self.ended.emit()

    def _tell(self, outcome: Any, work: _Work) -> None:
        callbacks = self._callbacks
        if isinstance(outcome, _Failed):
            if callbacks:
                self._say(outcome.error)
            self._call("failed", outcome.error)
        elif isinstance(outcome, _Returned) and not work.cancelled:
            self._call("done", outcome.value)
        else:
            if callbacks and not work.quiet:
                show_info(f"{self.title}: cancelled.")
            self._call("stopped")

    def _say(self, error: Exception) -> None:
        if isinstance(error, FeedbackSegError):
            show_error(str(error))
            return
        logger.error("%s failed", self.title, exc_info=error)
        show_error(f"{self.title} failed: {in_words(error)}")

    def _call(self, name: str, *arguments: Any) -> None:
        callback = self._callbacks.get(name)
        if callback is not None:
            callback(*arguments)

    def _close_bar(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

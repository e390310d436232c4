"""Runs a session's long work in a thread, if wanted with a progress bar in napari's activity dock."""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import closing, suppress
from threading import Semaphore
from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker
from napari.utils import cancelable_progress
from qtpy.QtCore import QObject, Qt, QThreadPool, Signal, Slot

from napari_feedback_seg.plugin.garbage import GARBAGE
from napari_feedback_seg.plugin.session.jobs import Failed, Returned

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

STACK_BYTES = 2**24
"""Least stack of a thread that computes; on macOS Qt gives 512 KB, too little for some linear algebra."""

REDRAW_S = 0.1
"""Least time between two drawings of napari's progress bar, in seconds."""

MOST_WAITING = 50
"""Events that may wait for the GUI thread before the work does."""


_RUNNING: set[_Running] = set()
"""What runs, held until it has ended, whoever else lets go of it."""


class QtRunner:
    """Runs a generator in one thread from its first import to its closing; tells of it on the GUI thread."""

    def __init__(self) -> None:
        pool = QThreadPool.globalInstance()
        if sys.platform == "darwin" and pool is not None and pool.stackSize() < STACK_BYTES:
            pool.setStackSize(STACK_BYTES)
        self._turn = _Turn()

    def start(
        self,
        work: Callable[[], Generator[Any, None, Any]],
        title: str,
        on_event: Callable[[Any], None],
        on_end: Callable[[Returned | Failed | None], None],
    ) -> _Running:
        """Start a generator; see :class:`~napari_feedback_seg.plugin.session.jobs.Runner`."""
        running = _Running(work, title, on_event, on_end)
        _RUNNING.add(running)
        GARBAGE.hold()
        running.start()
        return running

    def later(self, call: Callable[[], None]) -> None:
        """Call something in the next turn of the GUI thread's event loop; may be called in any thread."""
        self._turn.call.emit(call)


class _Turn(QObject):
    """Calls what it is sent when the event loop of its own thread comes to it."""

    call = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.call.connect(self._call, Qt.ConnectionType.QueuedConnection)

    @Slot(object)
    def _call(self, call: Callable[[], None]) -> None:
        call()


class _Work(QObject):
    """The part in the thread. It outlives the window if need be: its signals then reach nobody."""

    event = Signal(object)
    ended = Signal(object)

    def __init__(
        self, make: Callable[[], Generator[Any, None, Any]], bar: cancelable_progress | None
    ) -> None:
        super().__init__()
        self._make: Callable[[], Generator[Any, None, Any]] | None = make
        self.bar = bar
        self.stopped = False
        self.worker: Any = None
        self.room = Semaphore(MOST_WAITING)

    def __call__(self) -> None:
        """Run the work in the worker's thread.

        No exception leaves: napari's worker is silent about a RuntimeError, which is what
        torch raises when memory runs out.
        """
        outcome: Returned | Failed | None = None
        make, self._make = self._make, None  # napari keeps what it has run: let that hold nothing
        assert make is not None
        try:
            with closing(make()) as events:
                while not self.stopping:
                    try:
                        event = next(events)
                    except StopIteration as stop:
                        outcome = Returned(stop.value)
                        break
                    self._emit(event)
                    del event  # or it would be held until the next is there
        except Exception as error:  # noqa: BLE001  # whatever it is, the user hears of it
            outcome = Failed(error)
        del make
        with suppress(RuntimeError):  # the window is gone, and what would hear of it
            self.ended.emit(outcome)

    @property
    def stopping(self) -> bool:
        """Whether the work is to end early."""
        cancelled = self.bar is not None and self.bar.is_canceled
        return bool(self.stopped or cancelled or self.worker.abort_requested)

    def _emit(self, event: Any) -> None:
        """Emit an event, as soon as the GUI thread is not too far behind."""
        while not self.room.acquire(timeout=0.1):
            if self.stopping:
                return
        with suppress(RuntimeError):
            self.event.emit(event)


class _Running(QObject):
    """The part on the GUI thread."""

    def __init__(
        self,
        make: Callable[[], Generator[Any, None, Any]],
        title: str,
        on_event: Callable[[Any], None],
        on_end: Callable[[Returned | Failed | None], None],
    ) -> None:
        super().__init__()
        self._bar: cancelable_progress | None = cancelable_progress(total=0, desc=title) if title else None
        self._on_event, self._on_end = on_event, on_end
        self._drawn = 0.0
        self._waiting: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._handling = False
        self._work = _Work(make, self._bar)
        self._work.event.connect(self._take)
        self._work.ended.connect(self._ended)
        self._work.worker = create_worker(self._work, _start_thread=False)

    def start(self) -> None:
        """Begin."""
        self._work.worker.start()

    def stop(self) -> None:
        """Close the generator after its next event."""
        self._work.stopped = True
        self._close_bar()

    def show(self, done: int, total: int) -> None:
        """Draw the bar in the activity dock."""
        now, bar = time.monotonic(), self._bar
        if bar is not None and (now - self._drawn > REDRAW_S or done == total):
            self._drawn = now
            if bar.total != total:
                bar.total = total
            bar.update(done - bar.n)

    # Slots of a QObject are called on its own thread; plain methods may be called on the worker's.
    @Slot(object)
    def _take(self, event: Any) -> None:
        self._in_turn(self._handle, event)

    @Slot(object)
    def _ended(self, outcome: Any) -> None:
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
        self._work.room.release()
        if not self._work.stopping:
            self._on_event(event)

    def _end(self, outcome: Any) -> None:
        self._close_bar()
        _RUNNING.discard(self)
        GARBAGE.release()
        on_end = self._on_end
        self._on_event = self._on_end = lambda _: None
        on_end(outcome)

    def _close_bar(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

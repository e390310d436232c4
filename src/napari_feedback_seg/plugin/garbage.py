"""Collects Python's garbage on the GUI thread while work runs in another."""

from __future__ import annotations

import gc

from qtpy.QtCore import QTimer

EVERY_MS = 500


class GuiThreadGarbage:
    """While something holds it, garbage is collected on the GUI thread only.

    Python collects it in whichever thread is running. Where that deletes an object of Qt that belongs to
    the GUI thread, PySide waits for Python's lock with a lock of Qt's in hand. If the GUI thread connects a
    signal just then, each waits for the other, and napari stands still for good.
    """

    def __init__(self) -> None:
        self._held = 0
        self._timer: QTimer | None = None

    def hold(self) -> None:
        """Begin; does nothing where garbage is not collected at all. On the GUI thread."""
        self._held += 1
        if gc.isenabled():
            gc.disable()
            self._timer = QTimer(interval=EVERY_MS)
            self._timer.timeout.connect(self._collect)
            self._timer.start()

    def release(self) -> None:
        """Let Python collect again, soon: the thread that held it may not be over yet."""
        self._held -= 1

    def _collect(self) -> None:
        """Collect what Python would collect by now."""
        due = zip(gc.get_count(), gc.get_threshold(), strict=True)
        generations = [number for number, (count, limit) in enumerate(due) if count > limit > 0]
        if generations:
            gc.collect(max(generations))
        if not self._held and self._timer is not None:
            self._timer.stop()
            self._timer = None
            gc.enable()


GARBAGE = GuiThreadGarbage()

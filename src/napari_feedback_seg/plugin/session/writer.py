"""Writes drafts in a thread of its own, so that nobody who paints waits for a disk."""

from __future__ import annotations

from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from napari_feedback_seg.plugin.session.drafts import Draft


class Writer:
    """Writes sections, the newest state of each; what fails is tried again with what comes next.

    Parameters
    ----------
    failed : callable
        Called in the thread with the error, once until something can be written again.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._lock = Lock()
        self._thread: Thread | None = None
        self._sections: dict[tuple[Draft, int], np.ndarray] = {}
        self._abouts: dict[Draft, Mapping[str, Any]] = {}
        self._told = False

    def write(self, draft: Draft, sections: Mapping[int, np.ndarray], about: Mapping[str, Any]) -> None:
        """Write sections (Y, X) of a draft soon, as they are then, and what is to be noted of it."""
        with self._lock:
            self._sections.update({(draft, z): labels for z, labels in sections.items()})
            self._abouts[draft] = {**self._abouts.get(draft, {}), **about}
            if self._thread is None:
                self._thread = Thread(target=self._work, name="feedback-seg-journal")
                self._thread.start()

    def wait(self) -> None:
        """Return when all is written that can be."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def forget(self, draft: Draft) -> None:
        """Write nothing of a draft that waits, because it is about to be removed."""
        with self._lock:
            self._sections = {key: labels for key, labels in self._sections.items() if key[0] != draft}
            self._abouts.pop(draft, None)
        self.wait()

    def _work(self) -> None:
        failed: dict[tuple[Draft, int], np.ndarray] = {}
        while True:
            with self._lock:
                if not self._sections and not self._abouts:
                    self._sections.update(failed)
                    self._thread = None
                    return
                sections, self._sections = self._sections, {}
                abouts, self._abouts = self._abouts, {}
            for (draft, z), labels in sections.items():
                if not self._try(lambda: draft.save_section(z, labels)):  # noqa: B023  # called at once
                    failed[draft, z] = labels
            for draft, about in abouts.items():
                if draft.saved or about.get("model"):
                    self._try(lambda: draft.note(about))  # noqa: B023

    def _try(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except (OutputError, OSError) as error:
            if not self._told:
                self._told = True
                self._failed(error)
            return False
        self._told = False
        return True

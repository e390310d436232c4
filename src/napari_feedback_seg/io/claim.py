"""Claims: one process at a time, of all machines that share a folder, does a piece of work."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from napari_feedback_seg.errors import FeedbackSegError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class ClaimedError(FeedbackSegError):
    """Another process is at it."""


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which ends with the process at the latest; the file stays.

    Parameters
    ----------
    path : Path
        The file, in a folder that is there.

    Raises
    ------
    ClaimedError
        If another process holds it, on this machine or another that shares the folder.
    OutputError
        If the file cannot be written.
    """
    # Not thread-local: a generator may be closed from another thread than the one that began it.
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        name = path.stem.lstrip(".")
        raise ClaimedError(f"{name} is being run by another process, which holds {path}.") from None
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}).") from error
    try:
        yield
    finally:
        lock.release()

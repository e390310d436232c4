"""Claims: which of several machines that share a folder is at which piece of work."""

from __future__ import annotations

import json
import os
import platform
import secrets
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_feedback_seg.errors import FeedbackSegError, OutputError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BEAT_S = 30
"""How often a claim is renewed, in seconds."""

STALE_S = 1800
"""A claim that has not been renewed for this many seconds counts no more."""


class ClaimedError(FeedbackSegError):
    """Somebody else is at it."""


@contextmanager
def claim(path: Path) -> Iterator[Callable[[], None]]:
    """Hold a claim: a file that only one can make, and that says who and since when.

    The claim of a process that has ended on this machine, or that was not renewed for half an
    hour, is taken over.

    Parameters
    ----------
    path : Path
        The file. Its folder is there.

    Yields
    ------
    callable
        To be called now and then: renews the claim. Raises TrainingError if it was taken over.

    Raises
    ------
    ClaimedError
        If somebody else holds it.
    OutputError
        If the file cannot be written.
    """
    who = {"host": platform.node(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    mine = json.dumps({**who, **_place(), "token": secrets.token_hex(8)})
    _take(path, mine)
    renewed = time.monotonic()

    def renew() -> None:
        nonlocal renewed
        if time.monotonic() - renewed < BEAT_S:
            return
        if _read(path) != mine:
            raise TrainingError(f"Somebody else has taken {path} over: they go on with it, and not we.")
        os.utime(path)
        renewed = time.monotonic()

    try:
        yield renew
    finally:
        if _read(path) == mine:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _take(path: Path, mine: str) -> None:
    try:
        if _write_new(path, mine):
            return
        _check_stale(path)
        guard = path.with_name(f".{path.name}.taking")  # only one at a time removes a claim
        if not _write_new(guard, mine):
            raise _claimed(path)
        try:
            _check_stale(path)
            path.unlink(missing_ok=True)
            if not _write_new(path, mine):
                raise _claimed(path)
        finally:
            with suppress(OSError):
                guard.unlink()
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}).") from error


def _write_new(path: Path, text: str) -> bool:
    """Write a file that is not there yet; return whether it was not."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _check_stale(path: Path) -> None:
    if _silent_s(path) < STALE_S and not _has_ended(_holder(path)):
        raise _claimed(path)


def _silent_s(path: Path) -> float:
    """Return for how long a claim was not renewed, by the clock of whoever keeps the folder."""
    probe = path.with_name(f".{path.name}.{secrets.token_hex(4)}.now")
    try:
        probe.touch()
        return max(0.0, probe.stat().st_mtime - path.stat().st_mtime)
    except FileNotFoundError:
        return 0.0
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _place() -> dict[str, str]:
    """Return what tells machines of one name apart, restarts of one, and containers on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return {"machine": f"{uuid.getnode():x}", "boot": boot, "processes": os.readlink("/proc/self/ns/pid")}
    except OSError:
        return {"machine": f"{uuid.getnode():x}", "boot": "", "processes": ""}


def _has_ended(holder: dict[str, object]) -> bool:
    """Return whether the holder of a claim is known to have ended, as it was on this machine."""
    here = {"host": platform.node(), **_place()}
    if any(holder.get(name) != here[name] for name in ("host", "machine")):
        return False
    if holder.get("boot") != here["boot"]:
        return True
    # On Windows os.kill would end the process that it asks for.
    asking = os.name == "posix" and holder.get("processes") == here["processes"]
    return asking and not _is_running(holder.get("pid"))


def _is_running(pid: object) -> bool:
    if not isinstance(pid, int):
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


def _holder(path: Path) -> dict[str, object]:
    try:
        holder = json.loads(_read(path))
    except ValueError:  # just being written
        return {}
    return holder if isinstance(holder, dict) else {}


def _claimed(path: Path) -> ClaimedError:
    holder = _holder(path)
    return ClaimedError(
        f"{path.stem} is being run by process {holder.get('pid', '?')} on {holder.get('host', '?')} since "
        f"{holder.get('since', '?')}, which last showed {_silent_s(path) / 60:.0f} minutes ago. "
        f"If that is not so, delete {path}."
    )

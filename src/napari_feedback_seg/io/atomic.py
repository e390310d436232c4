"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import itertools
import os
import re
import secrets
import shutil
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_feedback_seg.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WINDOWS = os.name == "nt"  # elsewhere a file can be replaced while somebody reads it
_PATIENCE = 30  # tenths of a second


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Make sure, before any work is done, that a file may be written.

    Raises
    ------
    OutputError
        If it is there and may not be replaced, if it is a folder or a device, or if its
        folder cannot be written to.
    """
    path = Path(path)
    _check_place(path, overwrite)
    parents = _target(path).absolute().parents
    folder = next((parent for parent in parents if parent.exists()), parents[0])
    if not folder.is_dir():
        raise OutputError(f"'{path}' cannot be written: '{folder}' is a file and not a folder.")
    if not _may_write(folder):
        raise OutputError(f"'{path}' cannot be written: you may not write to the folder '{folder}'.")


def is_device(name: str) -> bool:
    """Return whether Windows takes a name for a device, and so makes no file of it."""
    return re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name, re.IGNORECASE) is not None


def file_keys(path: str | os.PathLike[str]) -> set[object]:
    """Return what two paths have in common if they lead to one file, whatever they read like."""
    place = os.path.normcase(os.path.realpath(path))
    keys: set[object] = {place.casefold() if sys.platform == "darwin" else place}
    try:
        stat = os.stat(path)
    except OSError:
        return keys
    return keys | ({(stat.st_dev, stat.st_ino)} if stat.st_ino else set())


@contextmanager
def replacing(
    path: str | os.PathLike[str], overwrite: bool = False, *, beside: bool = True
) -> Iterator[Path]:
    """Write a file under a temporary name, and move it to its own when it is complete.

    Folders are made where need be. A symbolic link stays, and the file that it leads to is
    written. If anything is raised, Ctrl-C included, the temporary
    file is removed and what was there before stays.

    Parameters
    ----------
    path : path-like
        The file to write.
    overwrite : bool
        Whether one that is there may be replaced.
    beside : bool
        Whether the file gets another name where a program holds the one that is there, as on Windows:
        for what a person is to find, and not for what is looked for by its name.

    Yields
    ------
    Path
        The temporary name, in the same folder.

    Raises
    ------
    OutputError
        If the file is there already or cannot be written, a full disk included.
    """
    path = Path(path)
    check_output(path, overwrite)
    target = _target(path)
    temporary = target.with_name(_temporary_name())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _check_place(path, overwrite)
        _move(temporary, target, beside)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # what went wrong before is what counts
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a folder under a temporary name, and give it its own when it is complete.

    If anything is raised, Ctrl-C included, the folder is removed with what is in it; only if it is
    complete, and another program keeps it from its name, it stays, and the error says where.

    Parameters
    ----------
    path : path-like
        The folder, which is not there yet.

    Yields
    ------
    Path
        The temporary name, beside it.

    Raises
    ------
    OutputError
        If something of this name is there already, or it cannot be written.
    """
    path = Path(path)
    _check_new(path)
    temporary = path.with_name(_temporary_name())
    held = False
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _check_new(path)
        try:
            _patiently(os.rename, temporary, path)
        except PermissionError as error:  # a virus scanner or a cloud drive is at what was just written
            if not _WINDOWS:
                raise
            held = True
            raise OutputError(
                f"'{path}' is complete, but another program holds something in it: it is called "
                f"'{temporary}' until you rename it."
            ) from error
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if not held:
            shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, target: Path, beside_it: bool) -> None:
    """Give a finished file its name, or, if wanted, one beside what another program holds."""
    try:
        _patiently(os.replace, temporary, target)
        return
    except PermissionError:
        if not (beside_it and _WINDOWS and target.exists()):
            raise
    names = (target.with_stem(f"{target.stem}-{number}") for number in itertools.count(1))
    beside = next(each for each in names if not os.path.lexists(each))
    os.rename(temporary, beside)
    raise OutputError(
        f"'{target}' is open in another program and could not be replaced. The new file is '{beside}'."
    )


def _patiently(move: Callable[[Path, Path], None], source: Path, target: Path) -> None:
    for _ in range(_PATIENCE if _WINDOWS else 0):
        try:
            move(source, target)
        except PermissionError:  # a viewer has it open, or a virus scanner
            time.sleep(0.1)
        else:
            return
    move(source, target)


def _temporary_name() -> str:
    """Return a name that is hardly longer than any: on Windows paths may have 259 characters."""
    return f".{secrets.token_hex(4)}.part"


def _may_write(folder: Path) -> bool:
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    if not _WINDOWS:
        return True
    probe = folder / _temporary_name()  # Windows says yes of every folder
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def _check_place(path: Path, overwrite: bool) -> None:
    if os.path.isdir(path):  # unlike Path's, the functions of os.path never raise
        raise OutputError(f"'{path}' is a folder. Name a file to write to.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OutputError(f"'{path}' is no file but a device, a pipe or a socket. Name a file to write to.")
    if os.path.lexists(path) and not overwrite:  # a link that leads nowhere is there, too
        raise OutputError(f"'{path}' is there already. Choose another name, or overwrite it (--overwrite).")


def _check_new(path: Path) -> None:
    if os.path.lexists(path):
        raise OutputError(f"'{path}' is there already. Choose another name.")


def _target(path: Path) -> Path:
    """Return where a symbolic link leads; any other path as it is."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


def unwritable(path: Path, error: OSError) -> OutputError:
    """Return the error for what a system does not let be written, a full disk included."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutputError(f"'{path}' was not written: the disk is full. Free some space and run it again.")
    return OutputError(f"'{path}' cannot be written: {error.strerror or error}.")

from __future__ import annotations

import errno
import os

import pytest

from napari_feedback_seg.errors import InputError, in_words


def test_our_own_are_said_as_they_are() -> None:
    assert in_words(InputError("There is no file.")) == "There is no file."
    assert in_words(ValueError("x")) == "ValueError: x"


def test_what_windows_says_of_torch_is_said_with_what_to_do() -> None:
    error = OSError("[WinError 1114] Error loading C:\\\\torch\\\\lib\\\\c10.dll")
    assert "OSError" in in_words(error)
    error.winerror = 1114  # type: ignore[attr-defined]
    assert "Visual C++ Redistributable" in in_words(error)
    other = OSError("[WinError 1114] Error loading another.dll")
    other.winerror = 1114  # type: ignore[attr-defined]
    assert in_words(other).startswith("OSError")


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT])
def test_a_drive_that_has_gone_is_said_in_plain_words(code: int) -> None:
    said = in_words(OSError(code, os.strerror(code)))
    assert said.startswith("A disk or a network drive was disconnected")
    assert "Errno" not in said


def test_too_little_memory_is_said_in_plain_words() -> None:
    said = in_words(MemoryError("Unable to allocate 3.2 GiB for an array"))
    assert said.startswith("The memory of the computer is too small")
    assert "Error" not in said

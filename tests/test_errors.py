from __future__ import annotations

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

"""The errors that a user is meant to read: each says what is wrong and what to do."""

from __future__ import annotations

import errno

DISCONNECTED = frozenset(
    getattr(errno, name)
    for name in ("ESTALE", "EIO", "ENODEV", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN")
    if hasattr(errno, name)
)
"""What a system says of a file whose disk or network drive has gone."""

_NOT_LOADED = (126, 127, 1114)
"""Windows' numbers for a library that it does not find, does not fit, or that fails as it begins."""


class FeedbackSegError(Exception):
    """Base of all errors that this package raises for a user to read."""


class InputError(FeedbackSegError):
    """The image, the labels or the data set cannot be used as they are."""


class ModelError(FeedbackSegError):
    """A model file, a card or a network description cannot be used."""


class OutputError(FeedbackSegError):
    """A result cannot be written."""


class DeviceError(FeedbackSegError):
    """The device asked for is not there, or cannot do what was asked."""


class TrainingError(FeedbackSegError):
    """A training cannot start or cannot go on."""


def in_words(error: BaseException) -> str:
    """Return what a person is told of an error, ours or another."""
    if isinstance(error, FeedbackSegError):
        return str(error)
    if getattr(error, "winerror", None) in _NOT_LOADED and "torch" in str(error):
        return (
            "Windows cannot load PyTorch, perhaps because Qt was loaded before it. Install the newest "
            "Microsoft Visual C++ Redistributable (x64) and restart the computer. If that does not help, "
            'start napari with: python -c "import torch; from napari.__main__ import main; main()"'
        )
    if isinstance(error, MemoryError):
        return (
            "The memory of the computer is too small for this. Close other programs, or take a smaller part "
            "of the image."
        )
    if isinstance(error, OSError) and error.errno in DISCONNECTED:
        return "A disk or a network drive was disconnected meanwhile. Connect it, and open the file again."
    return f"{type(error).__name__}: {error}"

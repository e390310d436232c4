"""Whether the hint of the first opening is still to be shown; remembered beside the user's models."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from napari_feedback_seg.models.library import models_folder

if TYPE_CHECKING:
    from pathlib import Path


def hint_wanted() -> bool:
    """Return whether nobody has closed the hint yet."""
    return not _file().exists()


def close_hint() -> None:
    """Remember that the hint was closed."""
    with suppress(OSError):  # then it is shown again
        _file().parent.mkdir(parents=True, exist_ok=True)
        _file().touch()


def _file() -> Path:
    return models_folder() / ".hint-closed"

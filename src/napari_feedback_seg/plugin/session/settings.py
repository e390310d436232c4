"""What a person has set in napari's Preferences, as the session knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The settings; the defaults are those of the manifest."""

    device: str = "auto"  # auto, cpu, cuda or mps
    overlap: float = 0.25  # fraction of a tile that it shares with the next, 0 to 0.9
    models_folder: Path | None = None  # where the user's own models are; None for the usual place
    # sentences about values that cannot be used, in whose place the defaults stand
    messages: tuple[str, ...] = ()

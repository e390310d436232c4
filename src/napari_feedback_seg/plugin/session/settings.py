"""What a person has set in napari's Preferences, as the session knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The settings; the defaults are those of the manifest.

    Attributes
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    overlap : float
        Fraction of a tile that it shares with the next, 0 to 0.9.
    models_folder : Path or None
        Where the user's own models are; None for the usual place.
    messages : tuple of str
        Sentences about values that cannot be used, in whose place the defaults stand.
    """

    device: str = "auto"
    overlap: float = 0.25
    models_folder: Path | None = None
    messages: tuple[str, ...] = ()

"""The label classes: value, name and colour, in one place and one order."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MOST_VALUES = 32
"""An image with more values than this does not hold class labels."""

UNLABELLED = 0
"""Label value of a pixel that nobody has labelled. It is no class."""


@dataclass(frozen=True)
class LabelClass:
    """One class of a label image.

    Parameters
    ----------
    value : int
        The value of the class in a label image, 1 to 255.
    name : str
        What a person reads.
    color : str
        ``#rrggbb``.
    opacity : float
        How strongly the class covers the image beneath it, 0 to 1.

    Raises
    ------
    ValueError
        If the value or the colour is not valid.
    """

    value: int
    name: str
    color: str
    opacity: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.value <= 255:
            raise ValueError(f"A class value lies between 1 and 255, not {self.value}.")
        digits = self.color[1:]
        if len(digits) != 6 or self.color[0] != "#" or not set(digits.lower()) <= set("0123456789abcdef"):
            raise ValueError(f"A colour reads like #0072b2, not {self.color!r}.")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as three integers, 0 to 255."""
        red, green, blue = bytes.fromhex(self.color[1:])
        return red, green, blue

    def to_json(self) -> dict[str, Any]:
        """Return the class as a JSON object."""
        return asdict(self)


EM_CLASSES: tuple[LabelClass, ...] = (
    LabelClass(1, "membrane", "#0072b2", 0.8),
    LabelClass(2, "mitochondria", "#e69f00", 0.8),
    LabelClass(3, "synapse", "#d6308f", 0.9),
    LabelClass(4, "cytoplasm", "#f0e442", 0.08),
)
"""The classes of neural tissue, in the order of the paper.

Membrane includes glia and extracellular space. The colours are told apart with
colour-blind eyes (after Okabe and Ito); cytoplasm, three quarters of a section, is
nearly transparent.
"""

"""How a map becomes a picture: its contrast, and a colour map in which equal steps look equal."""

from __future__ import annotations

from functools import cache

import numpy as np

CONTRAST_PERCENTILES = (1, 99.5)


def contrast_limits(values: np.ndarray) -> tuple[float, float]:
    """Return the values that are shown darkest and brightest, by percentile; never the same."""
    low, high = (float(each) for each in np.percentile(values, CONTRAST_PERCENTILES))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low, low + 1)


@cache
def colour_table() -> np.ndarray:
    """Return 256 colours (256, 3) uint8, from black over purple and orange to pale yellow.

    Their lightness grows evenly (CIELAB), so that a step in the map looks alike everywhere,
    in grey print and to colour-blind eyes too.
    """
    from skimage.color import lab2rgb

    at = np.linspace(0, 1, 256)
    chroma = 62 * np.sin(np.pi * at) ** 0.8
    hue = np.deg2rad(300 + 150 * at)
    lab = np.stack([97 * at, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    table: np.ndarray = np.rint(255 * np.clip(lab2rgb(lab[None])[0], 0, 1)).astype(np.uint8)
    return table


def coloured(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return the colours (Y, X, 3) uint8 of a map (Y, X)."""
    low, high = limits
    steps = np.clip((values - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
    result: np.ndarray = colour_table()[steps]
    return result

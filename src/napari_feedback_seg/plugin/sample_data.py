"""Hands the samples to napari's File > Open Sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.types import LayerDataTuple


def builtin_em_section() -> list[LayerDataTuple]:
    """Make the built-in section, which needs no network.

    Returns
    -------
    list of LayerDataTuple
        One image layer, (Y, X) uint8, its scale in nm.
    """
    from napari_feedback_seg.samples.builtin import builtin_section

    section = builtin_section()
    attributes = {
        "name": "Built-in EM-like section",
        "scale": (section.pixel_size_nm, section.pixel_size_nm),
        "units": ("nanometer", "nanometer"),
        "axis_labels": ("y", "x"),
    }
    return [(section.image, attributes, "image")]

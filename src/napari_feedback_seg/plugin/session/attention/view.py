"""What of the attention is shown: options, what was found, and the picture for the layers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image

    from napari_feedback_seg.attention_maps.tile import AttentionSummary, PixelAttention, TileAttention
    from napari_feedback_seg.models.library import ModelEntry


class View(Enum):
    """What is shown of a tile."""

    PIXEL = "map of the pixel"
    CLASS = "map of a class"
    RECEIVED = "map of all pixels"
    CHANGED = "what changed"
    FIRST = "round 1"
    SECOND = "round 2"


@dataclass(frozen=True)
class AttentionOptions:
    """What the tab Attention shows.

    Parameters
    ----------
    view : View
        What to show of the tile; a click in the image shows the pixel's map again.
    label : int
        Label of the class whose map is shown.
    centred : bool
        Lay the tile around the pixel instead of taking the nearest one of the segmentation's tiles.
    strongest : int
        How many of the places that the pixel looked at most are marked and named.
    """

    view: Annotated[View, {"label": "&Show", "choices": [(each.value, each) for each in View]}] = View.PIXEL
    label: int = 0
    centred: Annotated[bool, {"label": "&Tile around the pixel"}] = False
    strongest: Annotated[int, {"label": "&Marks", "min": 0, "max": 9}] = 3


@dataclass(frozen=True)
class Source:
    """What attention is computed from: a section, a model, and the segmentation's grid of tiles."""

    image: Image
    section: int
    entry: ModelEntry | None
    device: str
    overlap: float
    pixel_size_nm: tuple[float, float] | None


@dataclass(frozen=True)
class Found:
    """A tile, a pixel in it, and what is known of them."""

    source: Source
    tile: TileAttention
    pixel: PixelAttention
    summary: AttentionSummary | None = None  # the attention of all pixels, once it is added up


@dataclass(frozen=True)
class Picture:
    """What the layers of an image are to show of a tile."""

    image: Image
    section: int
    tile: TileAttention
    values: np.ndarray | None = None  # (Y, X) of the tile's region: a map, and labels
    labels: np.ndarray | None = None
    pixel: PixelAttention | None = None  # the pixel to mark, with its strongest places

"""What attention is asked of, and the work that answers; nothing here touches a widget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_feedback_seg.attention_maps.support import why_no_attention
from napari_feedback_seg.errors import InputError, ModelError
from napari_feedback_seg.plugin.layers.image import RESULT_KEY, em_sections

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.layers import Image

    from napari_feedback_seg.attention_maps.maps import SectionAttention
    from napari_feedback_seg.attention_maps.tile import PixelAttention, TileAttention
    from napari_feedback_seg.models.library import ModelEntry
    from napari_feedback_seg.plugin.session.state import DockState


@dataclass(frozen=True)
class Request:
    """A pixel whose attention is wanted; without one, the model is only made ready."""

    image: Image
    section: int
    pixel: tuple[int, int] | None
    recentre: bool = False


@dataclass(frozen=True)
class Source:
    """What attention is computed from: a section, a model, and the segmentation's grid of tiles."""

    image: Image
    section: int
    entry: ModelEntry | None
    device: str
    overlap: float
    pixel_size_nm: Any


@dataclass(frozen=True)
class Shown:
    """The tile that the layers show, and the pixel in it."""

    source: Source
    tile: TileAttention
    pixel: PixelAttention


def why_not(state: DockState) -> str | None:
    """Return why the chosen model shows no attention; None if it does."""
    if state.card is None:
        return "This model cannot be used. Choose another in the tab Segment."
    return why_no_attention(state.card)


def source_of(request: Request, state: DockState) -> Source:
    """Return what to compute from: as the section was segmented with the model, if it was.

    Raises
    ------
    InputError
        If the image is gone or cannot be used.
    ModelError
        If the model has no attention.
    """
    reason = why_not(state)
    if reason:
        raise ModelError(reason)
    if request.image not in state.viewer.layers:
        raise InputError("The image was deleted: choose another.")
    em_sections(request.image)
    entry, overlap, size = state.entry, state.settings.overlap, None
    result = state.result_of(request.image)
    runs = result.metadata[RESULT_KEY].get("runs", []) if result is not None else []
    for run in reversed(runs):
        by_model = entry is not None and run.get("model_file") == str(entry.path)
        if by_model and request.section in run["sections"]:
            overlap, size = run["settings"]["overlap"], run["settings"]["rescaled_from_nm"]
            break
    size = tuple(size) if isinstance(size, list) else size
    return Source(request.image, request.section, entry, state.device, overlap, size)


def look(
    request: Request, source: Source, engine: SectionAttention | None, state: DockState
) -> Callable[[], Generator[None, None, SectionAttention]]:
    """Return the work that computes the tile of a request, and returns the engine that keeps it."""
    sections = em_sections(source.image)

    def work() -> Generator[None, None, SectionAttention]:
        from napari_feedback_seg.attention_maps.maps import SectionAttention

        ready = engine
        if ready is None:
            model = state.load_model(source.entry)
            yield
            ready = SectionAttention(
                sections.section(source.section),
                model,
                overlap=source.overlap,
                pixel_size_nm=source.pixel_size_nm,
                device=source.device,
            )
        yield
        rows, columns = sections.section_shape
        # The first tile of all takes longer: with no pixel yet, that is done now.
        ready.at(*(request.pixel or (rows // 2, columns // 2)), recentre=request.recentre)
        return ready

    return work

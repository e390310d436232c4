"""A segmentation that was asked for in the panel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_feedback_seg.events import SectionDone, TileDone
from napari_feedback_seg.plugin.layers import class_colormap

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.plugin.layers import Sections
    from napari_feedback_seg.segmentation.prediction import SegmentOptions


@dataclass(frozen=True)
class Run:
    """What to segment, and how.

    Attributes
    ----------
    sections : Sections
        The image.
    chosen : sequence of int
        The sections to segment.
    options : SegmentOptions
        How to segment.
    load_model : callable
        Returns the model. Called off the GUI thread.
    """

    sections: Sections
    chosen: Sequence[int]
    options: SegmentOptions
    load_model: Callable[[], Model]

    def __call__(self) -> Generator[Model | TileDone | SectionDone, None, None]:
        """Yield the model when it is loaded, then tiles counted over all sections, and sections."""
        from napari_feedback_seg.segmentation.predict import count_tiles, segment_section, segment_stack

        model = self.load_model()
        # napari compiles what draws labels at its first use, for a second: not on the GUI thread.
        class_colormap(model.card.classes).map(np.zeros((1, 1), np.uint8))
        yield model
        events: Generator[Any, None, Any]
        if len(self.chosen) == 1:
            events = segment_section(self.sections.section(self.chosen[0]), model, self.options)
        else:
            events = segment_stack(_Chosen(self.sections, self.chosen), model, self.options)
        tiles = count_tiles(self.sections.section_shape, model.card, self.options)
        yield TileDone(0, tiles * len(self.chosen))
        try:
            while True:
                try:
                    event = next(events)
                except StopIteration as stop:
                    if stop.value is not None:
                        yield SectionDone(self.chosen[0], stop.value)
                    return
                if isinstance(event, SectionDone):
                    yield SectionDone(self.chosen[event.section], event.prediction)
                else:
                    before = event.section * tiles
                    total = tiles * len(self.chosen)
                    yield TileDone(before + event.done, total, self.chosen[event.section])
        finally:
            events.close()


class _Chosen:
    """Some sections of a stack, as a stack."""

    def __init__(self, sections: Sections, chosen: Sequence[int]) -> None:
        self._sections = sections
        self._chosen = chosen
        self.shape = (len(chosen), *sections.section_shape)
        self.ndim = 3
        self.dtype = sections.data.dtype

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, z: int) -> Any:
        return self._sections.section(self._chosen[z])

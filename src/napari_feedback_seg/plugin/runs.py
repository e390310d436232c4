"""A segmentation that was asked for in the panel."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
        The sections to segment: one of them, or all.
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
        if len(self.chosen) == 1:
            (z,) = self.chosen
            prediction = yield from segment_section(self.sections.section(z), model, self.options)
            yield SectionDone(z, prediction)
            return
        tiles = count_tiles(self.sections.section_shape, model.card, self.options)
        with closing(segment_stack(self.sections.data, model, self.options)) as events:
            for event in events:
                if isinstance(event, TileDone):
                    done = event.section * tiles + event.done
                    yield TileDone(done, tiles * len(self.chosen), event.section)
                else:
                    yield event

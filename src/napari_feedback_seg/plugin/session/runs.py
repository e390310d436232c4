"""A segmentation that was asked for in the panel."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning

from napari_feedback_seg.events import SectionDone, TileDone
from napari_feedback_seg.plugin.layers.image import class_colormap
from napari_feedback_seg.segmentation.prediction import pixel_sides

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.plugin.layers.image import Sections
    from napari_feedback_seg.plugin.layers.results import Result
    from napari_feedback_seg.plugin.session.state import DockState
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


def run_record(
    model: Model, options: SegmentOptions, pixel_size_nm: Sequence[float] | None
) -> dict[str, Any]:
    """Return what a result notes of how it was made, so that the run can be repeated.

    Parameters
    ----------
    model : Model
        What segments.
    options : SegmentOptions
        How.
    pixel_size_nm : sequence of float, optional
        Height and width of a pixel of the image in nm, whether it is rescaled or not.

    Returns
    -------
    dict
        As JSON can hold it.
    """
    rescaled = options.pixel_size_nm
    return {
        "model": model.card.name,
        "model_file": str(model.path),
        "model_sha256": model.digest,
        "pixel_size_nm": list(pixel_size_nm) if pixel_size_nm else None,
        "settings": {
            "device": options.device,
            "overlap": options.overlap,
            "rescaled_from_nm": list(pixel_sides(rescaled)) if rescaled else None,
            "flips": options.flips,
            "probabilities": options.probabilities,
        },
    }


def write_section(state: DockState, result: Result, event: SectionDone) -> bool:
    """Show a section that is done in the result; return whether that is still there. If not, stop the job."""
    state.writing.emit(event.section)
    try:
        result.write(event.section, event.prediction)
    except LookupError:
        state.jobs.cancel()
        show_warning("The result was deleted while it was made: the segmentation was stopped.")
        return False
    state.result_changed.emit()
    return True

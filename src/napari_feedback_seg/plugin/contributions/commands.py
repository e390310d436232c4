"""Segmenting and attention as commands with a form, for scripts and notebooks.

Each is a magicgui factory: ``segment_command()`` is a widget to dock, and calling the widget runs it with
what it shows. The work is done off the GUI thread, and the layer is added when it is done. They are not
in the manifest: with a second widget napari would put the dock into a submenu.
"""

# Without the future annotations of the other files: magicgui needs the type of what is returned itself.
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from magicgui import magic_factory
from napari.layers import Image
from napari.qt.threading import FunctionWorker, thread_worker
from napari.types import LayerDataTuple
from qtpy.QtCore import QTimer

from napari_feedback_seg.models.library import DEFAULT_MODEL, list_models
from napari_feedback_seg.plugin.forms.options_widget import OptionsWidget
from napari_feedback_seg.plugin.layers.image import (
    class_colormap,
    class_features,
    em_sections,
    like,
    like_part,
)
from napari_feedback_seg.segmentation.prediction import SegmentOptions

_DEFAULTS = SegmentOptions()


def _models(_: Any) -> list[str]:
    return [entry.name for entry in list_models() if entry.card is not None]


@magic_factory(call_button="Segment", model={"choices": _models})
def segment_command(
    image: Image,
    model: str = DEFAULT_MODEL,
    settings: Annotated[SegmentOptions, {"widget_type": OptionsWidget}] = _DEFAULTS,
) -> FunctionWorker[LayerDataTuple]:
    """Segment an image with a model.

    Parameters
    ----------
    image : Image
        The EM image, a section or a stack.
    model : str
        A model that comes with the plugin, or one of your models folder.
    settings : SegmentOptions
        How to segment.
    """
    sections = em_sections(image)
    place, name = like(image), image.name

    def work() -> LayerDataTuple:
        import napari_feedback_seg
        from napari_feedback_seg.models.library import load_model

        loaded = load_model(model)
        chosen = {each: getattr(settings, each) for each in ("overlap", "flips")}
        prediction = napari_feedback_seg.segment(sections.data, loaded, **chosen)
        classes = loaded.card.classes
        shown = {"colormap": class_colormap(classes), "features": class_features(classes)}
        return prediction.labels, {"name": f"{name} segmentation", **place, **shown}, "labels"

    return _off_the_gui_thread(work)


@magic_factory(call_button="Show attention", model={"choices": _models})
def attention_command(
    image: Image,
    model: str = DEFAULT_MODEL,
    row: Annotated[int, {"min": 0, "max": 1_000_000}] = 0,
    column: Annotated[int, {"min": 0, "max": 1_000_000}] = 0,
    section: Annotated[int, {"min": 0, "max": 1_000_000}] = 0,
    around: Annotated[bool, {"label": "Tile around the pixel"}] = False,
) -> FunctionWorker[LayerDataTuple]:
    """Show where the second round looked for a pixel, in times the average place.

    Parameters
    ----------
    image : Image
        The EM image, a section or a stack.
    model : str
        A model with feedback attention.
    row, column : int
        The pixel.
    section : int
        Its section, of a stack.
    around : bool
        Lay the tile around the pixel instead of taking the nearest one of the segmentation's tiles.
    """
    sections = em_sections(image)

    def work() -> LayerDataTuple:
        from napari_feedback_seg.attention_maps.maps import SectionAttention
        from napari_feedback_seg.models.library import load_model

        engine = SectionAttention(np.asarray(sections.section(section)), load_model(model))
        tile = engine.at(row, column, recentre=around)
        values = tile.pixel(row, column).map
        place = like_part(image, tile.frame.region, section)
        shown = {"colormap": "magma", "opacity": 0.6, "interpolation2d": "nearest"}
        data = values if image.ndim == 2 else values[None]
        return data, {"name": f"{image.name} attention at {row}, {column}", **place, **shown}, "image"

    return _off_the_gui_thread(work)


def _off_the_gui_thread(work: Callable[[], LayerDataTuple]) -> FunctionWorker[LayerDataTuple]:
    worker: FunctionWorker[LayerDataTuple] = thread_worker(work, start_thread=False)()
    QTimer.singleShot(0, worker.start)  # napari listens to it once it has been returned
    return worker

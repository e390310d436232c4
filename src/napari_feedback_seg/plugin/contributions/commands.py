"""Segmenting, fine-tuning and attention as commands with a form, for scripts and notebooks.

Each is a magicgui factory: ``segment_command()`` is a widget to dock, and calling the widget runs it with
what it shows. The work is done off the GUI thread, and the layer is added when it is done. They are not
in the manifest: with a second widget napari would put the dock into a submenu.
"""

# Without the future annotations of the other files: magicgui needs the type of what is returned itself.
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from magicgui import magic_factory
from magicgui.widgets.bases import ValuedContainerWidget
from napari.layers import Image, Labels
from napari.qt.threading import FunctionWorker, thread_worker
from napari.types import LayerDataTuple
from qtpy.QtCore import QTimer

from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.models.library import DEFAULT_MODEL, list_models
from napari_feedback_seg.plugin.forms.options_form import widgets_of
from napari_feedback_seg.plugin.garbage import GARBAGE
from napari_feedback_seg.plugin.layers.image import (
    class_colormap,
    class_features,
    em_sections,
    like,
    like_part,
)
from napari_feedback_seg.segmentation.prediction import SegmentOptions


class OptionsWidget(ValuedContainerWidget):
    """What an argument of a command looks like whose value is a frozen dataclass.

    Such an argument is annotated ``Annotated[Options, {"widget_type": OptionsWidget}]`` and has a default.
    The rows are those of :class:`~napari_feedback_seg.plugin.forms.options_form.OptionsForm`.
    """

    def __init__(self, value: Any, **options: Any) -> None:
        self._options = value
        self._rows = widgets_of(value)
        for row in self._rows.values():
            row.label = row.label.replace("&", "")  # magicgui's labels have no keys
        super().__init__(widgets=list(self._rows.values()), **{**options, "label": ""})

    def get_value(self) -> Any:
        """Return the options as they are shown."""
        values = {name: row.value for name, row in self._rows.items()}
        return replace(self._options, **values)

    def set_value(self, value: Any) -> None:
        """Show other options."""
        self._options = value
        for name, row in self._rows.items():
            row.value = getattr(value, name)


_DEFAULTS, _FINETUNE = SegmentOptions(), FinetuneConfig()


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
    about = {"name": f"{image.name} segmentation", **like(image)}

    def work() -> LayerDataTuple:
        from napari_feedback_seg.models.library import load_model

        chosen = {each: getattr(settings, each) for each in ("overlap", "flips", "remove_specks")}
        return _segmented(sections.data, load_model(model), about, **chosen)

    return _off_the_gui_thread(work)


@magic_factory(call_button="Fine-tune", model={"choices": _models})
def finetune_command(
    image: Image,
    corrections: Labels,
    model: str = DEFAULT_MODEL,
    name: str = "my model",
    settings: Annotated[FinetuneConfig, {"widget_type": OptionsWidget}] = _FINETUNE,
) -> FunctionWorker[LayerDataTuple]:
    """Fine-tune a model on corrections, save it in your models folder, and segment the image with it.

    Parameters
    ----------
    image : Image
        The EM image, a section or a stack.
    corrections : Labels
        Of the same shape: labels of classes, 0 where nothing is said.
    model : str
        A model that comes with the plugin, or one of your models folder.
    name : str
        Name of the new model.
    settings : FinetuneConfig
        How to fine-tune.
    """
    sections, painted = em_sections(image), np.array(corrections.data)
    about = {"name": f"{image.name} by {name}", **like(image)}

    def work() -> LayerDataTuple:
        from napari_feedback_seg.correction.finetune import finetune
        from napari_feedback_seg.models.library import load_model, save_to_library

        tuned = finetune(load_model(model), sections.data, painted, settings).tuned
        tuned = replace(tuned, card=replace(tuned.card, name=name))
        save_to_library(tuned, name)
        return _segmented(sections.data, tuned, about)

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

        engine = SectionAttention(sections.plane(section), load_model(model))
        tile = engine.at(row, column, recentre=around)
        values = tile.pixel(row, column).map
        place = like_part(image, tile.frame.region, section)
        shown = {"colormap": "magma", "opacity": 0.6, "interpolation2d": "nearest"}
        data = values if image.ndim == 2 else values[None]
        return data, {"name": f"{image.name} attention at {row}, {column}", **place, **shown}, "image"

    return _off_the_gui_thread(work)


def _segmented(data: Any, model: Any, about: dict[str, Any], **options: Any) -> LayerDataTuple:
    import napari_feedback_seg

    labels = napari_feedback_seg.segment(data, model, **options).labels
    classes = model.card.classes
    shown = {"colormap": class_colormap(classes), "features": class_features(classes)}
    return labels, {**about, **shown}, "labels"


def _off_the_gui_thread(work: Callable[[], LayerDataTuple]) -> FunctionWorker[LayerDataTuple]:
    worker: FunctionWorker[LayerDataTuple] = thread_worker(work, start_thread=False)()
    GARBAGE.hold()
    worker.finished.connect(GARBAGE.release)
    QTimer.singleShot(0, worker.start)  # napari listens to it once it has been returned
    return worker

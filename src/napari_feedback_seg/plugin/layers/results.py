"""The layers that a segmentation is shown in, and what a person painted in them."""

from __future__ import annotations

import copy
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import Colormap

from napari_feedback_seg import __version__
from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.plugin.layers.corrections import find_layer
from napari_feedback_seg.plugin.layers.image import (
    RESULT_KEY,
    class_colormap,
    class_features,
    like,
    move,
    result_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.viewer import Viewer

    from napari_feedback_seg.segmentation.prediction import Prediction

PROBABILITY_KEY = "feedback-seg-probability"
"""Where a probability layer's metadata say what it is."""


@dataclass
class Result:
    """Writes predictions into the result layers of an image, on the GUI thread.

    A layer is made with the first prediction, so that a run that fails leaves no empty one.
    The layer of an earlier run is updated, unless a person has painted in what would be
    written over: then a new one is made, and ``messages`` says so.

    Parameters
    ----------
    viewer : Viewer
        Where the layers are.
    image : Image
        The image that is segmented.
    shape : tuple of int
        Shape of the labels: the image's.
    classes : sequence of LabelClass
        The model's classes.
    record : dict
        What made the result, as plain JSON: model, settings, pixel size.
    sections : sequence of int
        The sections that will be written.
    """

    viewer: Viewer
    image: Image
    shape: tuple[int, ...]
    classes: Sequence[LabelClass]
    record: dict[str, Any]
    sections: Sequence[int]
    messages: list[str] = field(default_factory=list)
    layer: Labels | None = None

    def __post_init__(self) -> None:
        self._attributes = like(self.image)  # the image may be gone when they are needed
        self._name = self.image.name

    def write(self, section: int, prediction: Prediction) -> None:
        """Show the prediction of a section, or of a part of it.

        Raises
        ------
        LookupError
            If the layer was deleted since the last section.
        """
        if self.layer is not None and self.layer not in self.viewer.layers:
            raise LookupError(self.layer.name)
        if self.layer is None or not self._fits(self.layer) or was_painted(self.layer, [section]):
            self.layer = self._layer_for(self.layer)
        plane = _plane(self.layer.data, section)
        plane[prediction.region] = prediction.labels
        forget_strokes(self.layer)
        note_written(self.layer, section)
        self._note_run(section, prediction)
        self.layer.refresh()
        self._write_probabilities(section, prediction)

    def _layer_for(self, painted: Labels | None) -> Labels:
        found = None if painted is not None else self._earlier()
        if found is not None and was_painted(found, self.sections):
            painted, found = found, None
        if found is None:
            if painted is not None:
                self.messages.append(
                    f"You have painted in '{painted.name}': it was left as it is, "
                    "and the result is in a new layer."
                )
            return self._new_layer()
        for name, value in self._attributes.items():  # the image may have been moved since
            setattr(found, name, value)
        add_classes(found, self.classes)
        # A duplicate of the layer shares what is noted: it is not to hear of this run.
        made_from = {"image": self._name, "image_id": str(self.image.unique_id)}
        record = {**copy.deepcopy(found.metadata[RESULT_KEY]), **made_from}
        found.metadata = {**found.metadata, RESULT_KEY: record}
        return found

    def _earlier(self) -> Labels | None:
        """Return the layer that is the result of this image, if it can hold this one, too."""
        found = result_of(self.viewer, self.image)
        if found is None or not self._fits(found):
            return None
        if not agree(_classes_of(found), self.classes):
            found.visible = False  # it would shine through
            return None
        return found

    def _fits(self, layer: Labels) -> bool:
        data = layer.data
        return isinstance(data, np.ndarray) and data.flags.writeable and data.shape == self.shape

    def _new_layer(self) -> Labels:
        identity = str(self.image.unique_id)
        layer = Labels(
            np.zeros(self.shape, np.uint8),
            name=f"{self._name} labels",
            colormap=class_colormap(self.classes),
            features=class_features(self.classes),
            metadata={RESULT_KEY: {"image": self._name, "image_id": identity, "runs": [], "digests": {}}},
            opacity=0.8,
            **self._attributes,
        )
        active = self.viewer.layers.selection.active
        # What is painted lies above what is segmented.
        corrections = find_layer(self.viewer, self.image)
        end = len(self.viewer.layers)
        self.viewer.layers.insert(
            end if corrections is None else self.viewer.layers.index(corrections), layer
        )
        self.viewer.layers.selection.active = active
        return layer

    def _note_run(self, section: int, prediction: Prediction) -> None:
        assert self.layer is not None
        rows, columns = prediction.region
        run = {
            **self.record,
            "device": prediction.device,
            "region": [[rows.start, rows.stop], [columns.start, columns.stop]],
        }
        noted = self.layer.metadata[RESULT_KEY]
        noted |= {**self.record, "version": __version__}
        add_classes(self.layer, self.classes)
        runs = noted["runs"]
        if runs and {**runs[-1], "sections": None} == {**run, "sections": None}:
            if section not in runs[-1]["sections"]:
                runs[-1]["sections"].append(section)
        else:
            runs.append({**run, "sections": [section]})

    def _write_probabilities(self, section: int, prediction: Prediction) -> None:
        assert self.layer is not None
        if prediction.probabilities is None:  # those of an earlier run are no longer those of the labels
            for layer in probability_layers(self.viewer, self.layer):
                if layer.data.shape == self.shape:
                    _plane(layer.data, section)[prediction.region] = 0
                    layer.refresh()
            return
        for each, values in zip(self.classes, prediction.probabilities, strict=True):
            layer = self._probability_layer(each)
            _plane(layer.data, section)[prediction.region] = values
            layer.refresh()

    def _probability_layer(self, each: LabelClass) -> Image:
        assert self.layer is not None
        for layer in probability_layers(self.viewer, self.layer):
            if layer.metadata[PROBABILITY_KEY]["class"] == each.name and layer.data.shape == self.shape:
                if self.image in self.viewer.layers:
                    move(layer, self.image)
                return layer
        what = {"image": self._name, "class": each.name, "labels_id": str(self.layer.unique_id)}
        active = self.viewer.layers.selection.active
        layer = Image(
            np.zeros(self.shape, np.float16),
            name=f"{self._name} {each.name} probability",
            contrast_limits=(0, 1),
            colormap=Colormap(
                [(0, 0, 0), [part / 255 for part in each.rgb]], name=f"{each.name} {each.color}"
            ),
            blending="additive",
            visible=False,
            metadata={PROBABILITY_KEY: what},
            **self._attributes,
        )
        self.viewer.add_layer(layer)
        self.viewer.layers.selection.active = active
        return layer


def probability_layers(viewer: Viewer, labels: Labels) -> list[Image]:
    """Return the probability layers of a result: by its identity, or of the file that both are from."""
    of = {str(labels.unique_id), labels.metadata[RESULT_KEY].get("opened")} - {None}
    found = []
    for layer in viewer.layers:
        if layer.metadata.get(PROBABILITY_KEY, {}).get("labels_id") in of:
            found.append(layer)
    return found


def agree(classes: Sequence[LabelClass], others: Sequence[LabelClass]) -> bool:
    """Return whether no value and no name means one class here and another there."""
    merged = {(each.value, each.name) for each in _union(classes, others)}
    return all((each.value, each.name) in merged for each in others)


def add_classes(layer: Labels, classes: Sequence[LabelClass]) -> None:
    """Let a result layer know and show these classes beside its own."""
    before = _classes_of(layer)
    after = _union(before, classes)
    if after != before:
        layer.metadata[RESULT_KEY]["classes"] = [each.to_json() for each in after]
        layer.colormap = class_colormap(after)
        layer.features = class_features(after)


def _union(classes: Sequence[LabelClass], others: Sequence[LabelClass]) -> list[LabelClass]:
    taken = {each.value for each in classes} | {each.name for each in classes}
    new = [each for each in others if not {each.value, each.name} & taken]
    return sorted([*classes, *new], key=lambda each: each.value)


def _classes_of(layer: Labels) -> list[LabelClass]:
    return [LabelClass(**each) for each in layer.metadata[RESULT_KEY].get("classes", [])]


def was_painted(layer: Labels, sections: Sequence[int]) -> bool:
    """Return whether sections of a result layer differ from what was last written to them."""
    digests = layer.metadata.get(RESULT_KEY, {}).get("digests", {})
    for section in sections:
        plane = _plane(layer.data, section)
        if section in digests:
            if _digest(plane) != digests[section]:
                return True
        elif plane.any():
            return True
    return False


def note_written(layer: Labels, section: int) -> None:
    """Remember a section of a result layer as it is now: this is not painted."""
    layer.metadata[RESULT_KEY].setdefault("digests", {})[section] = _digest(_plane(layer.data, section))


def forget_strokes(layer: Labels) -> None:
    """Drop napari's undo steps: they would put back pixels of an earlier result."""
    mode = layer.mode
    layer.editable = False
    layer.editable = True
    layer.mode = mode


def _plane(data: np.ndarray, section: int) -> np.ndarray:
    return data[section] if data.ndim == 3 else data


def _digest(plane: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(plane).data)

"""The layers that a segmentation is shown in, and what a person painted in them."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import Colormap

from napari_feedback_seg.plugin.layers.corrections import find_layer
from napari_feedback_seg.plugin.layers.image import (
    RESULT_KEY,
    add_beside,
    class_colormap,
    class_features,
    like_part,
    move,
    pixel_size_nm,
    planes_of,
    results_of,
)
from napari_feedback_seg.plugin.session.records import ResultRecord
from napari_feedback_seg.plugin.session.regions import contains, region_from, spans_of, within
from napari_feedback_seg.plugin.session.versions import Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel

    from napari_feedback_seg.classes import LabelClass
    from napari_feedback_seg.plugin.session.records import RunRecord
    from napari_feedback_seg.plugin.session.regions import Region
    from napari_feedback_seg.segmentation.prediction import Prediction

LARGE = 2**25
"""Pixels of a section from which on the result of a part of it is a layer of that part."""

PROBABILITY_KEY = "feedback-seg-probability"
"""Where a probability layer's metadata say what it is."""


class ResultWriter:
    """Writes predictions into the result layers of an image, on the GUI thread.

    A layer is made with the first prediction, so that a run that fails leaves no empty one.
    The layer of an earlier run is updated. What a person painted is in the corrections on top of it.
    Of a large image the layer holds no more than the rows and columns of ``region``.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        shape: tuple[int, ...],
        classes: Sequence[LabelClass],
        run: RunRecord,
        region: Region | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self.viewer, self.image, self.shape = viewer, image, shape
        self.classes, self.run, self.region = tuple(classes), run, region
        self.layer: Labels | None = None
        self.part: Region | None = None
        self.keeps, self.before = keep, Version()  # whether what was there before is kept, and what it was
        self._name = image.name

    def _place(self) -> dict[str, Any]:
        return like_part(self.image, self.part)

    @property
    def there(self) -> bool:
        """Whether the layer is made, and not deleted."""
        return self.layer is not None and self.layer in self.viewer.layers

    def write(self, section: int, prediction: Prediction) -> None:
        """Show the prediction of a section, or of a part of it.

        Raises LookupError if the layer was deleted since the last section.
        """
        if self.layer is not None and not self.there:
            raise LookupError(self.layer.name)
        if self.layer is None or not self._fits(self.layer):
            self.layer = self._layer_for()
        plane = planes_of(self.layer.data)[section]
        if self.keeps:
            self.before.keep(section, plane, _record(self.layer))
        plane[within(prediction.region, self.part)] = prediction.labels
        run = replace(self.run, device=prediction.device, region=spans_of(prediction.region))
        add_classes(self.layer, self.classes)
        write_record(self.layer, _record(self.layer).with_section(run, section))
        redraw(self.layer)
        self._write_probabilities(section, prediction)

    def note_messages(self, messages: Sequence[str]) -> None:
        """Write down what was said of the result."""
        if self.layer is not None:
            write_record(self.layer, replace(_record(self.layer), messages=tuple(messages)))

    def _layer_for(self) -> Labels:
        found = self._earlier()
        if found is None:
            return self._new_layer()
        if self.image in self.viewer.layers:  # it may have been moved since
            move(found, self.image, self.part)
        add_classes(found, self.classes)
        # A duplicate of the layer shares what is noted: it is not to hear of this run.
        found.metadata = copy.deepcopy(dict(found.metadata))
        record = _record(found)
        write_record(found, replace(record, image=self._name, image_id=str(self.image.unique_id)))
        return found

    def _earlier(self) -> Labels | None:
        """Return the layer that is the result of this image, if it can hold this one, too."""
        found = next(filter(self._fits, results_of(self.viewer, self.image)), None)
        if found is None:
            return None
        self.part = region_of(found)
        if not agree(_record(found).classes, self.classes):
            found.visible = False  # it would shine through
            return None
        return found

    def _fits(self, layer: Labels) -> bool:
        """Return whether a layer has a place for what is written."""
        data, part = layer.data, region_of(layer)
        if not isinstance(data, np.ndarray) or not data.flags.writeable:
            return False
        if part is None:
            return data.shape == self.shape
        return (
            data.shape == self._part_shape(part) and self.region is not None and contains(part, self.region)
        )

    def _part_shape(self, part: Region | None) -> tuple[int, ...]:
        if part is None:
            return self.shape
        return (*self.shape[:-2], *(each.stop - each.start for each in part))

    def _new_layer(self) -> Labels:
        large = self.shape[-2] * self.shape[-1] > LARGE
        self.part = self.region if large else None
        part = None if self.part is None else spans_of(self.part)
        record = ResultRecord(self._name, str(self.image.unique_id), self.classes, region=part)
        layer = Labels(
            np.zeros(self._part_shape(self.part), np.uint8),
            name=f"{self._name} labels",
            colormap=class_colormap(self.classes),
            features=class_features(self.classes),
            metadata={RESULT_KEY: record.to_json()},
            opacity=0.8,
            **self._place(),
        )
        # What is painted lies above what is segmented.
        corrections = find_layer(self.viewer, self.image)
        add_beside(self.viewer, layer, None if corrections is None else self.viewer.layers.index(corrections))
        return layer

    def _write_probabilities(self, section: int, prediction: Prediction) -> None:
        assert self.layer is not None
        if prediction.probabilities is None:
            forget_probabilities(self.viewer, self.layer, section, within(prediction.region, self.part))
            return
        for each, values in zip(self.classes, prediction.probabilities, strict=True):
            layer = self._probability_layer(each)
            planes_of(layer.data)[section][within(prediction.region, self.part)] = values
            redraw(layer)

    def _probability_layer(self, each: LabelClass) -> Image:
        assert self.layer is not None
        for layer in probability_layers(self.viewer, self.layer):
            shapes = layer.data.shape, self.layer.data.shape
            if layer.metadata[PROBABILITY_KEY]["class"] == each.name and shapes[0] == shapes[1]:
                if self.image in self.viewer.layers:
                    move(layer, self.image, self.part)
                return layer
        what = {"image": self._name, "class": each.name, "labels_id": str(self.layer.unique_id)}
        layer = Image(
            np.zeros(self.layer.data.shape, np.float16),
            name=f"{self._name} {each.name} probability",
            contrast_limits=(0, 1),
            colormap=Colormap(
                [(0, 0, 0), [part / 255 for part in each.rgb]], name=f"{each.name} {each.color}"
            ),
            blending="additive",
            visible=False,
            metadata={PROBABILITY_KEY: what},
            **self._place(),
        )
        add_beside(self.viewer, layer)
        return layer


def region_of(layer: Any) -> Region | None:
    """Return the rows and columns of the image that a result layer holds; None for all of them."""
    record = record_of(layer)
    return region_from(record.region) if record is not None and record.region is not None else None


def redraw(layer: Labels | Image) -> None:
    """Draw a layer anew; a large one without its thumbnail, which alone takes longer than all else."""
    layer.refresh(thumbnail=layer.data.shape[-2] * layer.data.shape[-1] <= LARGE, extent=False)


def record_of(layer: Any) -> ResultRecord | None:
    """Return what a result layer notes of itself; None if it is no result, or its note is damaged."""
    noted = layer.metadata.get(RESULT_KEY) if isinstance(layer, Labels) else None
    try:
        return ResultRecord.from_json(noted) if noted is not None else None
    except (LookupError, TypeError, ValueError):
        return None


def write_record(layer: Labels, record: ResultRecord) -> None:
    """Have a result layer note this of itself."""
    layer.metadata = {**layer.metadata, RESULT_KEY: record.to_json()}


def _record(layer: Labels) -> ResultRecord:
    return ResultRecord.from_json(layer.metadata[RESULT_KEY])


def probability_layers(viewer: ViewerModel, labels: Labels) -> list[Image]:
    """Return the probability layers of a result: by its identity, or of the file that both are from."""
    of = {str(labels.unique_id), labels.metadata[RESULT_KEY].get("opened")} - {None}
    found = []
    for layer in viewer.layers:
        if layer.metadata.get(PROBABILITY_KEY, {}).get("labels_id") in of:
            found.append(layer)
    return found


def forget_probabilities(
    viewer: ViewerModel, labels: Labels, section: int, region: Region | None = None
) -> None:
    """Empty the probabilities of a section, or of a region of it: they are not those of the labels."""
    for layer in probability_layers(viewer, labels):
        if layer.data.shape == labels.data.shape:
            planes_of(layer.data)[section][region or ...] = 0
            redraw(layer)


def remove_probabilities(viewer: ViewerModel, labels: Labels) -> None:
    """Remove the probability layers of a result."""
    for layer in probability_layers(viewer, labels):
        viewer.layers.remove(layer)


def agree(classes: Sequence[LabelClass], others: Sequence[LabelClass]) -> bool:
    """Return whether no value and no name means one class here and another there."""
    merged = {(each.value, each.name) for each in _union(classes, others)}
    return all((each.value, each.name) in merged for each in others)


def add_classes(layer: Labels, classes: Sequence[LabelClass]) -> None:
    """Let a result layer know and show these classes beside its own."""
    record = _record(layer)
    after = _union(record.classes, classes)
    if after != record.classes:
        write_record(layer, replace(record, classes=after))
        layer.colormap = class_colormap(after)
        layer.features = class_features(after)


def _union(classes: Sequence[LabelClass], others: Sequence[LabelClass]) -> tuple[LabelClass, ...]:
    taken = {each.value for each in classes} | {each.name for each in classes}
    new = [each for each in others if not {each.value, each.name} & taken]
    return tuple(sorted([*classes, *new], key=lambda each: each.value))


def measured_size(layer: Labels) -> tuple[float, float] | None:
    """Return the height and width in nm of a rectangle as large as a pixel of a result.

    The size of the layer counts, and where that has none the one that the result was made with, as a
    person typed it in.
    """
    recorded = layer.metadata[RESULT_KEY].get("pixel_size_nm")
    size = pixel_size_nm(layer) or ((float(recorded[0]), float(recorded[1])) if recorded else None)
    if size is None:
        return None
    # A sheared pixel is a parallelogram: its sides alone do not give its area.
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
    down, across = ((np.asarray(layer.data_to_world(step)) - origin)[-2:] for step in np.eye(layer.ndim)[-2:])
    area = abs(float(down[0] * across[1] - down[1] * across[0]))
    sine = area / (math.hypot(*down) * math.hypot(*across))
    return size[0], size[1] if sine > 1 - 1e-9 else size[1] * sine

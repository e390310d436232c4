"""Opens in napari what was exported: the same layers as before."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from napari import current_viewer
from napari.layers import Image
from napari.utils.colormaps import Colormap, DirectLabelColormap
from napari.utils.notifications import show_warning

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.layers.image import CORRECTIONS_KEY, RESULT_KEY, class_colormap, pixels_of
from napari_feedback_seg.plugin.layers.objects import EDITS_KEY
from napari_feedback_seg.plugin.layers.results import PROBABILITY_KEY
from napari_feedback_seg.segmentation.export import RUN_SUFFIX, Exported, is_export, read_export

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.types import LayerDataTuple

_log = logging.getLogger(__name__)

LABELS_SUFFIX = "-labels.tif"
"""What the name of exported labels ends with."""


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerDataTuple]] | None:
    """Return the reader of an exported result; None if a file is no record of one."""
    if all(str(each).endswith(RUN_SUFFIX) and is_export(each) for each in _listed(path)):
        return read_result
    return None


def record_beside(path: str | list[str]) -> str | None:
    """Return the record of the export that a file of labels is a part of; None if it is of none.

    A folder cannot be had so: napari asks at every folder which reader to take where there are two.
    """
    if not str(path).endswith(LABELS_SUFFIX):
        return None
    record = str(path).removesuffix(LABELS_SUFFIX) + RUN_SUFFIX
    return record if is_export(record) else None


def read_result(path: str | list[str]) -> list[LayerDataTuple]:
    """Return the layers of exported results: labels, the probabilities, hidden, and the corrections.

    Their images are opened below them.

    Raises InputError if a file is missing or damaged.
    """
    return [layer for each in _listed(path) for layer in _layers(each)]


def _layers(path: str) -> list[LayerDataTuple]:
    exported = read_export(path)
    exported.record.pop("image_id", None)  # that image is not of this viewer
    exported.record["opened"] = uuid4().hex  # what tells the layers of this opening from others
    try:
        labels = _labels_attributes(exported.layers["labels"], exported.record)
        labels["visible"] = True  # finding objects hides them
        if exported.edits:
            labels["metadata"][EDITS_KEY] = {what: str(file) for what, file in exported.edits.items()}
        images = [
            _image_attributes(state, exported.record["opened"]) for state in exported.layers["probabilities"]
        ]
        corrections: list[LayerDataTuple] = []
        if exported.corrections is not None:
            saved = dict(exported.layers["corrections"])
            about = {name: saved.pop(name, []) for name in ("muted", "muted_classes")}
            about |= {"image": exported.record["image"], "classes": exported.record.get("classes", [])}
            state, what = _labels_attributes(saved, exported.record), {CORRECTIONS_KEY: about}
            corrections = [(exported.corrections, {**state, "metadata": what}, "labels")]
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read as the record of a result ({error}).") from error
    _open_image(exported)
    return [
        (exported.labels, labels, "labels"),
        *((data, state, "image") for data, state in zip(exported.probabilities, images, strict=True)),
        *corrections,
    ]


def _open_image(exported: Exported) -> None:
    """Open the image of a result as it was, unless it is open; else say which one to open."""
    viewer, name, path = current_viewer(), exported.record["image"], exported.image_path
    if viewer is None:
        return
    state = dict(exported.layers.get("image", {}))
    shape, reader = tuple(state.pop("shape", ())), state.pop("reader", None)
    for each in viewer.layers:
        own = each.source.path
        if isinstance(each, Image) and (each.name == name or (path and own and os.path.abspath(own) == path)):
            return
    if state and path and os.path.exists(path):
        opened: list[Any] = []
        try:
            opened = viewer.open(path, plugin=reader, **{**state, **_place(state), "name": name})
        except Exception as error:  # noqa: BLE001  # whatever another plugin raises
            _log.info("%s cannot be opened: %s", path, error)
        if [tuple(pixels_of(each).shape) for each in opened] == [shape]:
            return
        for each in opened:
            viewer.layers.remove(each)
    why = "it came from no file"
    if path:
        why = f"'{path}' does not hold it as it was" if os.path.exists(path) else f"'{path}' is not there"
    show_warning(f"The image of this result is not open: {why}. Open it, and call its layer '{name}'.")


def _listed(path: str | list[str]) -> list[str]:
    return path if isinstance(path, list) else [path]


def _labels_attributes(state: Mapping[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    attributes = {name: value for name, value in state.items() if name != "colors"}
    if state["colors"]:
        colors = {value: np.asarray(color, float) for value, color in state["colors"]}
        attributes["colormap"] = DirectLabelColormap(color_dict=colors)
    else:
        attributes["colormap"] = class_colormap([LabelClass(**each) for each in record["classes"]])
    return {**attributes, **_place(state), "metadata": {RESULT_KEY: record}}


def _image_attributes(state: Mapping[str, Any], opened: str) -> dict[str, Any]:
    metadata = {PROBABILITY_KEY: {**state["metadata"][PROBABILITY_KEY], "labels_id": opened}}
    look = {"colormap": Colormap(**state["colormap"]), "visible": False, "metadata": metadata}
    return {**state, **_place(state), **look}


def _place(state: Mapping[str, Any]) -> dict[str, Any]:
    arrays = ("scale", "translate", "rotate", "shear", "affine")
    return {name: np.asarray(state[name], float) for name in arrays}

"""Export a result: its layers, its table, and the record of what made it."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QPushButton, QWidget

from napari_feedback_seg.plugin.layers.corrections import find_layer
from napari_feedback_seg.plugin.layers.image import RESULT_KEY, like, planes_of, spacing_nm
from napari_feedback_seg.plugin.layers.results import PROBABILITY_KEY, probability_layers
from napari_feedback_seg.plugin.segment.measure import current_result, measured_size
from napari_feedback_seg.segmentation.export import Result, SectionExported, export

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.layers import Image, Labels

    from napari_feedback_seg.plugin.session.session import Session


class ExportButton(QPushButton):
    """Asks for a folder, and exports the result of the image to a new one in it.

    Parameters
    ----------
    session : Session
        The session.
    least : callable, optional
        Returns the least size of a profile in the table.

    Signals
    -------
    exported : str
        The result is exported; this sentence says where to.
    """

    exported = Signal(str)

    def __init__(
        self,
        session: Session,
        least: Callable[[], float | None] = lambda: None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__("Export...", parent)
        self._session, self._least = session, least
        self.setToolTip(
            "<qt>Write labels, probabilities, table and a record of the run into a new folder</qt>"
        )
        self.clicked.connect(self._ask_for_folder)
        session.changed.connect(self._on_changed)
        session.jobs.started.connect(self._refresh)
        session.jobs.ended.connect(self._refresh)
        self._refresh()

    def export_to(self, folder: str | Path) -> bool:
        """Export the result to a new folder in ``folder``; return whether that has begun."""
        return export_result(self._session, folder, self._least(), self._say)

    def _ask_for_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Export to a new folder in")
        if folder:
            self.export_to(folder)

    def _say(self, run: Path) -> None:
        sentence = f"Exported to {run.parent}. Open {run.name} in napari to have the layers again."
        show_info(sentence)
        self.exported.emit(sentence)

    def _on_changed(self, part: str) -> None:
        if part == "result":
            self._refresh()

    def _refresh(self) -> None:
        self.setEnabled(current_result(self._session) is not None and not self._session.jobs.busy)


def export_result(
    session: Session,
    folder: str | Path,
    least: float | None = None,
    on_done: Callable[[Path], None] | None = None,
) -> bool:
    """Export the result of the image, off the GUI thread.

    Parameters
    ----------
    session : Session
        The session.
    folder : path-like
        A new folder is made in this one, so that nothing is ever overwritten.
    least : float, optional
        Least size of a profile in the table.
    on_done : callable, optional
        Called with the path of the record when all is written.

    Returns
    -------
    bool
        Whether the export has begun: False without a result, or while another job runs.
    """
    session.correcting.corrections.look()
    layer = current_result(session)
    if layer is None:
        return False
    result = _result(session, layer)

    def work() -> Generator[SectionExported, None, Path]:
        painted = planes_of(result.corrections) if result.corrections is not None else []
        edited = [z for z, plane in enumerate(painted) if plane.any()]
        target = _free(Path(folder) / f"{result.name}-segmented")
        return (yield from export(result if edited else _without_corrections(result), target, edited, least))

    return session.jobs.run(work, title=f"Exporting {layer.name}", on_done=on_done)


def _result(session: Session, layer: Labels) -> Result:
    image = str(layer.metadata[RESULT_KEY]["image"])
    composed = session.correcting.corrections.of_result(layer)
    corrections = (
        find_layer(session.viewer, session.layers.image_of(layer))
        if composed.corrections is not None
        else None
    )
    probabilities = {
        each.metadata[PROBABILITY_KEY]["class"]: each
        for each in probability_layers(session.viewer, layer)
        if tuple(each.data.shape) == tuple(layer.data.shape)
    }
    return Result(
        labels=composed,
        record=copy.deepcopy(layer.metadata[RESULT_KEY]),
        layers={
            "labels": _labels_state(layer),
            "probabilities": [_image_state(each) for each in probabilities.values()],
            **({"corrections": _labels_state(corrections)} if corrections is not None else {}),
        },
        probabilities={name: each.data for name, each in probabilities.items()},
        corrections=composed.corrections,
        pixel_size_nm=measured_size(layer),
        spacing_nm=spacing_nm(layer) or session.pixel_sizes.spacing_of(session.layers.image_of(layer)),
        image_path=_image_path(session, image),
    )


def _without_corrections(result: Result) -> Result:
    layers = {name: each for name, each in result.layers.items() if name != "corrections"}
    return replace(result, corrections=None, layers=layers)


def _image_path(session: Session, name: str) -> str | None:
    """Return the file that the image of this name was opened from."""
    for image in session.images:
        path = image.source.path
        if image.name == name and path:
            return os.path.abspath(path) if os.path.exists(path) else str(path)
    return None


def _free(folder: Path) -> Path:
    """Return ``folder``, with a number behind it if that is taken."""
    number, free = 1, folder
    while os.path.lexists(free):
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def _labels_state(layer: Labels) -> dict[str, Any]:
    """Return what a labels layer looks like, as plain JSON."""
    colors = getattr(layer.colormap, "color_dict", None)
    return {
        **_common_state(layer),
        "visible": layer.visible,
        "features": layer.features.to_dict("list"),
        "colors": [[value, np.asarray(color).tolist()] for value, color in colors.items()]
        if colors
        else None,
    }


def _image_state(layer: Image) -> dict[str, Any]:
    """Return what a probability layer looks like, as plain JSON."""
    return {
        **_common_state(layer),
        "gamma": layer.gamma,
        "contrast_limits": list(layer.contrast_limits),
        "metadata": copy.deepcopy(layer.metadata),
        "colormap": {
            "name": layer.colormap.name,
            "colors": np.asarray(layer.colormap.colors).tolist(),
            "controls": np.asarray(layer.colormap.controls).tolist(),
            "interpolation": str(layer.colormap.interpolation),
        },
    }


def _common_state(layer: Labels | Image) -> dict[str, Any]:
    place = like(layer)
    plain = {name: np.asarray(place[name]).tolist() for name in ("scale", "translate", "rotate", "shear")}
    return {
        "name": layer.name,
        "opacity": layer.opacity,
        "blending": str(layer.blending),
        **plain,
        "affine": np.asarray(place["affine"].affine_matrix).tolist(),
        "units": [str(unit) for unit in place["units"]],
        "axis_labels": list(place["axis_labels"]),
    }

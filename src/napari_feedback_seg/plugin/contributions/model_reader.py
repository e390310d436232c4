"""Offers to add a model that is dropped onto napari to the user's models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari import current_viewer
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_feedback_seg.models.library import import_to_library
from napari_feedback_seg.plugin.contributions.sessions import refresh_models
from napari_feedback_seg.plugin.contributions.settings import apply_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.types import LayerDataTuple

NO_LAYER: LayerDataTuple = (None,)
"""What a reader returns that has none for napari to show."""


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerDataTuple]] | None:
    """Return what adds models to the library; None if a file can be no model."""
    from napari_feedback_seg.models.bioimageio.read import is_package

    paths = [Path(each) for each in (path if isinstance(path, list) else [path])]
    if all(each.suffix == ".safetensors" or is_package(each) for each in paths):
        return add_models
    return None


def add_models(path: str | list[str]) -> list[LayerDataTuple]:
    """Add model files and bioimage.io packages to the user's models, and show them in each dock.

    A person at a window is asked first. Without one there is nobody to ask.

    Raises
    ------
    ModelError, OutputError
        If one cannot be used, or its name is taken.
    """
    apply_settings()  # which say where the models are
    files = [Path(each) for each in (path if isinstance(path, list) else [path])]
    if current_viewer() is not None and not _agreed(files):
        return [NO_LAYER]
    for each in files:
        name = import_to_library(each)
        refresh_models(name)
        show_info(f"The model '{name}' is in your models folder now.")
    return [NO_LAYER]


def _agreed(files: list[Path]) -> bool:
    names = "\n".join(each.name for each in files)
    question = (
        "Add this model to your models folder, and use it?"
        if len(files) == 1
        else "Add these models to your models folder, and use the last one?"
    )
    answer = QMessageBox.question(
        QApplication.activeWindow(), "Add to your models?", f"{question}\n\n{names}"
    )
    return bool(answer == QMessageBox.StandardButton.Yes)

"""Check an installed wheel in napari, without a screen: its manifest, its commands and its dock."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from npe2 import PluginManager
from qtpy.QtWidgets import QApplication

import napari_feedback_seg
from napari_feedback_seg.plugin.contributions.dock import FeedbackDock


def main() -> str | None:
    """Return what is wrong, if anything is."""
    if Path(napari_feedback_seg.__file__).is_relative_to(Path(__file__).parents[1] / "src"):
        return "The sources were imported, and not the wheel."
    application = QApplication(sys.argv[:1])
    plugins = PluginManager.instance()
    plugins.discover()
    manifest = plugins.get_manifest("napari-feedback-seg")
    for command in manifest.contributions.commands or []:
        plugins.commands.get(command.id)  # imports it
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8), name="noise")
    dock = FeedbackDock(viewer)
    dock.show()
    application.processEvents()
    if not dock.isVisible():
        return "The dock does not show."
    dock.close()
    commands = len(manifest.contributions.commands or [])
    print(
        f"napari-feedback-seg {napari_feedback_seg.__version__}: {commands} commands, and the dock, are there"
    )
    return None


if __name__ == "__main__":
    sys.exit(main())

"""Make the pictures of docs/correct-and-fine-tune.md: a real napari, the built-in sample inverted.

On a machine without a screen: xvfb-run -s "-screen 0 1366x768x24" python scripts/make_correction_pictures.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import napari
from make_screenshots import PLUGIN, shoot
from qtpy.QtCore import QEventLoop, QTimer

from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.models.library import FOLDER_VARIABLE

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from typing import TYPE_CHECKING

from annotator import worst_first

if TYPE_CHECKING:
    from collections.abc import Callable

STROKES = 14


def main() -> None:
    """Write docs/images/correct-*.jpg."""
    with TemporaryDirectory() as folder:
        os.environ[FOLDER_VARIABLE] = folder  # nothing of it stays in the user's own
        viewer = napari.Viewer()
        viewer.window.resize(1366, 768)
        viewer.open_sample(PLUGIN, "builtin_em_section")
        wait(3000)
        image = viewer.layers[0]
        image.data = 255 - image.data
        _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Feedback segmentation")
        finish(dock, dock.segment_tab.segment)
        dock.show_tab("correct")
        correcting = dock.session.correcting
        paint(correcting, builtin_section(image.data.shape[0]).labels, dock.session.result.data)
        wait(1500)
        shoot(viewer, "correct-painted")
        finish(dock, correcting.fine_tune)
        wait(4000)  # the notification goes
        correcting.corrections.layer.visible = False
        shoot(viewer, "correct-tuned")
        correcting.keep()
        correcting.save_as("bright membranes")
        viewer.close()


def finish(dock: object, start: Callable[[], None]) -> None:
    """Start a job, and wait for it and for the one that follows it."""
    start()
    wait(500)
    while dock.session.jobs.busy:
        wait(500)


def wait(milliseconds: int) -> None:
    """Let the window live for a while, and the work have the processor."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def paint(correcting: object, truth: object, said: object) -> None:
    """Paint over the worst mistakes."""
    for stroke in worst_first([truth], [said], [1, 2, 3, 4], STROKES):
        correcting.paint_with(stroke.value)
        correcting.corrections.layer.data_setitem(tuple(stroke.pixels.T), stroke.value)


if __name__ == "__main__":
    main()

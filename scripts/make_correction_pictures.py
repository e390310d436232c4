"""Make the pictures of docs/how-to/correct.md: a real napari, the built-in sample in another stain.

On a machine without a screen: xvfb-run -s "-screen 0 1366x768x24" python scripts/make_correction_pictures.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from make_screenshots import PLUGIN, shoot
from qtpy.QtCore import QEventLoop, QTimer
from scipy.ndimage import gaussian_filter

from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.models.library import FOLDER_VARIABLE
from napari_feedback_seg.plugin.session.jobs import State

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from annotator import worst_first

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = "self-w16"
STROKES = 10


def main() -> None:
    """Write docs/images/correct-*.jpg."""
    with TemporaryDirectory() as folder:
        os.environ[FOLDER_VARIABLE] = folder  # nothing of it stays in the user's own
        viewer = napari.Viewer()
        viewer.window.resize(1366, 768)
        viewer.open_sample(PLUGIN, "builtin_em_section")
        wait(3000)
        image = viewer.layers[0]
        image.data = foreign(image.data)
        _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Feedback segmentation")
        session = dock.session
        session.model_name = MODEL
        finish(dock, dock.segment_tab.segment)
        dock.show_tab("correct")
        shoot(viewer, "correct-before")
        strokes = worst(image.data.shape[0], session.result.data)
        paint(session.correcting, strokes[0])
        while not session.instant.shown.outlines:
            wait(20)
        shoot(viewer, "correct-first")
        for stroke in strokes[1:]:
            paint(session.correcting, stroke)
            settle(session)
        wait(2000)  # the outline goes
        shoot(viewer, "correct-answered")
        settle(session)
        session.instant.set_picking(True)
        session.layers.changes.pointed.emit(image.data_to_world(changed_most(session)), False)
        wait(200)
        settle(session)
        shoot(viewer, "correct-why")
        session.instant.set_picking(False)
        finish(dock, session.permanent.make)
        shoot(viewer, "correct-permanent")
        session.correcting.undo()
        finish(dock, session.correcting.fine_tune)
        wait(4000)  # the notification goes
        session.correcting.corrections.layer.visible = False
        shoot(viewer, "correct-tuned")
        session.correcting.keep()
        session.correcting.save_as("another stain")
        viewer.close()


def foreign(image: np.ndarray, gamma: float = 0.5, noise: float = 0.05) -> np.ndarray:
    """Return the section as another microscope might show it: another stain, blurred and noisy."""
    random = np.random.default_rng(0)
    grey = gaussian_filter((image / 255.0) ** gamma, 3) + noise * random.standard_normal(image.shape)
    return np.uint8(np.clip(255 * grey, 0, 255))


def finish(dock: Any, start: Callable[[], None]) -> None:
    """Start a job, and wait for it and for the one that follows it."""
    start()
    wait(500)
    while dock.session.jobs.busy:
        wait(500)


def settle(session: Any) -> None:
    """Wait until all strokes are answered."""
    wait(100)
    while session.instant.state is not State.IDLE:
        wait(50)


def wait(milliseconds: int) -> None:
    """Let the window live for a while, and the work have the processor."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def worst(side: int, said: np.ndarray) -> list[Any]:
    """Return strokes on the worst mistakes."""
    return worst_first([builtin_section(side).labels], [said], [1, 2, 3, 4], STROKES)


def paint(correcting: Any, stroke: Any) -> None:
    """Paint a stroke."""
    correcting.paint_with(stroke.value)
    correcting.corrections.layer.data_setitem(tuple(stroke.pixels.T), stroke.value)


def changed_most(session: Any) -> tuple[int, int]:
    """Return a place in the middle of what the strokes have changed."""
    after = session.result.data.copy()
    session.instant.show_before(True)
    moved = gaussian_filter((session.result.data != after).astype(float), 8)
    session.instant.show_before(False)
    row, column = np.unravel_index(moved.argmax(), moved.shape)
    return int(row), int(column)


if __name__ == "__main__":
    main()

"""What the scripts share that make pictures of napari's window for the documentation.

On a machine without a screen: xvfb-run -s "-screen 0 1366x768x24" python scripts/make_screenshots.py
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QEventLoop, QTimer
from scipy.ndimage import gaussian_filter

from napari_feedback_seg.models.library import FOLDER_VARIABLE
from napari_feedback_seg.plugin.session.jobs import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PICTURES = Path(__file__).parents[1] / "docs" / "images"
PLUGIN = "napari-feedback-seg"


@contextmanager
def open_window() -> Iterator[napari.Viewer]:
    """Open napari as large as a laptop's screen, with a models folder of its own."""
    with TemporaryDirectory() as folder:
        os.environ[FOLDER_VARIABLE] = folder  # nothing of it stays in the user's own
        viewer = napari.Viewer()
        viewer.window.resize(1366, 768)
        yield viewer
        viewer.close()


def open_sample(viewer: napari.Viewer) -> napari.layers.Image:
    """Open the built-in sample; return its layer."""
    viewer.open_sample(PLUGIN, "builtin_em_section")
    wait(3000)
    return viewer.layers[0]


def open_dock(viewer: napari.Viewer) -> Any:
    """Open the dock, and return it."""
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Feedback segmentation")
    wait(500)
    return dock


def foreign(image: np.ndarray, gamma: float = 0.5, noise: float = 0.05) -> np.ndarray:
    """Return the section as another microscope might show it: another stain, blurred and noisy."""
    random = np.random.default_rng(0)
    grey = gaussian_filter((image / 255.0) ** gamma, 3) + noise * random.standard_normal(image.shape)
    return np.uint8(np.clip(255 * grey, 0, 255))


def finish(dock: Any, start: Callable[[], object]) -> None:
    """Start a job, and wait for it and for the one that follows it."""
    start()
    wait(500)
    while dock.session.jobs.busy:
        wait(500)


def settle(session: Any, calm: int = 1000) -> None:
    """Wait until all strokes are answered, and for some milliseconds no other answer has begun."""
    quiet = 0
    while quiet < calm:
        wait(50)
        quiet = quiet + 50 if session.instant.state is State.IDLE else 0


def wait(milliseconds: int) -> None:
    """Let the window live for a while, and the work have the processor."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def shoot(viewer: napari.Viewer, name: str) -> None:
    """Write the window to a picture; JPEG, which keeps the repository small."""
    wait(800)
    picture = Image.fromarray(viewer.screenshot(canvas_only=False)).convert("RGB")
    picture.save(PICTURES / f"{name}.jpg", quality=82, subsampling=0, optimize=True)

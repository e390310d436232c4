"""Make the screenshots of the documentation: a real napari, the built-in sample, the default model.

On a machine without a screen: xvfb-run -s "-screen 0 1366x768x24" python scripts/make_screenshots.py
"""

from __future__ import annotations

from pathlib import Path

import napari
from PIL import Image
from qtpy.QtCore import QElapsedTimer, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

PICTURES = Path(__file__).parents[1] / "docs" / "images"
PLUGIN = "napari-feedback-seg"


def main() -> None:
    """Write docs/images/dock-*.jpg."""
    viewer = napari.Viewer()
    viewer.window.resize(1366, 768)
    viewer.open_sample(PLUGIN, "builtin_em_section")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Feedback segmentation")
    tab = dock.segment_tab
    shoot(viewer, "dock-open")
    press(dock, tab.segment_button)
    shoot(viewer, "dock-segmented")
    viewer.scene.camera.zoom *= 3
    press(dock, tab.measure_panel.measure_button)
    shoot(viewer, "dock-measured")
    viewer.close()


def press(dock: object, button: object) -> None:
    """Press a button with the mouse, and wait for the job that it starts."""
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    wait(300)
    while dock.session.jobs.busy:
        wait(50)


def shoot(viewer: napari.Viewer, name: str) -> None:
    """Write the window to a picture; JPEG, which keeps the repository small."""
    wait(800)
    picture = Image.fromarray(viewer.screenshot(canvas_only=False)).convert("RGB")
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture.save(PICTURES / f"{name}.jpg", quality=82, subsampling=0, optimize=True)


def wait(milliseconds: int) -> None:
    """Let the window live for a while."""
    timer = QElapsedTimer()
    timer.start()
    while timer.elapsed() < milliseconds:
        QApplication.processEvents()
        QTest.qWait(5)


if __name__ == "__main__":
    main()

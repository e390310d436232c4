"""Make the pictures of docs/correct-and-fine-tune.md: a real napari, the built-in sample inverted.

On a machine without a screen: xvfb-run -s "-screen 0 1366x768x24" python scripts/make_correction_pictures.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import napari
from make_screenshots import PLUGIN, press, shoot, wait

from napari_feedback_seg.models.library import FOLDER_VARIABLE
from napari_feedback_seg.samples.builtin import builtin_section

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from annotator import worst_first

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
        press(dock, dock.segment_tab.segment_button)
        dock.show_tab("correct")
        tab = dock.correct_tab
        paint(tab, builtin_section(image.data.shape[0]).labels, dock.state.result.data)
        wait(1500)
        shoot(viewer, "correct-painted")
        press(dock, tab.tune_button)
        wait(1000)
        while dock.state.jobs.busy:
            wait(100)
        wait(4000)  # the notification goes
        tab.store.layer.visible = False
        shoot(viewer, "correct-tuned")
        tab.save_as("bright membranes")
        viewer.close()


def paint(tab: object, truth: object, said: object) -> None:
    """Paint over the worst mistakes."""
    for stroke in worst_first([truth], [said], [1, 2, 3, 4], STROKES):
        tab.paint_with(stroke.value)
        tab.store.layer.data_setitem(tuple(stroke.pixels.T), stroke.value)


if __name__ == "__main__":
    main()

"""Make the pictures of docs/how-to/correct.md: a real napari, the built-in sample in another stain.

On a machine without a screen: xvfb-run -s "-screen 0 1366x768x24" python scripts/make_correction_pictures.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from window import finish, foreign, open_dock, open_sample, open_window, settle, shoot, wait

from napari_feedback_seg.datasets.builtin import builtin_section

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from annotator import worst_first

MODEL = "self-w16"
STROKES = 10


def main() -> None:
    """Write docs/images/correct-*.jpg."""
    with open_window() as viewer:
        image = open_sample(viewer)
        image.data = foreign(image.data)
        dock = open_dock(viewer)
        session = dock.session
        session.model_name = MODEL
        finish(dock, dock.segment_tab.segment)
        dock.show_tab("correct")
        shoot(viewer, "correct-before")
        strokes = worst(image.data.shape[0], session.result.data)
        paint(session.correcting, strokes[0])
        settle(session)
        viewer.layers["changed by the last stroke"].visible = True  # for a moment, and that is over
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

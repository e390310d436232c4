"""Seconds from a click in the viewer to the attention map on the screen.

    xvfb-run -a -s "-screen 0 1366x768x24" python benchmarks/clicks.py
    python benchmarks/clicks.py --model self-w16 --size 1024 --clicks 50

The first click of all pays for PyTorch and the model, unless Pick was switched on a moment
before, which makes both ready. A click in a new tile runs the network once. A later click in
that tile only takes a row of the attention. Each time ends when the canvas has been drawn.
Processor time of the GUI thread stands beside the wall time, because others may share the
machine; without a graphics card the drawing is part of it.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="self-w16")
    parser.add_argument("--size", type=int, default=1024, help="side of the section, in pixels")
    parser.add_argument("--clicks", type=int, default=50, help="later clicks")
    parser.add_argument("--prepared", action="store_true", help="switch Pick on before the first click")
    options = parser.parse_args()

    import napari

    from napari_feedback_seg.datasets.builtin import builtin_section
    from napari_feedback_seg.plugin.contributions.dock import FeedbackDock

    viewer = napari.Viewer()
    viewer.window.resize(1366, 768)
    sample = np.tile(builtin_section(512).image, (-(-options.size // 512),) * 2)
    image = viewer.add_image(sample[: options.size, : options.size], name="section")
    dock = FeedbackDock(viewer)
    viewer.window.add_dock_widget(dock, name="Feedback segmentation")
    dock.show_tab("attention")
    dock.session.model_name = options.model
    settle(dock)
    if options.prepared:
        dock.session.attention.set_picking(True)
        settle(dock)
    middle = options.size // 2
    print("| click | s | s of the GUI thread |\n|---|---|---|")
    name = "first of all, prepared" if options.prepared else "first of all"
    print(f"| {name} | {row([click(dock, image, middle, middle)])} |")
    tiles = [click(dock, image, at, at) for at in range(60, options.size - 60, 192)]
    print(f"| first in a tile, median | {row(tiles)} |")
    click(dock, image, middle, middle)
    later = [click(dock, image, middle + step % 40, middle - step % 40) for step in range(options.clicks)]
    print(f"| later, median | {row(later)} |")
    print(f"| later, slowest | {max(wall for wall, _ in later):.3f} | {max(own for _, own in later):.3f} |")
    viewer.close()


def click(dock: Any, image: Any, y: int, x: int) -> tuple[float, float]:
    """Pick a pixel; return the wall time and the time of the GUI thread until it is drawn."""
    from qtpy.QtWidgets import QApplication

    tab = dock.attention_tab
    wall, own = time.perf_counter(), time.thread_time()
    dock.session.attention.pick(image.data_to_world((y, x)))
    while True:
        QApplication.processEvents()
        if f"at row {y}, column {x}." in tab.found.text():
            QApplication.processEvents()
            return time.perf_counter() - wall, time.thread_time() - own
        time.sleep(0.002)


def settle(dock: Any) -> None:
    """Let napari and the job come to rest."""
    from qtpy.QtWidgets import QApplication

    until = time.monotonic() + 2
    while dock.session.jobs.busy or time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.01)


def row(times: list[tuple[float, float]]) -> str:
    """Return the median of both times."""
    return " | ".join(f"{value:.3f}" for value in np.median(np.array(times), axis=0))


if __name__ == "__main__":
    main()

"""Make the screenshots of the documentation: a real napari, the built-in sample, the default model.

On a machine without a screen: xvfb-run -s "-screen 0 1366x768x24" python scripts/make_screenshots.py
"""

from __future__ import annotations

from window import finish, open_dock, open_sample, open_window, shoot


def main() -> None:
    """Write docs/images/dock-*.jpg."""
    with open_window() as viewer:
        open_sample(viewer)
        dock = open_dock(viewer)
        shoot(viewer, "dock-open")
        finish(dock, dock.segment_tab.segment_button.click)
        shoot(viewer, "dock-segmented")
        viewer.scene.camera.zoom *= 3
        finish(dock, dock.segment_tab.measure_panel.measure_button.click)
        shoot(viewer, "dock-measured")


if __name__ == "__main__":
    main()

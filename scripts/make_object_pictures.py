"""Make the pictures of docs/how-to/objects.md: a real napari, a stack that is made by code.

On a machine without a screen: xvfb-run -s "-screen 0 1366x768x24" python scripts/make_object_pictures.py
With --image and --labels (TIFF stacks) and --to, a folder, the same of a stack of your own.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QWidget
from scipy import ndimage
from window import PICTURES, finish, open_dock, open_window, wait

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.io import open_image
from napari_feedback_seg.plugin.layers.results import ResultWriter
from napari_feedback_seg.plugin.session.records import RunRecord
from napari_feedback_seg.segmentation.prediction import Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari


def made_stack() -> tuple[np.ndarray, np.ndarray]:
    """Return a stack of cells with mitochondria, 24 x 384 x 512, grey values and labels."""
    rng = np.random.default_rng(2)
    shape = (24, 384, 512)
    z, y, x = np.indices(shape, np.float32)
    near = np.full((2, *shape), np.inf, np.float32)
    for at in rng.uniform((0, 0), (384, 512), (22, 2)):
        drift = rng.normal(0, 1.2, 2)
        far = np.hypot(y - at[0] - drift[0] * z, x - at[1] - drift[1] * z)
        near = np.sort(np.concatenate([near, far[None]]), axis=0)[:2]
    labels = np.where(near[1] - near[0] < 7, 1, 4).astype(np.uint8)
    deep = near[1] - near[0] > 40
    for at in rng.uniform((4, 30, 30), (20, 354, 482), (60, 3)):
        if not deep[tuple(at.astype(int))]:
            continue
        length, width = rng.uniform(14, 34), rng.uniform(9, 15)
        way = rng.normal(size=3) * (0.3, 1, 1)
        way /= np.linalg.norm(way)
        along = sum((axis - p) * w for axis, p, w in zip((z, y, x), at, way, strict=True))
        across = (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2 - along**2
        labels[(across < width**2 * np.clip(1 - (along / length) ** 4, 0, 1)) & (labels == 4)] = 2
    grey = np.choose(labels, (128, 70, 95, 60, 170)).astype(np.float32)
    grey = ndimage.gaussian_filter(grey, (0, 1.2, 1.2)) + rng.normal(0, 12, shape)
    return np.clip(grey, 0, 255).astype(np.uint8), labels


def main() -> None:
    """Write docs/images/objects-*.jpg."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--to", type=Path, default=PICTURES)
    options = parser.parse_args()
    voxel = (5.0, 5.0, 5.0)
    if options.image is None:
        grey, labels = made_stack()
    else:
        grey, labels = (
            np.stack(list(open_image(path, labels=path == options.labels).sections))
            for path in (options.image, options.labels)
        )
    with open_window() as viewer:
        image = viewer.add_image(grey, name="stack", scale=voxel, units=("nm",) * 3)
        dock = open_dock(viewer)
        session, objects = dock.session, dock.session.objects
        whole = (slice(0, grey.shape[1]), slice(0, grey.shape[2]))
        writer = ResultWriter(viewer, image, grey.shape, EM_CLASSES, RunRecord("general"))
        for section, values in enumerate(labels):
            writer.write(section, Prediction(values, None, None, whole, "cpu", ()))
        session.tell("result")
        dock.show_tab("objects")
        finish(dock, dock.objects_tab.find_button.click)
        middle = len(grey) // 2
        viewer.dims.set_point(0, middle * voxel[0])
        objects.colour("volume_um3")
        wait(1500)
        shoot(viewer, options.to / "objects-coloured.jpg")
        objects.colour("")
        number = split(viewer, dock, middle)
        wait(1500)
        shoot(viewer, options.to / "objects-split.jpg")
        print(objects.status, "split", number)
        finish(dock, dock.objects_tab.mesh_button.click)
        viewer.layers["stack"].visible = False
        viewer.layers["stack mitochondria"].visible = False
        viewer.reset_view()
        camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
        camera.angles = (20, -35, 120)
        wait(2500)
        shoot(viewer, options.to / "objects-meshes.jpg")


def split(viewer: napari.Viewer, dock: object, section: int) -> int:
    """Split the longest object of a section with the mouse, by a line across it; return its number."""
    found = dock.session.objects.found
    layer = found.layer
    plane = layer.data[section]
    number = max(np.unique(plane)[1:], key=lambda each: np.count_nonzero(plane == each))
    rows, columns = np.nonzero(plane == number)
    dock.session.objects.select(int(number), jump=False)
    dock.objects_tab.tools["split"].click()
    y, x = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    tall = np.ptp(rows) > np.ptp(columns)
    reach = np.ptp(columns if tall else rows) / 2 + 4
    steps = np.linspace(-reach, reach, 9)
    drag(viewer, layer, [(y, x + step) if tall else (y + step, x) for step in steps])
    return int(number)


def drag(viewer: napari.Viewer, layer: object, places: Sequence[tuple[float, float]]) -> None:
    """Press at the first place (Y, X) of the section that is shown, move over the others, release."""
    window = next(each for each in QApplication.topLevelWidgets() if each.windowTitle() == "napari")
    native = next(
        each for each in window.findChildren(QWidget) if type(each).__name__ == "CanvasBackendDesktop"
    )
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
    centre = np.asarray(camera.center)[-2:]
    points = []
    for place in places:
        world = np.asarray(layer.data_to_world((0, *place)))[-2:]
        down, across = (world - centre) * camera.zoom
        points.append(QPoint(round(native.width() / 2 + across), round(native.height() / 2 + down)))
    kinds = [QEvent.Type.MouseButtonPress, *[QEvent.Type.MouseMove] * (len(points) - 1)]
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    for kind, point in zip((*kinds, QEvent.Type.MouseButtonRelease), (*points, points[-1]), strict=True):
        event = QMouseEvent(
            kind,
            QPointF(point),
            QPointF(native.mapToGlobal(point)),
            none if kind == QEvent.Type.MouseMove else left,
            none if kind == QEvent.Type.MouseButtonRelease else left,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(native, event)
        wait(60)


def shoot(viewer: napari.Viewer, path: Path) -> None:
    """Save what is on the screen."""
    viewer.window.activate()
    wait(200)
    screen = QApplication.primaryScreen()
    screen.grabWindow(0).save(str(path), quality=82)
    print(path)


if __name__ == "__main__":
    main()

"""Open napari on what ``feedback-seg demo`` has written.

``python -m napari_feedback_seg.plugin.contributions.open_demo FOLDER``
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import napari
from qtpy.QtWidgets import QApplication

from napari_feedback_seg.errors import FeedbackSegError
from napari_feedback_seg.io import open_image, read_pages
from napari_feedback_seg.models.library import find_model
from napari_feedback_seg.models.model_file import read_card
from napari_feedback_seg.plugin.contributions.dock import open_segment
from napari_feedback_seg.plugin.layers.results import ResultWriter
from napari_feedback_seg.plugin.session.records import RunRecord, RunSettings
from napari_feedback_seg.segmentation.prediction import Prediction, SegmentOptions

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer


def show_demo(viewer: Viewer, folder: Path) -> Labels:
    """Show the image of a demo, its labels as the dock shows them, and the dock.

    Raises FeedbackSegError if a file or the model is missing or damaged.
    """
    image = open_image(folder / "image.tif")
    (labels,) = read_pages(folder / "labels.tif")
    path = find_model()
    card = read_card(path)

    (layer,) = viewer.open(folder / "image.tif", plugin="napari")
    layer.name = "demo"
    if image.pixel_size_nm is not None:
        layer.scale = image.pixel_size_nm
        layer.units = ("nanometer", "nanometer")
    layer.axis_labels = ("y", "x")
    whole = (slice(0, labels.shape[0]), slice(0, labels.shape[1]))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    run = RunRecord(card.name, str(path), digest, image.pixel_size_nm, RunSettings.of(SegmentOptions()))
    result = ResultWriter(viewer, layer, labels.shape, card.classes, run)
    result.write(0, Prediction(labels, None, None, whole, device=""))
    open_segment(viewer)
    QApplication.processEvents()  # the dock takes its place
    viewer.reset_view()
    assert result.layer is not None
    return result.layer


def main() -> None:
    """Show the demo in the folder of the command line until the window is closed."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    try:
        show_demo(napari.Viewer(title="napari-feedback-seg demo"), folder)
    except FeedbackSegError as error:
        sys.exit(f"Error: {error}")
    napari.run()


if __name__ == "__main__":
    main()

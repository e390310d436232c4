from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from npe2 import PluginManifest

import napari_feedback_seg
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import label_writer
from napari_feedback_seg.plugin.contributions.dock import FeedbackDock
from napari_feedback_seg.plugin.contributions.open_demo import show_demo
from napari_feedback_seg.plugin.layers.image import pixel_size_nm

MANIFEST = Path(napari_feedback_seg.__file__).with_name("napari.yaml")


@pytest.fixture
def viewer(make_napari_viewer, npe2pm):
    manifest = PluginManifest.from_file(MANIFEST)
    with npe2pm.tmp_plugin(package="napari"), npe2pm.tmp_plugin(manifest=manifest):
        yield make_napari_viewer()


@pytest.fixture
def demo(tmp_path, section):
    """A folder as ``feedback-seg demo`` writes it."""
    per_nm = 1 / 4.6
    tifffile.imwrite(
        tmp_path / "image.tif", section, imagej=True, resolution=(per_nm, per_nm), metadata={"unit": "nm"}
    )
    labels = np.ones(section.shape, np.uint8)
    labels[20:40, 30:50] = 2
    with label_writer(tmp_path / "labels.tif", labels.shape, pixel_size_nm=4.6) as write:
        write(labels)
    return tmp_path


def test_the_demo_is_a_result_of_the_dock(viewer, demo, section):
    labels = show_demo(viewer, demo)
    (dock,) = (each for each in viewer.window.dock_widgets.values() if isinstance(each, FeedbackDock))
    (image, _) = viewer.layers
    assert dock.session.image == image
    assert dock.session.result == labels
    np.testing.assert_array_equal(image.data, section)
    assert labels.data[30, 40] == 2
    assert labels.data[0, 0] == 1
    assert pixel_size_nm(image) == pixel_size_nm(labels) == pytest.approx((4.6, 4.6))


def test_a_missing_file_is_named(viewer, demo):
    (demo / "labels.tif").unlink()
    with pytest.raises(InputError, match=r"labels\.tif"):
        show_demo(viewer, demo)
    assert not viewer.layers

from __future__ import annotations

import numpy as np
import pytest
import zarr

from napari_feedback_seg.generators import finish
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.plugin.session.segment.segmenting import What
from napari_feedback_seg.segmentation.measure import measure
from napari_feedback_seg.segmentation.predict import segment as segment_array
from napari_feedback_seg.volumes.events import BlockDone
from napari_feedback_seg.volumes.output import Output


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr("napari_feedback_seg.plugin.session.segment.volume.BLOCK", (1, 256, 256))


@pytest.fixture
def data(section):
    return np.stack([np.pad(section, ((0, 200), (0, 200)), mode="wrap"), np.zeros((296, 280), np.uint8)])


@pytest.fixture
def store(tmp_path, data):
    """An OME-Zarr of 4.6 nm, as napari-ome-zarr would open it."""
    group = zarr.open_group(str(tmp_path / "em.ome.zarr"), mode="w")
    group.create_array("0", data=data, chunks=(1, 128, 128))
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    transforms = [{"type": "scale", "scale": [40.0, 4.6, 4.6]}]
    one = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": transforms}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [one]}
    return tmp_path / "em.ome.zarr"


@pytest.fixture
def opened(viewer, store):
    def open_store():
        array = zarr.open_array(str(store / "0"), mode="r")
        layer = viewer.add_image(array, scale=(40, 4.6, 4.6), units=("nm",) * 3, contrast_limits=(0, 255))
        layer.source.__dict__["path"] = str(store)
        return layer

    return open_store


def test_only_a_volume_on_the_disk_offers_it(session, viewer, section, opened):
    viewer.add_image(section)
    assert What.VOLUME not in session.segmenting.choices
    viewer.layers.clear()
    opened()
    assert What.VOLUME in session.segmenting.choices


def test_it_goes_to_the_disk_and_is_shown_lazily(session, viewer, runner, opened, data, tmp_path):
    image = opened()
    session.segmenting.choose(What.VOLUME)
    assert session.segmenting.segment()
    runner.finish()
    assert session.status.startswith("Done in")
    output = Output(tmp_path / "em-small.zarr")
    expected = segment_array(data, "small", device="cpu", pixel_size_nm=4.6).labels
    np.testing.assert_array_equal(output.levels[0][:], expected)
    (layer,) = [each for each in viewer.layers if each.name.endswith("on the disk")]
    assert not isinstance(layer.data, np.ndarray)
    np.testing.assert_array_equal(np.asarray(layer.data[0]), expected[0])
    np.testing.assert_allclose(layer.scale, image.scale)
    np.testing.assert_allclose(layer.translate, image.translate)
    assert not layer.editable


def test_what_is_in_view_comes_first(session, viewer, runner, opened):
    opened()
    viewer.dims.set_point(0, 0)
    session.segmenting.choose(What.VOLUME)
    order = []
    session.layers.in_view = lambda image: (0, slice(260, 296), slice(260, 280))  # as a canvas would say
    session.segmenting.segment()
    take = runner.running[0].on_event

    def note(event):
        if isinstance(event, BlockDone):
            order.append(event.block.index)
        take(event)

    runner.running[0].on_event = note
    runner.finish()
    assert order[0] == (0, 1, 1)
    assert len(order) == 8


def test_it_goes_on_after_everything_was_closed(session, viewer, runner, opened, tmp_path):
    opened()
    session.segmenting.choose(What.VOLUME)
    session.segmenting.segment()
    output = tmp_path / "em-small.zarr"
    while not output.exists() or not any(map(Output(output).is_done, Output(output).plan.blocks())):
        runner.step()
    session.segmenting.cancel()
    runner.finish()
    assert session.status.startswith("Cancelled. What is done stays")
    done = [block for block in Output(output).plan.blocks() if Output(output).is_done(block)]
    assert 0 < len(done) < 8
    viewer.layers.clear()
    opened()
    assert session.segmenting.choices[What.VOLUME] == "The rest of the volume, on the disk"
    session.segmenting.choose(What.VOLUME)
    session.segmenting.segment()
    runner.finish()
    assert all(map(Output(output).is_done, Output(output).plan.blocks()))
    assert sum(each.name.endswith("on the disk") for each in viewer.layers) == 1


def test_it_stops_when_its_layer_is_deleted(session, viewer, runner, opened, tmp_path):
    opened()
    session.segmenting.choose(What.VOLUME)
    session.segmenting.segment()
    while len(viewer.layers) < 2:
        runner.step()
    del viewer.layers[-1]
    runner.finish()
    assert session.status.startswith("Cancelled")


def test_what_is_on_the_disk_is_measured_in_strips(session, viewer, runner, opened, data, tmp_path):
    opened()
    session.segmenting.choose(What.VOLUME)
    session.segmenting.segment()
    runner.finish()
    assert session.measuring.in_um2
    assert session.measuring.start(0.0)
    runner.finish()
    expected = segment_array(data, "small", device="cpu", pixel_size_nm=4.6)
    steps = measure(expected.labels, load_model("small").card.classes, 4.6, 0.0)
    table = finish(steps)
    assert session.measuring.measures == table
    store = tmp_path / "em-small.zarr"
    assert session.objects.status.endswith(f"feedback-seg objects {store} -o {store}")


@pytest.mark.parametrize("axes", ["tzyx", "tczyx"])
def test_single_time_points_and_channels_are_looked_through(session, viewer, runner, tmp_path, data, axes):
    more = len(axes) - 3
    group = zarr.open_group(str(tmp_path / "em.zarr"), mode="w")
    group.create_array("0", data=data.reshape(*[1] * more, *data.shape), chunks=(*[1] * more, 1, 128, 128))
    kinds = {"t": "time", "c": "channel"}
    described = [
        {"name": axis, "type": kinds.get(axis, "space")} | ({"unit": "nanometer"} if axis in "zyx" else {})
        for axis in axes
    ]
    scale = [*[1.0] * more, 40.0, 4.6, 4.6]
    one = {
        "axes": described,
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [one]}
    image = viewer.add_image(group["0"], scale=scale, units=(*["pixel"] * more, "nm", "nm", "nm"))
    image.source.__dict__["path"] = str(tmp_path / "em.zarr")
    session.segmenting.choose(What.VOLUME)
    assert session.segmenting.segment()
    runner.finish()
    assert session.status.startswith("Done in")
    (layer,) = [each for each in viewer.layers if each.name.endswith("on the disk")]
    assert layer.data.shape == data.shape
    np.testing.assert_allclose(layer.extent.world, image.extent.world[:, more:])
    expected = segment_array(data, "small", device="cpu", pixel_size_nm=4.6).labels
    np.testing.assert_array_equal(np.asarray(layer.data[0]), expected[0])


def test_several_channels_are_refused_by_name(session, viewer, runner, tmp_path, data, said):
    group = zarr.open_group(str(tmp_path / "em.zarr"), mode="w")
    group.create_array("0", data=np.stack([data, data]), chunks=(1, 1, 128, 128))
    axes = [{"name": axis, "type": "channel" if axis == "c" else "space"} for axis in "czyx"]
    one = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": []}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [one]}
    image = viewer.add_image(np.asarray(group["0"][0]))
    image.source.__dict__["path"] = str(tmp_path / "em.zarr")
    session.segmenting.choose(What.VOLUME)
    session.segmenting.segment()
    runner.finish()
    assert "has 2 channels, and one is segmented at a time" in session.status

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_feedback_seg.objects.edits import Delete, Split
from napari_feedback_seg.objects.options import ObjectOptions
from napari_feedback_seg.plugin.layers.viewer import ViewerLayers
from napari_feedback_seg.plugin.session.jobs import State
from napari_feedback_seg.plugin.session.objects.work import CELLS
from napari_feedback_seg.plugin.session.session import Session

UNITS = ("nm", "nm", "nm")


@pytest.fixture
def labels():
    """Two mitochondria that touch and one alone, in two cells, 12 sections."""
    stack = np.full((12, 60, 90), 4, np.uint8)
    stack[:, :, 44:47] = 1
    z, y, x = np.indices(stack.shape)
    for centre in ((6, 20, 15), (6, 20, 32), (6, 40, 70)):
        far = sum(((a - c) * s) ** 2 for a, c, s in zip((z, y, x), centre, (2, 1, 1), strict=True))
        stack[far <= 81] = 2
    return stack


@pytest.fixture
def image(viewer, labels):
    grey = np.random.default_rng(0).integers(0, 255, labels.shape, np.uint8)
    return viewer.add_image(grey, name="stack", scale=(20, 10, 10), units=UNITS)


@pytest.fixture
def objects(session, image, labels, add_result):
    session.layers.viewer.layers.selection.active = image
    add_result(labels)
    return session.objects


@pytest.fixture
def found(objects, runner):
    objects.find()
    runner.finish()
    return objects.found


def test_objects_are_found_measured_and_shown_where_the_image_is(objects, found, viewer, image):
    assert objects.what == "mitochondria"
    assert len(found.table) == 3
    assert "3 mitochondria" in objects.status
    layer = viewer.layers["stack mitochondria"]
    assert layer is found.layer
    np.testing.assert_allclose(layer.scale, image.scale)
    assert layer.units == image.units
    assert list(layer.features["index"]) == [1, 2, 3]
    assert found.table["volume_um3"][0] == pytest.approx(4 / 3 * np.pi * 0.09**3, rel=0.1)
    assert found.table["distance_membrane_nm"][2] == pytest.approx(150, abs=20)
    assert "mean_grey" in found.table.columns
    assert objects.state is State.IDLE


def test_what_is_not_segmented_counts_in_no_measure(session, image, labels, add_result, runner):
    labels[:6] = 0
    labels[:, :, 80:] = 0
    session.layers.viewer.layers.selection.active = image
    add_result(labels)
    session.objects.find()
    runner.finish()
    um3 = 6 * 60 * 80 * 0.02 * 0.01 * 0.01
    assert f"3 mitochondria, {3 / um3:.3g} per µm³ of what is segmented." in session.objects.status


def test_cells_are_among_the_choices_and_the_table_says_which(objects, runner):
    assert objects.choices == ["mitochondria", "synapse", CELLS]
    objects.choose(CELLS)
    objects.find()
    runner.finish()
    assert len(objects.table) == 2
    objects.choose("mitochondria")
    objects.find()
    runner.finish()
    assert len(set(objects.table["cell"].tolist())) == 2


def test_what_is_chosen_is_what_a_click_means(objects, runner, viewer):
    for what in ("mitochondria", CELLS):
        objects.choose(what)
        objects.find()
        runner.finish()
    assert viewer.layers.selection.active.name == "stack cells"
    objects.choose("mitochondria")
    assert viewer.layers.selection.active is objects.found.layer
    del viewer.layers["stack cells"]
    objects.choose(CELLS)  # its objects are gone
    assert viewer.layers.selection.active.name != "stack cells"


def test_the_table_of_cells_says_what_lies_in_each(objects, runner):
    for what in (CELLS, "mitochondria"):
        objects.choose(what)
        objects.find()
        runner.finish()
    objects.choose(CELLS)
    assert sorted(objects.table["count_mitochondria"].tolist()) == [1, 2]
    assert objects.table["fraction_mitochondria"].max() < 0.2
    objects.choose("mitochondria")
    objects.editing.do(Delete((6, 40, 70)))
    objects.choose(CELLS)
    assert sorted(objects.table["count_mitochondria"].tolist()) == [0, 2]


def test_a_preview_shows_the_section_that_is_displayed_until_objects_are_found(
    objects, runner, viewer, image
):
    viewer.dims.set_point(0, 6 * 20)
    objects.set_options(ObjectOptions(split=0.0))
    objects.preview()
    runner.finish()
    layer = viewer.layers["preview of objects"]
    assert layer.data.shape == (1, 60, 90)
    np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), image.data_to_world((6, 0, 0)))
    assert "2 mitochondria" in objects.status
    objects.choose(CELLS)
    objects.preview()
    runner.finish()
    assert "2 cells" in objects.status
    objects.find()
    runner.finish()
    assert "preview of objects" not in viewer.layers


def test_a_preview_is_undone_and_edits_after_it(objects, found, runner, viewer):
    objects.editing.do(Delete((6, 40, 70)))
    assert objects.editing.can_undo
    objects.preview()
    runner.finish()
    assert "preview of objects" in viewer.layers
    objects.editing.undo()
    assert "preview of objects" not in viewer.layers
    assert objects.editing.can_undo  # the edit
    objects.editing.undo()
    assert not objects.editing.can_undo


@pytest.mark.parametrize("units", ["um", "angstrom", "pixel"])
def test_meshes_overlay_an_image_in_any_unit(viewer, session, labels, add_result, runner, units):
    scale = {"um": 1e-3, "angstrom": 10.0, "pixel": 1.0}[units]
    sides = np.array((20, 10, 10)) * scale
    image = viewer.add_image(
        np.zeros(labels.shape, np.uint8), scale=sides, translate=3 * sides, rotate=(0, 0, 30), units=units
    )
    session.layers.viewer.layers.selection.active = image
    add_result(labels)
    session.objects.find()
    runner.finish()
    session.objects.make_meshes([1])
    runner.finish()
    surface = next(each for each in viewer.layers if each.name.endswith("meshes"))
    factor = 1.0 if units == "pixel" else scale * 1000  # from µm to the unit of the image
    middle = surface.data_to_world(surface.data[0].mean(axis=0)) * np.array(factor)
    layer = session.objects.found.layer
    expected = layer.data_to_world(np.argwhere(session.objects.found.labels == 1).mean(axis=0))
    np.testing.assert_allclose(middle, expected, atol=1.5 * sides[0])


def test_options_count(objects, runner):
    objects.set_options(ObjectOptions(split=0.0))
    objects.find()
    runner.finish()
    assert len(objects.table) == 2


def test_corrections_count(objects, session, runner, labels, stroke):
    for z in range(12):
        stroke(4, z, 30, 60, side=25)
    objects.find()
    runner.finish()
    assert len(objects.table) == 2


def test_selecting_jumps_and_the_viewer_selects(objects, found, viewer):
    objects.select(3)
    assert viewer.dims.current_step[0] == 6
    assert found.layer.selected_label == 3
    found.layer.selected_label = 1
    assert found.selected == 1


def test_an_edit_is_undone_and_done_again(objects, found):
    before = found.labels.copy()
    objects.editing.set_tool("merge")
    assert objects.editing.tool == "merge"
    assert objects.editing.do(Delete((6, 40, 70)))
    assert len(objects.table) == 2
    assert objects.table["object"].tolist() == [1, 2]
    objects.editing.undo()
    assert np.array_equal(found.labels, before)
    assert len(objects.table) == 3
    objects.editing.redo()
    assert len(objects.table) == 2


def test_pointing_with_a_tool(objects, found, session):
    point = session.layers.objects.pointed.emit
    objects.editing.set_tool("merge")
    point([(6, 20, 15)])
    assert "other" in objects.editing.hint
    point([(6, 20, 32)])
    assert objects.editing.hint == "Click two objects."
    assert len(objects.table) == 2
    objects.editing.set_tool("split")
    point([(6, 20, 15)])
    point([(6, 20, 32)])
    assert len(objects.table) == 3
    objects.editing.set_tool("merge")
    point([(6, 20, 15)])
    point([(6, 20, 32)])
    objects.editing.set_tool("split")
    point([(6, y, 23) for y in range(5, 36)])
    assert len(objects.table) == 3
    objects.editing.set_tool("delete")
    point([(0, 0, 0)])
    assert "no object" in objects.editing.hint
    assert "3 mitochondria" in objects.status
    point([(6, 40, 70)])
    assert len(objects.table) == 2
    objects.editing.set_tool("")
    assert objects.status.startswith("2 mitochondria, ")
    assert objects.editing.hint == ""


def test_painting_adds_extends_and_erases(objects, found, paint, runner):
    objects.editing.set_tool("add")
    layer = found.layer
    assert layer.mode == "paint"
    number = layer.selected_label
    paint(layer, number, 2, 50, 5)
    paint(layer, number, 3, 50, 5)
    runner.finish()
    assert (found.labels == number).sum() == 72
    assert len(objects.table) == 4
    paint(layer, 0, 3, 50, 5)
    runner.finish()
    assert (found.labels == number).sum() == 36
    for _ in range(3):
        objects.editing.undo()
    assert len(objects.table) == 3
    objects.editing.set_tool("")
    assert layer.mode == "pan_zoom"


def test_deleting_the_image_puts_the_brush_away(objects, found, session, viewer):
    objects.editing.set_tool("add")
    viewer.layers.remove(session.image)
    assert objects.editing.tool == ""
    assert found.layer.mode == "pan_zoom"


@pytest.mark.parametrize(
    "take_up",
    [
        lambda session: session.correcting.paint_with(2),
        lambda session: session.attention.set_picking(True),
        lambda session: session.instant.set_picking(True),
    ],
    ids=["brush", "attention", "why"],
)
def test_what_is_taken_up_instead_puts_the_tool_away(objects, found, session, take_up):
    objects.editing.set_tool("delete")
    take_up(session)
    assert objects.editing.tool == ""


def test_edits_are_kept_and_done_again_when_objects_are_found_again(objects, found, runner, session, viewer):
    objects.editing.do(Delete((6, 40, 70)))
    objects.find()
    runner.finish()
    assert len(objects.table) == 2
    assert "done again" in objects.status
    viewer.layers.remove(objects.found.layer)  # what was kept in a file is found, too
    objects.find()
    runner.finish()
    assert len(objects.table) == 2
    objects.editing.undo()
    assert len(objects.table) == 3


def test_edits_that_are_kept_are_said_before_objects_are_found(
    objects, found, viewer, session, labels, add_result, runner
):
    objects.editing.do(Delete((6, 40, 70)))
    viewer.layers.clear()  # as after a crash
    assert objects.status == "Open an image and segment it: its objects are found in the result."
    viewer.add_image(np.zeros(labels.shape, np.uint8), name="stack", scale=(20, 10, 10), units=UNITS)
    assert objects.status.startswith("Segment the image first")
    assert objects.status.endswith(
        "Edits of its mitochondria are kept, and are done again when you find these."
    )
    add_result(labels)
    assert objects.status == "1 edit of these mitochondria is kept, and is done again when you find them."
    objects.choose(CELLS)
    assert objects.status == ""
    objects.choose("mitochondria")
    objects.find()
    runner.finish()
    objects.editing.undo()
    viewer.layers.remove(objects.found.layer)
    assert objects.status == ""


def test_what_is_said_is_of_the_image_that_is_shown(objects, found, session, viewer, image):
    session.image = viewer.add_image(np.zeros(found.labels.shape, np.uint8), name="other")
    assert objects.status.startswith("Segment the image first")
    session.image = image
    assert "3 mitochondria" in objects.status


def test_edits_are_saved_and_opened(objects, found, tmp_path, said):
    objects.editing.do(Delete((6, 40, 70)))
    objects.files.save_edits(tmp_path / "e.json")
    objects.editing.undo()
    objects.editing.open_edits(tmp_path / "e.json")
    assert len(objects.table) == 2
    objects.editing.open_edits(tmp_path / "missing.json")
    assert "cannot be read" in said()


def test_colour_by_a_measure_and_back(objects, found):
    objects.colour("volume_um3")
    colours = {number: tuple(found.layer.get_color(number)) for number in (1, 2, 3)}
    assert len(set(colours.values())) > 1
    objects.colour("")
    assert tuple(found.layer.get_color(1)) != colours[1]


def test_meshes_lie_where_the_objects_are(objects, found, runner, viewer, image, tmp_path, said):
    objects.make_meshes([1, 3])
    runner.finish()
    surface = viewer.layers["stack mitochondria meshes"]
    assert {str(unit) for unit in surface.units} == {"micrometer"}
    where = found.labels == 1
    low, high = (
        (np.argwhere(where).min(axis=0) - 0.5) * (20, 10, 10),
        (np.argwhere(where).max(axis=0) + 0.5) * (20, 10, 10),
    )
    of_first = surface.data[0][: len(objects.found.meshes[1].vertices)]
    np.testing.assert_allclose(of_first.min(axis=0), low / 1000, atol=0.012)  # what is 12 nm is 0.012
    np.testing.assert_allclose(of_first.max(axis=0), high / 1000, atol=0.012)
    assert (viewer.layers.extent.world[1] < 2000).all()  # as the image's, in nm
    assert viewer.dims.ndisplay == 3
    assert not found.layer.visible  # or both would flicker
    viewer.dims.ndisplay = 2
    assert found.layer.visible
    volumes = found.table["mesh_volume_um3"]
    assert np.isnan(volumes[1])
    assert volumes[0] == pytest.approx(found.table["volume_um3"][0], rel=0.05)
    objects.files.save_meshes(tmp_path / "m.ply")
    assert (tmp_path / "m.ply").stat().st_size > 1000
    objects.files.save_meshes(tmp_path / "m.ply")
    assert "already" in said()


def test_the_table_is_saved(objects, found, tmp_path, said):
    objects.files.save_table(tmp_path / "t.csv", decimal_comma=True)
    assert (tmp_path / "t.csv").read_text("utf-8").startswith("object;")
    objects.files.save_table(tmp_path / "t.csv")
    assert "already" in said()


def test_nothing_segmented_is_said(session, image, said):
    assert not session.objects.find()
    assert "Segment the image first" in said()


def test_no_object_is_said(objects, runner):
    objects.choose("synapse")
    objects.find()
    runner.finish()
    assert "No synapse" in objects.status
    assert len(objects.table) == 0


def test_image_closed_while_objects_are_found(objects, runner, viewer, image, said):
    objects.find()
    runner.step(2)
    viewer.layers.remove(image)
    runner.finish()
    assert objects.found is None
    assert "closed" in said()
    assert objects.state is State.IDLE


def test_edited_while_a_segmentation_runs(objects, found, session, runner):
    session.segmenting.segment()
    runner.step(1)
    assert objects.editing.do(Split((6, 20, 32), (6, 20, 26))) or objects.status
    assert objects.editing.do(Delete((6, 40, 70)))
    runner.finish()
    assert 3 not in objects.table["object"]


def test_a_section_in_a_3d_viewer(viewer, session, labels, add_result, runner):
    viewer.add_image(np.zeros((5, 20, 20)), name="other")
    section = viewer.add_image(np.zeros(labels[6].shape, np.uint8), name="flat", scale=(10, 10))
    session.image = section
    add_result(labels[6])
    session.objects.set_options(ObjectOptions(split=0.7))
    session.objects.find()
    runner.finish()
    assert len(session.objects.table) == 3
    session.objects.select(2)
    session.objects.make_meshes([1, 2])
    runner.finish()
    assert "single section" in session.objects.status


def test_unknown_units_are_said(viewer, session, labels, add_result, runner):
    session.image = viewer.add_image(np.zeros(labels.shape, np.uint8), name="plain")
    add_result(labels)
    session.objects.find()
    runner.finish()
    assert "in pixels" in session.objects.status
    assert "volume_px" in session.objects.table.columns


def test_a_full_disk_is_said_once_and_the_edit_stays(objects, found, said, monkeypatch):
    import errno

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    objects.editing.do(Delete((6, 40, 70)))
    objects.editing.do(Delete((6, 20, 15)))
    assert said().count("disk is full") == 1
    assert len(objects.table) == 1


def test_a_session_ends_when_its_viewer_is_gone(runner):
    viewer = ViewerModel()
    session = Session(ViewerLayers(viewer, runner.later), runner)
    session.objects.editing.set_tool("")
    gone = weakref.ref(viewer)
    del viewer
    gc.collect()
    assert gone() is None
    session.rest()
    session.cleanup()

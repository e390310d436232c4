from __future__ import annotations

import copy

import numpy as np
import pytest
from napari.layers import Image, Labels, Points, Shapes

from napari_feedback_seg import load_model
from napari_feedback_seg.attention_maps.colours import contrast_limits
from napari_feedback_seg.attention_maps.maps import SectionAttention
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.plugin.session.attention.view import View
from napari_feedback_seg.plugin.session.jobs import State


@pytest.fixture
def attention(session):
    return session.attention


@pytest.fixture
def pick(attention, runner):
    """Pick a pixel of an image, and compute its map."""

    def pick(image, *pixel) -> None:
        attention.pick(image.data_to_world(pixel))
        runner.finish()

    return pick


@pytest.fixture
def show(attention, runner):
    """Choose what is shown of the tile."""

    def show(view, **options):
        attention.set(view=view, **options)
        runner.finish()

    return show


@pytest.fixture
def image(viewer, section):
    return viewer.add_image(section, name="cells")


def layer(viewer, name, kind=Image):
    found = viewer.layers[name]
    assert isinstance(found, kind)
    return found


def expected(section, y, x, **options):
    engine = SectionAttention(section, load_model("small"), device="cpu", **options)
    return engine.at(y, x, recentre=False)


def summary_of(tile):
    events = tile.summarise()
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


class TestPick:
    def test_map_is_what_python_gives(self, viewer, session, attention, pick, image, section):
        pick(image, 30, 20)
        tile = expected(section, 30, 20)
        shown = layer(viewer, "cells attention")
        np.testing.assert_allclose(shown.data, tile.pixel(30, 20).map)
        assert shown.interpolation2d == "nearest"
        assert tuple(shown.contrast_limits) == pytest.approx(contrast_limits(shown.data))
        assert shown.colorbar.visible
        assert viewer.layers.selection.active == image
        assert session.images == [image]  # what was made here is no image to segment
        assert attention.state is State.IDLE
        assert attention.status == ""

    @pytest.mark.parametrize("pixel", [(0, 0), (95, 79), (50, 11)])
    def test_map_lies_on_the_tile_of_a_turned_sheared_and_scaled_image(self, viewer, pick, section, pixel):
        image = viewer.add_image(
            section,
            name="cells",
            scale=(4.6, 2.3),
            rotate=25,
            shear=[0.2],
            translate=(9, 8),
            affine=[[0, 2, 5], [1, 0, 7], [0, 0, 1]],
            units="nm",
            axis_labels=("y", "x"),
        )
        pick(image, *pixel)
        shown, outline = layer(viewer, "cells attention"), layer(viewer, "cells attention tile", Shapes)
        tile = expected(section, *pixel)
        rows, columns = tile.frame.region
        for corner in ((0, 0), (5, 9)):
            np.testing.assert_allclose(
                shown.data_to_world(corner),
                image.data_to_world((rows.start + corner[0], columns.start + corner[1])),
            )
        assert shown.units == outline.units == image.units
        assert shown.axis_labels == image.axis_labels
        for drawn, corner in zip(outline.data[0], tile.frame.outline, strict=True):
            np.testing.assert_allclose(outline.data_to_world(drawn), image.data_to_world(corner))

    def test_pixel_of_a_stack_is_that_of_the_section_shown(self, viewer, attention, pick, section):
        stack = np.stack([section, section[::-1], section[:, ::-1]])
        image = viewer.add_image(stack, name="stack", scale=(50, 4.6, 4.6), units="nm")
        viewer.dims.set_point(0, 100)
        pick(image, 2, 40, 41)
        shown = layer(viewer, "stack attention")
        np.testing.assert_allclose(shown.data[0], expected(stack[2], 40, 41).pixel(40, 41).map)
        assert shown.data_to_world((0, 0, 0))[0] == 100
        assert attention.found.source.section == 2

    def test_image_beside_one_of_more_axes(self, viewer, pick, section):
        viewer.add_image(np.zeros((3, 50, 50)), name="stack")
        image = viewer.add_image(section, name="flat")
        viewer.dims.set_point(0, 1)
        pick(image, 30, 20)
        assert layer(viewer, "flat attention").ndim == 2

    def test_picked_pixel_and_strongest_places_are_marked(self, viewer, attention, pick, image, section):
        pick(image, 30, 20)
        found = expected(section, 30, 20).pixel(30, 20)
        marks = layer(viewer, "cells attention picked", Points)
        assert marks.data.tolist() == [[30, 20], *([each.y, each.x] for each in found.strongest)]
        assert list(marks.features["rank"]) == ["", "1", "2", "3"]

    def test_as_many_places_as_are_asked_for(self, viewer, attention, pick, image):
        pick(image, 30, 20)
        for count in (5, 0):
            attention.set(strongest=count)
            assert len(attention.found.pixel.strongest) == count
            assert len(layer(viewer, "cells attention picked", Points).data) == count + 1
        assert len(viewer.layers) == 4

    def test_next_click_updates_the_layers_and_keeps_what_a_person_set(self, viewer, pick, image, section):
        pick(image, 30, 20)
        before = list(viewer.layers)
        shown = layer(viewer, "cells attention")
        shown.opacity, shown.gamma, shown.colormap = 0.3, 0.5, "viridis"
        shown.colorbar.visible = False
        first = shown.data
        pick(image, 80, 70)
        assert list(viewer.layers) == before
        assert not np.array_equal(shown.data, first)
        assert (shown.opacity, shown.gamma, shown.colormap.name) == (0.3, 0.5, "viridis")
        assert not shown.colorbar.visible
        rows, columns = expected(section, 80, 70).frame.region
        assert shown.data_to_world((0, 0)) == (rows.start, columns.start)

    def test_layers_of_a_renamed_image_stay_its_own(self, viewer, pick, image, section):
        pick(image, 30, 20)
        shown = layer(viewer, "cells attention")
        image.name = "other cells"
        twin = viewer.add_image(section[::-1], name="cells")
        pick(twin, 30, 20)
        viewer.layers.selection.active = image
        pick(image, 31, 20)
        assert shown.name == "other cells attention"
        assert len(viewer.layers) == 8

    def test_layers_follow_an_image_that_was_moved(self, viewer, pick, section):
        image = viewer.add_image(section, name="cells", scale=(4, 4), units="nm")
        pick(image, 40, 40)
        image.scale, image.translate = (8, 8), (100, 200)
        pick(image, 41, 41)
        tile, marks = viewer.layers["cells attention tile"], viewer.layers["cells attention picked"]
        for each in (tile, marks):
            np.testing.assert_array_equal(each.scale, image.scale)
            np.testing.assert_array_equal(each.translate, image.translate)
        shown = layer(viewer, "cells attention")
        assert shown.units == image.units
        np.testing.assert_array_equal(shown.scale, image.scale)

    def test_the_layer_that_is_painted_on_stays_active(self, viewer, pick, image, section):
        painted = viewer.add_labels(np.zeros_like(section), name="mine")
        pick(image, 40, 40)
        assert viewer.layers.selection.active == painted

    def test_deleted_layers_come_back_with_the_next_click_only(self, viewer, session, runner, pick, image):
        pick(image, 30, 20)
        for name in ("cells attention", "cells attention tile", "cells attention picked"):
            viewer.layers.remove(name)
        session.segmenting.segment()
        runner.finish()
        assert not [each for each in viewer.layers if "attention" in each.name]
        pick(image, 31, 20)
        assert layer(viewer, "cells attention").visible

    def test_tile_around_the_pixel(self, viewer, attention, pick, runner, section):
        big = np.kron(section, np.ones((2, 2), np.uint8))
        image = viewer.add_image(big, name="cells")
        pick(image, 90, 80)
        outline = layer(viewer, "cells attention tile", Shapes)
        grid = outline.data[0].copy()
        attention.set(centred=True)
        runner.finish()
        assert outline.data[0].mean(axis=0).tolist() == [89.5, 79.5]
        engine = SectionAttention(big, load_model("small"), device="cpu")
        np.testing.assert_allclose(
            layer(viewer, "cells attention").data, engine.at(90, 80, recentre=True).pixel(90, 80).map
        )
        attention.set(centred=False)
        runner.finish()
        np.testing.assert_allclose(outline.data[0], grid)

    def test_tiles_are_those_of_the_segmentation(self, viewer, session, pick, runner, section):
        image = viewer.add_image(np.kron(section, np.ones((2, 2), np.uint8)), name="cells")
        session.segmenting.set(overlap=0.5)
        session.segmenting.segment()
        runner.finish()
        pick(image, 100, 80)
        tile = expected(image.data, 100, 80, overlap=0.5)
        np.testing.assert_allclose(layer(viewer, "cells attention tile", Shapes).data[0], tile.frame.outline)
        assert not np.allclose(tile.frame.outline, expected(image.data, 100, 80).frame.outline)

    def test_pixels_that_were_replaced_are_looked_at_anew(self, viewer, attention, pick, image, section):
        pick(image, 30, 20)
        image.data = np.ascontiguousarray(section[::-1])
        assert attention.found is None
        assert not layer(viewer, "cells attention").visible
        pick(image, 30, 20)
        np.testing.assert_allclose(
            layer(viewer, "cells attention").data, expected(section[::-1], 30, 20).pixel(30, 20).map
        )

    def test_pixels_that_were_replaced_while_it_computes(self, viewer, attention, runner, image, section):
        attention.pick(image.data_to_world((30, 20)))
        runner.step()
        image.data = np.ascontiguousarray(section[::-1])
        runner.finish()
        np.testing.assert_allclose(
            layer(viewer, "cells attention").data, expected(section[::-1], 30, 20).pixel(30, 20).map
        )

    def test_small_image_shows_no_border_and_cannot_be_picked_there(
        self, viewer, attention, pick, section, said
    ):
        image = viewer.add_image(section[:30, :40], name="small one")
        pick(image, 10, 10)
        assert layer(viewer, "small one attention").data.shape == (30, 40)
        outline = layer(viewer, "small one attention tile", Shapes).data[0]
        assert outline[:, 0].min() < -10  # the border is drawn, and can be clicked
        pick(image, -10, 10)
        assert "There is no pixel of 'small one' there" in said()
        assert attention.found.pixel.y == 10

    def test_click_in_a_tile_that_was_seen_shows_at_once(self, attention, pick, runner, image):
        """Without a job, and without the network: how fast that is, `benchmarks/clicks.py` measures."""
        pick(image, 40, 30)
        jobs, tile = len(runner.started), attention.found.tile
        for step in range(3):
            attention.pick(image.data_to_world((40 + step, 30 - step)))
            assert attention.found.pixel.y == 40 + step
            assert attention.found.tile is tile
        assert len(runner.started) == jobs


class TestViews:
    def test_class(self, viewer, attention, pick, show, image, section):
        pick(image, 30, 20)
        value = int(attention.found.tile.labels.max())
        show(View.CLASS, label=value)
        summary = summary_of(expected(section, 30, 20))
        shown = layer(viewer, "cells attention")
        np.testing.assert_allclose(shown.data, summary.class_maps[value], rtol=1e-5)
        assert not layer(viewer, "cells attention picked", Points).visible
        np.testing.assert_allclose(attention.found.summary.matrix, summary.matrix)
        assert len(viewer.layers) == 4

    def test_another_class_is_shown_without_work(self, viewer, attention, pick, show, runner, image):
        pick(image, 30, 20)
        seen = [int(value) for value in np.unique(attention.found.tile.labels)[:2]]
        assert len(seen) == 2
        show(View.CLASS, label=seen[0])
        jobs, first = len(runner.started), layer(viewer, "cells attention").data
        attention.set(label=seen[1])
        assert len(runner.started) == jobs
        assert not np.array_equal(layer(viewer, "cells attention").data, first)

    def test_received(self, viewer, pick, show, image, section):
        pick(image, 30, 20)
        show(View.RECEIVED)
        received = summary_of(expected(section, 30, 20)).received
        np.testing.assert_allclose(layer(viewer, "cells attention").data, received, rtol=1e-5)

    def test_class_that_is_not_in_the_tile_gets_a_sentence(self, attention, pick, show, image, said):
        pick(image, 30, 20)
        missing = {each.value for each in attention.found.tile.classes} - set(
            np.unique(attention.found.tile.labels).tolist()
        )
        label = min(missing) if missing else 77
        show(View.CLASS, label=label)
        assert "in this tile. Choose another class, or another tile." in said()

    def test_a_click_shows_the_pixel_s_map_again(self, viewer, attention, pick, show, image):
        pick(image, 30, 20)
        show(View.CHANGED)
        pick(image, 31, 20)
        assert attention.options.view is View.PIXEL
        assert not layer(viewer, "cells attention rounds", Labels).visible
        assert layer(viewer, "cells attention picked", Points).visible

    def test_cancel_shows_the_pixel_again_and_the_next_one_works(
        self, viewer, session, attention, pick, show, runner, image
    ):
        pick(image, 30, 20)
        first = layer(viewer, "cells attention").data
        attention.set(view=View.RECEIVED)
        assert attention.state is not State.IDLE
        session.jobs.cancel()
        assert attention.state is State.CANCELLING
        runner.finish()
        assert (attention.status, attention.options.view) == ("Cancelled.", View.PIXEL)
        np.testing.assert_array_equal(layer(viewer, "cells attention").data, first)
        show(View.RECEIVED)
        assert attention.found.summary is not None

    def test_another_tile_that_is_picked_while_one_is_added_up(
        self, viewer, attention, pick, runner, image, section
    ):
        pick(image, 80, 70)
        pick(image, 5, 5)
        attention.set(view=View.RECEIVED)
        attention.pick(image.data_to_world((80, 70)))  # its tile is there already
        runner.finish()
        np.testing.assert_allclose(
            layer(viewer, "cells attention").data, expected(section, 80, 70).pixel(80, 70).map
        )
        assert attention.found.summary is None

    def test_class_asked_for_while_a_pixel_is_computed_waits_for_it(
        self, attention, session, pick, runner, image
    ):
        pick(image, 5, 5)
        session.segmenting.segment()
        attention.set(view=View.RECEIVED)
        assert "is still running: the map comes when it is done" in attention.status
        runner.finish()
        assert attention.found.summary is not None
        assert attention.status == ""

    def test_rounds_changes_and_disagreement(self, viewer, attention, pick, show, section):
        image = viewer.add_image(section, name="cells", scale=(4.6, 4.6), units="nm")
        pick(image, 30, 20)
        tile = expected(section, 30, 20)
        change = tile.change()
        for view, values in (
            (View.CHANGED, change.changed),
            (View.FIRST, change.first),
            (View.SECOND, change.second),
        ):
            show(view)
            shown = layer(viewer, "cells attention rounds", Labels)
            assert np.array_equal(shown.data, values)
            assert shown.visible
            np.testing.assert_allclose(
                shown.data_to_world((0, 0)), image.data_to_world([each.start for each in tile.frame.region])
            )
            assert layer(viewer, "cells attention").visible == (view is View.CHANGED)
        show(View.CHANGED)
        np.testing.assert_allclose(layer(viewer, "cells attention").data, change.disagreement, atol=1e-6)
        assert [each.joined for each in attention.change.classes] == [each.joined for each in change.classes]
        assert attention.change.classes[0].to_right is None
        assert (change.first != change.second).any()
        assert len(viewer.layers) == 5

    def test_ground_truth_tells_right_from_wrong(self, viewer, attention, pick, show, image, section):
        change = expected(section, 30, 20).change()
        truth = np.zeros(section.shape, np.int64)
        truth[expected(section, 30, 20).frame.region] = change.first
        by_hand = viewer.add_labels(truth, name="by hand")
        pick(image, 30, 20)
        show(View.CHANGED)
        attention.choose_truth(by_hand)
        moved = int((change.first != change.second).sum())
        assert sum(each.to_wrong for each in attention.change.classes) == moved > 0
        assert sum(each.to_right for each in attention.change.classes) == 0

    def test_ground_truth_that_does_not_fit_gets_a_sentence(self, viewer, attention, pick, show, image, said):
        by_hand = viewer.add_labels(np.ones((10, 10), np.uint8), name="by hand")
        pick(image, 30, 20)
        attention.choose_truth(by_hand)
        show(View.CHANGED)
        assert "take labels of the same section" in said()
        assert attention.change is None
        viewer.layers.remove(by_hand)
        assert attention.truth is None
        show(View.CHANGED)
        assert attention.change is not None

    def test_ground_truth_is_no_result_and_no_layer_of_ours(
        self, viewer, session, attention, pick, show, runner, image, section
    ):
        session.segmenting.segment()
        runner.finish()
        pick(image, 30, 20)
        show(View.CHANGED)
        assert list(attention.truths) == []
        by_hand = viewer.add_labels(np.ones((2, *section.shape), np.uint8), name="by hand")
        assert list(attention.truths) == [by_hand]
        attention.choose_truth(by_hand)  # a stack: its first section
        assert attention.change.classes[0].to_right is not None

    def test_hide_and_show_again(self, viewer, attention, pick, image):
        pick(image, 30, 20)
        ours = [each for each in viewer.layers if each != image]
        attention.hide(True)
        assert not any(each.visible for each in ours)
        attention.hide(False)
        assert all(each.visible for each in ours)
        attention.hide(True)
        pick(image, 31, 20)
        assert all(each.visible for each in ours)
        assert not attention.hidden

    def test_clear_takes_every_layer_of_attention_away(self, viewer, attention, pick, show, image, section):
        twin = viewer.add_image(section, name="twin")
        pick(twin, 30, 20)
        viewer.layers.selection.active = image
        pick(image, 30, 20)
        show(View.CHANGED)
        attention.clear()
        assert list(viewer.layers) == [image, twin]
        assert attention.found is None
        pick(image, 30, 20)
        assert layer(viewer, "cells attention").visible


class TestPicking:
    def test_the_model_is_made_ready_when_picking_begins(self, viewer, attention, runner, image):
        attention.set_picking(True)
        assert attention.picking
        assert attention.state is not State.IDLE
        runner.finish()
        jobs = len(runner.started)
        attention.pick(image.data_to_world((48, 40)))
        assert len(runner.started) == jobs
        assert "cells attention" in viewer.layers

    def test_brush_is_put_away_and_one_that_is_taken_up_ends_picking(self, viewer, attention, image):
        labels = viewer.add_labels(np.zeros((96, 80), int))
        labels.mode = "paint"
        attention.set_picking(True)
        assert labels.mode == "pan_zoom"
        assert attention.picking
        labels.mode = "fill"
        assert not attention.picking
        attention.set_picking(True)
        image.mode = "transform"  # not the active layer
        assert attention.picking
        viewer.layers.selection.active = image
        assert not attention.picking
        assert labels.mode == "pan_zoom"

    def test_model_without_attention_says_why_and_ends_picking(
        self, viewer, session, attention, pick, image, said
    ):
        attention.set_picking(True)
        session.model_name = "unet-w16"
        assert "The model unet-w16 looks at the image once" in attention.why_not
        assert "no feedback" in attention.why_not
        assert not attention.picking
        attention.set_picking(True)
        assert not attention.picking
        pick(image, 30, 20)
        assert "no attention to show" in said()
        session.model_name = "small"
        assert attention.why_not is None


class TestBadInput:
    def test_click_outside_the_image(self, viewer, attention, pick, image, said):
        pick(image, -3, 20)
        assert "There is no pixel of 'cells' there: its rows go from 0 to 95" in said()
        assert "There is no pixel of 'cells' there" in attention.status
        assert len(viewer.layers) == 1

    def test_dragging_outside_is_passed_over(self, attention, pick, image, said):
        pick(image, 30, 20)
        attention.pick(image.data_to_world((-30, 20)), dragging=True)
        assert said() == ""
        assert attention.found.pixel.y == 30

    def test_click_on_another_layer(self, viewer, pick, image, said):
        other = viewer.add_labels(np.ones((20, 20), np.uint8), name="elsewhere", translate=(500, 500))
        pick(other, 5, 5)
        assert "There is no pixel of 'cells' there" in said()

    def test_no_image(self, attention, said):
        attention.set_picking(True)
        attention.pick((5, 5))
        assert "There is no image. Open an EM image" in said()

    @pytest.mark.parametrize(
        ("data", "options", "sentence"),
        [
            (np.zeros((40, 40, 3), np.uint8), {"rgb": True}, "is a colour image"),
            (np.zeros((2, 3, 40, 40), np.uint8), {}, "has 4 axes"),
            (np.full((40, 40), 7, np.uint8), {}, "one grey value everywhere"),
            (np.full((40, 40), np.nan, np.float32), {}, "holds no numbers"),
        ],
    )
    def test_image_that_cannot_be_looked_at(self, viewer, attention, runner, said, data, options, sentence):
        viewer.add_image(data, name="odd", **options)
        attention.pick(np.full(viewer.dims.ndim, 5.0))
        runner.finish()
        assert sentence in said()
        assert "odd attention" not in viewer.layers

    def test_3d_view(self, viewer, pick, section, said):
        image = viewer.add_image(np.stack([section, section]), name="stack")
        viewer.dims.ndisplay = 3
        pick(image, 0, 30, 20)
        assert "switch to 2D" in said()

    def test_cut_across_the_sections(self, viewer, pick, section, said):
        image = viewer.add_image(np.stack([section] * 3), name="stack")
        viewer.dims.order = (1, 0, 2)
        pick(image, 0, 30, 20)
        assert "cut across the sections" in said()

    def test_slider_beside_the_stack(self, viewer, attention, section, said):
        viewer.add_image(np.stack([section] * 2), name="stack")
        viewer.add_image(np.zeros((9, 20, 20)), name="deep")
        viewer.layers.selection.active = viewer.layers["stack"]
        viewer.dims.set_point(0, 7)
        attention.pick((7, 30, 20))
        assert "The slider is beside 'stack'" in said()

    def test_model_file_that_is_gone(self, attention, pick, image, said, models_folder):
        (models_folder / "small.safetensors").unlink()
        pick(image, 30, 20)
        assert "The file of the model 'small' is gone" in said()
        assert "The file of the model 'small' is gone" in attention.status


class TestMeanwhile:
    def test_model_switched_takes_the_old_maps_away(self, viewer, session, attention, pick, image):
        pick(image, 30, 20)
        session.model_name = "self-w16"
        assert not any(each.visible for each in viewer.layers if each != image)
        assert attention.found is None
        assert "The model is now self-w16" in attention.status

    def test_model_switched_while_it_computes(
        self, viewer, session, attention, runner, image, section, models_folder, small_model
    ):
        save_model(_other(small_model), models_folder / "other.safetensors")
        session.refresh_models()
        attention.pick(image.data_to_world((30, 20)))
        session.model_name = "other"
        runner.finish()
        engine = SectionAttention(section, load_model("other"), device="cpu")
        np.testing.assert_allclose(layer(viewer, "cells attention").data, engine.at(30, 20).pixel(30, 20).map)

    def test_unet_chosen_while_it_computes(self, viewer, session, attention, runner, image, said):
        attention.pick(image.data_to_world((30, 20)))
        session.model_name = "unet-w16"
        runner.finish()
        assert "no attention to show" in said()
        assert "cells attention" not in viewer.layers

    def test_image_deleted_while_it_computes(self, viewer, session, attention, runner, image, said):
        attention.pick(image.data_to_world((30, 20)))
        viewer.layers.remove(image)
        runner.finish()
        assert "The image was deleted while its attention was computed" in said()
        assert len(viewer.layers) == 0
        assert not session.jobs.busy

    def test_layers_of_a_deleted_image_go_with_it(self, viewer, attention, pick, runner, image):
        pick(image, 30, 20)
        attention.set(view=View.RECEIVED)
        viewer.layers.remove(image)
        runner.finish()
        assert len(viewer.layers) == 0
        assert attention.found is None

    def test_section_changed_while_it_computes(self, viewer, attention, runner, section):
        stack = np.stack([section, section[::-1]])
        image = viewer.add_image(stack, name="stack")
        viewer.dims.set_point(0, 0)
        attention.pick(image.data_to_world((0, 30, 20)))
        viewer.dims.set_point(0, 1)
        runner.finish()
        shown = layer(viewer, "stack attention")
        np.testing.assert_allclose(shown.data[0], expected(stack[0], 30, 20).pixel(30, 20).map)
        assert shown.data_to_world((0, 0, 0))[0] == 0  # where it was asked for

    def test_last_click_counts_when_several_come_while_it_computes(self, attention, runner, image):
        for y in (30, 31, 90):
            attention.pick(image.data_to_world((y, 20)))
        runner.finish()
        assert attention.found.pixel.y == 90

    def test_click_while_the_segmentation_runs_is_answered_after_it(
        self, viewer, session, attention, runner, image
    ):
        session.segmenting.segment()
        attention.pick(image.data_to_world((30, 20)))
        assert "is still running: the map comes when it is done" in attention.status
        assert attention.state is State.IDLE
        runner.finish()
        assert layer(viewer, "cells attention").visible
        assert attention.status == ""

    def test_everything_is_let_go_of_when_the_dock_closes(
        self, viewer, session, attention, pick, runner, image
    ):
        callbacks = list(viewer.mouse_drag_callbacks)
        pick(image, 30, 20)
        attention.set_picking(True)
        attention.pick(image.data_to_world((90, 70)))
        for _ in range(2):
            session.rest()
        runner.finish()
        assert not attention.picking
        assert viewer.mouse_drag_callbacks == callbacks
        assert attention.found is None
        pick(image, 31, 20)  # and it works again when the dock is opened again
        assert attention.found.pixel.y == 31


def _other(model):
    """The same network with other weights."""
    import torch

    network = copy.deepcopy(model.network)
    with torch.no_grad():
        network.feedback.query[0].weight.mul_(3)
    return type(model)(model.card, network)

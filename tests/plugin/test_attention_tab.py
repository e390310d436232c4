from __future__ import annotations

import time

import numpy as np
import pytest
from napari.layers import Image, Labels, Points, Shapes
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt, QThreadPool
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_feedback_seg import load_model
from napari_feedback_seg.attention_maps.colours import coloured, contrast_limits
from napari_feedback_seg.attention_maps.maps import SectionAttention
from napari_feedback_seg.models.model_file import save_model

LONG = 60_000  # ms; a busy machine is slow


@pytest.fixture
def tab(dock):
    dock.show_tab("attention")
    return dock.attention_tab


@pytest.fixture
def answer(qtbot, tab):
    """Wait until what was asked for is shown, or refused."""

    def answer() -> None:
        qtbot.waitUntil(lambda: tab._wanted is None and not tab._state.jobs.busy, timeout=LONG)

    return answer


@pytest.fixture
def pick(tab, answer):
    """Pick a pixel of an image, and wait for its map."""

    def pick(image, *pixel) -> None:
        tab.pick(image.data_to_world(pixel))
        answer()

    return pick


def layer(viewer, name, kind=Image):
    found = viewer.layers[name]
    assert isinstance(found, kind)
    return found


def expected(section, y, x, **options):
    engine = SectionAttention(section, load_model("small"), device="cpu", **options)
    return engine.at(y, x, recentre=False)


class TestPick:
    def test_map_is_what_python_gives(self, viewer, tab, pick, section):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        tile = expected(section, 30, 20)
        shown = layer(viewer, "cells attention")
        np.testing.assert_allclose(shown.data, tile.pixel(30, 20).map)
        assert shown.interpolation2d == "nearest"
        assert tuple(shown.contrast_limits) == pytest.approx(contrast_limits(shown.data))
        assert viewer.layers.selection.active == image
        assert tab._state.images == [image]  # what was made here is no image to segment

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

    def test_pixel_of_a_stack_is_that_of_the_section_shown(self, viewer, tab, pick, section):
        stack = np.stack([section, section[::-1], section[:, ::-1]])
        image = viewer.add_image(stack, name="stack", scale=(50, 4.6, 4.6), units="nm")
        viewer.dims.set_point(0, 100)
        pick(image, 2, 40, 41)
        shown = layer(viewer, "stack attention")
        np.testing.assert_allclose(shown.data[0], expected(stack[2], 40, 41).pixel(40, 41).map)
        assert shown.data_to_world((0, 0, 0))[0] == 100
        assert "section 2" in tab.found.text()

    def test_image_beside_one_of_more_axes(self, viewer, pick, section):
        viewer.add_image(np.zeros((3, 50, 50)), name="stack")
        image = viewer.add_image(section, name="flat")
        viewer.dims.set_point(0, 1)
        pick(image, 30, 20)
        assert layer(viewer, "flat attention").ndim == 2

    def test_picked_pixel_and_strongest_places_are_marked_and_named(self, viewer, tab, pick, section):
        image = viewer.add_image(section, name="cells", scale=(4.6, 4.6), units="nm")
        pick(image, 30, 20)
        found = expected(section, 30, 20).pixel(30, 20)
        marks = layer(viewer, "cells attention picked", Points)
        assert marks.data.tolist() == [[30, 20], *([each.y, each.x] for each in found.strongest)]
        text = tab.found.text()
        assert f"<b>{found.label_class.name}</b> at row 30, column 20" in text
        for each in found.strongest:
            assert f"{each.times:.2f} x" in text
            assert f"{each.label_class.name} at {each.y}, {each.x}" in text
        assert "times uniform attention" in tab.units.text()
        assert "16 x 16 places of 4 x 4 pixels" in text

    def test_next_click_updates_the_layers_and_keeps_what_a_person_set(self, viewer, pick, section):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        before = list(viewer.layers)
        shown = layer(viewer, "cells attention")
        shown.opacity, shown.gamma, shown.colormap = 0.3, 0.5, "viridis"
        first = shown.data
        pick(image, 80, 70)
        assert list(viewer.layers) == before
        assert not np.array_equal(shown.data, first)
        assert (shown.opacity, shown.gamma, shown.colormap.name) == (0.3, 0.5, "viridis")
        rows, columns = expected(section, 80, 70).frame.region
        assert shown.data_to_world((0, 0)) == (rows.start, columns.start)

    def test_layers_of_a_renamed_image_stay_its_own(self, viewer, pick, section):
        image = viewer.add_image(section, name="cells")
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
        for layer in (tile, marks):
            np.testing.assert_array_equal(layer.scale, image.scale)
            np.testing.assert_array_equal(layer.translate, image.translate)
        maps = [each for each in viewer.layers if isinstance(each, Image) and each != image]
        assert maps
        assert all(each.units == image.units for each in maps)

    def test_the_layer_that_is_painted_on_stays_active(self, viewer, tab, pick, section):
        image = viewer.add_image(section, name="cells")
        painted = viewer.add_labels(np.zeros_like(section), name="mine")
        pick(image, 40, 40)
        assert viewer.layers.selection.active == painted

    def test_deleted_overlay_is_made_anew(self, viewer, pick, section):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        for name in ("cells attention", "cells attention tile", "cells attention picked"):
            viewer.layers.remove(name)
        pick(image, 31, 20)
        assert layer(viewer, "cells attention").visible

    def test_recentre_lays_the_tile_around_the_pixel_until_the_next_click(
        self, viewer, tab, pick, press, answer, section
    ):
        big = np.kron(section, np.ones((2, 2), np.uint8))
        image = viewer.add_image(big, name="cells")
        pick(image, 90, 80)
        grid = layer(viewer, "cells attention tile", Shapes).data[0].copy()
        press(tab.recentre_button)
        answer()
        outline = layer(viewer, "cells attention tile", Shapes)
        assert outline.data[0].mean(axis=0).tolist() == [89.5, 79.5]
        np.testing.assert_allclose(
            layer(viewer, "cells attention").data,
            SectionAttention(big, load_model("small"), device="cpu")
            .at(90, 80, recentre=True)
            .pixel(90, 80)
            .map,
        )
        pick(image, 90, 80)
        np.testing.assert_allclose(outline.data[0], grid)

    def test_tiles_are_those_of_the_segmentation(self, viewer, dock, tab, pick, section):
        image = viewer.add_image(np.kron(section, np.ones((2, 2), np.uint8)), name="cells", scale=(9.2, 9.2))
        segment = dock.segment_tab
        segment.options_form.widgets["overlap"].value = 0.5
        segment.segment()
        tab._state.jobs.ended.connect(lambda: None)
        _wait(lambda: not dock.state.jobs.busy)
        pick(image, 100, 80)
        tile = expected(image.data, 100, 80, overlap=0.5)
        outline = layer(viewer, "cells attention tile", Shapes)
        np.testing.assert_allclose(outline.data[0], tile.frame.outline)
        assert not np.allclose(tile.frame.outline, expected(image.data, 100, 80).frame.outline)

    def test_pixels_that_were_replaced_are_looked_at_anew(self, viewer, pick, section):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        image.data = np.ascontiguousarray(section[::-1])
        pick(image, 30, 20)
        np.testing.assert_allclose(
            layer(viewer, "cells attention").data, expected(section[::-1], 30, 20).pixel(30, 20).map
        )

    def test_pixels_that_were_replaced_while_it_computes(self, viewer, tab, answer, section):
        image = viewer.add_image(section, name="cells")
        tab.pick(image.data_to_world((30, 20)))
        assert tab._state.jobs.busy
        image.data = np.ascontiguousarray(section[::-1])
        answer()
        np.testing.assert_allclose(
            layer(viewer, "cells attention").data, expected(section[::-1], 30, 20).pixel(30, 20).map
        )

    def test_small_image_shows_no_border(self, viewer, pick, section):
        image = viewer.add_image(section[:30, :40], name="small one")
        pick(image, 10, 10)
        assert layer(viewer, "small one attention").data.shape == (30, 40)


class TestMouse:
    @pytest.fixture
    def canvas(self, viewer, tab, section, qtbot):
        """The widget that napari draws in, and the image below it."""
        image = viewer.add_image(section, name="cells", scale=(4.6, 4.6), units="nm")
        viewer.show()
        viewer.window.resize(1000, 700)
        viewer.reset_view()
        qtbot.wait(100)
        window = next(each for each in QApplication.topLevelWidgets() if each.windowTitle() == "napari")
        drawn = [
            each for each in window.findChildren(QWidget) if type(each).__name__ == "CanvasBackendDesktop"
        ]
        return drawn[0], image

    def test_click_and_drag_follow_the_mouse_and_do_not_pan(self, viewer, tab, canvas, answer, qtbot):
        widget, _ = canvas
        camera = viewer.scene.camera
        centre, zoom = camera.center, camera.zoom
        middle = QPoint(widget.width() // 2, widget.height() // 2)
        tab.pick_button.setChecked(True)
        answer()
        qtbot.mouseMove(widget, middle)
        qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=middle)
        answer()
        first = tab._shown.pixel
        at = np.array(centre[-2:]) / 4.6
        assert abs(first.y - at[0]) <= 2
        assert abs(first.x - at[1]) <= 2
        wanted = round(60 / zoom / 4.6)
        for step in (20, 40, 60, 60):
            _move(widget, middle + QPoint(step, 0))
            answer()
        qtbot.waitUntil(lambda: abs(tab._shown.pixel.x - first.x - wanted) <= 2, timeout=LONG)
        assert tab._shown.pixel.y == first.y
        qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=middle + QPoint(60, 0))
        assert camera.center == pytest.approx(centre)
        assert camera.mouse_pan

    def test_switched_off_the_mouse_is_napari_s(self, viewer, tab, canvas, answer, qtbot):
        widget, _ = canvas
        middle = QPoint(widget.width() // 2, widget.height() // 2)
        tab.pick_button.setChecked(True)
        answer()
        tab.pick_button.setChecked(False)
        assert not tab._picker.on
        qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=middle)
        qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=middle)
        assert tab._shown is None

    def test_pick_takes_the_brush_out_of_the_hand(self, viewer, dock, tab, canvas, answer, qtbot):
        widget, _ = canvas
        corrections = dock.correct_tab
        corrections.paint_with(3)
        painted = corrections.store.layer
        assert painted.mode == "paint"
        tab.pick_button.setChecked(True)
        answer()
        _click(qtbot, widget)
        answer()
        assert not np.any(painted.data)
        assert "cells attention" in viewer.layers
        assert viewer.layers.selection.active == painted

    def test_a_brush_that_is_taken_up_ends_picking(self, viewer, dock, tab, canvas, answer, qtbot):
        widget, _ = canvas
        tab.pick_button.setChecked(True)
        answer()
        dock.correct_tab.paint_with(3)
        assert not tab.pick_button.isChecked()
        _click(qtbot, widget)
        answer()
        assert "cells attention" not in viewer.layers
        assert np.any(dock.correct_tab.store.layer.data == 3)

    def test_release_that_comes_while_the_click_is_handled_ends_it(self, viewer, tab, canvas, answer, qtbot):
        widget, image = canvas
        tab.pick_button.setChecked(True)
        answer()
        middle = widget.rect().center()
        # napari handles what waits while it draws a progress bar: the release, before the press is done with.
        QApplication.postEvent(widget, _mouse(widget, middle, QEvent.Type.MouseButtonRelease))
        qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=middle)
        answer()
        tab.pick_button.setChecked(False)
        for each in [each for each in viewer.layers if each != image]:
            viewer.layers.remove(each)
        for step in (20, 40, 60):
            _move(widget, middle + QPoint(step, 0), held=False)
            qtbot.wait(20)  # napari takes one every 5 ms
        answer()
        assert list(viewer.layers) == [image]
        assert viewer.scene.camera.mouse_pan


class TestSummary:
    def test_class_map_and_matrix(self, viewer, tab, pick, press, answer, section):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        value = tab._shown.tile.labels.max()
        tab.class_box.setCurrentIndex(tab.class_box.findData(int(value)))
        press(tab.class_button)
        answer()
        summary = _drain(expected(section, 30, 20).summarise())
        name = tab.class_box.currentText()
        shown = layer(viewer, f"cells attention of {name}")
        np.testing.assert_allclose(shown.data, summary.class_maps[value], rtol=1e-5)
        assert not layer(viewer, "cells attention").visible
        assert not layer(viewer, "cells attention picked", Points).visible
        assert tab.matrix.isVisibleTo(tab)
        np.testing.assert_allclose(tab.matrix._matrix, summary.matrix)

    def test_another_class_goes_into_the_same_layer_without_work(
        self, viewer, tab, pick, press, answer, section
    ):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        seen = np.unique(tab._shown.tile.labels)
        for value in seen[:2]:
            tab.class_box.setCurrentIndex(tab.class_box.findData(int(value)))
            press(tab.class_button)
            if value == seen[0]:
                answer()
            assert not tab._state.jobs.busy
            assert layer(viewer, f"cells attention of {tab.class_box.currentText()}").visible
        assert len([each for each in viewer.layers if "attention of" in each.name]) == 1

    def test_received(self, viewer, tab, pick, press, answer, section):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        press(tab.received_button)
        answer()
        summary = _drain(expected(section, 30, 20).summarise())
        np.testing.assert_allclose(
            layer(viewer, "cells attention received").data, summary.received, rtol=1e-5
        )

    def test_class_that_is_not_in_the_tile_gets_a_sentence(
        self, viewer, tab, pick, press, answer, section, said
    ):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        press(tab.received_button)
        answer()
        tab._summary[1].class_maps.clear()
        press(tab.class_button)
        assert f"sees no {tab.class_box.currentText()} in this tile" in said()

    def test_cancel_stops_and_the_next_one_works(self, viewer, tab, pick, press, answer, section, said):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        press(tab.received_button)
        tab.cancel_button.click()
        answer()
        assert "cells attention received" not in viewer.layers
        assert tab.status.text() == "Cancelled."
        assert not tab.progress.isVisibleTo(tab)
        press(tab.received_button)
        answer()
        assert "cells attention received" in viewer.layers

    def test_tile_that_changed_meanwhile_gets_a_sentence(
        self, viewer, tab, pick, press, answer, section, said
    ):
        image = viewer.add_image(section, name="cells")
        pick(image, 80, 70)
        pick(image, 5, 5)
        press(tab.received_button)
        tab.pick(image.data_to_world((80, 70)))  # its tile is there already
        answer()
        assert "Another tile was picked meanwhile" in said()
        assert "cells attention received" not in viewer.layers

    def test_class_map_asked_for_while_a_pixel_is_computed_gets_a_sentence(
        self, viewer, dock, tab, pick, press, answer, section, said
    ):
        image = viewer.add_image(section, name="cells")
        pick(image, 5, 5)
        tab.pick(image.data_to_world((80, 70)))
        assert dock.state.jobs.busy
        press(tab.received_button)
        assert "is still running" in said()
        assert tab.progress.isVisibleTo(tab)
        answer()
        assert tab._shown.pixel.y == 80
        assert not tab.progress.isVisibleTo(tab)

    def test_matrix_says_in_words_what_a_cell_means(self, tab, small_model):
        matrix = np.full((4, 4), 0.5)
        matrix[1, 2] = 3.25
        matrix[3] = np.nan
        tab.matrix.show_matrix(matrix, small_model.card.classes)
        tab.matrix.resize(300, tab.matrix.sizeHint().height())
        texts = {tab.matrix.text_at(x, y) for x in range(0, 300, 10) for y in range(0, 130, 10)}
        assert "mitochondria looks 3.25 times as much at synapse as if it looked everywhere alike" in texts
        assert "There is no cytoplasm or no membrane in this tile." in texts
        assert "" in texts
        shown, cell = tab.matrix.grab().toImage(), tab.matrix._cell(1, 2)  # the highest
        colour = shown.pixelColor(int(cell.left()) + 2, int(cell.top()) + 2).getRgb()[:3]
        assert colour == tuple(coloured(np.array([[1.0]]), (0.0, 1.0))[0, 0])


class TestChange:
    def test_rounds_changes_and_disagreement_are_layers(self, viewer, tab, pick, press, section):
        image = viewer.add_image(section, name="cells", scale=(4.6, 4.6), units="nm")
        pick(image, 30, 20)
        press(tab.change_button)
        tile = expected(section, 30, 20)
        change = tile.change()
        for name, values in (
            ("round 1", change.first),
            ("round 2", change.second),
            ("changed by feedback", change.changed),
        ):
            shown = layer(viewer, f"cells {name}", Labels)
            assert np.array_equal(shown.data, values)
            np.testing.assert_allclose(
                shown.data_to_world((0, 0)), image.data_to_world([each.start for each in tile.frame.region])
            )
        np.testing.assert_allclose(
            layer(viewer, "cells disagreement of rounds").data, change.disagreement, atol=1e-6
        )
        moved = int((change.first != change.second).sum())
        assert moved > 0
        assert f">&nbsp;&nbsp;{moved}</td>" in tab.counts.text()
        assert "to right" not in tab.counts.text()

    def test_ground_truth_tells_right_from_wrong(self, viewer, tab, pick, press, section):
        image = viewer.add_image(section, name="cells")
        change = expected(section, 30, 20).change()
        truth = np.zeros(section.shape, np.int64)
        truth[expected(section, 30, 20).frame.region] = change.first
        viewer.add_labels(truth, name="by hand")
        pick(image, 30, 20)
        tab.truth_box.setCurrentText("by hand")
        press(tab.change_button)
        moved = int((change.first != change.second).sum())
        assert tab.counts.text().endswith(
            "".join(f"<td align='right'>&nbsp;&nbsp;{count}</td>" for count in (moved, moved, 0, moved))
            + "</tr></table>"
        )

    def test_ground_truth_that_does_not_fit_gets_a_sentence(self, viewer, tab, pick, press, section, said):
        image = viewer.add_image(section, name="cells")
        viewer.add_labels(np.ones((10, 10), np.uint8), name="by hand")
        pick(image, 30, 20)
        tab.truth_box.setCurrentText("by hand")
        press(tab.change_button)
        assert "take labels of the same section" in said()
        assert "cells round 1" not in viewer.layers

    def test_ground_truth_is_no_result_and_no_layer_of_ours(self, viewer, tab, pick, press, section):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        press(tab.change_button)
        assert [tab.truth_box.itemText(at) for at in range(tab.truth_box.count())] == ["none"]


class TestBadInput:
    def test_click_outside_the_image(self, viewer, tab, pick, section, said):
        image = viewer.add_image(section, name="cells")
        pick(image, -3, 20)
        assert "There is no pixel of 'cells' there: its rows go from 0 to 95" in said()
        assert "There is no pixel of 'cells' there" in tab.status.text()
        assert len(viewer.layers) == 1

    def test_dragging_outside_is_passed_over(self, viewer, tab, pick, section, said):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        tab.pick(image.data_to_world((-30, 20)), dragging=True)
        assert said() == ""
        assert tab._shown.pixel.y == 30

    def test_click_in_the_padding_of_a_small_image(self, viewer, tab, pick, section, said):
        image = viewer.add_image(section[:30, :40], name="small one")
        pick(image, 10, 10)
        outline = layer(viewer, "small one attention tile", Shapes).data[0]
        assert outline[:, 0].min() < -10  # the border is drawn, and can be clicked
        pick(image, -10, 10)
        assert "There is no pixel of 'small one' there" in said()
        assert tab._shown.pixel.y == 10

    def test_click_on_another_layer(self, viewer, tab, pick, section, said):
        viewer.add_image(section, name="cells")
        other = viewer.add_labels(np.ones((20, 20), np.uint8), name="elsewhere", translate=(500, 500))
        pick(other, 5, 5)
        assert "There is no pixel of 'cells' there" in said()

    def test_no_image(self, viewer, tab, answer, said):
        tab.pick_button.setChecked(True)
        tab.pick((5, 5))
        answer()
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
    def test_image_that_cannot_be_looked_at(self, viewer, tab, answer, said, data, options, sentence):
        viewer.add_image(data, name="odd", **options)
        tab.pick(np.full(viewer.dims.ndim, 5.0))
        answer()
        assert sentence in said()
        assert "odd attention" not in viewer.layers

    def test_3d_view(self, viewer, tab, pick, section, said):
        image = viewer.add_image(np.stack([section, section]), name="stack")
        viewer.dims.ndisplay = 3
        pick(image, 0, 30, 20)
        assert "switch to 2D" in said()

    def test_cut_across_the_sections(self, viewer, tab, pick, section, said):
        image = viewer.add_image(np.stack([section] * 3), name="stack")
        viewer.dims.order = (1, 0, 2)
        pick(image, 0, 30, 20)
        assert "cut across the sections" in said()

    def test_plane_tilted_out_of_the_sections(self, viewer, tab, pick, section, said):
        image = viewer.add_image(np.stack([section] * 3), name="stack", rotate=(0, 20, 0))
        pick(image, 0, 30, 20)
        assert "tilted out of the sections of 'stack'" in said()

    def test_slider_beside_the_stack(self, viewer, tab, answer, section, said):
        viewer.add_image(np.stack([section] * 2), name="stack")
        viewer.add_image(np.zeros((9, 20, 20)), name="deep")
        viewer.layers.selection.active = viewer.layers["stack"]
        viewer.dims.set_point(0, 7)
        tab.pick((7, 30, 20))
        answer()
        assert "The slider is beside 'stack'" in said()

    def test_unet_has_no_attention_and_the_tab_says_why(self, viewer, dock, tab, answer, section, said):
        image = viewer.add_image(section, name="cells")
        tab.pick_button.setChecked(True)
        answer()
        dock.state.model_name = "unet-w16"
        assert "The model unet-w16 looks at the image once" in tab.about.text()
        assert "no feedback" in tab.about.text()
        assert not tab.pick_button.isEnabled()
        assert not tab.pick_button.isChecked()
        assert not tab._picker.on
        tab.pick(image.data_to_world((30, 20)))
        answer()
        assert "no attention to show" in said()
        dock.state.model_name = "small"
        assert tab.pick_button.isEnabled()
        assert tab.about.isHidden()

    def test_model_switched_takes_the_old_maps_away(self, viewer, dock, tab, pick, section):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        dock.state.model_name = "self-w16"
        assert not any(each.visible for each in viewer.layers if each != image)
        assert "The model is now self-w16" in tab.found.text()
        assert not tab.class_button.isEnabled()

    def test_model_switched_while_it_computes(
        self, viewer, dock, tab, answer, section, models_folder, small_model, qtbot
    ):
        save_model(_other(small_model), models_folder / "other.safetensors")
        dock.state.refresh_models()
        image = viewer.add_image(section, name="cells")
        tab.pick(image.data_to_world((30, 20)))
        assert dock.state.jobs.busy
        dock.state.model_name = "other"
        answer()
        engine = SectionAttention(section, load_model("other"), device="cpu")
        np.testing.assert_allclose(layer(viewer, "cells attention").data, engine.at(30, 20).pixel(30, 20).map)

    def test_unet_chosen_while_it_computes(self, viewer, dock, tab, answer, section, said):
        image = viewer.add_image(section, name="cells")
        tab.pick(image.data_to_world((30, 20)))
        assert dock.state.jobs.busy
        dock.state.model_name = "unet-w16"
        answer()
        assert "no attention to show" in said()
        assert "cells attention" not in viewer.layers

    def test_image_deleted_while_it_computes(self, viewer, dock, tab, answer, section, said):
        image = viewer.add_image(section, name="cells")
        tab.pick(image.data_to_world((30, 20)))
        assert dock.state.jobs.busy
        viewer.layers.remove(image)
        answer()
        assert "The image was deleted while its attention was computed" in said()
        assert len(viewer.layers) == 0
        assert tab._engine is None

    def test_image_deleted_while_a_class_is_added_up(self, viewer, dock, tab, pick, press, answer, section):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        press(tab.received_button)
        viewer.layers.remove(image)
        answer()
        assert "cells attention received" not in viewer.layers
        assert not tab.received_button.isEnabled()

    def test_section_changed_while_it_computes(self, viewer, dock, tab, answer, section):
        stack = np.stack([section, section[::-1]])
        image = viewer.add_image(stack, name="stack")
        viewer.dims.set_point(0, 0)
        tab.pick(image.data_to_world((0, 30, 20)))
        assert dock.state.jobs.busy
        viewer.dims.set_point(0, 1)
        answer()
        shown = layer(viewer, "stack attention")
        np.testing.assert_allclose(shown.data[0], expected(stack[0], 30, 20).pixel(30, 20).map)
        assert shown.data_to_world((0, 0, 0))[0] == 0  # where it was asked for
        assert "section 0" in tab.found.text()

    def test_last_click_counts_when_several_come_while_it_computes(self, viewer, tab, answer, section):
        image = viewer.add_image(section, name="cells")
        for y in (30, 31, 90):
            tab.pick(image.data_to_world((y, 20)))
        answer()
        assert tab._shown.pixel.y == 90

    def test_click_while_the_segmentation_runs_is_answered_after_it(self, viewer, dock, tab, answer, section):
        image = viewer.add_image(section, name="cells")
        dock.segment_tab.segment()
        tab.pick(image.data_to_world((30, 20)))
        assert "is still running: the map comes when it is done" in tab.status.text()
        answer()
        assert layer(viewer, "cells attention").visible
        assert tab.status.text() == ""

    def test_model_file_that_is_gone(self, viewer, tab, answer, section, said, models_folder):
        image = viewer.add_image(section, name="cells")
        (models_folder / "small.safetensors").unlink()
        tab.pick(image.data_to_world((30, 20)))
        answer()
        assert "The file of the model 'small' is gone" in said()
        assert tab.pick_button.isEnabled()


class TestEnd:
    def test_cleanup_lets_go_and_may_come_again(self, viewer, dock, tab, pick, section):
        image = viewer.add_image(section, name="cells")
        pick(image, 30, 20)
        tab.pick_button.setChecked(True)
        tab.cleanup()
        tab.cleanup()
        assert not tab._picker.on
        assert tab._engine is None
        assert tab._shown is None
        version = tab._version
        image.data = section[::-1]
        assert tab._version == version  # nobody listens any more

    def test_dock_closed_while_it_computes(self, viewer, dock, tab, section, qtbot):
        image = viewer.add_image(section, name="cells")
        tab.pick(image.data_to_world((30, 20)))
        dock.cleanup()
        qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=LONG)
        QApplication.processEvents()
        assert "cells attention" not in viewer.layers


def test_click_in_a_tile_that_was_seen_shows_at_once(viewer, dock, tab, pick, section):
    """Without a job, and without the network: how fast that is, `benchmarks/clicks.py` measures."""
    image = viewer.add_image(section, name="cells")
    pick(image, 40, 30)
    jobs, tile = [], tab._shown.tile
    dock.state.jobs.started.connect(jobs.append)
    for step in range(3):
        tab.pick(image.data_to_world((40 + step, 30 - step)))
        assert tab._shown.pixel.y == 40 + step
        assert tab._shown.tile is tile
    assert not jobs


def _click(qtbot, widget):
    qtbot.mouseMove(widget, widget.rect().center())
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=widget.rect().center())


def _move(widget, position, held=True):
    """Move the mouse with the left button held, as qtbot cannot."""
    QApplication.sendEvent(widget, _mouse(widget, position, QEvent.Type.MouseMove, held))


def _mouse(widget, position, kind, held=False):
    button = Qt.MouseButton.LeftButton if kind == QEvent.Type.MouseButtonRelease else Qt.MouseButton.NoButton
    return QMouseEvent(
        kind,
        QPointF(position),
        QPointF(widget.mapToGlobal(position)),
        button,
        Qt.MouseButton.LeftButton if held else Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
    )


def _drain(events):
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


def _wait(condition):
    until = time.monotonic() + LONG / 1000
    while not condition() and time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.01)


def _other(model):
    """The same network with other weights."""
    import copy

    import torch

    network = copy.deepcopy(model.network)
    with torch.no_grad():
        network.feedback.query[0].weight.mul_(3)
    return type(model)(model.card, network)

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import torch
from napari.layers import Image, Labels
from qtpy.QtWidgets import QFileDialog

from napari_feedback_seg import __version__
from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.models.library import FOLDER_VARIABLE, load_model
from napari_feedback_seg.models.model import Model, ModelCard
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.networks import NetworkSpec, build_network
from napari_feedback_seg.networks.spec import NETWORKS
from napari_feedback_seg.plugin.layers.results import probability_layers
from napari_feedback_seg.segmentation.predict import segment as segment_array


def choose(box, text):
    box.setCurrentIndex(box.findText(text))
    box.activated.emit(box.currentIndex())


def labels_of(image, **options):
    return segment_array(image, "small", device="cpu", **options).labels


class TestResult:
    def test_a_press_gives_what_python_gives(self, viewer, segment, section):
        viewer.add_image(section, name="cells")
        result = segment()
        assert result.name == "cells labels"
        assert result.data.dtype == np.uint8
        np.testing.assert_array_equal(result.data, labels_of(section))
        assert len(np.unique(result.data)) > 1

    def test_it_lies_on_a_turned_sheared_and_scaled_image(self, viewer, segment, section):
        image = viewer.add_image(
            section,
            scale=(4.6, 4.6),
            rotate=25,
            shear=[0.2],
            translate=(9, 8),
            units="nm",
            axis_labels=("y", "x"),
        )
        result = segment()
        for point in ((0, 0), (95, 0), (40, 79)):
            np.testing.assert_allclose(result.data_to_world(point), image.data_to_world(point))
        assert result.units == image.units
        assert result.axis_labels == image.axis_labels

    def test_it_says_what_made_it(self, viewer, segment, section, small_model):
        viewer.add_image(section, name="cells", scale=(5, 5), units="nm")
        record = segment().metadata["feedback-seg"]
        assert record["model"] == "small"
        assert record["model_sha256"] == load_model("small").digest
        assert record["version"] == __version__
        assert record["image"] == "cells"
        assert record["pixel_size_nm"] == [5.0, 5.0]
        assert record["settings"]["overlap"] == 0.25
        assert record["runs"][0]["sections"] == [0]

    def test_the_classes_have_names_and_their_colours(self, viewer, segment, section, small_model):
        viewer.add_image(section)
        result = segment()
        names = dict(zip(result.features["index"], result.features["class"], strict=True))
        assert names[3] == "synapse"
        for each in small_model.card.classes:
            found = result.get_color(each.value)
            np.testing.assert_allclose(found[:3], np.array(each.rgb) / 255, atol=0.01)
            assert found[3] == pytest.approx(each.opacity, abs=0.01)

    def test_again_it_is_updated_in_place(self, viewer, segment, section, tab):
        viewer.add_image(section)
        first = segment()
        tab.overlap_box.setValue(0.5)
        second = segment()
        assert second == first
        assert len(viewer.layers) == 2
        np.testing.assert_array_equal(second.data, labels_of(section, overlap=0.5))
        assert second.metadata["feedback-seg"]["settings"]["overlap"] == 0.5

    def test_what_a_person_painted_is_never_overwritten(self, viewer, segment, section):
        viewer.add_image(section, name="cells")
        result = segment()
        before = result.data.copy()
        result.paint((10, 10), 3 if result.data[10, 10] != 3 else 2)
        painted = result.data != before
        kept = result.data[painted]
        assert segment() == result
        np.testing.assert_array_equal(result.data[painted], kept)
        np.testing.assert_array_equal(result.data[~painted], labels_of(section)[~painted])
        np.testing.assert_array_equal(viewer.layers["cells corrections"].data > 0, painted)

    def test_paint_that_was_undone_is_no_paint(self, viewer, segment, section):
        viewer.add_image(section)
        first = segment()
        first.paint((10, 10), 3 if first.data[10, 10] != 3 else 2)
        first.undo()
        assert segment() == first

    def test_a_deleted_result_is_made_anew(self, viewer, segment, section):
        viewer.add_image(section)
        viewer.layers.remove(segment())
        np.testing.assert_array_equal(segment().data, labels_of(section))

    def test_probabilities_are_hidden_layers_one_a_class(self, viewer, segment, section, tab, small_model):
        image = viewer.add_image(section, name="cells", scale=(4.6, 4.6), units="nm")
        tab.probabilities_box.setChecked(True)
        result = segment()
        layers = probability_layers(viewer, result)
        assert [layer.name for layer in layers] == [
            f"cells {each.name} probability" for each in small_model.card.classes
        ]
        assert not any(layer.visible for layer in layers)
        assert all(
            np.array_equal(layer.scale, image.scale) and layer.units == image.units for layer in layers
        )
        total = sum(layer.data.astype(float) for layer in layers)
        np.testing.assert_allclose(total, 1, atol=0.01)
        segment()
        assert probability_layers(viewer, result) == layers
        assert tab.image_box.count() == 1  # they are no images to choose

    def test_another_image_gets_a_result_of_its_own(self, viewer, segment, section, tab):
        viewer.add_image(section, name="one")
        first = segment()
        viewer.add_image(section[::-1], name="two")
        assert tab.image_box.currentText() == "two"
        second = segment()
        assert second != first
        np.testing.assert_array_equal(first.data, labels_of(section))
        np.testing.assert_array_equal(second.data, labels_of(section[::-1]))


class TestPart:
    @pytest.fixture
    def stack(self, section):
        return np.stack([section, section[::-1], section[:, ::-1]])

    def test_this_section_is_the_one_shown(self, viewer, segment, stack, tab):
        viewer.add_image(stack)
        viewer.dims.set_point(0, 1)
        result = segment()
        np.testing.assert_array_equal(result.data[1], labels_of(stack[1]))
        assert not result.data[[0, 2]].any()
        viewer.dims.set_point(0, 2)
        assert segment() == result
        np.testing.assert_array_equal(result.data[1], labels_of(stack[1]))
        np.testing.assert_array_equal(result.data[2], labels_of(stack[2]))

    @pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
    def test_all_sections(self, viewer, segment, stack, tab, lazy):
        viewer.add_image(da.from_array(stack, chunks=(1, -1, -1)) if lazy else stack)
        choose(tab.what_box.chooser, "All sections")
        result = segment()
        np.testing.assert_array_equal(result.data, labels_of(stack))
        assert result.metadata["feedback-seg"]["runs"][0]["sections"] == [0, 1, 2]
        assert "Done in" in tab.status.text()

    def test_sections_appear_one_by_one_and_cancel_keeps_them(
        self, viewer, dock, tab, press, finish, qtbot, section, said
    ):
        viewer.add_image(np.tile(section, (40, 4, 4)))
        choose(tab.what_box.chooser, "All sections")
        press(tab.segment_button)
        qtbot.waitUntil(
            lambda: dock.state.result is not None and dock.state.result.data[0].any(), timeout=60_000
        )
        assert dock.state.jobs.busy
        press(tab.cancel_button)
        assert not tab.cancel_button.isEnabled()
        finish(dock)
        done = dock.state.result.data.any(axis=(1, 2))
        assert done[0]
        assert not done[-1]
        np.testing.assert_array_equal(dock.state.result.data[0], labels_of(np.tile(section, (4, 4))))
        assert "sections are done and stay" in tab.status.text()

    def test_a_rectangle_updates_its_part_only(self, viewer, segment, section, tab):
        viewer.add_image(section, scale=(2, 2), name="cells")
        whole = segment().data.copy()
        viewer.add_shapes([[[40, 20], [40, 60], [100, 60], [100, 20]]], shape_type="rectangle", name="box")
        choose(tab.what_box.chooser, "Rectangle of a Shapes layer")
        assert tab.what_box.shapes_box.isVisibleTo(tab)
        tab.overlap_box.setValue(0.6)
        result = segment()
        region = (slice(20, 51), slice(10, 31))
        np.testing.assert_array_equal(result.data[region], labels_of(section, region=region, overlap=0.6))
        outside = np.ones(whole.shape, bool)
        outside[region] = False
        np.testing.assert_array_equal(result.data[outside], whole[outside])

    def test_without_a_rectangle_a_sentence_says_so(self, viewer, segment, section, tab, said):
        viewer.add_image(section)
        choose(tab.what_box.chooser, "Rectangle of a Shapes layer")
        assert segment() is None
        assert "draw a rectangle" in said()

    def test_the_visible_region_is_what_the_canvas_shows(self, make_napari_viewer, qtbot):
        from napari_feedback_seg.plugin.layers.image import visible_region

        viewer = make_napari_viewer(show=True)
        image = viewer.add_image(np.zeros((1000, 1200), np.uint8), scale=(2, 2))
        camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
        camera.center, camera.zoom = (1000, 800), 4
        qtbot.waitUntil(lambda: image.corner_pixels[0, 0] > 0, timeout=60_000)
        rows, columns = visible_region(viewer, image)
        height, width = (length / (4 * 2) for length in viewer.window._qt_viewer.canvas.size)
        expected = (500 - height / 2, 500 + height / 2, 400 - width / 2, 400 + width / 2)
        np.testing.assert_allclose((rows.start, rows.stop, columns.start, columns.stop), expected, atol=3)
        camera.center = (-90_000, 0)
        qtbot.waitUntil(lambda: (image.corner_pixels[0] == image.corner_pixels[1]).any(), timeout=60_000)
        with pytest.raises(InputError, match="is not in view"):
            visible_region(viewer, image)
        image.visible = False
        with pytest.raises(InputError, match="is hidden"):
            visible_region(viewer, image)

    def test_in_3d_the_visible_region_is_refused_and_the_section_is_not(
        self, viewer, segment, stack, tab, said
    ):
        viewer.add_image(stack)
        viewer.dims.ndisplay = 3
        choose(tab.what_box.chooser, "Visible region")
        assert segment() is None
        assert "The view is in 3D" in said()
        choose(tab.what_box.chooser, "This section")
        assert segment().data.any()

    def test_the_slider_beside_the_stack_is_a_sentence(self, viewer, dock, segment, stack, tab, said):
        image = viewer.add_image(stack, name="short")
        viewer.add_labels(np.zeros((10, *stack.shape[1:]), np.uint8), name="long")
        dock.state.image = image
        viewer.dims.set_point(0, 7)
        choose(tab.what_box.chooser, "This section")
        assert segment() is None
        assert "The slider is at no section of 'short'" in said()

    def test_an_image_that_gets_sections_can_be_segmented_in_all_of_them(self, viewer, tab, stack):
        image = viewer.add_image(stack[0])
        assert tab.what_box.chooser.findText("All sections") < 0
        image.data = stack
        assert tab.what_box.chooser.findText("All sections") >= 0


class TestPixelSize:
    def test_near_the_models_there_is_no_note(self, viewer, tab, section):
        viewer.add_image(section, scale=(5, 5), units="nm")
        assert not tab.pixel_note.isVisibleTo(tab)

    def test_far_off_a_note_offers_to_rescale(self, viewer, tab, segment, section):
        viewer.add_image(section, scale=(9.2, 9.2), units="nm")
        assert tab.pixel_note.isVisibleTo(tab)
        assert "9.2 nm" in tab.pixel_note.text.text()
        assert "4.6 nm" in tab.pixel_note.text.text()
        plain = segment().data.copy()
        np.testing.assert_array_equal(plain, labels_of(section))
        tab.pixel_note.rescale_box.setChecked(True)
        rescaled = segment()
        np.testing.assert_array_equal(rescaled.data, labels_of(section, pixel_size_nm=9.2))
        assert (rescaled.data != plain).any()

    def test_height_and_width_may_differ(self, viewer, tab, segment, section):
        viewer.add_image(section, scale=(9.2, 4.6), units="nm")
        assert "9.2 x 4.6 nm" in tab.pixel_note.text.text()
        tab.pixel_note.rescale_box.setChecked(True)
        np.testing.assert_array_equal(segment().data, labels_of(section, pixel_size_nm=(9.2, 4.6)))

    def test_units_that_are_no_lengths_tell_nothing(self, viewer, tab, segment, section):
        viewer.add_image(section, scale=(9.2, 9.2))
        assert not tab.pixel_note.isVisibleTo(tab)
        tab.pixel_note.box.setValue(9.2)
        assert tab.pixel_note.isVisibleTo(tab)

    def test_what_is_typed_is_of_its_image_and_only_where_the_layer_says_nothing(
        self, viewer, dock, tab, section
    ):
        plain = viewer.add_image(section, name="plain")
        tab.pixel_note.box.setValue(4)
        assert dock.state.pixel_sizes.size == (4, 4)
        viewer.add_image(section, name="in nm", scale=(10, 10), units="nm")
        assert dock.state.pixel_sizes.size == (10, 10)
        assert not tab.pixel_note.box.isEnabled()
        viewer.add_image(section, name="plain, too")
        assert dock.state.pixel_sizes.size is None
        dock.state.image = plain
        assert dock.state.pixel_sizes.size == (4, 4)
        plain.scale, plain.units = (8, 8), ("nm", "nm")
        assert dock.state.pixel_sizes.size == (8, 8)

    def test_mixed_units_of_layers_and_axes(self, viewer, tab, segment, section):
        viewer.add_image(section, scale=(4.6, 4.6), units="nm", name="in nm")
        viewer.add_image(section, scale=(0.0046, 4.6), units=("um", "nm"), name="mixed")
        assert tab.image_box.currentText() == "mixed"
        assert not tab.pixel_note.isVisibleTo(tab)
        np.testing.assert_array_equal(segment().data, labels_of(section))


class TestBadInput:
    def test_no_image(self, segment, said, tab):
        assert segment() is None
        assert "There is no image" in said()
        assert "There is no image" in tab.status.text()

    def test_labels_instead_of_an_image(self, viewer, segment, said, section):
        viewer.add_labels(section, name="mine")
        assert segment() is None
        assert "'mine' is a Labels layer and not an image" in said()

    @pytest.mark.parametrize(
        ("data", "attributes", "sentence"),
        [
            (np.zeros((32, 32, 3), np.uint8), {"rgb": True}, "is a colour image"),
            (np.zeros((2, 2, 32, 32), np.uint8), {}, "has 4 axes"),
            (np.full((32, 32), 7, np.uint8), {}, "one grey value|nothing to see"),
            (
                np.full((32, 32), np.nan, np.float32),
                {"contrast_limits": (0, 1)},
                "no number|not numbers|nothing",
            ),
            (np.zeros((32, 32), bool), {}, "only true and false"),
        ],
        ids=["rgb", "4D", "constant", "NaN", "mask"],
    )
    def test_a_sentence_and_no_layer(self, viewer, segment, said, data, attributes, sentence):
        import re

        viewer.add_image(data, **attributes)
        assert segment() is None
        assert re.search(sentence, said())
        assert len(viewer.layers) == 1

    def test_some_nan_is_segmented_around(self, viewer, segment, section):
        holed = section.astype(np.float32)
        holed[5:9, 5:9] = np.nan
        viewer.add_image(holed, contrast_limits=(0, 255))
        assert segment().data.any()

    def test_multiscale_takes_the_finest_and_says_so(self, viewer, segment, said, section):
        viewer.add_image([section, section[::2, ::2]], multiscale=True)
        result = segment()
        np.testing.assert_array_equal(result.data, labels_of(section))
        assert "the finest was segmented" in said()

    def test_a_model_file_that_is_gone(self, viewer, segment, said, section, models_folder, tab):
        viewer.add_image(section)
        (models_folder / "small.safetensors").unlink()
        assert segment() is None
        assert "is gone" in said()
        assert tab.models.chooser.findText("small") == -1  # the list was read again

    def test_two_runs_at_once(self, viewer, dock, tab, press, finish, said, section):
        viewer.add_image(np.tile(section, (10, 10)))
        press(tab.segment_button)
        tab.segment()
        assert "is still running" in said()
        assert not tab.segment_button.isEnabled()
        press(tab.cancel_button)
        finish(dock)
        assert tab.segment_button.isEnabled()

    def test_the_image_deleted_while_it_runs(self, viewer, dock, tab, press, finish, said, section):
        image = viewer.add_image(np.tile(section, (10, 10)))
        press(tab.segment_button)
        viewer.layers.remove(image)
        finish(dock)
        assert "The image was deleted" in said()
        assert not viewer.layers

    def test_the_image_replaced_while_it_runs(self, viewer, dock, tab, press, finish, said, section):
        image = viewer.add_image(section)
        press(tab.segment_button)
        image.data = section[::-1].copy()
        finish(dock)
        assert "The image was replaced while it was segmented" in said()

    def test_the_result_deleted_while_it_runs(self, viewer, dock, tab, press, finish, qtbot, said, section):
        viewer.add_image(np.tile(section, (30, 4, 4)))
        choose(tab.what_box.chooser, "All sections")
        press(tab.segment_button)
        qtbot.waitUntil(lambda: dock.state.result is not None, timeout=60_000)
        viewer.layers.remove(dock.state.result)
        finish(dock)
        assert "The result was deleted" in said()
        assert dock.state.result is None


class TestModels:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_every_network_of_the_paper_runs(
        self, viewer, dock, tab, finish, segment, section, tmp_path, name
    ):
        spec = NetworkSpec.named(name, width=4, depth=2)
        network = build_network(spec)
        with torch.no_grad():
            network.train()(torch.from_numpy(section / 50).float()[None, None, :64, :64])
        card = ModelCard(name, spec, EM_CLASSES, 4.6, 64)
        tab.models.import_file(save_model(Model(card, network), tmp_path / "theirs.safetensors"))
        finish(dock)
        viewer.add_image(section)
        result = segment()
        np.testing.assert_array_equal(result.data, segment_array(section, "theirs", device="cpu").labels)
        assert result.metadata["feedback-seg"]["model"] == name

    def test_the_card_says_what_a_user_needs(self, dock, tab):
        dock.state.model_name = "self-w16"
        text = tab.models.card_text.toPlainText()
        for each in (
            "ssTEM",
            "4.6 nm",
            "glia and extracellular space count as membrane",
            "CC BY-NC-SA",
            "mean",
        ):
            assert each in text

    def test_import_copies_and_chooses(self, dock, tab, finish, tmp_path, small_model, models_folder):
        path = save_model(small_model, tmp_path / "theirs.safetensors")
        tab.models.import_file(path)
        finish(dock)
        assert (models_folder / "theirs.safetensors").read_bytes() == path.read_bytes()
        assert tab.models.chooser.currentText() == "theirs"
        assert dock.state.card.name == "small"

    def test_the_button_asks_for_the_file(
        self, dock, tab, press, finish, tmp_path, small_model, models_folder, monkeypatch
    ):
        path = save_model(small_model, tmp_path / "theirs.safetensors")
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
        press(tab.models.import_button)
        finish(dock)
        assert (models_folder / "theirs.safetensors").is_file()
        assert dock.state.model_name == "theirs"

    def test_import_of_what_is_no_model(self, dock, tab, finish, tmp_path, said, models_folder):
        path = tmp_path / "odd.safetensors"
        path.write_bytes(b"no model")
        tab.models.import_file(path)
        finish(dock)
        assert "odd.safetensors" in said()
        assert not (models_folder / "odd.safetensors").exists()

    def test_import_into_a_folder_that_cannot_be_made(
        self, dock, tab, finish, tmp_path, said, small_model, monkeypatch
    ):
        path = save_model(small_model, tmp_path / "theirs.safetensors")
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file" / "models"))
        tab.models.import_file(path)
        finish(dock)
        assert "cannot be" in said()

    def test_a_damaged_model_is_listed_as_such(
        self, dock, tab, models_folder, segment, viewer, section, said
    ):
        (models_folder / "broken.safetensors").write_bytes(b"no model")
        dock.state.refresh_models()
        assert tab.models.chooser.findText("broken (damaged)") >= 0
        dock.state.model_name = "broken"
        viewer.add_image(section)
        assert segment() is None
        assert "broken.safetensors" in said()


class TestLegend:
    def test_a_box_hides_and_shows_its_class(self, viewer, tab, segment, section):
        viewer.add_image(section)
        result = segment()
        tab.legend.boxes[1].setChecked(False)
        assert result.get_color(1)[3] == 0
        assert result.get_color(2)[3] > 0
        tab.legend.boxes[1].setChecked(True)
        assert result.get_color(1)[3] > 0


def test_the_choosers_follow_the_viewer(viewer, tab, section):
    assert not tab.image_box.isEnabled()
    one = viewer.add_image(section, name="one")
    viewer.add_labels(section, name="labels")
    viewer.add_image(section, name="two")
    assert [tab.image_box.itemText(i) for i in range(tab.image_box.count())] == ["two", "one"]
    viewer.layers.selection.active = one
    assert tab.image_box.currentText() == "one"
    one.name = "first"
    assert tab.image_box.currentText() == "first"
    viewer.layers.remove(one)
    assert tab.image_box.currentText() == "two"


def test_flips_are_averaged_over_if_ticked(viewer, segment, section, tab):
    viewer.add_image(section)
    tab.flips_box.setChecked(True)
    averaged = labels_of(section, flips=True)
    assert (averaged != labels_of(section)).any()
    np.testing.assert_array_equal(segment().data, averaged)


def test_layer_types_are_as_promised(viewer, segment, section, tab):
    viewer.add_image(section)
    tab.probabilities_box.setChecked(True)
    segment()
    assert [type(layer) for layer in viewer.layers] == [Image, Labels, *[Image] * 4]


def test_a_model_file_that_came_later_is_in_the_list_when_it_opens(tab, models_folder, small_model):
    save_model(small_model, models_folder / "later.safetensors")
    tab.models.chooser.showPopup()
    assert tab.models.chooser.findText("later") >= 0
    tab.models.chooser.hidePopup()


def test_the_layer_that_a_person_chose_stays_active(viewer, dock, tab, press, finish, section):
    viewer.add_image(section, name="one")
    press(tab.segment_button)
    two = viewer.add_image(section, name="two")
    finish(dock)
    assert viewer.layers.selection.active == two
    assert "one labels" in viewer.layers

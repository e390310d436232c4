"""What only a window can show of the tab Segment."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from napari.layers import Image, Labels
from qtpy.QtWidgets import QFileDialog, QMessageBox
from tifffile import imwrite

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.models.library import FOLDER_VARIABLE
from napari_feedback_seg.models.model import Model, ModelCard
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.networks import NetworkSpec, build_network
from napari_feedback_seg.networks.spec import NETWORKS
from napari_feedback_seg.segmentation.predict import segment as segment_array


def choose(box, text):
    box.setCurrentIndex(box.findText(text))
    box.activated.emit(box.currentIndex())


def labels_of(image, **options):
    return segment_array(image, "small", device="cpu", **options).labels


def test_a_press_segments_in_a_thread_with_what_the_form_says(viewer, dock, tab, segment, section):
    viewer.add_image(section, name="cells")
    tab.options_form.widgets["overlap"].value = 0.5
    np.testing.assert_array_equal(segment().data, labels_of(section, overlap=0.5))
    assert "Done in" in tab.status.text()


def test_cancel_ends_it_and_says_what_stays(viewer, dock, tab, press, finish, qtbot, section):
    viewer.add_image(np.tile(section, (40, 4, 4)))
    choose(tab.what_box.chooser, "All sections")
    press(tab.segment_button)
    qtbot.waitUntil(lambda: dock.session.result is not None, timeout=60_000)
    assert not tab.segment_button.isEnabled()
    press(tab.cancel_button)
    assert not tab.cancel_button.isEnabled()
    finish(dock)
    assert "sections are done and stay" in tab.status.text()
    assert tab.what_box.chooser.currentText().startswith("Sections not done yet")
    assert tab.segment_button.isEnabled()


def test_two_runs_at_once(viewer, dock, tab, press, finish, said, section):
    viewer.add_image(np.tile(section, (10, 10)))
    press(tab.segment_button)
    tab.segment()
    assert "is still running" in said()
    press(tab.cancel_button)
    finish(dock)


def test_the_image_deleted_while_it_runs(viewer, dock, tab, press, finish, said, section):
    image = viewer.add_image(np.tile(section, (10, 10)))
    press(tab.segment_button)
    viewer.layers.remove(image)
    finish(dock)
    assert "The image was deleted" in said()
    assert not viewer.layers


def test_the_visible_region_is_what_the_canvas_shows(make_napari_viewer, qtbot):
    from napari_feedback_seg.plugin.layers.image import visible_region

    viewer = make_napari_viewer(show=True)
    image = viewer.add_image(np.zeros((1000, 1200), np.uint8), scale=(2, 2))
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
    camera.center, camera.zoom = (1000, 800), 4
    qtbot.waitUntil(lambda: image.corner_pixels[0, 0] > 0, timeout=60_000)
    rows, columns = visible_region(viewer, image)
    height, width = (length / (4 * 2) for length in viewer.screenshot(flash=False).shape[:2])
    expected = (500 - height / 2, 500 + height / 2, 400 - width / 2, 400 + width / 2)
    np.testing.assert_allclose((rows.start, rows.stop, columns.start, columns.stop), expected, atol=3)
    camera.center = (-90_000, 0)
    qtbot.waitUntil(lambda: (image.corner_pixels[0] == image.corner_pixels[1]).any(), timeout=60_000)
    with pytest.raises(InputError, match="is not in view"):
        visible_region(viewer, image)
    image.visible = False
    with pytest.raises(InputError, match="is hidden"):
        visible_region(viewer, image)


def test_the_rectangle_box_shows_when_it_is_wanted(viewer, tab, section):
    viewer.add_image(section)
    viewer.add_shapes([[[4, 2], [4, 6], [10, 6], [10, 2]]], shape_type="rectangle", name="box")
    assert not tab.what_box.shapes_box.isVisibleTo(tab)
    choose(tab.what_box.chooser, "Rectangle of a Shapes layer")
    assert tab.what_box.shapes_box.isVisibleTo(tab)
    assert tab.what_box.shapes_box.currentText() == "box"


def test_an_image_that_gets_sections_can_be_segmented_in_all_of_them(viewer, tab, section):
    image = viewer.add_image(section)
    assert tab.what_box.chooser.findText("All sections") < 0
    image.data = np.stack([section] * 3)
    assert tab.what_box.chooser.findText("All sections") >= 0


class TestPixelSize:
    def test_near_the_models_there_is_neither_a_note_nor_a_question(self, viewer, dock, tab, section):
        viewer.add_image(section, scale=(5, 5), units="nm")
        assert not tab.pixel_note.isVisibleTo(tab)
        assert not dock.pixel_size.isVisibleTo(dock)

    def test_unknown_a_line_at_the_top_asks_for_it(self, viewer, dock, tab, section):
        assert not dock.pixel_size.isVisibleTo(dock)
        viewer.add_image(section)
        assert dock.pixel_size.isVisibleTo(dock)
        assert dock.pixel_size.text.text().replace("&", "") == "Pixel size unknown:"
        dock.pixel_size.box.setValue(9.2)
        assert dock.pixel_size.text.text().replace("&", "") == "Pixel size:"
        assert not dock.pixel_size.taken_over.isVisibleTo(dock.pixel_size)
        assert dock.session.pixel_sizes.size == (9.2, 9.2)
        assert tab.pixel_note.isVisibleTo(tab)
        assert "may be better" in tab.pixel_note.text.text()

    @pytest.mark.parametrize(("scale", "text"), [((20, 20), "20 nm"), ((9.2, 4.6), "9.2 x 4.6 nm")])
    def test_the_note_follows_the_scale_of_the_layer(self, viewer, tab, section, scale, text):
        image = viewer.add_image(section, scale=(4.6, 4.6), units="nm")
        image.scale = scale
        assert text in tab.pixel_note.text.text()
        assert "4.6 nm" in tab.pixel_note.text.text()
        assert tab.pixel_note.rescale_box.isVisibleTo(tab)

    def test_too_far_apart_there_is_nothing_to_tick(self, viewer, tab, section):
        viewer.add_image(section, scale=(500, 500), units="nm")
        assert tab.pixel_note.isVisibleTo(tab)
        assert not tab.pixel_note.rescale_box.isVisibleTo(tab)

    def test_both_ways_are_shown_and_one_is_taken(self, viewer, dock, tab, press, finish, section):
        image = viewer.add_image(section, name="cells", scale=(9.2, 9.2), units="nm")
        image.corner_pixels = np.array([[0, 0], section.shape])
        press(tab.pixel_note.compare_button)
        finish(dock)
        assert "Left: as it is. Right: rescaled." in tab.beside.text.text()
        press(tab.beside.right_button)
        assert tab.pixel_note.rescale_box.isChecked()
        assert not tab.beside.isVisibleTo(tab)
        np.testing.assert_array_equal(dock.session.result.data, labels_of(section, pixel_size_nm=9.2))


def test_undo_and_redo_by_the_button(viewer, dock, tab, press, segment, section):
    viewer.add_image(section)
    assert not tab.undo_button.isEnabled()
    result = segment()
    press(tab.undo_button)
    assert not result.data.any()
    assert tab.undo_button.text() == "Redo"
    assert tab.undo_button.shortcut().toString() == "Alt+N"
    press(tab.undo_button)
    assert result.data.any()


def test_labels_that_were_made_otherwise_are_asked_about(
    dock, tab, press, finish, tmp_path, section, monkeypatch
):
    (tmp_path / "images").mkdir()
    imwrite(tmp_path / "images" / "a.tif", section)
    panel, batch = tab.batch_panel, dock.session.batch
    batch.set(inputs=[str(tmp_path / "images")], output=str(tmp_path / "labels"))
    press(panel.start_button)
    finish(dock)
    assert panel.status.text().startswith("Done. 1 of 1 images are done")
    first = (tmp_path / "labels" / "a-labels.tif").stat().st_mtime_ns
    dock.session.segmenting.set(overlap=0.5)
    asked = []
    for answer in (QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes):
        monkeypatch.setattr(
            QMessageBox, "question", lambda *words, answer=answer: asked.append(words[2]) or answer
        )
        press(panel.start_button)
        finish(dock)
        again = (tmp_path / "labels" / "a-labels.tif").stat().st_mtime_ns > first
        assert again == (answer == QMessageBox.StandardButton.Yes)
    assert "1 of 1 images has labels" in asked[0]
    press(panel.start_button)
    assert len(asked) == 2
    assert panel.status.text().startswith("All 1 images are done")


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
        dock.session.model_name = "self-w16"
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
        assert dock.session.card.name == "small"

    def test_the_button_asks_for_the_file(
        self, dock, tab, press, finish, tmp_path, small_model, models_folder, monkeypatch
    ):
        path = save_model(small_model, tmp_path / "theirs.safetensors")
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
        press(tab.models.import_button)
        finish(dock)
        assert (models_folder / "theirs.safetensors").is_file()
        assert dock.session.model_name == "theirs"

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
        dock.session.refresh_models()
        assert tab.models.chooser.findText("broken (damaged)") >= 0
        dock.session.model_name = "broken"
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
    assert not tab.image_box.enabled
    one = viewer.add_image(section, name="one")
    viewer.add_labels(section, name="labels")
    viewer.add_image(section, name="two")
    assert {layer.name for layer in tab.image_box.choices} == {"two", "one"}
    viewer.layers.selection.active = one
    assert tab.image_box.current_choice == "one"
    one.name = "first"
    assert tab.image_box.current_choice == "first"
    viewer.layers.remove(one)
    assert tab.image_box.current_choice == "two"


def test_layer_types_are_as_promised(viewer, segment, section, tab):
    viewer.add_image(section)
    tab.options_form.widgets["probabilities"].value = True
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


def test_the_shortcut_stays_whatever_the_button_says(viewer, tab, segment, section):
    viewer.add_image(section)
    segment()
    assert tab.segment_button.shortcut().toString() == "Ctrl+Return"
    assert "Ctrl+Return" in tab.segment_button.toolTip()


def test_help_is_about_the_tab_in_front(dock, press):
    dock.show_help()
    assert dock.help.isVisible()
    assert "Segment" in dock.help.toPlainText()
    dock.show_tab("correct")
    dock.show_help()
    assert dock.help.windowTitle() == "Help: Correct"
    dock.help.close()

"""What was exported comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.errors import NoAvailableReaderError
from napari.layers import Image, Labels
from npe2 import PluginManager, PluginManifest

import napari_feedback_seg
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.plugin.contributions.reader import get_reader, read_result
from napari_feedback_seg.plugin.layers.image import class_colormap
from napari_feedback_seg.plugin.layers.results import probability_layers

MANIFEST = Path(napari_feedback_seg.__file__).with_name("napari.yaml")
PLACE = ("scale", "translate", "rotate", "shear")


@pytest.fixture(
    autouse=True
)  # before the viewer, which takes the dock of a plugin that goes out of the window
def registered(npe2pm):
    with npe2pm.tmp_plugin(manifest=PluginManifest.from_file(MANIFEST)):
        yield


@pytest.fixture
def export(tab, dock, tmp_path, finish):
    """Export and wait; return the path of the record."""

    def export() -> str:
        assert tab.export_button.export_to(tmp_path / "exports")
        finish(dock)
        [run] = (tmp_path / "exports").glob("*/*-run.json")
        return str(run)

    return export


def plain(metadata: dict) -> dict:
    """Return metadata as JSON says them: a pair is a list there."""
    return json.loads(json.dumps(metadata))


def without_identities(metadata: dict) -> dict:
    """Return metadata without the identities of layers, which hold in their own viewer only."""
    identities = ("image_id", "labels_id", "opened")
    return {key: {k: v for k, v in of.items() if k not in identities} for key, of in metadata.items()}


def state_of(layer: Labels | Image) -> dict:
    """Return all that makes a layer what it is, as napari itself would save it."""
    data, attributes, kind = layer.as_layer_data_tuple()
    return {"data": np.asarray(data), "kind": kind, **attributes}


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(found["data"], expected["data"])
    assert found["data"].dtype == expected["data"].dtype
    assert without_identities(plain(found["metadata"])) == without_identities(plain(expected["metadata"]))
    for name in found.keys() - {"data", "metadata", "colormap", "features", "feature_defaults"}:
        np.testing.assert_equal(found[name], expected[name], name)
    if "features" in expected:
        assert found["features"].equals(expected["features"])
        assert (found["features"].dtypes == expected["features"].dtypes).all()


def assert_same_colours(found: Labels | Image, expected: Labels | Image) -> None:
    assert type(found.colormap) is type(expected.colormap)
    if isinstance(expected, Labels):
        one, other = found.colormap.color_dict, expected.colormap.color_dict
        assert one.keys() == other.keys()
        for value in other:
            np.testing.assert_array_equal(one[value], other[value])
    else:
        assert found.colormap == expected.colormap


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("stack", [False, True])
def test_every_attribute_comes_back(viewer, segment, section, tab, export, stack):
    deep = {"scale": (4.6, 9.2), "translate": (10, -20), "rotate": 25, "shear": [0.2], "units": ("nm", "nm")}
    affine = np.array([[1, 0.1, 5], [-0.2, 1, 7], [0, 0, 1]])
    image, attributes = section, {**deep, "affine": affine, "axis_labels": ("y", "x")}
    if stack:
        image = np.stack([section, section[::-1]])
        attributes = {"scale": (50, 4.6, 9.2), "translate": (3, 2, 1), "rotate": (5, 10, 15)}
        attributes |= {"units": ("nm", "nm", "nm"), "axis_labels": ("z", "y", "x"), "shear": [0.1, 0.2, 0.3]}
        tab.what_box.chooser.setCurrentIndex(tab.what_box.chooser.findText("All sections"))
    viewer.add_image(image, name="cells", **attributes)
    tab.options_form.widgets["probabilities"].value = True
    tab.legend.boxes[4].setChecked(False)
    labels = segment()
    labels.opacity = 0.55
    labels.blending = "additive"
    made = [layer for layer in viewer.layers if layer.name != "cells"]
    expected = [state_of(layer) for layer in made]
    run = export()
    viewer.layers.clear()

    viewer.open(run, plugin=None)

    assert [layer.name for layer in viewer.layers] == [layer.name for layer in made]
    for found, before, old in zip(viewer.layers, expected, made, strict=True):
        assert_same(state_of(found), before)
        assert_same_colours(found, old)
        for name in PLACE:
            np.testing.assert_array_equal(getattr(found, name), getattr(old, name))
        np.testing.assert_array_equal(found.affine.affine_matrix, old.affine.affine_matrix)
        assert found.units == old.units
    assert [layer.visible for layer in viewer.layers] == [True, False, False, False, False]
    hidden = viewer.layers[0].get_color(4)
    assert hidden is None or hidden[3] == 0


def test_a_result_that_was_opened_again_is_the_result_of_its_image(
    viewer, segment, section, dock, tab, export
):
    viewer.add_image(section, name="cells")
    segment()
    run = export()
    viewer.layers.clear()
    viewer.add_image(section, name="cells")  # another one of this name, as after a new start
    viewer.open(run, plugin=None)
    [found] = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    assert dock.session.result == found
    tab.options_form.widgets["overlap"].value = 0.5
    assert segment() == found  # it is updated in place
    found.paint((2, 2), 3)
    tab.options_form.widgets["overlap"].value = 0.1
    assert segment() == found  # what was painted is a correction
    corrected = viewer.layers["cells corrections"].data == 3
    assert corrected[:5, :5].sum() > 10
    shown = np.asarray(dock.session.correcting.corrections.of_result(found))
    assert (shown[corrected] == 3).all()


def test_the_labels_are_shown_even_if_objects_were_found(viewer, segment, section, dock, export, finish):
    viewer.add_image(section, name="cells")
    segment()
    dock.session.objects.find()
    finish(dock)
    assert not viewer.layers["cells labels"].visible
    [(_, attributes, _)] = read_result(export())
    assert attributes["visible"]


@pytest.mark.window  # whose readers open the image
def test_the_image_is_opened_below_its_result_as_it_was(
    viewer, segment, section, export, tmp_path, dock, said
):
    tifffile.imwrite(tmp_path / "cells.tif", section, photometric="minisblack")
    [image] = viewer.open(tmp_path / "cells.tif", plugin="napari-feedback-seg", name="my cells")
    image.scale, image.units, image.contrast_limits = (9, 9), ("nm", "nm"), (20, 200)
    segment()
    run = export()
    viewer.open(run, plugin="napari-feedback-seg")
    assert [each.name for each in viewer.layers].count("my cells") == 1  # it is open already
    viewer.layers.clear()

    viewer.open(run, plugin="napari-feedback-seg")

    assert [each.name for each in viewer.layers] == ["my cells", "my cells labels"]
    again = viewer.layers["my cells"]
    np.testing.assert_array_equal(again.data, section)
    np.testing.assert_array_equal(again.scale, (9, 9))
    assert list(again.contrast_limits) == [20, 200]
    assert Path(again.source.path) == tmp_path / "cells.tif"
    assert dock.session.image == again
    assert dock.session.result == viewer.layers["my cells labels"]

    viewer.layers.clear()
    tifffile.imwrite(tmp_path / "cells.tif", section[:50], photometric="minisblack")
    viewer.open(run, plugin="napari-feedback-seg")
    assert [each.name for each in viewer.layers] == ["my cells labels"]
    assert f"'{tmp_path / 'cells.tif'}' does not hold it as it was" in said()


def test_probabilities_are_hidden_even_if_they_were_seen(viewer, segment, section, tab, export):
    viewer.add_image(section, name="cells")
    tab.options_form.widgets["probabilities"].value = True
    segment()
    for layer in viewer.layers:
        layer.visible = True
    run = export()
    viewer.layers.clear()
    viewer.open(run, plugin=None)
    assert [layer.visible for layer in viewer.layers] == [True, False, False, False, False]


def test_only_records_of_results_are_taken(viewer, segment, section, export, tmp_path):
    viewer.add_image(section, name="cells")
    segment()
    run = Path(export())
    assert get_reader(str(run)) is not None
    assert get_reader([str(run), str(run)]) is not None
    others = [run.parent, *run.parent.glob("*.tif"), run.parent.with_name("nowhere-run.json")]
    foreign = tmp_path / "of-others-run.json"
    foreign.write_text('{"format": "other"}')
    for path in (*others, foreign):
        assert get_reader(str(path)) is None
        assert get_reader([str(run), str(path)]) is None
    # napari would ask which reader to take at every folder that two of them claim.
    manager = PluginManager.instance()
    for path in (run.parent, tmp_path):
        assert "napari-feedback-seg" not in {
            reader.plugin_name for reader in manager.iter_compatible_readers(str(path))
        }
    for path in (*run.parent.glob("*.tif"), tmp_path / "a-labels.tif"):
        ours = {
            reader.command
            for reader in manager.iter_compatible_readers(str(path))
            if reader.plugin_name == "napari-feedback-seg"
        }
        assert ours == {"napari-feedback-seg.read_image"}
    with pytest.raises(NoAvailableReaderError):
        viewer.open(str(foreign.rename(tmp_path / "of-others.json")), plugin=None)


def test_probabilities_go_with_the_labels_that_they_were_opened_with(
    viewer, segment, section, tab, export, press, finish, dock
):
    viewer.add_image(section, name="cells")
    tab.options_form.widgets["probabilities"].value = True
    segment()
    first = export()
    viewer.layers["cells membrane probability"].data[:] = 0.25
    assert tab.export_button.export_to(Path(first).parents[1])
    finish(dock)
    viewer.layers.clear()
    runs = sorted(Path(first).parents[1].glob("*/*-run.json"))
    for run in runs:
        viewer.open(run, plugin=None)
    one, other = (layer for layer in viewer.layers if isinstance(layer, Labels))
    found = [probability_layers(viewer, each) for each in (one, other)]
    assert [len(each) for each in found] == [4, 4]
    assert not set(found[0]) & set(found[1])
    assert sorted((each[0].data == 0.25).all() for each in found) == [False, True]


def test_two_records_give_the_layers_of_both(viewer, segment, section, export):
    viewer.add_image(section, name="cells")
    segment()
    run = export()
    assert [kind for _, _, kind in read_result([run, run])] == ["labels", "labels"]


def test_labels_in_other_colours_get_them_back_or_those_of_the_classes(
    viewer, segment, section, export, small_model
):
    viewer.add_image(section, name="cells")
    segment()
    run = Path(export())
    record = json.loads(run.read_text())
    record["layers"]["labels"]["colors"] = None
    run.write_text(json.dumps(record))
    [(_, attributes, _)] = read_result(str(run))
    found, expected = attributes["colormap"].color_dict, class_colormap(small_model.card.classes).color_dict
    assert found.keys() == expected.keys()
    for value in expected:
        np.testing.assert_array_equal(found[value], expected[value])


@pytest.mark.parametrize(
    ("part", "change"),
    [("labels", {"scale": "wide"}), ("labels", {"colors": [[1, "x", 3]]})],
    ids=str,
)
def test_a_damaged_record_is_a_sentence(viewer, segment, section, export, part, change):
    viewer.add_image(section, name="cells")
    segment()
    run = Path(export())
    record = json.loads(run.read_text())
    record["layers"][part] |= change
    run.write_text(json.dumps(record))
    with pytest.raises(InputError, match="cannot be read as the record"):
        read_result(str(run))


def test_the_labels_of_an_export_open_as_the_result_that_they_are(viewer, segment, section, export, tab):
    viewer.add_image(section, name="cells")
    tab.options_form.widgets["probabilities"].value = True
    labels = segment().data.copy()
    file = Path(export()).with_name("cells-labels.tif")
    viewer.layers.clear()
    viewer.open(file, plugin="napari-feedback-seg")
    found = viewer.layers["cells labels"]
    assert isinstance(found, Labels)
    np.testing.assert_array_equal(found.data, labels)
    assert len(probability_layers(viewer, found)) == 4
    file.with_name("cells-run.json").unlink()
    viewer.layers.clear()
    (image,) = viewer.open(file, plugin="napari-feedback-seg")  # without its record it is any image
    assert isinstance(image, Image)


def test_a_folder_is_left_to_napari_which_would_else_ask_at_each(tmp_path, npe2pm):
    assert not list(npe2pm.iter_compatible_readers([str(tmp_path)]))

"""The manifest is valid, napari finds it, and what it names is there."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from napari.settings import get_plugin_settings
from npe2 import PluginManifest
from qtpy.QtWidgets import QApplication, QComboBox, QLabel, QListWidget, QStackedWidget

import napari_feedback_seg

NAME = "napari-feedback-seg"
DOCK = f"Feedback segmentation ({NAME})"
MANIFEST = Path(napari_feedback_seg.__file__).with_name("napari.yaml")


@pytest.fixture
def manifest() -> PluginManifest:
    return PluginManifest.from_file(MANIFEST)


@pytest.fixture
def viewer(make_napari_viewer, npe2pm, manifest):
    with npe2pm.tmp_plugin(manifest=manifest):
        yield make_napari_viewer()


def test_installed_package_points_to_this_manifest():
    found = PluginManifest.from_distribution(NAME)
    assert found == PluginManifest.from_file(MANIFEST)
    assert found.package_version == napari_feedback_seg.__version__


def test_manifest_has_the_name_of_the_package(manifest):
    assert manifest.name == metadata.metadata(NAME)["Name"]


def test_every_command_can_be_imported(manifest):
    manifest.validate_imports()


def test_what_is_contributed_names_a_command(manifest):
    commands = {command.id for command in manifest.contributions.commands}
    samples = {sample.command for sample in manifest.contributions.sample_data}
    widgets = {widget.command for widget in manifest.contributions.widgets}
    menus = {item.command for items in manifest.contributions.menus.values() for item in items}
    assert samples
    assert widgets
    assert menus
    assert samples | widgets | menus <= commands
    assert manifest.contributions.configurations


@pytest.fixture
def entries(viewer):
    """Return the entries of a menu and its submenus whose path has a word in it."""

    def entries(menu, word, path=""):
        menu.aboutToShow.emit()  # napari brings a menu up to date when it opens
        found = {}
        for action in menu.actions():
            here = f"{path} > {action.text()}"
            if action.menu():
                found |= entries(action.menu(), word, here)
            elif word in here:
                found[here.removeprefix(" > ")] = action
        return found

    return entries


def test_the_menus_have_their_entries(viewer, entries):
    window = viewer.window
    assert set(entries(window.file_menu, NAME)) == {
        f"Open Sample > {NAME} > Built-in EM-like section",
        f"Open Sample > {NAME} > ssTEM section, Drosophila VNC",
        f"Open Sample > {NAME} > ssTEM stack, Drosophila VNC",
    }
    assert set(entries(window.layers_menu, NAME)) == {
        f"Segment > Segment EM sections ({NAME})",
        f"Annotate > Correct EM labels ({NAME})",
        f"Measure > Count and measure EM objects ({NAME})",
        f"Visualize > Show attention maps ({NAME})",
    }
    assert set(entries(window.plugins_menu, NAME)) == {DOCK}


def test_however_it_is_opened_there_is_one_dock(viewer, entries):
    window = viewer.window
    (plugins,) = entries(window.plugins_menu, NAME).values()
    for action in (plugins, *entries(window.layers_menu, NAME).values()):
        action.trigger()
    window.add_plugin_dock_widget(NAME, "Feedback segmentation")
    assert list(window.dock_widgets) == [DOCK]
    assert not window.dock_widgets[DOCK].parent().isHidden()


def test_opened_by_a_command_first_it_is_the_plugins_menus_dock(viewer, entries):
    window = viewer.window
    next(iter(entries(window.layers_menu, NAME).values())).trigger()
    dock = window.dock_widgets[DOCK]
    (plugins,) = entries(window.plugins_menu, NAME).values()
    plugins.trigger()
    plugins.trigger()
    assert list(window.dock_widgets) == [DOCK]
    assert window.dock_widgets[DOCK] is dock


@pytest.mark.slow
def test_preferences_have_a_page(plugin_settings, viewer, entries):
    (preferences,) = entries(viewer.window.file_menu, "Preferences").values()
    preferences.trigger()
    (dialog,) = (each for each in QApplication.topLevelWidgets() if each.windowTitle() == "Preferences")
    pages = dialog.findChild(QListWidget, "Preferences")
    (row,) = (row for row in range(pages.count()) if pages.item(row).text() == NAME)
    pages.setCurrentRow(row)
    page = dialog.findChild(QStackedWidget).currentWidget()
    labels = {each.text() for each in page.findChildren(QLabel)}
    assert {"Device", "Overlap", "Models folder"} <= labels
    (devices,) = page.findChildren(QComboBox)
    devices.setCurrentText("cpu")
    assert get_plugin_settings(NAME).segmentation.device == "cpu"
    dialog.reject()
    assert get_plugin_settings(NAME).segmentation.device == "auto"


@pytest.mark.slow
def test_napari_opens_the_built_in_section(viewer):
    (layer,) = viewer.open_sample(NAME, "builtin_em_section")

    assert viewer.layers[0] == layer
    assert layer.data.shape == (1024, 1024)
    assert layer.data.dtype == np.uint8
    assert layer.data.std() > 10
    np.testing.assert_allclose(layer.scale, 4.6)
    assert [str(unit) for unit in layer.units] == ["nanometer", "nanometer"]
    assert layer.axis_labels == ("y", "x")

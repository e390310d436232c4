"""The manifest is valid, napari finds it, and what it names is there."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest

import napari_feedback_seg

NAME = "napari-feedback-seg"
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


def test_every_sample_names_a_command(manifest):
    commands = {command.id for command in manifest.contributions.commands}
    samples = [sample.command for sample in manifest.contributions.sample_data]
    assert samples
    assert set(samples) <= commands


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

from __future__ import annotations

import json
import os
import shlex

import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QFileDialog
from typer.testing import CliRunner

from napari_feedback_seg.cli import app


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "exports").mkdir()
    return tmp_path / "exports"


@pytest.fixture
def export(tab, dock, folder, finish):
    """Export and wait; return the newest record."""

    def export() -> dict:
        assert tab.export_button.export_to(folder)
        finish(dock)
        newest = max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        [run] = newest.glob("*-run.json")
        return json.loads(run.read_text(encoding="utf-8"))

    return export


def test_the_button_asks_for_a_folder_and_says_where_it_wrote(
    viewer, segment, section, tab, dock, folder, press, finish, said, monkeypatch
):
    button = tab.export_button
    assert not button.isEnabled()
    viewer.add_image(section, name="cells")
    segment()
    assert button.isEnabled()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: "")
    press(button)
    assert not dock.session.jobs.busy
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: str(folder))
    press(button)
    assert not button.isEnabled()
    finish(dock)
    assert os.listdir(folder) == ["cells-segmented"]
    files = sorted(os.listdir(folder / "cells-segmented"))
    assert files == ["cells-labels.tif", "cells-measures.csv", "cells-run.json"]
    sentence = f"Exported to {folder / 'cells-segmented'}. Open cells-run.json in napari"
    assert sentence in said()
    assert sentence in tab.status.text()


@pytest.mark.window  # whose readers open the file
def test_the_command_line_in_the_record_gives_the_same_labels(
    viewer, segment, section, tab, export, tmp_path, models_folder, monkeypatch
):
    tifffile.imwrite(tmp_path / "my cells.tif", np.stack([section] * 2), photometric="minisblack")
    viewer.open(tmp_path / "my cells.tif", scale=(1, 9.2, 9.2), units=("um", "nm", "nm"))
    tab.pixel_note.rescale_box.setChecked(True)
    tab.options_form.widgets["probabilities"].value = True
    layer = segment()
    assert layer.data.any()
    [line] = (run := export())["commands"]
    assert run["notes"] == []
    assert run["image"]["path"] == str(tmp_path / "my cells.tif")
    assert "--pixel-size 9.2 " in line
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*shlex.split(line)[1:], "--device", "cpu"])
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "my-cells-labels.tif"), layer.data)


def test_the_table_has_the_least_size_of_the_panel(viewer, segment, section, tab, export):
    viewer.add_image(section, name="cells")
    segment()
    tab.measure_panel.least_box.setValue(77)
    assert export()["measures"]["least_profile_px"] == 77

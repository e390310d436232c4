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
from napari_feedback_seg.io import open_image
from napari_feedback_seg.plugin.session.exporting import export_result


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


def test_a_second_export_overwrites_nothing(viewer, segment, section, export, folder):
    viewer.add_image(section, name="cells")
    layer = segment()
    export()
    before = (folder / "cells-segmented" / "cells-labels.tif").read_bytes()
    layer.data[:] = 2
    export()
    assert sorted(os.listdir(folder)) == ["cells-segmented", "cells-segmented-2"]
    assert (folder / "cells-segmented" / "cells-labels.tif").read_bytes() == before
    assert (tifffile.imread(folder / "cells-segmented-2" / "cells-labels.tif") == 2).all()


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


def test_pixel_size_and_distance_of_sections_go_with_it(viewer, segment, section, tab, export, folder):
    place = {"scale": (0.05, 9.2, 9.2), "units": ("um", "nm", "nm")}
    viewer.add_image(np.stack([section] * 2), name="cells", **place)
    tab.options_form.widgets["probabilities"].value = True
    segment()
    export()
    written = open_image(folder / "cells-segmented" / "cells-labels.tif")
    assert written.pixel_size_nm == pytest.approx((9.2, 9.2))
    assert written.spacing_nm == pytest.approx(50)
    with tifffile.TiffFile(folder / "cells-segmented" / "cells-probabilities.tif") as probabilities:
        assert probabilities.imagej_metadata["spacing"] == pytest.approx(50)


def test_the_table_has_the_least_size_of_the_panel(viewer, segment, section, tab, export):
    viewer.add_image(section, name="cells")
    segment()
    tab.measure_panel.least_box.setValue(77)
    assert export()["measures"]["least_profile_px"] == 77


def test_what_a_person_painted_is_in_the_record(viewer, segment, section, tab, export):
    viewer.add_image(np.stack([section] * 3), name="cells")
    tab.what_box.chooser.setCurrentIndex(tab.what_box.chooser.findText("All sections"))
    layer = segment()
    assert export()["sections_edited_by_hand"] == []
    layer.paint((1, 5, 5), 2)
    layer.data[1, :3, :3] = 3
    assert export()["sections_edited_by_hand"] == [1]


def test_messages_of_the_run_are_in_the_record(viewer, segment, section, tab, export):
    viewer.add_image(np.stack([section, section * 0]), name="cells")
    tab.what_box.chooser.setCurrentIndex(tab.what_box.chooser.findText("All sections"))
    segment()
    [message] = export()["messages"]
    assert message.startswith("Section 1: The section has one grey value")


def test_where_nothing_can_be_written_it_says_so(viewer, segment, section, tab, dock, folder, finish, said):
    viewer.add_image(section, name="cells")
    segment()
    (folder / "file").write_text("")
    assert tab.export_button.export_to(folder / "file")
    finish(dock)
    assert "cannot be written" in said()
    assert os.listdir(folder) == ["file"]


def test_an_export_that_is_cancelled_leaves_nothing(
    viewer, segment, section, tab, dock, folder, press, finish, qtbot
):
    viewer.add_image(np.stack([section] * 2), name="cells")
    segment().data = np.random.default_rng(0).integers(1, 5, (200, 300, 300), np.uint8)
    tab.export_button.export_to(folder)
    with qtbot.waitSignal(dock.session.jobs.progressed, timeout=60_000):
        pass
    press(tab.cancel_button)
    finish(dock)
    assert os.listdir(folder) == []


def test_without_a_result_there_is_nothing_to_export(dock, folder):
    assert not export_result(dock.session, folder)

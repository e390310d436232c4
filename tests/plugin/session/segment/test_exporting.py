from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_feedback_seg.cli import app
from napari_feedback_seg.io import open_image
from napari_feedback_seg.objects.edits import Delete
from napari_feedback_seg.objects.options import ObjectOptions
from napari_feedback_seg.plugin.contributions.reader import read_result
from napari_feedback_seg.plugin.session.segment.exporting import export_result
from napari_feedback_seg.plugin.session.segment.segmenting import What


@pytest.fixture(autouse=True)
def _no_answers(session):
    """Let a stroke be a correction alone: the result stays what the model says."""
    session.instant.set_on(False)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "exports").mkdir()
    return tmp_path / "exports"


@pytest.fixture
def export(session, runner, folder):
    """Export and wait; return the newest record."""

    def export() -> dict:
        assert export_result(session, folder)
        runner.finish()
        newest = max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        [run] = newest.glob("*-run.json")
        return json.loads(run.read_text(encoding="utf-8"))

    return export


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


def test_pixel_size_and_distance_of_sections_go_with_it(viewer, session, segment, section, export, folder):
    place = {"scale": (0.05, 9.2, 9.2), "units": ("um", "nm", "nm")}
    viewer.add_image(np.stack([section] * 2), name="cells", **place)
    session.segmenting.set(probabilities=True)
    segment()
    export()
    written = open_image(folder / "cells-segmented" / "cells-labels.tif")
    assert written.pixel_size_nm == pytest.approx((9.2, 9.2))
    assert written.spacing_nm == pytest.approx(50)
    with tifffile.TiffFile(folder / "cells-segmented" / "cells-probabilities.tif") as probabilities:
        assert probabilities.imagej_metadata["spacing"] == pytest.approx(50)


def test_the_record_repeats_segmentation_and_objects(
    viewer, session, runner, segment, section, export, folder
):
    tifffile.imwrite(folder / "em.tif", section, photometric="minisblack")
    viewer.add_image(section, name="em")
    layer = segment()
    session.objects.choose("mitochondria")
    session.objects.set_options(ObjectOptions(least_nm=0, split=0.25, holes_nm=10))
    session.objects.find()
    runner.finish()
    export()
    record = folder / "em-segmented" / "em-run.json"
    words = ["run", str(record), str(folder / "em.tif"), "-o", str(folder)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(tifffile.imread(folder / "em-labels.tif"), layer.data)
    assert session.objects.found.count > 1
    np.testing.assert_array_equal(
        tifffile.imread(folder / "em-mitochondria.tif"), session.objects.found.labels
    )


def test_objects_go_with_it_and_their_edits_come_back(
    viewer, session, runner, segment, section, export, folder, models_folder
):
    viewer.add_image(section, name="em", scale=(9, 9), units=("nm", "nm"))
    segment()
    session.objects.set_options(ObjectOptions(least_nm=0))
    session.objects.find()
    runner.finish()
    row, column = (int(each[0]) for each in np.nonzero(session.objects.found.labels == 1))
    session.objects.editing.do(Delete((0, row, column)))
    count = len(session.objects.table)
    numbers = session.objects.found.labels.copy()
    names = ["em-mitochondria-edits.json", "em-mitochondria.csv", "em-mitochondria.tif"]
    assert set(names) <= set(export()["files"].values())
    exported = folder / "em-segmented"
    np.testing.assert_array_equal(tifffile.imread(exported / names[2]), numbers)
    assert open_image(exported / names[2]).pixel_size_nm == pytest.approx((9, 9))
    assert len((exported / names[1]).read_text().splitlines()) == count + 1

    viewer.layers.clear()
    shutil.rmtree(models_folder / "unsaved")  # as on another computer
    viewer.add_image(section, name="em", scale=(9, 9), units=("nm", "nm"))
    for data, attributes, _ in read_result(str(exported / "em-run.json")):
        viewer.add_labels(data, **attributes)
    assert session.objects.status.startswith("1 edit of these mitochondria is kept")
    session.objects.find()
    runner.finish()
    np.testing.assert_array_equal(session.objects.found.labels, numbers)


def test_what_a_person_painted_is_in_the_record(viewer, session, segment, section, export):
    viewer.add_image(np.stack([section] * 3), name="cells")
    session.segmenting.choose(What.ALL)
    layer = segment()
    assert export()["sections_edited_by_hand"] == []
    layer.paint((1, 5, 5), 2)
    layer.data[1, :3, :3] = 3
    assert export()["sections_edited_by_hand"] == [1]


def test_messages_of_the_run_are_in_the_record(viewer, session, segment, section, export):
    viewer.add_image(np.stack([section, section * 0]), name="cells")
    session.segmenting.choose(What.ALL)
    segment()
    [message] = export()["messages"]
    assert message.startswith("Section 1: The section has one grey value")


def test_where_nothing_can_be_written_it_says_so(viewer, runner, session, segment, section, folder, said):
    viewer.add_image(section, name="cells")
    segment()
    (folder / "file").write_text("")
    assert export_result(session, folder / "file")
    runner.finish()
    assert "cannot be written" in said()
    assert os.listdir(folder) == ["file"]


def test_an_export_that_is_cancelled_leaves_nothing(viewer, runner, session, segment, section, folder):
    viewer.add_image(np.stack([section] * 2), name="cells")
    segment().data = np.random.default_rng(0).integers(1, 5, (20, 300, 300), np.uint8)
    export_result(session, folder)
    runner.step()
    session.jobs.cancel()
    runner.finish()
    assert os.listdir(folder) == []


def test_without_a_result_there_is_nothing_to_export(folder, session):
    assert not export_result(session, folder)

from __future__ import annotations

import csv
import shutil
from collections import namedtuple

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_feedback_seg.cli import app
from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.generators import finish
from napari_feedback_seg.io import label_writer, open_image, probability_writer
from napari_feedback_seg.objects.files import ObjectsJob, write_objects
from napari_feedback_seg.objects.options import CellOptions, ObjectOptions


@pytest.fixture
def labels(tmp_path):
    """A stack with three mitochondria, two of which touch, in two cells."""
    stack = np.full((12, 60, 90), 4, np.uint8)
    stack[:, :, 44:47] = 1
    z, y, x = np.indices(stack.shape)
    for centre in ((6, 20, 15), (6, 20, 32), (6, 40, 70)):
        ball = sum(
            ((axis - at) * side) ** 2 for axis, at, side in zip((z, y, x), centre, (2, 1, 1), strict=True)
        )
        stack[ball <= 81] = 2
    path = tmp_path / "labels.tif"
    with label_writer(path, stack.shape, pixel_size_nm=10, spacing_nm=20) as write:
        for section in stack:
            write(section)
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["objects", *map(str, arguments)])


def test_the_command_writes_objects_and_their_table(labels, tmp_path):
    out, table = tmp_path / "objects.tif", tmp_path / "objects.csv"

    found = run(labels, "-o", out, "--class", "mitochondria", "--table", table, "--distance-to", "membrane")

    assert found.exit_code == 0, found.output
    assert "3 mitochondria" in found.output
    written = open_image(out, labels=True)
    assert written.dtype == np.uint16
    assert (written.pixel_size.y, written.pixel_size.x, written.pixel_size.z) == (10, 10, 20)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["object"] for row in rows] == ["1", "2", "3"]
    assert float(rows[0]["volume_um3"]) == pytest.approx(4 / 3 * np.pi * 0.09**3, rel=0.1)
    assert float(rows[2]["distance_membrane_nm"]) == pytest.approx(150, abs=20)


def test_cells_and_what_lies_in_them(labels, tmp_path):
    cells, table, of_cells = tmp_path / "cells.tif", tmp_path / "o.csv", tmp_path / "c.csv"

    assert run(labels, "-o", cells, "--cells").exit_code == 0
    found = run(
        labels, "-o", tmp_path / "o.tif", "--in-cells", cells, "--table", table, "--cell-table", of_cells
    )

    assert found.exit_code == 0, found.output
    with of_cells.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["count"] for row in rows) == ["1", "2"]
    with table.open(newline="") as file:
        homes = [row["cell"] for row in csv.DictReader(file)]
    assert len(set(homes)) == 2


def test_probabilities_are_known_by_their_channels(tmp_path):
    stack = np.zeros((3, 4, 40, 60), np.float32)
    stack[:, 3] = 0.9
    stack[:, 1, 10:30, 10:50], stack[:, 3, 10:30, 10:50] = 0.8, 0.1
    path = tmp_path / "p.tif"
    names = ("membrane", "mitochondria", "synapse", "cytoplasm")
    for flavour in ("imagej", "ome"):
        with probability_writer(
            path, (3, 40, 60), names, pixel_size_nm=8, spacing_nm=8, flavour=flavour, overwrite=True
        ) as write:
            for section in stack:
                write(section)
        done = finish(write_objects(ObjectsJob(path, tmp_path / "o.tif"), overwrite=True))
        assert done.count == 1
        assert tifffile.imread(tmp_path / "o.tif")[1, 20, 30] == 1
    section = tmp_path / "one.tif"
    with probability_writer(section, (40, 60), names) as write:
        write(stack[0])
    assert finish(write_objects(ObjectsJob(section, tmp_path / "one-o.tif"))).count == 1
    cells = ObjectsJob(path, tmp_path / "c.tif", options=CellOptions())
    assert finish(write_objects(cells)).count == 1


def test_more_objects_than_16_bits_hold(tmp_path):
    section = np.zeros((900, 1200), np.uint8)
    section[::3, ::3] = 2
    path = tmp_path / "many.tif"
    with label_writer(path, section.shape, pixel_size_nm=5) as write:
        write(section)
    job = ObjectsJob(path, tmp_path / "o.tif", options=ObjectOptions(least_nm=0.0))

    done = finish(write_objects(job))

    assert done.count == 120_000
    numbers = open_image(tmp_path / "o.tif", labels=True)
    assert numbers.dtype == np.uint32
    assert numbers.pixel_size_nm == (5, 5)
    assert numbers.sections[0].max() == 120_000


def test_no_object_is_said(labels, tmp_path):
    found = run(labels, "-o", tmp_path / "o.tif", "--class", "synapse", "--table", tmp_path / "o.csv")

    assert found.exit_code == 0
    assert "no object" in " ".join(found.output.split())
    assert (tmp_path / "o.csv").read_text().startswith("object,")


def test_labels_of_other_values(tmp_path):
    section = np.zeros((40, 40), np.uint8)
    section[10:30, 10:30] = 255
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, section)

    assert finish(write_objects(ObjectsJob(path, tmp_path / "o.tif", "255"))).count == 1
    with pytest.raises(InputError, match="'nuclei' is no class"):
        finish(write_objects(ObjectsJob(path, tmp_path / "n.tif", "nuclei")))


def test_a_value_without_a_name_is_said_and_can_be_chosen(tmp_path):
    section = np.full((40, 40), 4, np.uint8)
    section[10:30, 10:30] = 5
    path = tmp_path / "labels.tif"
    tifffile.imwrite(path, section)

    with pytest.raises(InputError, match="There is also 5, which has no name here: choose it by its number"):
        finish(write_objects(ObjectsJob(path, tmp_path / "o.tif", "nucleus")))
    assert finish(write_objects(ObjectsJob(path, tmp_path / "o.tif", "5"))).count == 1


@pytest.mark.parametrize("options", [ObjectOptions(), CellOptions()], ids=["objects", "cells"])
def test_an_image_is_no_label_image(tmp_path, options):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 170, (40, 40), np.uint8))

    with pytest.raises(InputError, match=r"'.*image\.tif' is no label image: it has 170 values"):
        finish(write_objects(ObjectsJob(path, tmp_path / "o.tif", options=options)))
    assert not (tmp_path / "o.tif").exists()


def test_unknown_and_mixed_units_are_said(tmp_path):
    stack = np.full((4, 30, 30), 2, np.uint8)
    path, flat = tmp_path / "a.tif", tmp_path / "b.tif"
    tifffile.imwrite(path, stack)
    with label_writer(flat, stack.shape, pixel_size_nm=5) as write:
        for section in stack:
            write(section)

    nothing = finish(write_objects(ObjectsJob(path, tmp_path / "1.tif", table=tmp_path / "1.csv")))
    no_z = finish(write_objects(ObjectsJob(flat, tmp_path / "2.tif", table=tmp_path / "2.csv")))
    given = ObjectsJob(flat, tmp_path / "3.tif", spacing_nm=40.0, table=tmp_path / "3.csv")

    assert "--pixel-size" in nothing.messages[0]
    assert "--spacing" in no_z.messages[0]
    assert "volume_px" in no_z.objects.columns
    assert finish(write_objects(given)).objects["volume_um3"][0] == pytest.approx(0.004 * 0.9 * 1.0)


def test_what_is_there_already_is_not_overwritten(labels, tmp_path):
    out = tmp_path / "o.tif"
    out.write_bytes(b"mine")

    assert run(labels, "-o", out).exit_code == 1
    assert out.read_bytes() == b"mine"
    assert run(labels, "-o", labels, "--overwrite").exit_code == 1


def test_a_full_disk_is_said_before_anything_is_written(labels, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 0))

    with pytest.raises(OutputError, match="too full"):
        finish(write_objects(ObjectsJob(labels, tmp_path / "o.tif")))
    assert not (tmp_path / "o.tif").exists()


def test_what_is_not_segmented_counts_in_no_measure(tmp_path):
    section = np.zeros((40, 100), np.uint8)
    section[:, :50] = 4
    section[10:30, 10:30] = 2
    hard, soft, mask = tmp_path / "l.tif", tmp_path / "p.tif", tmp_path / "m.tif"
    with label_writer(hard, section.shape, pixel_size_nm=10) as write:
        write(section)
    names = ("membrane", "mitochondria", "synapse", "cytoplasm")
    with probability_writer(soft, section.shape, names, pixel_size_nm=10) as write:
        write(np.stack([(section == value).astype(np.float32) for value in (1, 2, 3, 4)]))
    tifffile.imwrite(mask, np.where(section == 2, 255, 0).astype(np.uint8))

    for path in (hard, soft):
        found = run(path, "-o", tmp_path / "o.tif", "--table", tmp_path / "o.csv", "--overwrite")
        assert "1 mitochondria, 5 per µm², 20.0% of what is segmented" in found.output
    cells = run(hard, "-o", tmp_path / "c.tif", "--cells", "--table", tmp_path / "c.csv")
    assert "1 cells, 5 per µm², 100.0% of what is segmented" in cells.output
    # In a mask 0 is all that is not the class.
    of_mask = ("--class", "255", "--pixel-size", "10", "--table", tmp_path / "o.csv", "--overwrite")
    found = run(mask, "-o", tmp_path / "o.tif", *of_mask)
    assert "1 255, 2.5 per µm², 10.0% of the image" in found.output


def test_an_image_of_another_shape_is_refused(labels, tmp_path):
    tifffile.imwrite(tmp_path / "i.tif", np.zeros((12, 9, 9), np.uint8))

    found = run(
        labels, "-o", tmp_path / "o.tif", "--image", tmp_path / "i.tif", "--table", tmp_path / "o.csv"
    )

    assert found.exit_code == 1
    assert "differ" in found.output


@pytest.mark.parametrize(
    "wrong",
    [("--through", "sideways"), ("--split", "2"), ("--spacing", "-1"), ("--cell-table", "c.csv")],
)
def test_wrong_use_is_said(labels, tmp_path, wrong):
    assert run(labels, "-o", tmp_path / "o.tif", *wrong).exit_code == 2

from __future__ import annotations

import math

import numpy as np
import pandas
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import pdist
from skimage.measure import label, regionprops_table

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.generators import finish
from napari_feedback_seg.objects.measures import measure_again, measure_cells, measure_image, measure_objects
from napari_feedback_seg.objects.options import ObjectOptions
from napari_feedback_seg.objects.run import objects
from napari_feedback_seg.objects.table import TEXTS, Table, describe


def ball(radius: int, sides=(1, 1, 1)) -> np.ndarray:
    """Return a ball in a box with a margin, its radius in the unit of the sides."""
    reach = [math.ceil(radius / side) + 3 for side in sides]
    places = np.mgrid[tuple(slice(-each, each + 1) for each in reach)]
    return sum((axis * side) ** 2 for axis, side in zip(places, sides, strict=True)) <= radius**2


@pytest.fixture
def blobs() -> np.ndarray:
    noise = np.random.default_rng(0).random((200, 260))
    from scipy.ndimage import gaussian_filter

    return label(gaussian_filter(noise, 4) > 0.5)


def test_a_section_agrees_with_scikit_image(blobs):
    grey = np.random.default_rng(1).integers(0, 255, blobs.shape, np.uint8)
    names = (
        "label",
        "area",
        "perimeter_crofton",
        "feret_diameter_max",
        "centroid",
        "bbox",
        "equivalent_diameter",
    )
    theirs = regionprops_table(
        blobs, grey, (*names, "intensity_mean", "axis_major_length", "axis_minor_length", "orientation")
    )

    ours = finish(measure_objects(blobs, grey=grey))

    assert list(ours["object"]) == list(theirs["label"])
    np.testing.assert_array_equal(ours["area_px"], theirs["area"])
    for name, other in (
        ("diameter_px", "equivalent_diameter"),
        ("centroid_y", "centroid-0"),
        ("centroid_x", "centroid-1"),
        ("mean_grey", "intensity_mean"),
        ("y_from", "bbox-0"),
        ("x_from", "bbox-1"),
    ):
        np.testing.assert_allclose(ours[name], theirs[other], err_msg=name)
    np.testing.assert_array_equal(ours["y_to"] + 1, theirs["bbox-2"])
    np.testing.assert_array_equal(ours["x_to"] + 1, theirs["bbox-3"])
    # Theirs is of the hull drawn in pixels, which is a little larger.
    np.testing.assert_allclose(ours["feret_px"], theirs["feret_diameter_max"], atol=0.7)
    large = theirs["area"] > 60
    inside = large & (ours["border"] == 0)
    assert inside.sum() > 3
    np.testing.assert_allclose(ours["perimeter_px"][inside], theirs["perimeter_crofton"][inside], rtol=0.02)
    ratio = theirs["axis_major_length"] / theirs["axis_minor_length"]
    np.testing.assert_allclose(ours["elongation"][large], ratio[large], rtol=0.03)
    long = large & (ratio > 1.5)
    angle = np.degrees(theirs["orientation"][long]) + 90  # theirs is from the columns
    difference = (ours["orientation_deg"][long] - angle + 90) % 180 - 90
    np.testing.assert_allclose(difference, 0, atol=2)


def test_a_stack_agrees_with_scikit_image():
    labels = np.zeros((20, 40, 50), np.uint16)
    labels[2:9, 5:25, 10:20] = 3
    labels[12:19][ball(3)[:7, :7, :7].nonzero()] = 7
    names = ("label", "area", "centroid", "bbox", "equivalent_diameter", "feret_diameter_max")
    theirs = regionprops_table(labels, properties=names)

    ours = finish(measure_objects(labels))

    np.testing.assert_array_equal(ours["object"], theirs["label"])
    np.testing.assert_array_equal(ours["voxels"], theirs["area"])
    np.testing.assert_allclose(ours["diameter_px"], theirs["equivalent_diameter"])
    np.testing.assert_allclose(ours["feret_px"], theirs["feret_diameter_max"], rtol=0.02)
    for axis, name in enumerate("zyx"):
        np.testing.assert_allclose(ours[f"centroid_{name}"], theirs[f"centroid-{axis}"])
        np.testing.assert_array_equal(ours[f"{name}_from"], theirs[f"bbox-{axis}"])
        np.testing.assert_array_equal(ours[f"{name}_to"] + 1, theirs[f"bbox-{axis + 3}"])


@pytest.mark.parametrize("sides", [(1, 1, 1), (4, 1, 1), (6, 1, 2)])
def test_a_ball_of_known_size(sides):
    radius, unit = 24, 5.0
    voxel = tuple(side * unit for side in sides)

    table = finish(measure_objects(ball(radius, sides).astype(np.uint8), voxel))

    of_radius = radius * unit
    assert table["volume_um3"][0] == pytest.approx(4 / 3 * math.pi * of_radius**3 / 1e9, rel=0.03)
    assert table["surface_um2"][0] == pytest.approx(4 * math.pi * of_radius**2 / 1e6, rel=0.04)
    assert table["feret_nm"][0] == pytest.approx(2 * of_radius, abs=voxel[0])
    assert table["elongation"][0] == pytest.approx(1, abs=0.05)
    assert table["border"][0] == 0


def test_a_disc_of_known_size_with_unequal_sides():
    y, x = np.mgrid[-40:41, -80:81]
    labels = ((2 * y) ** 2 + x**2 <= 60**2).astype(np.uint8)

    table = finish(measure_objects(labels, (1.0, 8.0, 4.0)))

    radius = 240
    assert table["area_um2"][0] == pytest.approx(math.pi * radius**2 / 1e6, rel=0.01)
    assert table["perimeter_um"][0] == pytest.approx(2 * math.pi * radius / 1e3, rel=0.05)
    assert table["elongation"][0] == pytest.approx(1, abs=0.02)


def test_a_line_has_a_direction():
    labels = np.zeros((30, 30, 30), np.uint8)
    for step in range(20):
        labels[step + 3, 5:8, step + 3 : step + 6] = 1

    table = finish(measure_objects(labels, (5.0, 5.0, 5.0)))

    assert table["elongation"][0] > 5
    assert table["axis_z"][0] == pytest.approx(math.sqrt(0.5), abs=0.05)
    assert table["axis_x"][0] == pytest.approx(math.sqrt(0.5), abs=0.05)


def test_in_which_cell_and_how_far_from_membrane():
    labels, cells = np.zeros((4, 40, 60), np.uint8), np.zeros((4, 40, 60), np.uint16)
    cells[:, :, :30], cells[:, :, 30:] = 9, 4
    labels[1:3, 10:20, 5:15] = 1
    labels[1:3, 10:20, 25:45] = 2  # more of it in cell 4
    membrane = np.zeros(labels.shape, bool)
    membrane[:, :, 20] = True

    table = finish(measure_objects(labels, (10.0, 5.0, 5.0), cells=cells, near={"membrane": membrane}))
    of_cells = measure_cells(table, finish(measure_objects(cells, (10.0, 5.0, 5.0))))

    assert table["cell"].tolist() == [9, 4]
    np.testing.assert_allclose(table["distance_membrane_nm"], [30, 25])
    assert of_cells["cell"].tolist() == [4, 9]
    assert of_cells["count"].tolist() == [1, 1]
    np.testing.assert_allclose(of_cells["fraction"], [400 / 4800, 200 / 4800])


def test_no_class_within_reach_is_unknown():
    labels = np.ones((2, 10, 10), np.uint8)
    far = np.zeros(labels.shape, bool)

    assert np.isnan(finish(measure_objects(labels, near={"synapse": far}))["distance_synapse_px"][0])


def test_the_image_has_a_density():
    labels = np.zeros((10, 20, 20), np.uint8)
    labels[2:4, 2:4, 2:4], labels[6:8, 6:8, 6:8] = 1, 2

    whole = measure_image(finish(measure_objects(labels, (100.0,) * 3)), labels.shape, (100.0,) * 3)

    assert whole["count"][0] == 2
    assert whole["volume_um3"][0] == pytest.approx(4.0)
    assert whole["density_per_um3"][0] == pytest.approx(0.5)
    assert whole["fraction"][0] == pytest.approx(16 / 4000)


def test_no_object_gives_an_empty_table():
    table = finish(measure_objects(np.zeros((3, 8, 8), np.uint8), (5.0,) * 3))

    assert len(table) == 0
    assert table.to_text(",").count("\n") == 1


def test_one_object_over_everything():
    table = finish(measure_objects(np.ones((3, 8, 8), np.uint8)))

    assert table["voxels"].tolist() == [192]
    assert table["border"].tolist() == [1]


def test_seventy_thousand_objects():
    labels = np.zeros((9, 600, 600), np.uint32)
    seeds = labels[::2, ::3, ::3]
    seeds[:] = np.minimum(np.arange(1, seeds.size + 1), 70_000).reshape(seeds.shape)

    table = finish(measure_objects(labels))

    assert len(table) == 70_000
    assert table["object"][-1] == 70_000


def test_a_lazy_stack_is_read_section_by_section():
    import dask.array as da

    labels = np.zeros((6, 30, 30), np.uint8)
    labels[1:5, 5:20, 5:20] = 1
    read = []

    def note(block, block_info=None):
        read.append(block.shape)
        return block

    lazy = da.from_array(labels, chunks=(1, 30, 30)).map_blocks(note, dtype=labels.dtype, meta=labels[:0])
    table = finish(measure_objects(lazy))

    assert table["voxels"].tolist() == [900]
    assert set(read) == {(1, 30, 30)}


@pytest.mark.parametrize("shape", [(14, 70, 90), (70, 90)])
def test_blocks_give_what_the_whole_gives(shape):
    rng = np.random.default_rng(3)
    smooth = gaussian_filter(rng.normal(size=shape), 2)
    labels = label(smooth > 0.5 * smooth.std())
    sides, grey = (30.0, 7.0, 5.0), rng.integers(0, 255, shape)
    cells = np.where(smooth > 0, 5, 70_000).astype(np.uint32)
    others = {"grey": grey, "cells": cells, "near": {"membrane": smooth < -smooth.std()}}

    parts = finish(measure_objects(labels, sides, size=(3, 16, 25), **others))

    whole = finish(measure_objects(labels, sides, size=(99, 999, 999), **others))
    assert len(whole) > 5
    for name, column in whole.columns.items():
        np.testing.assert_allclose(parts[name], column, err_msg=name, rtol=1e-9, atol=1e-9)
    if len(shape) == 3:
        points = np.argwhere(labels == 1) * sides
        halves = np.concatenate([np.diag(sides), -np.diag(sides)]) / 2
        ends = (points[:, None] + halves).reshape(-1, 3)
        assert whole["feret_nm"][0] == pytest.approx(
            pdist(ends[:: max(1, len(ends) // 4000)]).max(), rel=0.05
        )
        assert whole["feret_nm"][0] >= pdist(points[:3000]).max()


def test_every_column_has_a_sentence_and_the_csv_takes_decimal_commas(tmp_path):
    labels = np.zeros((4, 20, 20), np.uint8)
    labels[1:3, 2:18, 2:18] = 1
    _, table = objects(labels > 0, pixel_size_nm=9, spacing_nm=9, near={"membrane": labels == 0})
    of_sections = finish(measure_objects(labels[1], (1.0, 5.0, 5.0)))

    for name in (*table.columns, *of_sections.columns):
        assert describe(name), name
    table.write_csv(tmp_path / "a.csv")
    table.write_csv(tmp_path / "b.csv", decimal_comma=True)
    plain, comma = ((tmp_path / f"{name}.csv").read_text("utf-8").splitlines() for name in "ab")
    assert plain[0].split(",") == comma[0].split(";") == list(table.columns)
    values = [each.replace(",", ".") for each in comma[1].split(";")]
    assert values == plain[1].split(",")
    assert "." not in comma[1]


def test_unknown_units_are_pixels():
    _, table = objects(np.ones((4, 9, 9), bool), pixel_size_nm=5)  # the distance of the sections is unknown

    assert "volume_px" in table.columns
    assert not any(name.endswith(("nm", "um2", "um3")) for name in table.columns)


def test_a_table_becomes_one_of_pandas():
    _, table = objects(np.ones((4, 9, 9), bool), options=ObjectOptions(least_nm=0))
    frame = pandas.DataFrame(dict(table))

    assert list(frame) == list(table.columns)
    assert len(frame) == len(table) == 1


def test_a_mask_of_numbers_is_a_mask():
    mask = np.zeros((40, 40), np.uint8)
    mask[5:35, 5:35] = 1
    for each in (mask, mask * 255, mask.astype(np.int64), mask.tolist()):
        assert objects(each, pixel_size_nm=np.float32(5))[0].max() == 1
    assert objects(mask * 0)[0].max() == 0


@pytest.mark.parametrize(
    ("given", "size", "said"),
    [
        (np.array([[1, 2], [0, 4]], np.uint8), 5, "labels == 2"),
        (np.full((9, 9), 2), 5, "labels == 2"),
        (np.array([[0, -1], [1, 1]]), 5, "labels == 2"),
        ("labels.tif", 5, "'labels.tif' is a name"),
        (np.ones((4, 9, 9), bool), (40, 5, 5), "spacing_nm"),
        (np.ones((9, 9), bool), 0, "above 0"),
    ],
)
def test_what_is_no_mask_or_no_size_is_said(given, size, said):
    with pytest.raises(InputError, match=said):
        objects(given, pixel_size_nm=size)


def test_a_table_counts_its_rows():
    assert len(Table({})) == 0
    assert "object" in TEXTS


@pytest.mark.parametrize("flat", [False, True])
def test_objects_measured_again_are_as_if_all_were_measured(flat):
    labels, grey = np.zeros((6, 50, 60), np.uint32), np.random.default_rng(0).integers(0, 255, (6, 50, 60))
    labels[1:4, 5:20, 5:30], labels[2:6, 30:45, 40:60], labels[1:3, 25:28, 5:9] = 1, 2, 3
    membrane = np.zeros(labels.shape, bool)
    membrane[:, 22] = True
    if flat:
        labels, grey, membrane = labels[2], grey[2], membrane[2]
    others = {"grey": grey, "near": {"membrane": membrane}}
    before = finish(measure_objects(labels, (10.0, 5.0, 5.0), **others))
    labels[labels == 3] = 0
    labels[..., :15] *= np.uint32(1)
    labels[..., 15:30][labels[..., 15:30] == 1] = 4

    again = measure_again(before, labels, (1, 3, 4), (10.0, 5.0, 5.0), **others)

    whole = finish(measure_objects(labels, (10.0, 5.0, 5.0), **others))
    assert again["object"].tolist() == [1, 2, 4]
    for name, column in whole.columns.items():
        np.testing.assert_allclose(again[name], column, err_msg=name, atol=1e-9)

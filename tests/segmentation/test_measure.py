from __future__ import annotations

import csv
import math
import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.segmentation.measure import (
    COLUMNS,
    LEAST_PIXELS,
    LEAST_UM2,
    Measures,
    Row,
    SectionMeasured,
    measure,
    measure_labels,
)

MEMBRANE, MITOCHONDRIA, SYNAPSE, CYTOPLASM = (each.value for each in EM_CLASSES)


def measured(labels: np.ndarray, *arguments: object, **options: object) -> Measures:
    events = measure(labels, EM_CLASSES, *arguments, **options)
    seen = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as stop:
            count = len(labels) if labels.ndim == 3 else 1
            assert seen == [SectionMeasured(n + 1, count) for n in range(count)]
            return stop.value


def row_of(measures: Measures, name: str, section: int | None = None) -> Row:
    [row] = [row for row in measures.rows if (row.section, row.name) == (section, name)]
    return row


@pytest.fixture
def section() -> np.ndarray:
    """(10, 20): cytoplasm with mitochondria of 4, 6 and 1 pixels, and 38 pixels not segmented."""
    labels = np.full((10, 20), CYTOPLASM, np.uint8)
    labels[8:] = 0
    labels[0:2, 0:2] = MITOCHONDRIA
    labels[4:6, 4:7] = MITOCHONDRIA
    labels[7, 19] = MITOCHONDRIA
    labels[4, 0:4] = SYNAPSE
    labels[:, 10] = MEMBRANE
    return labels


def test_one_section_by_hand(section):
    table = measured(section, 10.0, 0.0)
    assert [(row.section, row.name) for row in table.rows] == [(None, each.name) for each in EM_CLASSES]
    row = row_of(table, "mitochondria")
    assert (row.pixels, row.segmented, row.profiles, row.profile_pixels) == (11, 162, 3, 11)
    assert row.percent == pytest.approx(100 * 11 / 162)
    assert row.um2 == pytest.approx(11 * 1e-4)
    assert row.mean_pixels == pytest.approx(11 / 3)
    assert row.mean_um2 == pytest.approx(11 / 3 * 1e-4)
    assert row_of(table, "synapse").profiles == 1
    for phase in ("membrane", "cytoplasm"):
        assert row_of(table, phase).profiles is None
        assert row_of(table, phase).mean_pixels is None
    assert sum(row.percent for row in table.rows) == pytest.approx(100)


def test_pixels_that_touch_at_a_corner_are_one_profile(section):
    section[2, 2] = MITOCHONDRIA
    assert row_of(measured(section, None, 1), "mitochondria").profiles == 3
    section[3, 3] = MITOCHONDRIA  # from the first profile to the second
    assert row_of(measured(section, None, 1), "mitochondria").profiles == 2


def test_smaller_profiles_are_not_counted_and_their_area_is(section):
    for least, sizes in ((4, [4, 6]), (5, [6]), (7, [])):
        row = row_of(measured(section, None, least), "mitochondria")
        assert row.profiles == len(sizes)
        assert row.mean_pixels == (pytest.approx(np.mean(sizes)) if sizes else None)
        assert row.pixels == 11


def test_the_least_size_is_in_square_micrometres_where_the_pixel_size_is_known(section):
    # 4 pixels of 10 x 10 nm are 0.0004 µm²
    assert row_of(measured(section, 10.0, 0.0004), "mitochondria").profiles == 2
    assert row_of(measured(section, 10.0, 0.000401), "mitochondria").profiles == 1
    assert row_of(measured(section, 10.0), "mitochondria").least_pixels == math.ceil(LEAST_UM2 / 1e-4)
    assert row_of(measured(section), "mitochondria").least_pixels == LEAST_PIXELS


def test_pixels_of_unequal_sides(section):
    assert row_of(measured(section, (5.0, 20.0), 0), "cytoplasm").um2 == pytest.approx(
        row_of(measured(section, 10.0, 0), "cytoplasm").um2
    )


def test_without_a_pixel_size_there_are_no_square_micrometres(section):
    row = row_of(measured(section, None, 1), "mitochondria")
    assert row.um2 is None
    assert row.mean_um2 is None
    assert row.mean_pixels is not None


def test_a_stack_is_a_pile_of_sections(section):
    other = section.copy()
    other[0:2, 0:2] = CYTOPLASM
    stack = np.stack([section, np.zeros_like(section), other])
    table = measured(stack, 10.0, 0)
    assert [row.section for row in table.rows[::4]] == [None, 0, 2]  # nothing of section 1 is segmented
    for z in (0, 2):
        alone = measured(stack[z], 10.0, 0)
        for name in ("membrane", "mitochondria"):
            one, same = row_of(table, name, z), row_of(alone, name)
            assert (one.pixels, one.percent, one.profiles) == (same.pixels, same.percent, same.profiles)
    together = row_of(table, "mitochondria")
    assert (together.pixels, together.profiles, together.segmented) == (11 + 7, 3 + 2, 2 * 162)
    assert together.mean_pixels == pytest.approx(18 / 5)


def test_a_profile_goes_through_no_section(section):
    stack = np.stack([section] * 3)
    assert row_of(measured(stack, None, 1), "mitochondria").profiles == 9


def test_labels_that_are_no_class_are_left_out(section):
    expected = measured(section, None, 1)
    section[section == 0] = 77
    assert measured(section, None, 1) == expected


def test_real_shapes_as_scipy_counts_them():
    labels = builtin_section(256, seed=3).labels
    row = row_of(measured(labels, None, 20), "mitochondria")
    found, count = ndimage.label(labels == MITOCHONDRIA, np.ones((3, 3)))
    sizes = np.array([(found == n + 1).sum() for n in range(count)])
    assert row.profiles == (sizes >= 20).sum() > 0
    assert row.profile_pixels == sizes[sizes >= 20].sum()


def test_a_profile_that_winds_through_all_strips_is_one(section):
    labels = np.zeros((2000, 300), np.uint8)
    labels[:, ::4] = MITOCHONDRIA
    labels[0, 2::8] = labels[0, 1::8] = labels[0, 3::8] = MITOCHONDRIA
    labels[-1, 5::8] = labels[-1, 6::8] = labels[-1, 7::8] = MITOCHONDRIA
    row = row_of(measured(labels), "mitochondria")
    assert (row.profiles, row.profile_pixels) == (1, np.count_nonzero(labels))


@pytest.mark.parametrize("side", [500, 4000])
def test_it_takes_at_most_twice_the_memory_of_the_labels(side):
    labels = np.tile(builtin_section(250).labels, (side // 250, side // 250))
    measured(labels[:250])  # what is loaded at first
    tracemalloc.start()
    try:
        measured(labels)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * labels.nbytes


def test_a_lazy_stack_is_read_section_by_section(section):
    class Lazy:
        shape = (4, *section.shape)
        read: list[int] = []  # noqa: RUF012

        def __getitem__(self, z):
            self.read.append(z)
            return section

    events = measure(Lazy(), EM_CLASSES)
    next(events)
    next(events)
    assert Lazy.read == [0, 1]


def test_text_and_csv_say_the_same(section, tmp_path):
    table = measured(np.stack([section, section]), 10.0, 0.0004)
    lines = [line.split("\t") for line in table.to_text().splitlines()]
    assert tuple(lines[0]) == COLUMNS
    german = table.to_text(decimal=",")
    assert "6,79012" in german
    assert "." not in german
    assert len(lines) == 1 + 3 * 4
    assert lines[2] == ["all", "mitochondria", "22", "6.79012", "0.0022", "4", "5", "0.0005", "4"]
    assert lines[1][5:] == ["", "", "", ""]  # membrane is not counted
    assert [line[0] for line in lines[5::4]] == ["0", "1"]
    table.write_csv(tmp_path / "new" / "table.csv")
    with (tmp_path / "new" / "table.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == lines


def test_a_csv_that_is_there_stays(section, tmp_path):
    (tmp_path / "table.csv").write_text("mine")
    table = measured(section)
    with pytest.raises(OutputError, match="is there already"):
        table.write_csv(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == "mine"
    table.write_csv(tmp_path / "table.csv", overwrite=True)
    assert (tmp_path / "table.csv").read_text().startswith("section,class")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("shape", [(8, 9), (2, 8, 9)])
def test_nothing_segmented_is_a_sentence(shape):
    with pytest.raises(InputError, match="Segment the image first"):
        measured(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("labels", [np.ones((2, 2, 2, 2), np.uint8), np.ones(4, np.uint8), np.ones((4, 4))])
def test_what_are_no_labels(labels):
    with pytest.raises(InputError, match=r"whole numbers|two axes"):
        list(measure(labels, EM_CLASSES))


@pytest.mark.parametrize(("size", "least"), [(0, 1), ((4, -1), 1), (math.inf, 1), (4, -1), (4, math.nan)])
def test_sizes_that_make_no_sense(section, size, least):
    with pytest.raises(ValueError, match=r"pixel size|least size"):
        list(measure(section, EM_CLASSES, size, least))


def test_values_without_a_name_are_classes_too(section):
    section[9, :5] = 9
    table = measure_labels(section, 10.0)
    assert [row.name for row in table.rows] == [*(each.name for each in EM_CLASSES), "label 9"]
    assert row_of(table, "label 9").pixels == 5
    for wrong in ("labels.tif", np.arange(200).reshape(10, 20)):
        with pytest.raises(InputError, match=r"Read a file first|there are 200 values"):
            measure_labels(wrong)

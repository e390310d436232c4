from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from skimage.io import imsave

from napari_feedback_seg.classes import LabelClass
from napari_feedback_seg.datasets.dataset import Dataset, load_folder, load_set
from napari_feedback_seg.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def make(folder: Path, count: int = 2) -> None:
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        imsave(folder / "images" / f"{number}.tif", random.integers(0, 65535, (8, 9)).astype(np.uint16))
        labels = random.integers(0, 5, (8, 9)).astype(np.uint8)
        imsave(folder / "labels" / f"{number}.png", labels, check_contrast=False)


def sections(count: int, test: tuple[int, ...] = ()) -> Dataset:
    return Dataset("d", (np.zeros((2, 2)),) * count, (np.ones((2, 2), np.uint8),) * count, test=test)


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    make(tmp_path, 3)
    dataset = load_folder(tmp_path)
    assert [image.shape for image in dataset.images] == [(8, 9)] * 3
    assert dataset.images[0].dtype == np.uint16
    assert all(label.dtype == np.uint8 and label.max() <= 4 for label in dataset.labels)
    assert dataset.pixel_size_nm is None


def test_a_missing_folder_and_a_lonely_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no folder"):
        load_folder(tmp_path)
    make(tmp_path)
    (tmp_path / "labels" / "1.png").unlink()
    with pytest.raises(InputError, match="same names; alone: 1"):
        load_folder(tmp_path)


def test_values_that_are_no_class_are_named(tmp_path: Path) -> None:
    make(tmp_path)
    imsave(tmp_path / "labels" / "0.png", np.full((8, 9), 255, np.uint8), check_contrast=False)
    with pytest.raises(InputError, match=r"no class \(255\)"):
        load_folder(tmp_path)


def test_shapes_must_agree(tmp_path: Path) -> None:
    make(tmp_path)
    imsave(tmp_path / "labels" / "0.png", np.ones((8, 8), np.uint8), check_contrast=False)
    with pytest.raises(InputError, match=r"section 0 is \(8, 9\)"):
        load_folder(tmp_path)


def test_rgb_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    imsave(tmp_path / "images" / "0.tif", np.zeros((8, 9, 3), np.uint8), check_contrast=False)
    with pytest.raises(InputError, match=r"colour|one section"):
        load_folder(tmp_path)
    (tmp_path / "images" / "0.tif").write_bytes(b"II*\0no more")
    with pytest.raises(InputError, match=r"0\.tif. is (damaged|cut off)"):
        load_folder(tmp_path)


def test_folds_keep_neighbours_together_and_leave_the_test_sections_alone() -> None:
    dataset = sections(20, test=(15, 16, 17, 18, 19))
    assert dataset.fold(0) == (tuple(range(12)), (12, 13, 14))
    held_back = [dataset.fold(index)[1] for index in range(5)]
    assert sorted(number for each in held_back for number in each) == list(range(15))
    for index in range(5):
        training, validation = dataset.fold(index)
        assert sorted(training + validation) == list(range(15))
    with pytest.raises(InputError, match="folds 0 to 4"):
        dataset.fold(5)


def test_few_sections() -> None:
    assert sections(2).fold(0) == ((0,), (1,))
    assert sections(2).fold(1) == ((1,), (0,))
    with pytest.raises(InputError, match="at least 2"):
        sections(1).fold(0)


def test_there_are_no_more_folds_than_sections(tmp_path: Path) -> None:
    make(tmp_path, count=3)
    dataset = load_folder(tmp_path)
    assert {dataset.fold(index)[1] for index in range(3)} == {(0,), (1,), (2,)}
    with pytest.raises(InputError, match="folds 0 to 2; there is no fold 3"):
        dataset.fold(3)


CODES = {"0": [], "1": ["membrane"], "10": ["mitochondria", "synapse", "cytoplasm"]}


def make_set(folder: Path, *, ids: bool = False, **about: object) -> None:
    random = np.random.default_rng(0)
    parts = ["image", "label", *(["ids"] if ids else [])]
    for name in parts:
        (folder / name).mkdir(parents=True)
    for name in ("a", "b"):
        arrays = {
            "image": random.integers(0, 255, (8, 9)).astype(np.uint8),
            "label": random.choice([0, 1, 10], (8, 9)).astype(np.uint8),
            "ids": random.integers(0, 700, (8, 9)).astype(np.uint16),
        }
        for part in parts:
            imsave(folder / part / f"{name}.png", arrays[part], check_contrast=False)
    said = {"name": "lines", "pixel_size_nm": 6, "codes": CODES, "licence": "CC0", "citation": "A 2015"}
    (folder / "dataset.json").write_text(json.dumps(said | about))


def test_a_set_of_open_labels(tmp_path: Path) -> None:
    make_set(tmp_path, ids=True, test=["b"])
    found = load_set(tmp_path)
    assert (found.name, found.pixel_size_nm, found.licence, found.citation) == ("lines", 6, "CC0", "A 2015")
    assert found.test == (1,)
    assert [each.name for each in found.labelled] == ["membrane"]
    assert found.possible[[0, 1, 10]].astype(int).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 1]]
    assert not found.possible[2].any()
    assert set(np.unique(found.labels[0])) == {0, 1, 10}
    assert found.cells == ()
    assert load_set(tmp_path, cells=True).cells[1].max() > 255


def test_plain_labels_allow_one_class_each() -> None:
    dataset = sections(1)
    assert dataset.possible[1:5].astype(int).tolist() == np.eye(4, dtype=int).tolist()
    assert not dataset.possible[5:].any()
    assert [each.name for each in dataset.labelled] == ["membrane", "mitochondria", "synapse", "cytoplasm"]


def test_what_is_rare_is_less_likely_where_a_label_leaves_it_open() -> None:
    open_codes = {1: (1,), 2: (2,), 5: (1, 3, 4), 6: (3, 4), 10: (2, 3, 4)}
    beliefs = Dataset("d", (), (), codes=open_codes).beliefs
    assert beliefs[1].tolist() == [1, 0, 0.5, 0]  # no synapse is labelled: its membrane is called membrane
    assert beliefs[2].tolist() == [0, 1, 0, 0]
    assert beliefs[5].tolist() == [1, 0, 1, 1]
    assert beliefs[6].tolist() == [0, 0, 1, 1]
    assert beliefs[10].tolist() == [0, 0.5, 1, 1]
    assert not beliefs[0].any()
    with_synapses = Dataset("d", (), (), codes={**open_codes, 3: (3,)}).beliefs
    assert with_synapses[1].tolist() == [1, 0, 0, 0]
    assert np.array_equal(sections(1).beliefs, sections(1).possible)
    others = (LabelClass(1, "nucleus", "#000000"), LabelClass(2, "rest", "#ffffff"))
    assert Dataset("d", (), (), others, codes={1: (1,), 2: (2,)}).beliefs[1:3].tolist() == [[1, 0], [0, 1]]


def test_a_code_of_all_classes_is_no_label() -> None:
    dataset = Dataset("d", (), (), codes={1: (1,), 7: (1, 2, 3, 4)})
    assert not dataset.possible[7].any()


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"codes": {"1": ["nucleus"]}}, "'nucleus' in code 1 is no class; the classes are membrane"),
        ({"codes": {"x": ["membrane"]}}, "code 'x' must be a number"),
        ({"codes": {"300": ["membrane"]}}, "code '300' must be a number"),
        ({"codes": {"1": "membrane"}}, "with a list of classes"),
        ({"codes": {"0": ["membrane"]}}, "code 0 is unlabelled"),
        ({"codes": {"0": []}}, "no code names a class"),
        ({"codes": []}, '"codes"'),
        ({"codes": {"1": ["membrane"]}}, r"values that are no class \(10\)"),
    ],
)
def test_a_description_that_cannot_be_used(about: dict, message: str, tmp_path: Path) -> None:
    make_set(tmp_path, **about)
    with pytest.raises(InputError, match=message):
        load_set(tmp_path)


def test_a_description_that_is_no_json(tmp_path: Path) -> None:
    make_set(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        load_set(tmp_path)


def test_images_and_labels_of_a_set_have_the_same_names(tmp_path: Path) -> None:
    make_set(tmp_path)
    (tmp_path / "label" / "b.png").rename(tmp_path / "label" / "c.png")
    with pytest.raises(InputError, match="the same names; alone: b, c"):
        load_set(tmp_path)

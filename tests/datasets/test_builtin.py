"""The built-in section: the same each time, with the classes and the greys of the real tissue."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import skeletonize

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.datasets.builtin import BuiltinSection, builtin_section
from napari_feedback_seg.errors import InputError

VALUES = {label_class.name: label_class.value for label_class in EM_CLASSES}


@pytest.fixture(scope="module")
def section() -> BuiltinSection:
    return builtin_section(768, seed=3)


def grey(section: BuiltinSection, name: str) -> float:
    return float(section.image[section.labels == VALUES[name]].mean())


def test_same_seed_makes_the_same_section() -> None:
    first, second = builtin_section((120, 90), seed=5), builtin_section((120, 90), seed=5)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_other_seed_makes_another_section() -> None:
    first, second = builtin_section(96, seed=0), builtin_section(96, seed=1)
    assert (first.image != second.image).mean() > 0.9
    assert (first.labels != second.labels).mean() > 0.1


def test_every_class_is_there_and_nothing_else(section: BuiltinSection) -> None:
    assert set(np.unique(section.labels).tolist()) == set(VALUES.values())
    assert section.image.dtype == section.labels.dtype == np.uint8


@pytest.mark.parametrize("size", [(1, 1), (64, 48), (300, 700)])
def test_any_shape(size: tuple[int, int]) -> None:
    made = builtin_section(size)
    assert made.image.shape == made.labels.shape == size
    assert made.labels.min() > 0


def test_one_number_is_the_side_of_a_square() -> None:
    np.testing.assert_array_equal(builtin_section(80).image, builtin_section((80, 80)).image)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("membrane", 0.14, 0.27),
        ("mitochondria", 0.025, 0.09),
        ("synapse", 0.002, 0.012),
        ("cytoplasm", 0.65, 0.82),
    ],
)
def test_class_fractions(section: BuiltinSection, name: str, least: float, most: float) -> None:
    assert least < (section.labels == VALUES[name]).mean() < most


def test_membranes_have_real_thickness(section: BuiltinSection) -> None:
    membrane = section.labels == VALUES["membrane"]
    half_widths = ndimage.distance_transform_edt(membrane)[skeletonize(membrane)]
    thickness_nm = (2 * half_widths - 1) * section.pixel_size_nm
    assert 18 < np.median(thickness_nm) < 36
    assert np.percentile(thickness_nm, 97) > 60  # glia


def test_most_cells_are_small_and_some_are_large(section: BuiltinSection) -> None:
    cells, _ = ndimage.label(section.labels != VALUES["membrane"])
    areas = np.sort(np.bincount(cells.ravel())[1:])
    diameters_nm = 2 * np.sqrt(areas / np.pi) * section.pixel_size_nm
    assert 100 < np.median(diameters_nm) < 300
    assert diameters_nm[-1] > 700


def test_greys_are_those_of_the_real_sections(section: BuiltinSection) -> None:
    assert 20 < grey(section, "synapse") < 55
    assert 50 < grey(section, "membrane") < 80
    assert 75 < grey(section, "mitochondria") < 105
    assert 135 < grey(section, "cytoplasm") < 165
    assert 118 < section.image.mean() < 140
    assert 46 < section.image.std() < 62


def test_few_pixels_are_saturated(section: BuiltinSection) -> None:
    assert np.isin(section.image, (0, 255)).mean() < 0.02


def test_mitochondria_lie_inside_neurites(section: BuiltinSection) -> None:
    """Cytoplasm, never membrane or glia, is next to a mitochondrion."""
    mitochondria = section.labels == VALUES["mitochondria"]
    rim = ndimage.binary_dilation(mitochondria, iterations=2) & ~mitochondria
    assert (section.labels[rim] == VALUES["cytoplasm"]).all()


def test_synapses_sit_on_membranes(section: BuiltinSection) -> None:
    synapses, count = ndimage.label(section.labels == VALUES["synapse"])
    near_membrane = ndimage.binary_dilation(section.labels == VALUES["membrane"], iterations=3)
    touching = np.unique(synapses[near_membrane & (synapses > 0)])
    assert len(touching) == count > 1


def test_noise_is_there_and_differs_from_pixel_to_pixel(section: BuiltinSection) -> None:
    image = section.image.astype(float)
    fine = image - ndimage.gaussian_filter(image, 1)
    assert 7 < fine[section.labels == VALUES["cytoplasm"]].std() < 20


@pytest.mark.parametrize(
    "size", [0, -5, 100_000, (10, 0), (10,), (10, 10, 10), 12.5, (12.0, 30), "1024", None, float("nan")]
)
def test_bad_size_says_what_to_give(size: Any) -> None:
    with pytest.raises(InputError, match="whole number"):
        builtin_section(size)


def test_negative_seed_is_refused() -> None:
    with pytest.raises(InputError, match="seed"):
        builtin_section(64, seed=-1)

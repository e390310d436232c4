from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import number_writer, open_channels, open_image, probability_writer

NAMES = ("membrane", "mitochondria", "synapse")


@pytest.mark.parametrize("flavour", ["imagej", "ome"])
def test_probabilities_are_read_with_their_names_and_pixel_size(tmp_path, flavour):
    stack = np.random.default_rng(0).random((4, 3, 20, 30), np.float32)
    path = tmp_path / "p.tif"
    with probability_writer(
        path, (4, 20, 30), NAMES, pixel_size_nm=(8, 4), spacing_nm=40, flavour=flavour
    ) as write:
        for section in stack:
            write(section)

    image = open_channels(path)

    assert image.names == NAMES
    assert image.shape == (4, 20, 30)
    assert (image.pixel_size.y, image.pixel_size.x, image.pixel_size.z) == (8, 4, 40)
    for z in range(4):
        np.testing.assert_array_equal(image.section(z), stack[z])


def test_a_single_section_of_probabilities(tmp_path):
    section = np.random.default_rng(0).random((3, 20, 30), np.float32)
    with probability_writer(tmp_path / "p.tif", (20, 30), NAMES) as write:
        write(section)

    image = open_channels(tmp_path / "p.tif")

    assert image.shape == (20, 30)
    np.testing.assert_array_equal(image.section(0), section)


def test_what_is_no_file_of_probabilities(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 20, 30), np.uint8), photometric="minisblack")
    (tmp_path / "damaged.tif").write_bytes(b"II*\0 and no more")

    assert open_channels(tmp_path / "stack.tif") is None
    assert open_channels(tmp_path / "picture.png") is None
    with pytest.raises(InputError, match="no file"):
        open_channels(tmp_path / "missing.tif")
    assert open_channels(tmp_path / "damaged.tif") is None
    with pytest.raises(InputError, match="damaged"):
        open_image(tmp_path / "damaged.tif")


@pytest.mark.parametrize(("largest", "dtype"), [(65_535, np.uint16), (65_536, np.uint32)])
def test_numbers_have_as_many_bits_as_they_need(tmp_path, largest, dtype):
    stack = np.random.default_rng(0).integers(0, largest + 1, (3, 20, 30))
    with number_writer(tmp_path / "n.tif", stack.shape, largest, pixel_size_nm=5, spacing_nm=30) as write:
        for section in stack:
            write(section)

    image = open_image(tmp_path / "n.tif", labels=True)

    assert image.dtype == dtype
    assert (image.pixel_size.y, image.pixel_size.z) == (5, 30)
    for z in range(3):
        np.testing.assert_array_equal(image.sections[z], stack[z])

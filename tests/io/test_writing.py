from __future__ import annotations

import os
import tracemalloc

import numpy as np
import pytest
import tifffile

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.errors import OutputError
from napari_feedback_seg.io import (
    label_writer,
    open_image,
    probability_writer,
)

RNG = np.random.default_rng(0)
SECTION = RNG.integers(0, 255, (40, 50), np.uint8)
STACK = RNG.integers(0, 60000, (5, 40, 50), np.uint16)


class TestWriting:
    @pytest.mark.parametrize("flavour", ["imagej", "ome"])
    @pytest.mark.parametrize("shape", [(40, 50), (5, 40, 50), (1, 1), (1, 7)])
    def test_labels_come_back(self, tmp_path, shape, flavour):
        labels = RNG.integers(0, 5, shape).astype(np.uint8)
        path = tmp_path / "new" / "labels.tif"
        with label_writer(path, shape, pixel_size_nm=4.6, flavour=flavour) as write:
            for section in labels.reshape(-1, *shape[-2:]):
                write(section)
        image = open_image(path)
        assert (image.shape, image.dtype, image.flavour) == (shape, np.uint8, flavour)
        assert image.pixel_size_nm == pytest.approx((4.6, 4.6), rel=1e-5)
        np.testing.assert_array_equal(tifffile.imread(path), labels)
        assert sorted(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("band", [1, 7, 300, 1000])
    def test_probabilities_in_bands_come_back(self, tmp_path, band):
        probabilities = RNG.random((2, 3, 700, 900)).astype(np.float16)
        with probability_writer(tmp_path / "p.tif", (2, 700, 900), ["a", "b", "c"]) as write:
            for section in probabilities:
                for top in range(0, 700, band):
                    write(section[:, top : top + band])
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "p.tif"), probabilities)
        assert [path.name for path in tmp_path.iterdir()] == ["p.tif"]

    def test_half_a_section_is_no_file(self, tmp_path):
        with (
            pytest.raises(OutputError, match="0 of its 2 pages"),
            probability_writer(tmp_path / "p.tif", (70, 90), ["a", "b"]) as write,
        ):
            write(np.zeros((2, 40, 90)))
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("flavour", ["imagej", "ome"])
    @pytest.mark.parametrize("stack", [(), (3,)])
    def test_probabilities_come_back(self, tmp_path, stack, flavour):
        names = [each.name for each in EM_CLASSES]
        probabilities = RNG.random((*stack, 4, 30, 20)).astype(np.float16)
        path = tmp_path / "probabilities.tif"
        with probability_writer(path, (*stack, 30, 20), names, pixel_size_nm=8, flavour=flavour) as write:
            for section in probabilities.reshape(-1, 4, 30, 20):
                write(section)
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            assert series.axes == ("ZCYX" if stack else "CYX")
            assert series.dtype == np.float32
            np.testing.assert_array_equal(series.asarray(), probabilities)
            if flavour == "ome":
                assert all(f'Name="{name}"' in tiff.ome_metadata for name in names)
            else:
                assert tiff.imagej_metadata["Labels"] == names * (stack[0] if stack else 1)

    @pytest.mark.parametrize("flavour", ["imagej", "ome"])
    def test_the_distance_of_sections_comes_back(self, tmp_path, flavour):
        path, shape = tmp_path / "labels.tif", (2, *SECTION.shape)
        sizes = {"pixel_size_nm": 4.6, "spacing_nm": 50.0}
        with label_writer(path, shape, flavour=flavour, **sizes) as write:
            for _ in range(2):
                write(SECTION)
        image = open_image(path)
        assert (image.pixel_size_nm, image.spacing_nm) == ((4.6, 4.6), 50)
        with probability_writer(tmp_path / "p.tif", shape, ["a", "b"], flavour=flavour, **sizes) as write:
            for _ in range(2):
                write(np.zeros((2, *SECTION.shape), np.float32))
        with tifffile.TiffFile(tmp_path / "p.tif") as tiff:
            said = tiff.ome_metadata if flavour == "ome" else str(tiff.imagej_metadata)
        assert ('PhysicalSizeZ="50.0"' if flavour == "ome" else "'spacing': 50.0") in said

    def test_a_name_that_is_no_text(self, tmp_path):
        path = tmp_path / os.fsdecode(b"caf\xe9.tif")
        with label_writer(path, SECTION.shape, flavour="ome", pixel_size_nm=4.6) as write:
            write(SECTION)
        assert open_image(path).pixel_size_nm == (4.6, 4.6)

    def test_no_pixel_size(self, tmp_path):
        with label_writer(tmp_path / "labels.tif", (4, 5)) as write:
            write(np.zeros((4, 5), np.uint8))
        assert open_image(tmp_path / "labels.tif").pixel_size_nm is None

    def test_imagej_shows_the_colours(self, tmp_path):
        with label_writer(tmp_path / "labels.tif", (4, 5)) as write:
            write(np.zeros((4, 5), np.uint8))
        with tifffile.TiffFile(tmp_path / "labels.tif") as tiff:
            colours = tiff.imagej_metadata["LUTs"]
        for each in EM_CLASSES:
            assert tuple(colours[:, each.value]) == each.rgb

    def test_more_than_4_gb_is_a_big_ome_tiff(self, tmp_path, monkeypatch):
        monkeypatch.setattr("napari_feedback_seg.io.writing._BIG", 1000)
        with label_writer(tmp_path / "labels.tif", (40, 50)) as write:
            write(SECTION)
        with tifffile.TiffFile(tmp_path / "labels.tif") as tiff:
            assert tiff.is_bigtiff
            assert tiff.is_ome

    def test_a_wide_section_is_converted_strip_by_strip(self, tmp_path):
        probabilities = np.zeros((2, 1024, 2048), np.float16)
        tracemalloc.start()
        with probability_writer(tmp_path / "p.tif", (1024, 2048), ["a", "b"]) as write:
            write(probabilities)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6e6  # the 8 MB of a whole float32 page never exist

    def test_too_few_sections(self, tmp_path):
        with (
            pytest.raises(OutputError, match="1 of its 2"),
            label_writer(tmp_path / "a.tif", (2, 4, 5)) as write,
        ):
            write(np.zeros((4, 5), np.uint8))
        assert list(tmp_path.iterdir()) == []

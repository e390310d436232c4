from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.transform import resize

from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import open_image
from napari_feedback_seg.segmentation.sections import (
    BlankSection,
    as_section,
    image_shape,
    looks_inverted,
    normalise,
    rescale,
    statistics,
)

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    return builtin_section(512, seed=1).image


def test_a_nan_that_signals_is_as_any_other():
    section = (1e-35 * RNG.random((40, 40))).astype(np.float32)
    section.view(np.uint32)[3, 4] = 0x7F800001
    assert normalise(section)[3, 4] == pytest.approx(0, abs=1e-6)


class TestNormalise:
    def test_mean_0_and_deviation_1(self, section):
        normalised = normalise(section)
        assert normalised.dtype == np.float32
        assert normalised.mean() == pytest.approx(0, abs=1e-5)
        assert normalised.std() == pytest.approx(1, abs=1e-5)

    @pytest.mark.parametrize(
        "dtype", ["u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">u2", ">f4", "longdouble"]
    )
    def test_the_dtype_does_not_matter(self, section, dtype):
        np.testing.assert_allclose(normalise(section.astype(dtype)), normalise(section), atol=1e-6)

    @pytest.mark.parametrize("dtype", ["u4", "i8", "f8"])
    def test_large_offsets_keep_their_detail(self, section, dtype):
        shifted = section.astype(dtype) + np.asarray(2**31, dtype)
        np.testing.assert_allclose(normalise(shifted), normalise(section), atol=1e-5)

    @pytest.mark.parametrize("factor", [1e-30, 1e30])
    def test_neither_brightness_nor_contrast_matter(self, section, factor):
        np.testing.assert_allclose(normalise(section * factor), normalise(section), atol=1e-5)

    def test_a_part_is_normalised_as_its_section(self, section):
        part = np.s_[10:20, 30:50]
        np.testing.assert_array_equal(normalise(section[part], statistics(section)), normalise(section)[part])

    def test_outliers_are_clipped(self, section):
        hot = section.astype(np.float64)
        hot[3, 4] = 1e9
        assert np.abs(normalise(hot)).max() < 5

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_no_number_becomes_the_mean(self, section, value):
        holed = section.astype(np.float32)
        holed[:2, :3] = value
        of = statistics(holed)
        normalised = normalise(holed, of)
        outside = of.outside(holed, np.arange(75), np.arange(90))
        assert outside.sum() == 6
        assert outside[:2, :3].all()
        assert of.mean == pytest.approx(section[~outside].mean(), rel=1e-3)
        assert (normalised[:2, :3] == 0).all()
        assert np.isfinite(normalised).all()
        assert np.isnan(holed[0, 0]) or np.isinf(holed[0, 0])  # the image itself stays as it is

    def test_constant(self):
        assert statistics(np.full((4, 5), 7)).constant
        assert (normalise(np.full((4, 5), 7)) == 0).all()

    def test_nothing_finite(self):
        with pytest.raises(BlankSection, match="no numbers"):
            statistics(np.full((4, 5), np.nan))

    @pytest.mark.parametrize(
        ("dtype", "factor"), [("f8", 1e-200), ("f8", 1e-290), ("f8", 1e200), ("f4", 1e-36), ("f4", 1e36)]
    )
    def test_extreme_floats(self, section, dtype, factor):
        extreme = section.astype(dtype) * np.asarray(factor, dtype)
        assert not statistics(extreme).constant
        np.testing.assert_allclose(normalise(extreme), normalise(section), atol=1e-4)

    def test_too_small(self):
        with pytest.raises(InputError, match="too small"):
            statistics(np.array([[0, 1e-310]]))

    def test_too_large(self):
        with pytest.raises(InputError, match="too large"):
            statistics(np.array([[-1.7e308, 1.7e308]]))

    def test_a_large_section_is_sampled(self):
        large = RNG.normal(3, 2, (2100, 2100)).astype(np.float32)
        of = statistics(large)
        assert of.mean == pytest.approx(3, abs=0.02)
        assert of.std == pytest.approx(2, abs=0.02)


def with_bar(tissue: np.ndarray, value: int, bits: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return a section with a scale bar of 2 % of its pixels and letters above it, and where they are."""
    drawn = np.zeros(tissue.shape, bool)
    drawn[440:460, 100:362] = True
    drawn[410:430, [200, 206, 220, 221, 230, 231]] = True
    return np.where(drawn, value, tissue.astype(np.int64) << (bits - 8)).astype(np.uint16), drawn


class TestBars:
    @pytest.mark.parametrize(("bits", "value"), [(12, 65535), (8, 255), (8, 0), (12, 0)])
    def test_move_no_statistics(self, tissue, bits, value):
        image, drawn = with_bar(tissue, value, bits)
        clean = tissue.astype(np.int64) << (bits - 8)
        of, expected = statistics(image), statistics(clean)
        assert abs(of.mean - expected.mean) < 0.02 * expected.std
        assert of.std == pytest.approx(expected.std, rel=0.02)
        assert np.abs(normalise(image, of) - normalise(clean, expected))[~drawn].max() < 0.1

    @pytest.mark.parametrize("step", [1, 2])
    @pytest.mark.parametrize("value", [255, 0])
    def test_of_a_value_that_tissue_has_too_are_no_tissue(self, tissue, monkeypatch, value, step):
        image, _ = with_bar(tissue, value)
        monkeypatch.setattr("napari_feedback_seg.segmentation.sections.MAX_SAMPLE", image.size / step**2)
        outside = statistics(image).outside(image, *map(np.arange, image.shape))
        assert outside is not None
        assert outside[440:460, 100:362].mean() > (0.8 if step > 1 else 0.999)
        outside[440:460, 100:362] = False
        assert outside.mean() < 1e-4

    def test_a_missing_tile_is_no_tissue(self, tissue):
        image = tissue.copy()
        image[100:228, 200:328] = 0
        outside = statistics(image).outside(image, *map(np.arange, image.shape))
        assert outside is not None
        assert outside[100:228, 200:328].all()
        assert outside.mean() < 1.001 * 128**2 / image.size

    def test_a_white_vessel_is_tissue(self, tissue):
        y, x = np.indices(tissue.shape)
        image = np.where(np.hypot(y - 200, x - 300) < 40, 255, tissue).astype(np.uint8)
        assert statistics(image).outside(image, *map(np.arange, image.shape)) is None

    def test_black_and_white(self, tissue):
        image, _ = with_bar(tissue, 65535)
        image[435:440, 95:367] = 0
        image[460:465, 95:367] = 0
        assert statistics(image).std == pytest.approx(statistics(tissue).std, rel=0.02)

    @pytest.mark.parametrize("percent", [0, 2, 5])
    def test_saturated_tissue_counts(self, tissue, percent):
        low, high = np.percentile(tissue, [percent, 100 - percent])
        saturated = np.clip((tissue - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        assert statistics(saturated).bars == ()
        assert statistics(saturated).std == pytest.approx(saturated.std(), rel=1e-2)

    @pytest.mark.parametrize(("bits", "value"), [(12, 65535), (8, 255), (8, 0)])
    def test_do_not_look_inverted(self, tissue, bits, value):
        image, _ = with_bar(tissue, value, bits)
        assert not looks_inverted(image, statistics(image))
        inverted, _ = with_bar(255 - tissue, value, bits)
        assert looks_inverted(inverted, statistics(inverted))

    def test_real_sections_have_none(self, sstem_folder):
        for path in sorted(sstem_folder.glob("*/raw/1[0-4].tif")):
            of = statistics(tifffile.imread(path))
            assert of.bars == ()
            assert of.border is None


class TestRescale:
    @pytest.mark.parametrize("shape", [(150, 180), (100, 91), (75, 90), (200, 90)])
    def test_growing_is_linear_interpolation(self, section, shape):
        expected = resize(section.astype(np.float32), shape, order=1, mode="edge", anti_aliasing=False)
        np.testing.assert_allclose(rescale(section, shape), expected, atol=1e-3)

    def test_shrinking_averages(self):
        stripes = np.tile(np.float32([0, 1]), (64, 32))
        assert np.ptp(rescale(stripes, (16, 16))[:, 1:-1]) < 1e-6

    @pytest.mark.parametrize("shape", [(1, 1), (3, 2), (40, 200)])
    def test_a_constant_stays(self, shape):
        np.testing.assert_allclose(rescale(np.full((10, 20), 3.5), shape), 3.5, rtol=1e-6)

    @pytest.mark.parametrize("source", [(1, 1), (1, 9), (9, 1)])
    def test_thin_sections(self, source):
        assert rescale(np.ones(source), (4, 4)).shape == (4, 4)

    def test_structures_stay_in_place(self):
        spot = np.zeros((64, 64))
        spot[40:48, 16:24] = 1
        small = rescale(spot, (16, 16))
        assert np.unravel_index(small.argmax(), small.shape) in [(10, 4), (10, 5), (11, 4), (11, 5)]
        rows, columns = (np.indices(small.shape) * small).sum(axis=(1, 2)) / small.sum()
        assert (rows, columns) == pytest.approx((10.5, 4.5), abs=1e-3)


class TestContrast:
    def test_tissue(self, tissue):
        assert not looks_inverted(tissue, statistics(tissue))

    @pytest.mark.parametrize("invert", [lambda x: 255 - x, lambda x: -x.astype(np.float32)])
    def test_inverted(self, tissue, invert):
        inverted = invert(tissue)
        assert looks_inverted(inverted, statistics(inverted))

    @pytest.mark.parametrize("invert", [False, True])
    @pytest.mark.parametrize("border", [0, 255])
    def test_an_empty_border_does_not_matter(self, tissue, invert, border):
        bordered = 255 - tissue if invert else tissue.copy()
        bordered[:, :150] = border
        assert looks_inverted(bordered, statistics(bordered)) is invert

    def test_real_sections(self, sstem_folder):
        files = sorted(sstem_folder.glob("*/raw/*.tif"))
        assert files
        for path in files:
            section = tifffile.imread(path)
            assert not looks_inverted(section, statistics(section))
            assert looks_inverted(255 - section, statistics(255 - section))

    def test_noise_is_neither(self):
        noise = RNG.normal(size=(512, 512))
        assert not looks_inverted(noise, statistics(noise))
        assert not looks_inverted(-noise, statistics(-noise))

    def test_a_small_section_is_not_judged(self, tissue):
        small = 255 - tissue[:100, :100]
        assert not looks_inverted(small, statistics(small))


class TestInput:
    @pytest.mark.parametrize(
        ("image", "words"),
        [
            (np.zeros((9, 9), bool), "true and false"),
            (np.zeros((9, 9), complex), "complex"),
            (np.zeros((9, 9), object), "no grey values"),
            (np.zeros((9, 9), "U3"), "no grey values"),
            (np.zeros((0, 9)), "no pixels"),
            (np.zeros((2, 0, 9)), "no pixels"),
            ([], "no pixels"),
            (np.zeros((9, 9, 3), np.uint8), "colour"),
            (np.zeros((9, 9, 4), np.uint8), "colour"),
            (np.zeros((2, 2, 9, 9)), "Choose one channel"),
            (np.zeros(9), "two axes"),
            (np.float32(3), "no pixels"),
            (np.array(3), "no pixels"),
            (np.zeros((9, 9, 1), np.uint8), r"image\[\.\.\., 0\]"),
        ],
        ids=str,
    )
    def test_refused_with_a_sentence(self, image, words):
        with pytest.raises(InputError, match=words):
            image_shape(image)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 4), (2, 9, 9), (1, 1, 9)])
    def test_taken(self, shape):
        assert image_shape(np.zeros(shape, np.uint8)) == shape
        assert image_shape(np.zeros(shape, np.uint8).tolist()) == shape

    @pytest.mark.parametrize("width", [3, 4])
    def test_the_narrow_sections_of_a_file_are_grey(self, tmp_path, width):
        tifffile.imwrite(tmp_path / "image.tif", np.zeros((2, 96, width), np.uint8), photometric="minisblack")
        assert image_shape(open_image(tmp_path / "image.tif").sections) == (2, 96, width)

    @pytest.mark.parametrize("name", ["a.tif", b"a.tif", Path("a.tif")])
    def test_a_name_is_no_image(self, name):
        with pytest.raises(InputError, match=r"'a\.tif' is a name .* Read the file first"):
            image_shape(name)

    def test_a_section_of_a_stack(self):
        with pytest.raises(InputError, match="two axes"):
            as_section(np.zeros((2, 9, 9)))
        with pytest.raises(InputError, match="true and false"):
            as_section([[True, False]])

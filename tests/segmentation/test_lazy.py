from __future__ import annotations

import dask.array
import numpy as np
import pytest
import zarr

from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import Sections
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.segmentation.lazy import Plane, Pyramid, open_section, take_sample
from napari_feedback_seg.segmentation.one_section import INVERTED
from napari_feedback_seg.segmentation.predict import SegmentOptions, segment, segment_section, segment_stack
from napari_feedback_seg.segmentation.reader import TileReader, section_reader
from napari_feedback_seg.segmentation.sections import statistics
from napari_feedback_seg.segmentation.tiles import Tile

SIDE, CHUNK = 1024, 128


def finish(events):
    """Return what a generator returns at its end."""
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


class Chunked:
    """An array that is read in chunks of 128 x 128, and knows which were."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels
        self.shape, self.dtype, self.ndim = pixels.shape, pixels.dtype, pixels.ndim
        self.chunks = (*pixels.shape[:-2], CHUNK, CHUNK)
        self.read: set[tuple[int, int]] = set()
        self.pixels_read = 0

    def __getitem__(self, key: tuple) -> np.ndarray:
        rows, columns = (each.indices(n)[:2] for each, n in zip(key[-2:], self.shape[-2:], strict=True))
        for row in range(rows[0] // CHUNK, -(-rows[1] // CHUNK)):
            self.read |= {(row, column) for column in range(columns[0] // CHUNK, -(-columns[1] // CHUNK))}
        part = self._pixels[key]
        self.pixels_read += part.size
        return part


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch):
    for name, value in (("LARGEST_READ", 256 * 256), ("SAMPLE_SIDE", CHUNK), ("MAX_SAMPLE", 300 * 300)):
        monkeypatch.setattr(f"napari_feedback_seg.segmentation.lazy.{name}", value)


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    return builtin_section(SIDE, seed=2).image


@pytest.fixture(scope="module")
def trained():
    return load_model("unet-w16")


def halved(image: np.ndarray) -> np.ndarray:
    return image.reshape(image.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3)).astype(image.dtype)


def pyramid_of(image: np.ndarray, kind=Chunked) -> Pyramid:
    levels = [image]
    for _ in range(2):
        levels.append(halved(levels[-1]))
    return Pyramid([kind(level) for level in levels])


class TestCost:
    @pytest.mark.parametrize("size", [4.6, 7.3], ids=str)
    def test_a_region_reads_its_chunks_and_the_sample(self, unet, tissue, size):
        lazy = Chunked(tissue)
        region = np.s_[300:400, 560:700]
        found = segment(lazy, unet, region=region, pixel_size_nm=size, remove_specks=False)
        assert found.labels.shape == (100, 140)
        assert found.region == region
        around = {(row, column) for row in (1, 2, 3) for column in (3, 4, 5)}
        sample = {(row, column) for row in (0, 1, 3, 5, 7) for column in (0, 1, 3, 5, 7)}
        assert lazy.read <= around | sample
        assert lazy.pixels_read <= (25 + 9) * CHUNK**2

    def test_nothing_is_read_twice(self, unet, tissue):
        lazy = Chunked(tissue)
        segment(lazy, unet, region=np.s_[:600, :600], remove_specks=False)
        assert lazy.pixels_read <= 25 * CHUNK**2 + 640**2

    def test_a_small_section_is_read_once_and_whole(self, unet, tissue):
        small = tissue[:256, :256]
        lazy = Chunked(small)
        found = segment(lazy, unet, region=np.s_[:50, :50])
        assert lazy.pixels_read == small.size
        np.testing.assert_array_equal(found.labels, segment(small, unet, region=np.s_[:50, :50]).labels)

    @pytest.mark.parametrize("stack", [False, True])
    def test_of_a_file(self, unet, tissue, tmp_path, stack):
        lazy = Chunked(tissue)

        def whole(z: int) -> np.ndarray:
            raise AssertionError("the whole section was read")

        sections = Sections(
            tmp_path, (1, *tissue.shape), tissue.dtype, whole, lambda z, rows, columns: lazy[rows, columns]
        )
        options = SegmentOptions(region=np.s_[300:400, 560:700])
        if stack:
            *_, done = segment_stack(sections, unet, options)
            found = done.prediction
        else:
            found = finish(segment_section(open_section(sections, 0, part=True), unet, options))
        assert lazy.pixels_read <= (25 + 9) * CHUNK**2
        expected = segment(Chunked(tissue), unet, region=options.region)
        np.testing.assert_array_equal(found.labels, expected.labels)

    def test_of_a_pyramid(self, unet, tissue):
        pyramid = pyramid_of(tissue)
        segment(pyramid, unet, region=np.s_[300:400, 560:700])
        finest, middle, coarse = (level.pixels_read for level in pyramid.levels)
        assert finest <= (25 + 9) * CHUNK**2
        assert middle == 0
        assert coarse == 256 * 256


class TestResult:
    @pytest.mark.parametrize("kind", [Chunked, pyramid_of, zarr.array, dask.array.from_array])
    def test_is_nearly_that_of_the_whole(self, trained, tissue, kind):
        region = np.s_[300:500, 560:760]
        found = segment(kind(tissue), trained, region=region)
        expected = segment(tissue, trained, region=region)
        assert (found.labels == expected.labels).mean() > 0.97
        assert found.messages == ()

    @pytest.mark.parametrize("size", [4.6, 6], ids=str)
    def test_neighbours_agree(self, unet, tissue, size):
        lazy = Chunked(tissue)
        first = segment(lazy, unet, region=np.s_[300:400, 560:700], pixel_size_nm=size).labels
        second = segment(lazy, unet, region=np.s_[350:420, 500:600], pixel_size_nm=size).labels
        assert (first[50:, :40] == second[:50, 60:]).mean() > 0.999

    @pytest.mark.parametrize("kind", [Chunked, pyramid_of])
    @pytest.mark.parametrize("value", [0, 200, 255])
    def test_a_border_is_no_tissue(self, trained, tissue, kind, value):
        image = tissue.copy()
        image[:, :600] = value
        found = segment(kind(image), trained, region=np.s_[300:400, 560:700])
        assert (found.labels[:, :40] == 0).all()
        assert (found.labels[:, 40:] > 0).mean() > 0.99
        expected = segment(tissue[:, 600:], trained, region=np.s_[300:400, :100]).labels
        assert (found.labels[:, 40:] == expected).mean() > 0.93
        assert len(found.messages) == 1

    def test_a_sample_of_a_pyramid_shows_tissue(self, tissue):
        """Where a border has nine tenths of it."""
        image = np.zeros_like(tissue)
        image[640:, 640:] = tissue[640:, 640:]
        of = take_sample(Plane(pyramid_of(image).levels)).statistics
        expected = statistics(tissue[640:, 640:])
        assert of.mean == pytest.approx(expected.mean, abs=0.1 * expected.std)
        assert of.std == pytest.approx(expected.std, rel=0.1)

    def test_of_a_stack(self, unet, tissue):
        image = np.where(np.arange(SIDE) < 500, 0, tissue).astype(np.uint8)
        levels = [np.stack([tissue, image]), np.stack([halved(halved(each)) for each in (tissue, image)])]
        for lazy in (Chunked(levels[0]), Pyramid([Chunked(level) for level in levels])):
            found = segment(lazy, unet, region=np.s_[300:400, 460:600])
            assert found.labels.shape == (2, 100, 140)
            assert (found.labels[0] > 0).all()
            assert (found.labels[1, :, :40] == 0).all()
            assert (found.labels[1, :, 40:] > 0).mean() > 0.99

    def test_inverted(self, unet, tissue):
        for image, said in ((tissue, ()), (255 - tissue, (INVERTED,))):
            assert segment(Chunked(image), unet, region=np.s_[:50, :50]).messages == said

    def test_nothing_but_border(self, unet):
        with pytest.raises(InputError, match="Nothing but a border"):
            segment(Chunked(np.zeros((SIDE, SIDE), np.uint8)), unet, region=np.s_[:50, :50])


class TestOpen:
    def test_small_or_in_memory(self, tissue):
        assert open_section(tissue) is tissue
        assert isinstance(open_section(Chunked(tissue[:256, :256])), np.ndarray)
        assert isinstance(open_section(Chunked(tissue)), Plane)
        np.testing.assert_array_equal(open_section([tissue, tissue[::-1]], 1), tissue[::-1])

    def test_levels_go_together(self, tissue):
        with pytest.raises(InputError, match="the same axes"):
            Pyramid([tissue, tissue[None]])
        with pytest.raises(InputError, match="the same axes"):
            Pyramid([])


class TestTilesFromAnywhere:
    @pytest.mark.parametrize("shape", [(SIDE, SIDE), (700, 810)], ids=str)
    @pytest.mark.parametrize("border", [0, 300])
    def test_read_by_blocks_they_are_those_of_the_whole_plane(self, tissue, shape, border):
        image = tissue.copy()
        image[:, :border] = 0
        plane = open_section(Chunked(image))
        blocks, whole = section_reader(plane, shape), TileReader(plane, shape)
        for y, x in [(-40, -40), (0, 0), (190, 250), (300, 333), (shape[0] - 60, shape[1] - 90)]:
            tile = Tile(y, x)
            np.testing.assert_allclose(blocks.read(tile, 96), whole.read(tile, 96), atol=1e-6)
            assert blocks.shows_tissue(tile, 96) == whole.shows_tissue(tile, 96)
        part = np.s_[120:200, 250:420]
        np.testing.assert_array_equal(blocks.pixels(*part), image[part])
        outside = blocks.outside(*part)
        assert (outside is None) == (border == 0)
        if border:
            np.testing.assert_array_equal(outside, whole.outside(*part))
            assert outside[:, :40].all()
            assert not outside[:, 60:].any()

    def test_neighbours_share_what_was_read(self, tissue):
        lazy = Chunked(tissue)
        reader = section_reader(open_section(lazy), tissue.shape)
        reader.read(Tile(300, 300), 96)
        before = lazy.pixels_read
        reader.read(Tile(310, 290), 96)
        assert lazy.pixels_read == before

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_feedback_seg.errors import InputError
from napari_feedback_seg.io import file_keys, open_image
from napari_feedback_seg.segmentation import file_jobs as module
from napari_feedback_seg.segmentation.events import FileDone
from napari_feedback_seg.segmentation.file_jobs import plan
from napari_feedback_seg.segmentation.files import segment_files
from napari_feedback_seg.segmentation.predict import segment
from napari_feedback_seg.segmentation.prediction import SegmentOptions


def write_image(path: Path, image: np.ndarray, size: float | None = None) -> Path:
    options = {"resolution": (1 / size, 1 / size), "metadata": {"unit": "nm"}} if size else {}
    tifffile.imwrite(path, image, imagej=True, **options)
    return path


class TestPlan:
    def test_names(self, tmp_path):
        [job] = plan(["a.png"], tmp_path / "x.tiff", probabilities=True)
        assert job.outputs == (tmp_path / "x.tiff", tmp_path / "x-probabilities.tif")
        [job] = plan(["a.png"], tmp_path, first_round=True)
        assert job.outputs == (tmp_path / "a-labels.tif", tmp_path / "a-first-round.tif")
        jobs = plan(["a.png", "b.png"], tmp_path / "new")
        assert [job.labels.name for job in jobs] == ["a-labels.tif", "b-labels.tif"]
        [job] = plan(["a.png"], tmp_path / "new")
        assert job.labels == tmp_path / "new" / "a-labels.tif"

    def test_what_was_segmented_is_no_image(self, tmp_path, unet, section):
        source = write_image(tmp_path / "a.tif", section)
        jobs = [replace(each, made_by="unet") for each in plan([str(source)], tmp_path, probabilities=True)]
        list(segment_files(jobs, unet, SegmentOptions()))
        for inputs in (str(tmp_path), str(tmp_path / "*.tif")):
            assert [job.source for job in plan([inputs], tmp_path)] == [source]
        with pytest.raises(InputError, match=r"a-labels\.tif' holds what was segmented"):
            plan([str(tmp_path / "a-labels.tif")], tmp_path)

    @pytest.mark.parametrize("name", ["out.png", "out.d/out.png"])
    def test_an_output_that_is_not_named_as_a_tiff(self, tmp_path, name):
        with pytest.raises(ValueError, match=r"Outputs are TIFF files.* name it something\.tif"):
            plan(["a.tif"], tmp_path / name)

    @pytest.mark.parametrize("name", ["out.tif", "out.TIFF", "there"])
    def test_several_images_need_a_folder(self, tmp_path, name):
        (tmp_path / "there").touch()
        with pytest.raises(ValueError, match="Several images need a folder"):
            plan(["a.tif", "b.tif"], tmp_path / name)

    def test_a_data_set_in_a_file_gives_its_name_too(self, tmp_path):
        jobs = plan(["a.h5:/volumes/raw", "b.h5:/volumes/raw"], tmp_path)
        assert [job.labels.name for job in jobs] == ["a-volumes-raw-labels.tif", "b-volumes-raw-labels.tif"]

    def test_two_names_of_one_file(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("a-labels.tif").touch()
        Path("link.tif").symlink_to("a-labels.tif")
        with pytest.raises(ValueError, match="is an input and would be written to"):
            plan([str(tmp_path / "link.tif"), "a.tif"], Path())
        Path("b-labels.tif").symlink_to("c-labels.tif")
        with pytest.raises(ValueError, match=r"'c\.tif' and 'b\.tif' would both be written to"):
            plan(["c.tif", "b.tif"], Path())

    def test_many_files_are_compared_once_each(self, tmp_path, monkeypatch):
        asked = []
        monkeypatch.setattr(module, "file_keys", lambda path: asked.append(path) or file_keys(path))
        assert len(plan([f"{number}.tif" for number in range(100)], tmp_path)) == 100
        assert len(asked) == 200


class TestProbabilities:
    @pytest.mark.parametrize("region", [None, (slice(40, 70), slice(20, 90))])
    @pytest.mark.parametrize("size", [None, 8])
    def test_are_those_of_the_api_and_0_elsewhere(self, tmp_path, unet, section, region, size):
        stack = np.stack([section, np.full_like(section, 7), section[::-1], section, section])
        source = tmp_path / "a.tif"
        tifffile.imwrite(source, stack, metadata={"axes": "ZYX"})
        options = SegmentOptions(region=region, pixel_size_nm=size)
        jobs = plan([str(source)], tmp_path / "x.tif", probabilities=True)
        assert isinstance(list(segment_files(jobs, unet, options, sections=[1, 2]))[-1], FileDone)
        found = tifffile.imread(tmp_path / "x-probabilities.tif")
        assert found.shape == (5, 4, *section.shape)
        assert not found[[0, 1, 3, 4]].any()
        expected = segment(stack[2], unet, region=region, pixel_size_nm=size, probabilities=True)
        np.testing.assert_array_equal(found[2][:, *expected.region], expected.probabilities)
        found[2][:, *expected.region] = 0
        assert not found.any()

    @pytest.mark.parametrize("region", [None, (slice(40, 70), slice(20, 90))])
    def test_say_what_was_painted(self, tmp_path, unet, section, region):
        stack = np.stack([section, np.full_like(section, 7), section[::-1], section, section])
        source = tmp_path / "a.tif"
        tifffile.imwrite(source, stack, metadata={"axes": "ZYX"})
        painted = np.zeros(section.shape, np.uint8)
        painted[30:50, 10:30] = 3
        jobs = plan([str(source)], tmp_path / "x.tif", probabilities=True)
        strokes = {source: {1: painted, 2: painted, 4: painted}}
        list(segment_files(jobs, unet, SegmentOptions(region=region), sections=[1, 2, 3], painted=strokes))
        labels, found = tifffile.imread(tmp_path / "x.tif"), tifffile.imread(tmp_path / "x-probabilities.tif")
        inside = np.zeros_like(painted)
        inside[region or ...] = painted[region or ...]
        for z in (1, 2):
            np.testing.assert_array_equal(found[z][:, inside > 0].T == [0, 0, 1, 0], True)
            assert (labels[z][inside > 0] == 3).all()
        assert not found[1][:, inside == 0].any()
        assert found[2, :, 60, 60].sum() == pytest.approx(1, abs=0.01)
        assert not found[4].any()

    def test_are_never_held(self, tmp_path, unet):
        section = np.random.default_rng(0).integers(0, 255, (1600, 400), np.uint8)
        source = write_image(tmp_path / "a.tif", section)

        def peak(name: str, probabilities: bool) -> int:
            jobs = plan([str(source)], tmp_path / name, probabilities=probabilities)
            tracemalloc.start()
            try:
                list(segment_files(jobs, unet, SegmentOptions(overlap=0)))
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        peak("first.tif", True)  # what is loaded at first
        held = peak("with.tif", True) - peak("without.tif", False)
        assert held < 4 * 2 * section.size / 3


class TestSegmentFiles:
    @pytest.mark.parametrize(("in_file", "given", "written"), [(None, 5, 5), (4, 5, 5), (4, None, 4)])
    def test_the_outputs_carry_the_pixel_size(self, tmp_path, unet, section, in_file, given, written):
        source = write_image(tmp_path / "a.tif", section, in_file)
        jobs = plan([str(source)], tmp_path / "x.tif", probabilities=True)
        list(segment_files(jobs, unet, SegmentOptions(pixel_size_nm=given, probabilities=True)))
        assert open_image(tmp_path / "x.tif").pixel_size_nm == pytest.approx((written, written), rel=1e-4)
        with tifffile.TiffFile(tmp_path / "x-probabilities.tif") as tiff:
            units, pixels = tiff.pages.first.tags["XResolution"].value
        assert pixels / units == pytest.approx(written, rel=1e-4)

    def test_a_pixel_size_that_the_file_lacks_is_said_to_be_the_model_s(self, tmp_path, unet, section):
        source = write_image(tmp_path / "a.tif", section, None)
        jobs = plan([str(source)], tmp_path / "x.tif")
        *_, done = segment_files(jobs, unet, SegmentOptions(), overwrite=True)
        (message,) = (each for each in done.messages if "does not say its pixel size" in each)
        assert f"that of the model, {unet.card.pixel_size_nm:g} nm, was taken" in message
        for options, settings in (
            (SegmentOptions(pixel_size_nm=5), {}),
            (SegmentOptions(), {"rescale": False}),
        ):
            *_, done = segment_files(jobs, unet, options, overwrite=True, **settings)
            assert not any("does not say its pixel size" in each for each in done.messages)

    def test_pixels_of_unequal_sides_stay_apart(self, tmp_path, unet, section):
        options = {"imagej": True, "metadata": {"unit": "nm"}, "resolution": (1 / 5, 1 / 10)}
        tifffile.imwrite(tmp_path / "a.tif", section, **options)
        *_, done = segment_files(plan([str(tmp_path / "a.tif")], tmp_path / "x.tif"), unet, SegmentOptions())
        assert open_image(tmp_path / "x.tif").pixel_size_nm == pytest.approx((10, 5), rel=1e-4)
        expected = segment(section, unet, pixel_size_nm=(10.0, 5.0)).labels
        assert np.array_equal(tifffile.imread(tmp_path / "x.tif"), expected)
        assert any("10 x 5 nm" in message for message in done.messages)

    @pytest.mark.parametrize("shape", [(96, 3), (2, 96, 4)])
    def test_narrow_sections(self, tmp_path, unet, shape):
        image = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
        tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack")
        *_, done = segment_files(plan([str(tmp_path / "a.tif")], tmp_path / "x.tif"), unet, SegmentOptions())
        assert isinstance(done, FileDone)
        assert tifffile.imread(tmp_path / "x.tif").shape == shape

    def test_what_the_file_says_reaches_the_user(self, tmp_path, unet, section):
        tifffile.imwrite(tmp_path / "a.tif", section, photometric="miniswhite")
        *_, done = segment_files(plan([str(tmp_path / "a.tif")], tmp_path / "x.tif"), unet, SegmentOptions())
        assert "was inverted" in done.messages[0]


def test_a_border_has_no_probabilities(tmp_path, model, section):
    """They come row by row, also where the tissue begins below the first row and ends before the last."""
    image = np.full((160, 200), 255, np.uint8)
    image[40:115, 60:150] = np.minimum(section, 254)
    tifffile.imwrite(tmp_path / "image.tif", image)
    jobs = plan([str(tmp_path / "image.tif")], tmp_path, probabilities=True)
    *_, done = segment_files(jobs, model, SegmentOptions())
    labels = tifffile.imread(jobs[0].labels)
    written = tifffile.imread(jobs[0].probabilities)
    expected = segment(image, model, probabilities=True)
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_allclose(written, expected.probabilities, atol=1e-3)
    assert not labels[:40].any()
    assert labels[40:115, 60:150].all()
    assert done.messages[-1].startswith("The border or bar of one grey value is no tissue")

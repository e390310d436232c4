from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import numpy as np
import pydantic_zarr.v2
import pytest
import zarr
from ome_zarr_models.v04.image import Image as Image04
from ome_zarr_models.v04.image_label import ImageLabel as ImageLabel04
from ome_zarr_models.v05.image import Image as Image05
from ome_zarr_models.v05.image_label import ImageLabel as ImageLabel05

from napari_feedback_seg.errors import OutputError
from napari_feedback_seg.io.level import Grid
from napari_feedback_seg.volumes.levels import Levels, create_level
from napari_feedback_seg.volumes.ome import multiscales
from napari_feedback_seg.volumes.output import Output
from napari_feedback_seg.volumes.pyramid import (
    halved_labels,
    halved_numbers,
    halved_probabilities,
    halvings_of,
)
from napari_feedback_seg.volumes.segment import segment_volume

for _each in (Image04, ImageLabel04):  # whose types pydantic does not find by itself
    _each.model_rebuild(_types_namespace=vars(pydantic_zarr.v2))
VALIDATORS = {"0.4": (ImageLabel04, Image04), "0.5": (ImageLabel05, Image05)}


class TestOmeZarr:
    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    @pytest.mark.filterwarnings("error::UserWarning")
    def test_it_is_valid_and_lies_where_the_image_does(
        self, tmp_path, tissue, write_volume, small_model, version
    ):
        volume = write_volume(tmp_path / "in.zarr", tissue, version, origin=[400.0, 46.0, 92.0])
        region = (slice(1, 3), slice(100, None), slice(50, None))
        segment_volume(volume, tmp_path / "out.zarr", small_model, region=region, probabilities=True)
        folder = tmp_path / "out.zarr" / "labels" / "feedback-seg"
        group = zarr.open_group(str(folder), mode="r")
        label, image = VALIDATORS[version]
        label.from_zarr(group)
        image.from_zarr(group["probabilities"])
        labels = zarr.open_group(str(folder.parent), mode="r").attrs.asdict()
        about = group.attrs.asdict()
        if version == "0.5":
            labels, about = labels["ome"], about["ome"]
        assert labels["labels"] == ["feedback-seg"]
        multiscales = about["multiscales"][0]
        assert [axis["name"] for axis in multiscales["axes"]] == ["z", "y", "x"]
        assert {axis["unit"] for axis in multiscales["axes"]} == {"nanometer"}
        scale, moved = multiscales["datasets"][0]["coordinateTransformations"]
        assert scale["scale"] == [40.0, 4.6, 4.6]
        np.testing.assert_allclose(moved["translation"], [440.0, 46.0 + 460.0, 92.0 + 230.0])
        colours = {each["label-value"]: each["rgba"] for each in about["image-label"]["colors"]}
        assert colours[1] == [0, 0x72, 0xB2, 204]
        names = {each["label-value"]: each["class"] for each in about["image-label"]["properties"]}
        assert names[2] == "mitochondria"
        assert group["0"].chunks == (1, 256, 256)
        assert group["0"].metadata.zarr_format == (2 if version == "0.4" else 3)

    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    def test_into_the_store_of_the_image(self, tmp_path, tissue, write_volume, small_model, version):
        volume = write_volume(tmp_path / "in.zarr", tissue[:1], version)
        before = zarr.open_group(str(volume), mode="r").attrs.asdict()
        with pytest.raises(OutputError, match="--into"):
            segment_volume(volume, volume, small_model)
        segment_volume(volume, volume, small_model, into=True)
        assert zarr.open_group(str(volume), mode="r").attrs.asdict() == before
        np.testing.assert_array_equal(zarr.open_array(str(volume / "0"), mode="r")[:], tissue[:1])
        about = zarr.open_group(str(volume / "labels/feedback-seg"), mode="r").attrs.asdict()
        assert (about if version == "0.4" else about["ome"])["image-label"]["source"] == {"image": "../../"}

    def test_labels_that_are_there_stay(self, tmp_path, tissue, write_volume, small_model):
        volume = write_volume(tmp_path / "in.zarr", tissue[:1])
        labels = zarr.open_group(str(volume), mode="a").create_group("labels")
        labels.attrs.put({"ome": {"version": "0.5", "labels": ["cells"]}})
        segment_volume(volume, volume, small_model, into=True)
        assert zarr.open_group(str(volume / "labels"), mode="r").attrs["ome"]["labels"] == [
            "cells",
            "feedback-seg",
        ]

    def test_shards_are_blocks_and_chunks_at_most_512(self, tmp_path, write_volume, small_model):
        blank = np.zeros((1, 1300, 2500), np.uint8)
        segment_volume(write_volume(tmp_path / "in.zarr", blank), tmp_path / "out.zarr", small_model)
        levels = Output(tmp_path / "out.zarr").levels
        assert [level.shape[1:] for level in levels] == [(1300, 2500), (650, 1250), (325, 625), (163, 313)]
        assert [level.shards for level in levels[:2]] == [(1, 1536, 2560), (1, 768, 1280)]
        assert all(max(level.chunks) <= 512 for level in levels)
        assert all(map(Output(tmp_path / "out.zarr").is_done, Output(tmp_path / "out.zarr").plan.blocks()))


class TestPyramid:
    def test_a_pixel_is_what_most_of_four_are(self):
        labels = np.array(
            [[[4, 4, 2, 2, 0, 3], [4, 1, 1, 1, 0, 3], [0, 0, 2, 3, 4, 3], [0, 2, 1, 4, 2, 1]]], np.uint8
        )
        np.testing.assert_array_equal(halved_labels(labels, (1, 2, 3, 4)), [[[4, 1, 3], [0, 1, 1]]])

    def test_every_level_is_made_of_the_one_before(self, tmp_path, volume, small_model):
        for block in ((1, 256, 256), None):
            segment_volume(volume, tmp_path / f"{block}.zarr", small_model, block=block)
        levels = Output(tmp_path / "None.zarr").levels
        for fine, coarse in itertools.pairwise(levels):
            np.testing.assert_array_equal(halved_labels(fine[:], (1, 2, 3, 4)), coarse[:])
        for one, other in zip(levels, Output(tmp_path / "(1, 256, 256).zarr").levels, strict=True):
            np.testing.assert_array_equal(one[:], other[:])

    @pytest.mark.parametrize("depth", [1, 2, 3, 4])
    def test_cubes_are_halved_along_z_too_whatever_the_blocks(self, tmp_path, monkeypatch, depth):
        monkeypatch.setattr("napari_feedback_seg.volumes.pyramid.LARGEST_TOP", 64)
        units = ("nanometer",) * 3
        assert halvings_of((9, 512, 512), Grid((40.0, 4.6, 4.6), units=units)) == [
            (0, 0), (0, 1), (0, 2), (0, 3),
        ]  # fmt: skip
        assert halvings_of((9, 512, 512), Grid()) == [(0, 0), (0, 1), (0, 2), (0, 3)]  # unknown units
        assert halvings_of((9, 512, 512), Grid((20.0, 8.0, 8.0), units=units)) == [
            (0, 0), (0, 1), (1, 2), (2, 3),
        ]  # fmt: skip
        grid = Grid((8.0, 8.0, 8.0), units=units)
        halvings = halvings_of((9, 512, 512), grid)
        group = zarr.open_group(str(tmp_path), mode="w")
        for level, each in enumerate(halvings):
            create_level(
                group,
                str(level),
                (9, 512, 512),
                (depth, 256, 256),
                each,
                "zyx",
                version="0.5",
                dtype="uint32",
            )
        numbers = np.random.default_rng(0).integers(0, 3, (9, 512, 512)).astype(np.uint32)
        levels = Levels(zarr, tmp_path, halvings, flat=False)
        for z, y, x in itertools.product(range(0, 9, depth), (0, 256), (0, 256)):
            place = slice(z, min(z + depth, 9)), slice(y, y + 256), slice(x, x + 256)
            assert not levels.stored(place)
            levels.write(place, numbers[place], halved_numbers)
            assert levels.stored(place)
        assert [each.shape[0] for each in levels.arrays] == [9, 5, 3, 2]
        expected = numbers
        for array in levels.arrays:
            np.testing.assert_array_equal(array[:], expected)
            expected = halved_numbers(expected)[::2]
        (coarse,) = multiscales("x", grid, "zyx", halvings, "0.5")["multiscales"]
        assert coarse["datasets"][2]["coordinateTransformations"] == [
            {"type": "scale", "scale": [32.0, 32.0, 32.0]},
            {"type": "translation", "translation": [0.0, 12.0, 12.0]},
        ]

    def test_a_number_is_what_most_of_four_are(self):
        numbers = np.array([[[7, 7, 1, 2, 0, 0], [9, 1, 2, 2, 0, 5]]], np.uint32)
        np.testing.assert_array_equal(halved_numbers(numbers), [[[7, 2, 0]]])

    def test_probabilities_are_averaged(self):
        array = np.array([[[[0, 255, 10], [255, 0, 20]]]], np.uint8)
        np.testing.assert_array_equal(halved_probabilities(array), [[[[128, 15]]]])


class TestRefused:
    def test_a_file(self, tmp_path, volume, small_model):
        (tmp_path / "out.zarr").touch()
        with pytest.raises(OutputError, match="is a file"):
            segment_volume(volume, tmp_path / "out.zarr", small_model)

    def test_a_url(self, volume, small_model):
        with pytest.raises(OutputError, match="labels are written to a disk"):
            segment_volume(volume, "s3://bucket/out.zarr", small_model)
        with pytest.raises(OutputError, match=r"'https://host/em\.zarr' is a URL, and labels"):
            segment_volume("https://host/em.zarr", "em.zarr", small_model, into=True)

    def test_a_folder_of_something_else(self, tmp_path, volume, small_model):
        (tmp_path / "out.zarr").mkdir()
        (tmp_path / "out.zarr" / "mine.txt").touch()
        for overwrite in (False, True):
            with pytest.raises(OutputError, match="nothing in it was begun by feedback-seg"):
                segment_volume(volume, tmp_path / "out.zarr", small_model, overwrite=overwrite)
        assert (tmp_path / "out.zarr" / "mine.txt").exists()

    def test_a_folder_that_may_not_be_written(self, tmp_path, volume, small_model, monkeypatch):
        monkeypatch.setattr(os, "access", lambda *_, **__: False)
        with pytest.raises(OutputError, match="you may not write to"):
            segment_volume(volume, tmp_path / "out.zarr", small_model)
        assert not (tmp_path / "out.zarr").exists()

    def test_a_full_disk_is_told_and_nothing_counts_as_done(self, tmp_path, volume, small_model, monkeypatch):
        replace = Path.replace

        def full(self: Path, target: Path) -> Path:
            if "/c/" in os.fspath(target):
                raise OSError(errno.ENOSPC, "No space left on device")
            return replace(self, target)

        output = tmp_path / "out.zarr"
        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(OutputError, match="the disk is full"):
            segment_volume(volume, output, small_model)
        monkeypatch.undo()
        assert not any(map(Output(output).is_done, Output(output).plan.blocks()))
        assert not list(output.rglob("*.partial"))
        segment_volume(volume, output, small_model)
        assert all(map(Output(output).is_done, Output(output).plan.blocks()))

    def test_what_another_version_began(self, tmp_path, volume, small_model):
        segment_volume(volume, tmp_path / "out.zarr", small_model, region=(slice(2, 3), None, None))
        group = zarr.open_group(str(tmp_path / "out.zarr/labels/feedback-seg"), mode="a")
        noted = group.attrs["feedback-seg"]
        group.attrs["feedback-seg"] = {**noted, "plan": {**noted["plan"], "tilt": 3}}
        with pytest.raises(OutputError, match="begun by another version"):
            segment_volume(volume, tmp_path / "out.zarr", small_model, region=(slice(2, 3), None, None))

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_feedback_seg.errors import InputError, OutputError
from napari_feedback_seg.models.model_file import load_model_file, save_model
from napari_feedback_seg.segmentation.predict import segment
from napari_feedback_seg.segmentation.prediction import SegmentOptions
from napari_feedback_seg.volumes.events import BlockDone, BlockFailed, VolumeOpened
from napari_feedback_seg.volumes.output import Output
from napari_feedback_seg.volumes.segment import VolumeOptions, prepare_volume, run, segment_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_feedback_seg.models.model import Model

SMALL = (1, 256, 256)
KILLED_TIMES = int(os.environ.get("KILLED_TIMES", "3"))


def labels_of(output: Path, level: int = 0) -> np.ndarray:
    found: np.ndarray = zarr.open_array(str(output / "labels" / "feedback-seg" / str(level)), mode="r")[:]
    return found


def prepared(volume: Path, output: Path, model: Model, **wanted: Any) -> Any:
    job, said = prepare_volume(volume, output, model, VolumeOptions(**wanted), SegmentOptions())
    return run(job, said)


def of_kind(events: Any, kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture
def in_one_piece(tissue: np.ndarray, small_model: Model) -> np.ndarray:
    return segment(tissue, small_model, pixel_size_nm=6.9).labels


class TestEqualLabels:
    @pytest.mark.parametrize("block", [SMALL, (2, 512, 256), None], ids=str)
    def test_whatever_the_block(self, tmp_path, volume, small_model, in_one_piece, block):
        segment_volume(volume, tmp_path / "out.zarr", small_model, block=block, pixel_size_nm=(6.9, 6.9))
        np.testing.assert_array_equal(labels_of(tmp_path / "out.zarr"), in_one_piece)

    @pytest.mark.parametrize("how", [{"flips": True}, {"overlap": 0.5}], ids=str)
    def test_however_it_is_segmented(self, tmp_path, volume, tissue, small_model, how):
        segment_volume(
            volume, tmp_path / "out.zarr", small_model, block=SMALL, region=(slice(0, 1), None, None), **how
        )
        np.testing.assert_array_equal(
            labels_of(tmp_path / "out.zarr")[0], segment(tissue[0], small_model, **how).labels
        )

    def test_of_a_region(self, tmp_path, volume, tissue, small_model):
        region = (slice(0, 2), slice(101, 275), slice(33, None))
        segment_volume(volume, tmp_path / "out.zarr", small_model, block=SMALL, region=region)
        expected = segment(tissue, small_model).labels[region]
        np.testing.assert_array_equal(labels_of(tmp_path / "out.zarr"), expected)

    def test_of_chunks_that_are_deep(self, tmp_path, write_volume, tissue, small_model):
        deep = write_volume(tmp_path / "deep.zarr", tissue, chunks=(4, 100, 100))
        segment_volume(deep, tmp_path / "out.zarr", small_model)
        assert Output(tmp_path / "out.zarr").plan.block == (3, 512, 512)
        np.testing.assert_array_equal(labels_of(tmp_path / "out.zarr"), segment(tissue, small_model).labels)

    def test_of_deep_chunks_with_probabilities_one_section_at_a_time(
        self, tmp_path, write_volume, tissue, small_model
    ):
        deep = write_volume(tmp_path / "deep.zarr", tissue, chunks=(4, 100, 100))
        how = SegmentOptions(probabilities=True)
        job, _ = prepare_volume(deep, tmp_path / "out.zarr", small_model, VolumeOptions(), how)
        assert Output(job.output).plan.block == (1, 512, 512)

    def test_of_sections_too_large_to_be_read(self, tmp_path, monkeypatch, tissue, write_volume, small_model):
        monkeypatch.setattr("napari_feedback_seg.segmentation.lazy.LARGEST_READ", 128 * 128)
        monkeypatch.setattr("napari_feedback_seg.segmentation.lazy.SAMPLE_SIDE", 64)
        flat = tissue[0].copy()
        flat[:, :120] = 0  # no coarser level tells of it: plain arrays have none
        array = zarr.create_array(str(tmp_path / "flat.zarr"), data=flat, chunks=(128, 128))
        expected = segment(array, small_model).labels
        assert (expected == 0).any()
        for block in (SMALL, None):
            output = tmp_path / f"{block}.zarr"
            segment_volume(tmp_path / "flat.zarr", output, small_model, block=block)
            np.testing.assert_array_equal(labels_of(output), expected)

    def test_in_any_order_of_blocks(self, tmp_path, volume, tissue, small_model):
        job, _ = prepare_volume(
            volume, tmp_path / "out.zarr", small_model, VolumeOptions(block=SMALL), SegmentOptions()
        )
        plan = Output(job.output).plan
        backwards = list(plan.blocks())[::-1]
        done = of_kind(run(job, first=lambda: backwards), BlockDone)
        assert [event.block for event in done] == backwards
        np.testing.assert_array_equal(labels_of(tmp_path / "out.zarr"), segment(tissue, small_model).labels)

    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    def test_with_probabilities(self, tmp_path, tissue, write_volume, small_model, version):
        volume = write_volume(tmp_path / "in.zarr", tissue[:2], version)
        segment_volume(volume, tmp_path / "out.zarr", small_model, probabilities=True, block=SMALL)
        expected = segment(tissue[:2], small_model, probabilities=True).probabilities
        found = zarr.open_array(str(tmp_path / "out.zarr/labels/feedback-seg/probabilities/0"), mode="r")[:]
        assert found.dtype == np.uint8
        exact = np.moveaxis(expected, 1, 0).astype(np.float32) * 255
        assert np.abs(found - exact).max() < 0.75  # to the nearest, as exactly as 16 bits say


class TestSources:
    def test_a_stack_and_a_folder_of_tiffs_give_the_same(self, tmp_path, tissue, small_model):
        tifffile.imwrite(tmp_path / "stack.tif", tissue, photometric="minisblack")
        (tmp_path / "folder").mkdir()
        for z, section in enumerate(tissue):
            tifffile.imwrite(tmp_path / "folder" / f"s{z}.tif", section)
        expected = segment(tissue, small_model).labels
        for name in ("stack.tif", "folder"):
            segment_volume(tmp_path / name, tmp_path / f"{name}.zarr", small_model, block=SMALL)
            np.testing.assert_array_equal(labels_of(tmp_path / f"{name}.zarr"), expected)

    def test_one_section_has_no_axis_z(self, tmp_path, tissue, write_volume, small_model):
        volume = write_volume(tmp_path / "in.zarr", tissue[0])
        segment_volume(volume, tmp_path / "out.zarr", small_model, block=SMALL)
        np.testing.assert_array_equal(
            labels_of(tmp_path / "out.zarr"), segment(tissue[0], small_model).labels
        )

    def test_the_nearest_level_is_taken_and_said(self, tmp_path, volume, tissue, small_model):
        small_model.card = type(small_model.card)(**{**vars(small_model.card), "pixel_size_nm": 9.0})
        opened = of_kind(prepared(volume, tmp_path / "out.zarr", small_model), VolumeOpened)
        assert "Level 1 was taken, whose pixels of 9.2 nm are nearest to the 9 nm" in opened[0].messages[0]
        expected = segment(tissue[:, ::2, ::2], small_model, pixel_size_nm=9.2).labels
        np.testing.assert_array_equal(labels_of(tmp_path / "out.zarr"), expected)

    def test_a_level_smaller_than_a_tile(self, tmp_path, tissue, write_volume, small_model):
        tiny = tissue[:, :40, 200:230]
        segment_volume(write_volume(tmp_path / "in.zarr", tiny), tmp_path / "out.zarr", small_model, level=0)
        np.testing.assert_array_equal(labels_of(tmp_path / "out.zarr"), segment(tiny, small_model).labels)

    def test_sections_of_a_slab_share_the_grey_values_of_the_middle_one(
        self, tmp_path, tissue, write_volume, small_model
    ):
        bright = np.stack([tissue[0], tissue[0] // 2, tissue[0] // 3])
        volume = write_volume(tmp_path / "in.zarr", bright)
        segment_volume(volume, tmp_path / "out.zarr", small_model, slab=3)
        found = labels_of(tmp_path / "out.zarr")
        middle = segment(bright[1], small_model).labels
        np.testing.assert_array_equal(found[1], middle)
        assert (found[0] != segment(bright[0], small_model).labels).mean() > 0.05

    def test_a_missing_chunk_is_said(self, tmp_path, volume, small_model):
        (volume / "0/c/0/1/1").unlink()
        done = of_kind(prepared(volume, tmp_path / "out.zarr", small_model), BlockDone)
        assert any("1 chunks of the volume are missing" in said for said in done[0].messages)
        assert not any("missing" in said for event in done[1:] for said in event.messages)

    def test_a_store_that_another_program_still_writes(self, tmp_path, volume, tissue, small_model):
        """Chunks that come later are said to be missing; begun anew, the labels are those of the whole."""
        chunk = volume / "0/c/0/1/1"
        whole = chunk.read_bytes()
        chunk.unlink()
        steps = prepared(volume, tmp_path / "out.zarr", small_model, region=(slice(0, 1), None, None))
        said = [each for event in of_kind(steps, BlockDone) for each in event.messages]
        assert any("segment it again when it is whole (--overwrite)" in each for each in said)
        chunk.write_bytes(whole)
        only = {"region": (slice(0, 1), None, None), "overwrite": True}
        segment_volume(volume, tmp_path / "out.zarr", small_model, **only)
        np.testing.assert_array_equal(
            labels_of(tmp_path / "out.zarr"), segment(tissue[:1], small_model).labels
        )

    def test_a_corrupt_chunk_fails_its_block_and_the_rest_goes_on(
        self, tmp_path, volume, tissue, small_model
    ):
        chunk = volume / "0/c/0/2/2"
        whole = chunk.read_bytes()
        chunk.write_bytes(whole[: len(whole) // 2])
        output = tmp_path / "out.zarr"
        with pytest.raises(InputError, match="1 blocks could not be segmented"):
            segment_volume(volume, output, small_model, region=(slice(0, 2), None, None))
        assert labels_of(output)[1].any()
        assert not labels_of(output)[0].any()
        chunk.write_bytes(whole)
        segment_volume(volume, output, small_model, region=(slice(0, 2), None, None))
        np.testing.assert_array_equal(labels_of(output), segment(tissue[:2], small_model).labels)

    @pytest.mark.parametrize("z", [0, 1])
    def test_of_a_section_of_many_blocks_only_those_fail_that_need_the_chunk(
        self, tmp_path, tissue, write_volume, small_model, z
    ):
        wide = np.tile(tissue[:2, :, 100:], (1, 1, 8))
        volume = write_volume(tmp_path / "wide.zarr", wide)
        chunk = volume / f"0/c/{z}/0/10"
        whole = chunk.read_bytes()
        chunk.write_bytes(whole[:100])
        failed = []

        def note(event: Any) -> None:
            failed.extend([str(event.block)] if isinstance(event, BlockFailed) else [])

        output = tmp_path / "out.zarr"
        with pytest.raises(InputError, match="2 blocks could not be segmented"):
            segment_volume(volume, output, small_model, block=(1, 512, 256), on_event=note)
        # a tile of the last but one reaches into the chunk
        assert failed == [f"{z}:{z + 1},0:280,{columns}" for columns in ("1024:1280", "1280:1360")]
        expected = segment(wide, small_model).labels
        assert (labels_of(output)[..., :1024] == expected[..., :1024]).mean() > 0.99
        chunk.write_bytes(whole)
        segment_volume(volume, output, small_model, block=(1, 512, 256))
        np.testing.assert_array_equal(labels_of(output)[..., 1024:], expected[..., 1024:])


class TestGoingOn:
    def test_what_is_done_is_not_done_again(self, tmp_path, volume, tissue, small_model):
        output = tmp_path / "out.zarr"
        events = prepared(volume, output, small_model, block=SMALL)
        begun = []
        for event in events:
            if isinstance(event, BlockDone):
                begun.append(event.block)
                if len(begun) == 3:
                    break
        events.close()
        rest = list(prepared(volume, output, small_model))
        assert of_kind(rest, VolumeOpened)[0].done == 3
        again = [event.block for event in of_kind(rest, BlockDone)]
        assert not set(map(str, begun)) & set(map(str, again))
        assert len(again) + 3 == Output(output).plan.count
        np.testing.assert_array_equal(labels_of(output), segment(tissue, small_model).labels)
        assert not of_kind(prepared(volume, output, small_model), BlockDone)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"overlap": 0.5}, "with the overlap 0.25, and now it is 0.5"),
            ({"flips": True}, "with the flips False, and now it is True"),
            ({"remove_specks": False}, "with the remove specks True, and now it is False"),
            (
                {"region": (slice(0, 1), None, None)},
                "with the region to 3 x 280 x 270, and now it is 1 x 280 x 270",
            ),
            ({"block": (1, 512, 512)}, "with blocks of 1 x 256 x 256"),
            ({"pixel_size_nm": (5.0, 5.0)}, "with the pixel size 4.6 x 4.6, and now it is 5 x 5"),
            ({"pixel_size_nm": 5}, "with the pixel size 4.6 x 4.6, and now it is 5 x 5"),
        ],
        ids=str,
    )
    def test_other_settings_are_refused(self, tmp_path, volume, small_model, change, sentence):
        output = tmp_path / "out.zarr"
        next(prepared(volume, output, small_model, block=SMALL))
        with pytest.raises(OutputError, match=sentence):
            segment_volume(volume, output, small_model, **change)

    def test_an_array_is_refused(self, tmp_path, tissue, small_model):
        with pytest.raises(InputError, match=r"^A volume is read from the disk"):
            segment_volume(tissue, tmp_path / "out.zarr", small_model)

    def test_another_model_is_refused_until_it_may_overwrite(self, tmp_path, volume, small_model, tissue):
        output = tmp_path / "out.zarr"
        segment_volume(volume, output, small_model, block=SMALL, region=(slice(0, 1), None, None))
        with np.errstate(all="ignore"):
            next(small_model.network.parameters()).data.add_(0.5)
        with pytest.raises(OutputError, match="has other weights"):
            segment_volume(volume, output, small_model, region=(slice(0, 1), None, None))
        segment_volume(volume, output, small_model, region=(slice(0, 1), None, None), overwrite=True)
        np.testing.assert_array_equal(labels_of(output)[0], segment(tissue[0], small_model).labels)

    def test_another_volume_is_refused(self, tmp_path, volume, tissue, write_volume, small_model):
        output = tmp_path / "out.zarr"
        next(prepared(volume, output, small_model))
        other = write_volume(tmp_path / "other.zarr", tissue[:2])
        with pytest.raises(OutputError, match=r"from the volume 'em\.zarr', and this one is 'other\.zarr'"):
            segment_volume(other, output, small_model)
        other = write_volume(tmp_path / "moved" / "em.zarr", tissue[:2])
        with pytest.raises(OutputError, match=r"from a volume with the shape \(3, 280, 270\)"):
            segment_volume(other, output, small_model)

    def test_a_volume_that_was_moved_goes_on(self, tmp_path, volume, small_model):
        output = tmp_path / "out.zarr"
        segment_volume(volume, output, small_model)
        (tmp_path / "drive").mkdir()
        moved = volume.rename(tmp_path / "drive" / volume.name)
        assert not of_kind(prepared(moved, output, small_model), BlockDone)


WORK = """
import sys
import torch
from napari_feedback_seg.models.model_file import load_model_file
from napari_feedback_seg.segmentation.events import TileDone
from napari_feedback_seg.segmentation.prediction import SegmentOptions
from napari_feedback_seg.volumes.events import BlockDone
from napari_feedback_seg.volumes.segment import VolumeOptions, prepare_volume, run
torch.set_num_threads(1)
model = load_model_file(sys.argv[3])
wanted = VolumeOptions(block=(1, 256, 256))
job, said = prepare_volume(sys.argv[1], sys.argv[2], model, wanted, SegmentOptions())
print("begun", flush=True)
tiles = 0
for event in run(job, said):
    tiles += isinstance(event, TileDone)
    if isinstance(event, BlockDone):
        if tiles:  # the other process may have done it
            print("block", event.block, flush=True)
        tiles = 0
"""


@pytest.fixture
def work(tmp_path: Path, volume: Path, small_model: Model) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start processes that work at out.zarr."""
    save_model(small_model, tmp_path / "small.safetensors")
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        arguments = [str(volume), str(tmp_path / "out.zarr"), str(tmp_path / "small.safetensors")]
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, *arguments], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def kill_at_random(work: Callable[[], subprocess.Popen[str]], output: Path, times: int) -> int:
    """Kill processes at random moments, then let one end; return how many were killed before the end."""
    chance = random.Random(0)
    killed = 0
    for _ in range(times):
        process = work()
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.6))
        killed += process.poll() is None
        process.kill()
        process.wait()
        if killed and all(map(Output(output).is_done, Output(output).plan.blocks())):
            shutil.rmtree(output)
    process = work()
    process.communicate()
    assert process.returncode == 0
    return killed


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows ends processes otherwise")
class TestKilled:
    def test_the_result_is_the_same(self, tmp_path, work, tissue):
        assert kill_at_random(work, tmp_path / "out.zarr", KILLED_TIMES)
        model = load_model_file(tmp_path / "small.safetensors")
        np.testing.assert_array_equal(labels_of(tmp_path / "out.zarr"), segment(tissue, model).labels)

    def test_two_processes_share_the_blocks_and_one_takes_over_from_the_other(self, tmp_path, work, tissue):
        one, other = work(), work()
        assert one.stdout is not None
        while "block" not in one.stdout.readline():
            pass
        other.kill()
        done_by_other = set(other.communicate()[0].splitlines())
        done_by_one = one.communicate()[0].splitlines()
        assert one.returncode == 0
        assert not {line for line in done_by_other if "block" in line} & set(done_by_one)
        model = load_model_file(tmp_path / "small.safetensors")
        np.testing.assert_array_equal(labels_of(tmp_path / "out.zarr"), segment(tissue, model).labels)

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import zarr
from distributed import Client, LocalCluster

from napari_feedback_seg.errors import DeviceError, InputError
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.segmentation.predict import segment
from napari_feedback_seg.segmentation.prediction import SegmentOptions
from napari_feedback_seg.volumes.cluster import hand_out, set_up
from napari_feedback_seg.volumes.events import BlockDone, BlockFailed
from napari_feedback_seg.volumes.output import Output
from napari_feedback_seg.volumes.plan import Block, InBlocks
from napari_feedback_seg.volumes.segment import VolumeOptions, prepare_volume, segment_volume, start
from napari_feedback_seg.volumes.todo import Blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
SMALL = (1, 256, 256)


def labels_of(output: Path) -> np.ndarray:
    found: np.ndarray = zarr.open_array(str(output / "labels" / "feedback-seg" / "0"), mode="r")[:]
    return found


def worker_processes() -> list[psutil.Process]:
    """Return the processes of this one that segment, and not those that watch them."""
    return [
        each for each in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(each.cmdline())
    ]


@pytest.mark.filterwarnings("error::UserWarning")
def test_two_workers_give_equal_labels(tmp_path, volume, tissue, small_model):
    done: list[Any] = []
    output = tmp_path / "out.zarr"
    segment_volume(volume, output, small_model, block=SMALL, workers=2, on_event=done.append)
    assert len([each for each in done if isinstance(each, BlockDone)]) == Output(output).plan.count
    np.testing.assert_array_equal(labels_of(output), segment(tissue, small_model).labels)


def test_a_lost_worker_is_made_up_for(tmp_path, volume, tissue, small_model):
    output = tmp_path / "out.zarr"
    job, _ = prepare_volume(volume, output, small_model, VolumeOptions(block=SMALL), SegmentOptions())
    killed = False
    for event in start(job, workers=2):
        if isinstance(event, BlockDone) and not killed:
            os.kill(worker_processes()[0].pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            killed = True
        assert not isinstance(event, BlockFailed)
    assert killed
    np.testing.assert_array_equal(labels_of(output), segment(tissue, small_model).labels)


def test_a_bad_block_is_listed_and_the_rest_done(tmp_path, volume, small_model):
    chunk = volume / "0/c/0/2/2"
    chunk.write_bytes(chunk.read_bytes()[:100])
    output = tmp_path / "out.zarr"
    events: list[Any] = []
    with pytest.raises(InputError, match="1 blocks could not be segmented"):
        segment_volume(
            volume,
            output,
            small_model,
            block=(1, 512, 512),
            region=(slice(0, 2), None, None),
            workers=2,
            on_event=events.append,
        )
    assert [str(each.block) for each in events if isinstance(each, BlockFailed)] == ["0:1,0:280,0:270"]
    assert labels_of(output)[1].any()


def test_a_cluster_that_is_there(tmp_path, volume, tissue, small_model):
    output = tmp_path / "out.zarr"
    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0") as cluster:
        address = cluster.scheduler_address
        segment_volume(volume, output, small_model, block=SMALL, scheduler=address)
    np.testing.assert_array_equal(labels_of(output), segment(tissue, small_model).labels)


class Rows(InBlocks):
    """Forty blocks in a row, none of which is done."""

    start, stop, block = (0, 0, 0), (40, 256, 256), (1, 256, 256)

    @property
    def plan(self) -> InBlocks:
        return self

    def is_done(self, block: Block) -> bool:
        del block
        return False


@dataclass
class Counting:
    """Says of each block how many are being done at once."""

    device: str = "the CPU"
    at_once: int = 0

    def open(self, gpu: int | None = None) -> Counting:
        del gpu
        return self

    def do(self, block: Block, step: str) -> tuple[str, ...]:
        del block, step
        self.at_once += 1
        time.sleep(0.02)
        found, self.at_once = self.at_once, self.at_once - 1
        return (str(found),)

    def close(self) -> None:
        """Nothing is held."""


class Given(Blocks):
    """Blocks that count how many were handed out."""

    given = 0

    def left(self, first: Callable[[], Iterable[Block]] | None = None) -> Iterator[Block]:
        for block in super().left(first):
            self.given += 1
            yield block


def test_a_worker_of_many_threads_does_one_block_at_a_time_and_few_wait():
    with (
        LocalCluster(n_workers=1, threads_per_worker=4, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        set_up(client, Counting(), None, 0)
        blocks = Given(Rows())
        events = []
        for event in hand_out(client, blocks):
            events.append(event)
            assert blocks.given - blocks.done <= 3
    assert blocks.done == 40
    assert {said for event in events for said in event.messages} == {"1"}


def test_a_scheduler_that_ends_is_told():
    with (
        LocalCluster(
            n_workers=1, host="127.0.0.1", protocol="tcp://", processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster.scheduler_address, set_as_default=False) as client,
    ):
        set_up(client, Counting(), None, 0)
        events = hand_out(client, Blocks(Rows()))
        next(events)
        cluster.close()
        with pytest.raises(DeviceError, match="The connection to the scheduler was lost"):
            list(events)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="Windows ends processes otherwise")
def test_ctrl_c_is_answered_with_a_sentence(tmp_path, tissue, write_volume, small_model):
    save_model(small_model, tmp_path / "small.safetensors")
    volume = write_volume(tmp_path / "em.zarr", np.tile(tissue, (60, 1, 1)))  # seconds of work
    output = tmp_path / "out.zarr"
    command = [sys.executable, "-c", "from napari_feedback_seg.cli import main; main()"]
    command += ["segment", str(volume), "-o", str(output), "--block", "1,256,256", "--workers", "2"]
    command += ["--model", str(tmp_path / "small.safetensors")]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # not so after "&"
    )
    chunks = output / "labels" / "feedback-seg" / "0" / "c"
    while process.poll() is None and not list(chunks.rglob("[0-9]")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said = process.communicate()[1]
    assert process.returncode == 1
    assert "Stopped. What was finished stays" in said
    assert "Traceback" not in said


def test_no_scheduler(tmp_path, volume, small_model, monkeypatch):
    monkeypatch.setattr("napari_feedback_seg.volumes.cluster.PATIENCE", 1)
    with pytest.raises(DeviceError, match=r"No scheduler answers at tcp://127\.0\.0\.1:9"):
        segment_volume(volume, tmp_path / "out.zarr", small_model, scheduler="tcp://127.0.0.1:9")


def test_no_workers(tmp_path, volume, small_model):
    with pytest.raises(ValueError, match="at least one worker"):
        segment_volume(volume, tmp_path / "out.zarr", small_model, workers=0)

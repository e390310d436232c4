"""Blocks of a volume on many processes, by dask.distributed: here, or on a cluster that is there."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin, as_completed, get_worker
from distributed.client import FutureCancelledError

from napari_feedback_seg.errors import DeviceError, FeedbackSegError, InputError
from napari_feedback_seg.volumes.events import BlockDone, BlockFailed, VolumeDone, VolumeOpened
from napari_feedback_seg.volumes.output import Output
from napari_feedback_seg.volumes.segment import doubts
from napari_feedback_seg.volumes.todo import TRIES, Blocks
from napari_feedback_seg.volumes.worker import Job, Worker

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from napari_feedback_seg.volumes.plan import Block

_AHEAD = 3
"""Blocks for each worker that are with the scheduler at once: enough that none waits for the next."""

_LOOK = 10.0
"""Seconds between two looks at how many workers there are."""

PATIENCE = 30
"""Seconds that the scheduler of a cluster has to answer."""

_PLUGIN = "feedback-seg"

_IGNORE_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""What a process here runs first: a terminal tells all of Ctrl-C, and the first one ends the others."""


class Works(Protocol):
    """Does steps of blocks, in a process."""

    device: str

    def do(self, block: Block, step: str) -> tuple[str, ...] | None:
        """Return what is to be said, or None if another process is at the block."""

    def close(self) -> None:
        """Free what is held."""


class Opens(Protocol):
    """Can be sent to a process, where it opens what works there."""

    def open(self, gpu: int | None = None) -> Works:
        """Open it, on a GPU of this number."""


class WorkerSetup(WorkerPlugin):
    """Gives each worker what it needs, such as the model, once, when it starts; those that join later, too.

    Parameters
    ----------
    job : Opens
        What to do.
    threads : int or None
        Threads of torch in each; as many as dask counts if None.
    gpus : int
        GPUs that the workers of this machine share.
    """

    name = _PLUGIN

    def __init__(self, job: Opens, threads: int | None, gpus: int) -> None:
        self.job, self.threads, self.gpus = job, threads, gpus
        self.worker: Works | None = None
        self.one: threading.Lock | None = None  # made in the worker: it cannot be sent

    def setup(self, worker: Any) -> None:
        """Load what is needed; dask calls it in each worker."""
        self.one = threading.Lock()
        torch.set_num_threads(self.threads or max(1, worker.state.nthreads))
        shared = self.gpus > 1 and isinstance(worker.name, int)
        self.worker = self.job.open(worker.name % self.gpus if shared else None)

    def teardown(self, worker: Any) -> None:
        """Free the network."""
        del worker
        if self.worker is not None:
            self.worker.close()


def do_on_worker(block: Block, step: str) -> tuple[tuple[str, ...] | None, str]:
    """Do a step of a block; return what is to be said, None if another process is at it, and the device.

    A worker does one block at a time, whatever dask gives to its threads: all of them compute that block.
    """
    setup = get_worker().plugins[_PLUGIN]
    assert isinstance(setup, WorkerSetup)
    assert setup.worker is not None
    assert setup.one is not None
    with setup.one:
        return setup.worker.do(block, step), setup.worker.device


@contextmanager
def connected(workers: int, scheduler: str | None, dashboard: bool) -> Iterator[tuple[Any, int | None, int]]:
    """Yield a client of processes here or of a cluster; torch threads for each worker; GPUs to share.

    Parameters
    ----------
    workers : int
        Processes to start here; not used if there is a scheduler.
    scheduler : str or None
        The address of a cluster, ``tcp://host:8786``.
    dashboard : bool
        Whether dask's page that shows the work is served, on this computer only.
    """
    with ExitStack() as stack:
        if scheduler is not None:
            try:
                client = stack.enter_context(Client(scheduler, timeout=PATIENCE, set_as_default=False))
            except (OSError, ValueError, TimeoutError) as error:
                raise DeviceError(
                    f"No scheduler answers at {scheduler}. Start one (dask scheduler), and give its address, "
                    "like tcp://host:8786."
                ) from error
            yield client, None, 0
            return
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,  # a block's memory is bounded by its size
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": dashboard},
                silence_logs=50,
                preload=[_IGNORE_CTRL_C],
            )
        )
        client = stack.enter_context(Client(cluster, set_as_default=False))
        yield client, max(1, (os.cpu_count() or 1) // workers), torch.cuda.device_count()


def run_on_workers(
    job: Job,
    messages: Sequence[str] = (),
    *,
    workers: int = 0,
    scheduler: str | None = None,
    dashboard: bool = False,
) -> Generator[VolumeOpened | BlockDone | BlockFailed, None, VolumeDone]:
    """Segment what is not done yet on many processes; yield an event for each block.

    A block whose worker is lost goes to another one. One that fails is tried again, and then listed.

    Parameters
    ----------
    job : Job
        As :func:`~napari_feedback_seg.volumes.segment.prepare_volume` returns it.
    messages : sequence of str
        To be said at the beginning.
    workers, scheduler, dashboard
        As for :func:`connected`.
    """
    started = time.perf_counter()
    output = Output(job.output)
    blocks = Blocks(output)
    looked = Worker(Job(job.source, job.output, job.model, "cpu"))  # the GPUs are for the workers
    try:
        said = doubts(looked, job.model)
    finally:
        looked.close()
    with connected(workers, scheduler, dashboard) as (client, threads, gpus):
        if dashboard:
            said = (f"The work is shown at {client.dashboard_link}", *said)
        yield VolumeOpened(blocks.done, blocks.total, (*messages, *said))
        set_up(client, job, threads, gpus)
        failed, device = yield from hand_out(client, blocks)
        return VolumeDone(time.perf_counter() - started, blocks.done, blocks.total, tuple(failed), device)


def hand_out(
    client: Any, blocks: Blocks, step: str = ""
) -> Generator[BlockDone | BlockFailed, None, tuple[list[Block], str]]:
    """Have a step of the blocks that are left done by the workers; yield an event for each block.

    Returns
    -------
    tuple
        The blocks that failed, and what was computed on.

    Raises
    ------
    DeviceError
        If the scheduler is lost.
    """
    failed: list[Block] = []
    device = ""
    given: dict[Any, tuple[Block, int]] = {}
    results = as_completed(loop=client.loop)
    wave, looked_at = 0, -_LOOK

    def give(block: Block, attempt: int) -> None:
        future = client.submit(do_on_worker, block, step, pure=False)
        given[future] = block, attempt
        results.add(future)

    def fill(left: Iterator[Block]) -> None:
        nonlocal wave, looked_at
        if time.monotonic() > looked_at + _LOOK:  # workers come and go
            wave = _AHEAD * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
            looked_at = time.monotonic()
        while len(given) < wave:
            block = next(left, None)
            if block is None:
                return
            give(block, 1)

    left = blocks.left()
    fill(left)
    while given:
        future = next(results)
        block, attempt = given.pop(future)
        try:
            answer, device = future.result()
        except FutureCancelledError as error:
            raise DeviceError(
                "The connection to the scheduler was lost. What is done stays: the same command goes on once "
                "there is a scheduler."
            ) from error
        except (InputError, KilledWorker) as error:
            if isinstance(error, InputError) and attempt < TRIES:
                give(block, attempt + 1)
            else:
                failed.append(block)
                blocks.failed(block)
                yield BlockFailed(block, _as_said(error))
        else:
            if answer is None:
                blocks.elsewhere(block)
            else:
                blocks.finished(block)
                yield BlockDone(block, blocks.done, blocks.total, answer)
        fill(left)
        if not given and blocks.waiting:  # for other processes, which may have ended meanwhile
            left = blocks.left()
            fill(left)
    return failed, device


def set_up(client: Any, job: Opens, threads: int | None, gpus: int) -> None:
    """Send a job to all workers, where it is opened.

    Raises
    ------
    FeedbackSegError
        If it cannot be opened there.
    """
    answers = client.register_plugin(WorkerSetup(job, threads, gpus), name=_PLUGIN)
    for answer in (answers or {}).values():
        if isinstance(answer, dict) and answer.get("status") == "error":
            error = answer.get("exception")
            raise error if isinstance(error, FeedbackSegError) else DeviceError(f"A worker failed: {error}")


def _as_said(error: Exception) -> Exception:
    if isinstance(error, FeedbackSegError):
        return error
    return InputError("its workers ended again and again, perhaps because memory was too small.")

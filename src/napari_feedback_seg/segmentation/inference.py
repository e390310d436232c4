"""Tiles through the network: batches, flips, precision, and what to do when memory runs out."""

from __future__ import annotations

import contextlib
import copy
import logging
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_feedback_seg.errors import DeviceError, ModelError
from napari_feedback_seg.networks.folding import fold_batch_norm
from napari_feedback_seg.segmentation.device import (
    describe_device,
    inference_dtype,
    is_out_of_memory,
    keep_freed_memory,
    release_memory,
    tiles_at_once,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from torch import Tensor, nn

    from napari_feedback_seg.models.model import Model

logger = logging.getLogger(__name__)

_MOST_SIDE_BY_SIDE = 8
"""Tiles at once on a CPU: each takes the memory of a forward pass."""


def inference_network(model: Model, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return a copy of a model's network that is quick at inference, and good for nothing else."""
    network = copy.deepcopy(model.network).eval()
    fold_batch_norm(network)
    network.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


@dataclass
class _Batch:
    """Tiles whose probabilities (B, rounds * C, T, T) are on their way from the device."""

    tiles: list[np.ndarray]
    dtype: torch.dtype
    probabilities: Tensor
    arrived: torch.cuda.Event | None


class Inference:
    """A copy of a model's network on a device, until :meth:`close`.

    On a CPU each thread computes a batch of its own. That is as fast as sharing the sums of one batch on idle
    cores, twice as fast on busy ones, and the numbers do not depend on how many threads there are.

    Parameters
    ----------
    model : Model
        Its own network stays as it is.
    device : torch.device
        Where to begin.
    rounds : int
        1 for the answer alone, 2 for the answer and then the first round's output.
    flips : bool
        Average over the eight flips and quarter turns of each tile.
    batch : int, optional
        Tiles at once; by the device and the size of the tile if not given.
    precision : {"auto", "bf16", "fp16", "fp32"}
        What to compute in. ``auto`` is what the device is good at.
    steady : bool
        Give equal numbers for equal tiles, whatever other tiles come: batches are filled up, and what is too
        much for float16 is an error.

    Attributes
    ----------
    batch : int
        Tiles at once. Halved when memory runs out.
    device : torch.device
        Where the network is.
    dtype : torch.dtype
        What it computes in. float32 from the first tile on that is too much for float16.
    messages : list of str
        What the user should know.
    """

    def __init__(
        self,
        model: Model,
        device: torch.device,
        rounds: int,
        flips: bool,
        batch: int | None,
        precision: str = "auto",
        *,
        steady: bool = False,
    ) -> None:
        self.device = device
        self.dtype = inference_dtype(device, precision)
        self.rounds = rounds
        self.flips = flips
        self.batch = batch or tiles_at_once(device, model.card.tile)
        self.messages: list[str] = []
        self._model = model
        self._precision = precision
        self._steady = steady
        self._network: nn.Module | None = None
        self._lock = threading.Lock()
        self._on_cpu = device.type == "cpu"
        keep_freed_memory()

    def __call__(self, tiles: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the class probabilities (rounds * C, T, T) float32 of each tile (T, T).

        Tiles are taken as they are needed. A CUDA GPU computes the next batch while the
        probabilities of the last one are used.

        Raises
        ------
        ModelError
            If the network's output is not what its card says, or not finite.
        DeviceError
            If the device fails, or memory does not suffice even for one tile on the CPU.
        """
        if self._on_cpu:
            yield from self._side_by_side(tiles)
            return
        source = iter(tiles)
        running: _Batch | None = None
        while wanted := list(islice(source, self.batch)):
            for batch in self._submit(wanted):
                if running is not None:
                    yield from self._collect(running)
                running = batch
                if batch.arrived is None:
                    yield from self._collect(batch)
                    running = None
        if running is not None:
            yield from self._collect(running)

    def _side_by_side(self, tiles: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Compute a batch in each thread of the CPU."""
        threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(
            min(threads, _MOST_SIDE_BY_SIDE), "tile", initializer=torch.set_num_threads, initargs=(1,)
        )
        source = iter(tiles)
        waiting: deque[Future[list[np.ndarray]]] = deque()
        try:
            while wanted := list(islice(source, self.batch)):
                waiting.append(pool.submit(self._answers, wanted))
                if len(waiting) > threads:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)

    def _answers(self, tiles: list[np.ndarray]) -> list[np.ndarray]:
        return [answer for batch in self._submit(tiles) for answer in self._collect(batch)]

    def close(self) -> None:
        """Free the network and the memory of the device."""
        self._network = None
        with contextlib.suppress(RuntimeError):  # of a GPU that has failed: what it failed at was said
            release_memory(self.device)

    def _submit(self, tiles: list[np.ndarray]) -> Iterator[_Batch]:
        """Give tiles to the device, in smaller batches where memory does not suffice."""
        done = 0
        while done < len(tiles):
            batch: _Batch | None = None
            try:
                batch = self._run(tiles[done : done + self.batch])
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise self._failure(error) from error
                problem = str(error)
            if batch is None:  # outside of the handler, which holds on to the tensors of the attempt
                self._give_way(problem)
                continue
            done += len(batch.tiles)
            yield batch

    def _collect(self, batch: _Batch) -> np.ndarray:
        """Wait for the probabilities of a batch."""
        if batch.arrived is not None:
            try:
                batch.arrived.synchronize()
            except RuntimeError as error:
                raise self._failure(error) from error
        probabilities: np.ndarray = batch.probabilities.numpy()
        if np.isfinite(probabilities.sum()):
            return probabilities
        if batch.dtype == torch.float32:
            raise ModelError(
                f"The model {self._model.card.name} gave values that are not numbers: its weights are "
                "damaged, or its training went wrong. Take another model."
            )
        if self._steady:
            raise ModelError(
                f"The numbers of the model {self._model.card.name} are too large for float16. Begin anew "
                "with --precision fp32."
            )
        with self._lock:
            if self.dtype != torch.float32:
                logger.info("The numbers of %s are too large for %s.", self._model.card.name, self.dtype)
                self._precision, self.dtype, self._network = "fp32", torch.float32, None
        return np.concatenate([self._collect(each) for each in self._submit(batch.tiles)])

    def _failure(self, error: RuntimeError) -> DeviceError:
        remedy = "" if self.device.type == "cpu" else " Choose the device cpu."
        return DeviceError(f"{describe_device(self.device)} failed: {error}{remedy}")

    def _give_way(self, problem: str) -> None:
        if self.batch > 1:
            release_memory(self.device)
            self.batch //= 2
            logger.info("Out of memory on %s; going on with %d tiles at once.", self.device, self.batch)
            return
        if self._on_cpu:
            raise DeviceError(
                f"Memory does not suffice for one tile of {self._model.card.tile} x {self._model.card.tile} "
                f"pixels. Close other programs, or take a smaller model. ({problem})"
            )
        self._on_cpu = True
        self.messages.append(
            f"{describe_device(self.device)} ran out of memory; the rest was done on the CPU, more slowly."
        )
        self.close()
        self.device = torch.device("cpu")
        self.dtype = inference_dtype(self.device, self._precision)

    @torch.inference_mode()
    def _run(self, tiles: list[np.ndarray]) -> _Batch:
        network, dtype = self._ready()
        apart = self.device.type == "cuda"
        # A GPU may compute batches of another size in another order.
        filled = [tiles[-1]] * (self.batch - len(tiles)) if self._steady else []
        images = torch.from_numpy(np.stack([*tiles, *filled])).unsqueeze(1)
        images = (images.pin_memory() if apart else images).to(self.device, dtype, non_blocking=apart)
        images = images.contiguous(memory_format=torch.channels_last)
        if not self.flips:
            probabilities = self._probabilities(network, images)
        else:
            total: Tensor | None = None
            for turns in range(4):
                for flip in (False, True):
                    turned = torch.rot90(images.flip(3) if flip else images, turns, (2, 3))
                    back = torch.rot90(self._probabilities(network, turned), -turns, (2, 3))
                    back = back.flip(3) if flip else back
                    total = back if total is None else total.add_(back)
            assert total is not None
            probabilities = total.div_(8)
        probabilities = probabilities[: len(tiles)]
        if not apart:
            return _Batch(tiles, dtype, probabilities.cpu().contiguous(), None)
        on_host = torch.empty(probabilities.shape, pin_memory=True)
        on_host.copy_(probabilities, non_blocking=True)
        return _Batch(tiles, dtype, on_host, torch.cuda.current_stream(self.device).record_event())

    def _ready(self) -> tuple[nn.Module, torch.dtype]:
        """Return the network and what it computes in, for any thread."""
        with self._lock:
            if self._network is None:
                self._network = inference_network(self._model, self.device, self.dtype)
            return self._network, self.dtype

    def _probabilities(self, network: nn.Module, images: Tensor) -> Tensor:
        outputs = network(images)
        wanted = (outputs[-1], outputs[0])[: self.rounds]
        card = self._model.card
        if wanted[0].shape != (len(images), len(card.classes), *images.shape[2:]):
            raise ModelError(
                f"The model {card.name} does not fit its card: for {tuple(images.shape)} it gave "
                f"{tuple(wanted[0].shape)}, not {len(card.classes)} classes for each pixel."
            )
        return torch.cat([logits.float().softmax(dim=1) for logits in wanted], dim=1)

"""Tiles through the network: batches, flips, and what to do when memory runs out."""

from __future__ import annotations

import contextlib
import copy
import logging
from typing import TYPE_CHECKING

import torch

from napari_feedback_seg.errors import DeviceError, ModelError
from napari_feedback_seg.segmentation.device import describe_device, is_out_of_memory, release_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from torch import Tensor, nn

    from napari_feedback_seg.models.model import Model

logger = logging.getLogger(__name__)

_BATCH_PIXELS = {"cpu": 256 * 256, "mps": 8 * 256 * 256, "cuda": 32 * 256 * 256}


class Inference:
    """A copy of a model's network on a device, until :meth:`close`.

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

    Attributes
    ----------
    batch : int
        Tiles at once. Halved when memory runs out.
    device : torch.device
        Where the network is.
    messages : list of str
        What the user should know.
    """

    def __init__(
        self, model: Model, device: torch.device, rounds: int, flips: bool, batch: int | None
    ) -> None:
        self.device = device
        self.rounds = rounds
        self.flips = flips
        self.batch = batch or max(1, _BATCH_PIXELS[device.type] // model.card.tile**2)
        self.messages: list[str] = []
        self._model = model
        self._network: nn.Module | None = None
        self._on_cpu = device.type == "cpu"

    def __call__(self, tiles: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the class probabilities (rounds * C, T, T) float32 of each tile (T, T).

        Raises
        ------
        ModelError
            If the network's output is not what its card says, or not finite.
        DeviceError
            If the device fails, or memory does not suffice even for one tile on the CPU.
        """
        done = 0
        while done < len(tiles):
            batch = tiles[done : done + self.batch]
            try:
                result = self._run(batch)
            except RuntimeError as error:
                problem = str(error)
                if not is_out_of_memory(error):
                    remedy = "" if self.device.type == "cpu" else " Choose the device cpu."
                    raise DeviceError(f"{describe_device(self.device)} failed: {problem}{remedy}") from error
                result = None
            if result is None:  # outside of the handler, which holds on to the tensors of the attempt
                self._give_way(problem)
                continue
            done += len(batch)
            yield from result

    def close(self) -> None:
        """Free the network and the memory of the device."""
        self._network = None
        with contextlib.suppress(RuntimeError):  # of a GPU that has failed: what it failed at was said
            release_memory(self.device)

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

    @torch.inference_mode()
    def _run(self, tiles: Sequence[np.ndarray]) -> np.ndarray:
        if self._network is None:
            network = copy.deepcopy(self._model.network).eval().to(self.device)
            self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = torch.stack([torch.from_numpy(tile) for tile in tiles]).unsqueeze(1)
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        if not self.flips:
            probabilities = self._probabilities(images)
        else:
            total: Tensor | None = None
            for turns in range(4):
                for flip in (False, True):
                    turned = torch.rot90(images.flip(3) if flip else images, turns, (2, 3))
                    back = torch.rot90(self._probabilities(turned), -turns, (2, 3))
                    back = back.flip(3) if flip else back
                    total = back if total is None else total.add_(back)
            assert total is not None
            probabilities = total.div_(8)
        result: np.ndarray = probabilities.cpu().contiguous().numpy()
        return result

    def _probabilities(self, images: Tensor) -> Tensor:
        assert self._network is not None
        outputs = self._network(images)
        wanted = (outputs[-1], outputs[0])[: self.rounds]
        card = self._model.card
        if wanted[0].shape != (len(images), len(card.classes), *images.shape[2:]):
            raise ModelError(
                f"The model {card.name} does not fit its card: for {tuple(images.shape)} it gave "
                f"{tuple(wanted[0].shape)}, not {len(card.classes)} classes for each pixel."
            )
        probabilities = torch.cat([logits.float().softmax(dim=1) for logits in wanted], dim=1)
        if not bool(torch.isfinite(probabilities).all()):
            raise ModelError(
                f"The model {card.name} gave values that are not numbers: its weights are damaged, or its "
                "training went wrong. Take another model."
            )
        return probabilities

"""An inference that keeps the maps of the tiles that it has seen, within a budget of memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_feedback_seg.correction.feature_maps import TileMaps, probabilities, tile_maps
from napari_feedback_seg.errors import ModelError
from napari_feedback_seg.segmentation.device import is_out_of_memory
from napari_feedback_seg.segmentation.inference import Inference, inference_network

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.networks.residual import Residual


class MapCache(Inference):
    """The inference of a model that keeps the maps of the tiles, the latest used of them.

    Parameters
    ----------
    model : Model
        Its own network stays as it is.
    device : torch.device
        Where to begin.
    memory_mb : float
        What may be kept.
    """

    def __init__(self, model: Model, device: torch.device, memory_mb: float) -> None:
        super().__init__(model, device, 1, False, 1)
        self.residual: Residual | None = None
        self._maps: OrderedDict[bytes, TileMaps] = OrderedDict()
        self._budget = memory_mb * 2**20
        self.bytes = 0

    def __call__(self, tiles: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the class probabilities (C, T, T) of each tile (T, T), with the residual."""
        for tile in tiles:
            yield probabilities(self.maps(tile), self.residual).numpy()

    def close(self) -> None:
        """Free the network, the maps, and the memory of the device."""
        self.bytes = 0
        self._maps.clear()
        super().close()

    def maps(self, tile: np.ndarray) -> TileMaps:
        """Return the maps of a tile (T, T)."""
        key = hashlib.blake2b(np.ascontiguousarray(tile).data, digest_size=16).digest()
        found = self._maps.get(key)
        if found is not None:
            self._maps.move_to_end(key)
            return found
        found = self._look(tile)
        self._maps[key] = found
        self.bytes += found.bytes
        while self.bytes > self._budget and len(self._maps) > 1:
            self.bytes -= self._maps.popitem(last=False)[1].bytes
        return found

    def _look(self, tile: np.ndarray) -> TileMaps:
        try:
            if self._network is None:
                self._network = inference_network(self._model, self.device, self.dtype)
            found = tile_maps(self._network, torch.from_numpy(tile).to(self.device, self.dtype))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise self._failure(error) from error
            found, problem = None, str(error)
        else:
            if found is not None:
                return found
            if self.dtype == torch.float32:
                raise ModelError(
                    f"The model {self._model.card.name} gave values that are not numbers: its weights are "
                    "damaged, or its training went wrong. Take another model."
                )
            self._precision, self.dtype, self._network = "fp32", torch.float32, None
            return self._look(tile)
        self._give_way(problem)
        return self._look(tile)

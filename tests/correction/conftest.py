from __future__ import annotations

import numpy as np
import pytest


class Endless:
    """An image of 6000 x 6000 pixels that is read by blocks, and shows a sample again and again."""

    shape, ndim, chunks = (6000, 6000), 2, (512, 512)

    def __init__(self, sample: np.ndarray) -> None:
        self._sample, self.dtype = sample, sample.dtype
        self.pixels_read = 0

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        places = (
            np.arange(*each.indices(length)) % side
            for each, length, side in zip(key, self.shape, self._sample.shape, strict=True)
        )
        part = self._sample[np.ix_(*places)]
        self.pixels_read += part.size
        return part


@pytest.fixture
def endless() -> type[Endless]:
    return Endless

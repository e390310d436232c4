from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def tissue() -> np.ndarray:
    """(3, 280, 270) uint8: blurred noise; a border in one section, and one with nothing to see."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(3, 280, 270)), (0, 1.5, 1.5))
    volume = np.clip(128 + 200 * noise, 1, 254).astype(np.uint8)
    volume[1, :, :90] = 0
    volume[2] = 7
    return volume


def write_ome_zarr(path: Path, data: np.ndarray, version: str = "0.5", **more: Any) -> Path:
    """Write an image as another program would: two levels, 4.6 nm and 9.2 nm, sections 40 nm apart."""
    axes: str = more.get("axes", "zyx"[-data.ndim :])
    kinds = {"t": "time", "c": "channel"}
    described = [
        {"name": axis, "type": kinds.get(axis, "space")}
        | ({"unit": more.get("unit", "nanometer")} if axis in "zyx" and more.get("unit", "nanometer") else {})
        for axis in axes
    ]
    step = {"z": 40.0, "y": 4.6, "x": 4.6}
    datasets = []
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    for level in range(2):
        each = data[..., :: 2**level, :: 2**level]
        chunks = (*[1] * (each.ndim - 3), *more.get("chunks", (1, 128, 128))[-min(3, each.ndim) :])
        keywords: dict[str, Any] = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        if version == "0.5":
            keywords = {"dimension_names": list(axes), "shards": more.get("shards")}
        group.create_array(str(level), data=each, chunks=chunks, **keywords)
        scale = [step.get(axis, 1.0) * (2**level if axis in "yx" else 1) for axis in axes]
        transforms: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if "origin" in more:
            transforms.append({"type": "translation", "translation": more["origin"]})
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    one = {"name": "em", "axes": described, "datasets": datasets}
    attributes = (
        {"multiscales": [{"version": "0.4", **one}]}
        if version == "0.4"
        else {"ome": {"version": "0.5", "multiscales": [one]}}
    )
    group.attrs.put(attributes)
    return path


@pytest.fixture(scope="session")
def write_volume() -> Callable[..., Path]:
    return write_ome_zarr


@pytest.fixture
def volume(tmp_path: Path, tissue: np.ndarray) -> Path:
    return write_ome_zarr(tmp_path / "em.zarr", tissue)

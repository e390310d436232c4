from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _network(channels: int, end: str) -> bytes:
    """Return an ONNX network: a 3 x 3 mean, times a number a channel, and what it ends with."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    kernel = np.linspace(-0.4, 0.9, channels, dtype=np.float32)[:, None, None, None] * np.ones(
        (1, 1, 3, 3), np.float32
    )
    nodes = [helper.make_node("Conv", ["x", "w"], ["c" if end else "y"], pads=[1, 1, 1, 1])]
    if end:
        nodes.append(helper.make_node(end, ["c"], ["y"], **({"axis": 1} if end == "Softmax" else {})))
    shape = ["b", 1, "h", "w"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["b", channels, "h", "w"])],
        [numpy_helper.from_array(kernel, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def convolved(image: np.ndarray, channels: int) -> np.ndarray:
    """Return what that network gives (1, C, H, W) for an image (1, 1, H, W), before its end."""
    padded = np.pad(image[0, 0], 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).sum(axis=(2, 3))
    return (np.linspace(-0.4, 0.9, channels)[:, None, None] * windows)[None].astype(np.float32)


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes a package as another program would."""
    pytest.importorskip("onnxruntime")

    def package(
        channels: int = 3, end: str = "Softmax", names: list[str] | None = None, **changes: Any
    ) -> Path:
        image = np.random.default_rng(0).integers(0, 255, (1, 1, 64, 64)).astype(np.float32)
        seen = (image - image.mean()) / (image.std() + 1e-6)
        steps = changes.get("preprocessing", [{"id": "zero_mean_unit_variance"}])
        for step in steps:
            if step["id"] == "scale_range":
                given = step["kwargs"]
                low, high = np.percentile(image, [given["min_percentile"], given["max_percentile"]])
                seen = (image - low) / (high - low + 1e-6)
        answer = convolved(seen, channels)
        if end == "Softmax":
            answer = np.exp(answer) / np.exp(answer).sum(axis=1, keepdims=True)
        elif end == "Sigmoid":
            answer = 1 / (1 + np.exp(-answer))
        sides = [
            {"type": "space", "id": each, "size": {"min": 32, "step": 16}, "unit": "nanometer", "scale": 8}
            for each in "yx"
        ]
        out = [{**each, "size": {"tensor_id": "image", "axis_id": each["id"]}} for each in sides]
        description: dict[str, Any] = {
            "type": "model",
            "format_version": "0.5.3",
            "name": "elsewhere",
            "description": "Made elsewhere.",
            "authors": [{"name": "Someone"}],
            "cite": [{"text": "Someone 2020", "doi": "10.1234/abc"}],
            "license": "MIT",
            "documentation": {"source": "README.md"},
            "inputs": [
                {
                    "id": "image",
                    "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["grey"]}, *sides],
                    "data": {"type": "float32"},
                    "test_tensor": {"source": "in.npy"},
                    "preprocessing": steps,
                }
            ],
            "outputs": [
                {
                    "id": "classes",
                    "axes": [
                        {"type": "batch"},
                        {"type": "channel", "channel_names": names or [f"c{n}" for n in range(channels)]},
                        *out,
                    ],
                    "data": {"type": "float32"},
                    "test_tensor": {"source": "out.npy"},
                }
            ],
            "weights": {"onnx": {"source": "weights.onnx", "opset_version": 17}},
        }
        change = changes.get("change")
        if change is not None:
            change(description)
        np.save(tmp_path / "in.npy", image)
        np.save(tmp_path / "out.npy", answer + changes.get("wrong", 0))
        path = tmp_path / "elsewhere.bioimage.io.zip"
        with ZipFile(path, "w") as zipped:
            zipped.writestr("bioimageio.yaml", json.dumps(description))
            zipped.writestr("README.md", "# Elsewhere\n## Validation\n")
            zipped.writestr("weights.onnx", _network(channels, end))
            for name in ("in.npy", "out.npy"):
                zipped.write(tmp_path / name, name)
        return path

    return package

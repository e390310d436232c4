"""A model of another program segments in the dock; what it cannot do is said, and breaks nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.models.library import save_to_library
from napari_feedback_seg.models.model import Model, ModelCard
from napari_feedback_seg.networks import NetworkSpec, build_network
from napari_feedback_seg.networks.spec import Program

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def foreign(session, models_folder):
    """Choose a model whose classes are by grey value, the darkest first."""
    helper = onnx.helper
    slopes = np.linspace(-3, 3, 4, dtype=np.float32).reshape(4, 1, 1, 1)
    shapes = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["b", channels, "h", "w"])
        for name, channels in (("x", 1), ("y", 4))
    ]
    weights = onnx.numpy_helper.from_array(slopes, "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])], "g", shapes[:1], shapes[1:], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    program = model.SerializeToString()
    spec = NetworkSpec(kind="onnx", program=Program(len(program)))
    network = build_network(spec).eval()
    network.load_state_dict({"program": torch.frombuffer(bytearray(program), dtype=torch.uint8)})
    save_to_library(Model(ModelCard("foreign", spec, EM_CLASSES, 4.6, 64), network), "foreign")
    session.refresh_models("foreign")


@pytest.fixture
def segmented(foreign, viewer, segment, section):
    viewer.add_image(section, name="cells")
    return segment()


def test_it_segments(segmented, section):
    dark, bright = (segmented.data[where] for where in (section < section.mean(), section > section.mean()))
    assert (dark == 1).mean() > 0.9
    assert (bright == 4).mean() > 0.9


def test_a_stroke_is_a_correction_and_nothing_is_learnt(segmented, session, stroke, said):
    before = segmented.data.copy()
    stroke(2, 20, 20)
    composed = np.asarray(session.correcting.corrections.of_result(segmented))
    assert (composed[20:26, 20:26] == 2).all()
    np.testing.assert_array_equal(segmented.data, before)
    assert "it segments, and cannot learn" in said() + session.instant.status


def test_it_cannot_be_made_permanent(segmented, session, runner, stroke, said):
    stroke(2, 20, 20)
    session.correcting.fine_tune()
    runner.finish()
    assert "it segments, and cannot learn" in said()
    assert not session.jobs.busy

"""A network from elsewhere: an ONNX file, run by onnxruntime."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_feedback_seg.errors import DeviceError, ModelError

if TYPE_CHECKING:
    from napari_feedback_seg.networks.spec import NetworkSpec

_SMALLEST = 1e-6
"""Of a probability, whose logarithm is taken."""

_EPS = 1e-6


class OnnxNetwork(nn.Module):
    """Runs an ONNX file, which is its only tensor, on the CPU. It cannot learn."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        assert spec.program is not None
        self.spec = spec
        self.program: Tensor
        self.register_buffer("program", torch.empty(spec.program.size, dtype=torch.uint8))
        self._session: Any = None
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxNetwork:
        """Return a network with the same program; what runs it cannot be copied."""
        twin = OnnxNetwork(self.spec)
        twin.program = self.program
        return twin.train(self.training)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (B, classes, H, W) of normalised images (B, 1, H, W), as a tuple of one."""
        session = self._start()
        answers = [self._run(session, prepared(each[None].float().cpu(), self.spec)) for each in images]
        return (torch.cat(answers).to(images.device),)

    def _run(self, session: Any, image: Tensor) -> Tensor:
        try:
            (answer, *_) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        except Exception as error:  # onnxruntime has errors of its own, which it does not export
            raise ModelError(f"The ONNX network cannot be run: {str(error).splitlines()[0]}") from error
        return logits_of(torch.from_numpy(answer), self.spec)

    def _start(self) -> Any:
        with self._lock:
            if self._session is None:
                self._session = open_session(self.program.cpu().numpy().tobytes())
            return self._session


def open_session(program: bytes) -> Any:
    """Return what runs an ONNX file.

    Raises
    ------
    DeviceError
        If onnxruntime is not installed.
    ModelError
        If the file is damaged, or not for this version.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceError(
            "This model needs onnxruntime: pip install 'napari-feedback-seg[bioimageio]'."
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(program, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise ModelError(f"The ONNX network cannot be opened: {str(error).splitlines()[0]}") from error


def prepared(image: Tensor, spec: NetworkSpec) -> Tensor:
    """Return an image (1, 1, H, W) as the network of a spec wants it."""
    assert spec.program is not None
    for name, first, second in spec.program.steps:
        if name == "scale_range":
            low, high = (float(_percentile(image, each)) for each in (first, second))
            image = (image - low) / (high - low + _EPS)
        elif name == "clip":
            image = image.clamp(first, second)
        elif name == "scale":
            image = image * first + second
        else:
            image = (image - image.mean()) / (image.std(correction=0) + _EPS)
    return image.contiguous()


def _percentile(image: Tensor, percent: float) -> Any:
    import numpy as np

    return np.percentile(image.numpy(), percent)


def logits_of(answer: Tensor, spec: NetworkSpec) -> Tensor:
    """Return the logits (1, classes, H, W) that an answer stands for."""
    assert spec.program is not None
    output, answer = spec.program.output, answer.float()
    if output == "logits":
        return answer
    if output == "one_logit":
        return torch.cat([answer, torch.zeros_like(answer)], dim=1)
    if output == "one_probability":
        answer = torch.cat([answer, 1 - answer], dim=1)
    elif output == "each":
        answer = torch.cat([answer, (1 - answer).prod(dim=1, keepdim=True)], dim=1)
    return answer.clamp_min(_SMALLEST).log()

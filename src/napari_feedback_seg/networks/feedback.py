"""The U-Net that looks twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from napari_feedback_seg.networks.attention import FeedbackAttention
from napari_feedback_seg.networks.connections import Connection
from napari_feedback_seg.networks.onnx import OnnxNetwork
from napari_feedback_seg.networks.recurrent import FeedbackUNet, recurrent_unet
from napari_feedback_seg.networks.residual import AdaptedNetwork, Residual
from napari_feedback_seg.networks.unet import UNet

if TYPE_CHECKING:
    from napari_feedback_seg.networks.spec import NetworkSpec


@dataclass(frozen=True)
class FeedbackMaps:
    """What one pass of a feedback network leaves behind.

    Attributes
    ----------
    logits : tuple of Tensor
        (B, classes, H, W) for each round; the last is the answer.
    input_side, output_side : Tensor
        (B, width, H, W), the two maps of round 1 that the feedback connects.
    """

    logits: tuple[Tensor, ...]
    input_side: Tensor
    output_side: Tensor


class FeedbackAttentionUNet(nn.Module):
    """Two rounds of one U-Net, joined by attention (Figure 1 of the paper), or as in its Table 2."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        norms = 2 if spec.norm_per_round else 1
        self.spec = spec
        self.unet = UNet(
            spec.in_channels,
            spec.classes,
            spec.width,
            spec.depth,
            norms=norms,
            first_norms=(1, norms if spec.tap == "one_conv" else 1),
        )
        self.feedback: FeedbackAttention | Connection
        if spec.mode in ("self", "source_target"):
            query_channels = spec.query_channels or max(1, spec.width // 8)
            self.feedback = FeedbackAttention(
                spec.width, query_channels, spec.mode, spec.key_pooling, spec.query_pooling
            )
        else:
            self.feedback = Connection(spec.width, spec.mode)

    def maps(self, image: Tensor) -> FeedbackMaps:
        """Return the logits of both rounds and the maps between which the feedback runs."""
        after_one = self.unet.first.first(image, 0)
        after_two = self.unet.first.second(after_one, 0)
        output_side = self.unet.body(after_two, 0)
        fed_back = output_side.detach() if self.spec.detach_first_round else output_side
        if self.spec.tap == "one_conv":
            input_side = after_one
            second = self.unet.first.second(self.feedback(input_side, fed_back), 1)
        else:
            input_side = after_two
            second = self.feedback(input_side, fed_back)
        first_logits = self.unet.classifier(output_side)
        logits = self.unet.classifier(self.unet.body(second, 1))
        if self.spec.mean_of_rounds:
            kept = first_logits.detach() if self.spec.detach_first_round else first_logits
            logits = (logits + kept) / 2
        return FeedbackMaps((first_logits, logits), input_side, output_side)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (B, classes, H, W) of round 1 and of the answer."""
        return self.maps(image).logits


def build_network(spec: NetworkSpec) -> nn.Module:
    """Return the network that ``spec`` describes, with fresh weights.

    Its ``forward`` takes images (B, in_channels, H, W), H and W multiples of
    ``spec.multiple``, and returns a tuple of logits (B, classes, H, W), one for each
    round; the last is the answer.
    """
    if spec.adapted:
        plain = replace(spec, adapted=False)
        return AdaptedNetwork(build_network(plain), Residual.nothing(plain))
    if spec.kind == "unet":
        return UNet(spec.in_channels, spec.classes, spec.width, spec.depth)
    if spec.kind == "recurrent_unet":
        return recurrent_unet(spec)
    if spec.kind == "feedback_unet":
        return FeedbackUNet(spec)
    if spec.program is not None:
        return OnnxNetwork(spec)
    return FeedbackAttentionUNet(spec)

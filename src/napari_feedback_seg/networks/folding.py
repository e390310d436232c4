"""Batch norm folded into the convolutions before it: the same answer with a third fewer steps."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_feedback_seg.networks.attention import FeedbackAttention
from napari_feedback_seg.networks.unet import ConvUnit


def fold_batch_norm(network: nn.Module) -> None:
    """Fold batch norm into the convolutions of a network, in place.

    The network must be in evaluation mode, and cannot be trained or saved afterwards. A
    unit with a set of batch norm for each round becomes one with a convolution for each.
    """
    for module in network.modules():
        if isinstance(module, ConvUnit):
            module.norms = nn.ModuleList(_folded(module.conv, norm) for norm in module.norms)
            module.conv = nn.Identity()
        elif isinstance(module, FeedbackAttention):
            for projection in (module.query, module.key, module.value):
                projection[0], projection[1] = _folded(*projection), nn.Identity()
            if isinstance(module.norm, nn.BatchNorm2d):
                module.project, module.norm = _folded(module.project, module.norm), nn.Identity()


def _folded(convolution: nn.Module, norm: nn.Module) -> nn.Conv2d:
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(convolution, norm)

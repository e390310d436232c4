"""Attention over all places of a feature map, without the matrix of all pairs."""

from __future__ import annotations

from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from napari_feedback_seg.errors import DeviceError

_FUSED_DEVICES = ("cpu", "cuda")
"""Where torch has fused attention that saves memory in both directions."""

_FUSED_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]
"""All backends but MATH, which builds the matrix."""

_ALIGNMENT = 8
"""The fused CUDA kernels want channels in multiples of this."""

_BLOCK_ELEMENTS = 2**22
"""Elements of one block of rows of the matrix; 16 MB in float32."""

_backend_lock = Lock()


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return ``softmax_j(query_i . key_j) . value_j`` without building the matrix.

    There is no ``1 / sqrt(d)`` factor. CPU and CUDA use the fused attention of torch,
    other devices, such as Apple's MPS, :func:`attend_in_row_blocks`. So do bfloat16 numbers
    without gradient on a CPU, where torch's is slower.

    Parameters
    ----------
    query : Tensor
        (B, N, D).
    key : Tensor
        (B, M, D).
    value : Tensor
        (B, M, V).

    Returns
    -------
    Tensor
        (B, N, V).

    Raises
    ------
    DeviceError
        If the device has no fused attention for tensors of this type.
    """
    quicker_in_blocks = (
        query.device.type == "cpu" and query.dtype == torch.bfloat16 and not query.requires_grad
    )
    if query.device.type in _FUSED_DEVICES and not quicker_in_blocks:
        return _attend_fused(query, key, value)
    return attend_in_row_blocks(query, key, value)


def attend_in_row_blocks(query: Tensor, key: Tensor, value: Tensor, rows: int | None = None) -> Tensor:
    """Return what :func:`attend` returns, a block of rows of the matrix at a time.

    It runs on every device. Each block is computed again for its gradient, so that
    the backward pass holds no more than a few blocks either.

    Parameters
    ----------
    query, key, value : Tensor
        As for :func:`attend`.
    rows : int, optional
        Rows (queries) in a block; if not given, as many as make a block of 16 MB in float32.

    Returns
    -------
    Tensor
        (B, N, V).
    """
    if rows is None:
        rows = max(1, _BLOCK_ELEMENTS // (key.shape[0] * key.shape[1]))
    result: Tensor = _RowBlocks.apply(query, key, value, rows)  # type: ignore[no-untyped-call]
    return result


class _RowBlocks(torch.autograd.Function):
    """Attention by blocks of rows, which keeps no block for the backward pass.

    The results are allocated before the blocks: small tensors that stay between large
    ones that go would leave holes, and the process would grow by the whole matrix.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, rows: int) -> Tensor:
        """Return the attended values (B, N, V)."""
        result = value.new_empty(*query.shape[:2], value.shape[-1])
        for queries, results in zip(query.split(rows, dim=1), result.split(rows, dim=1), strict=True):
            results.copy_(_weights(queries, key) @ value)
        ctx.save_for_backward(query, key, value, result)
        ctx.rows = rows
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of query, key and value."""
        query, key, value, result = ctx.saved_tensors
        (gradient,) = gradients
        query_gradient = torch.empty_like(query)
        # Key and Value sum over all blocks, more than 16 bits can add up.
        key_gradient, value_gradient = (
            torch.zeros_like(each, dtype=torch.promote_types(each.dtype, torch.float32))
            for each in (key, value)
        )
        parts = (each.split(ctx.rows, dim=1) for each in (query, result, gradient, query_gradient))
        for queries, results, upstream, downstream in zip(*parts, strict=True):
            weights = _weights(queries, key)
            value_gradient += weights.transpose(1, 2) @ upstream
            # The sum over j of w_ij dw_ij, that the softmax takes off, is this product.
            mean = (upstream * results).sum(dim=-1, keepdim=True)
            score_gradient = (upstream @ value.transpose(1, 2)).sub_(mean).mul_(weights)
            downstream.copy_(score_gradient @ key)
            key_gradient += score_gradient.transpose(1, 2) @ queries
        return query_gradient, key_gradient.to(key.dtype), value_gradient.to(value.dtype), None


def _weights(query: Tensor, key: Tensor) -> Tensor:
    return (query @ key.transpose(1, 2)).softmax(dim=-1)


def _attend_fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    # Torch falls back to the whole matrix unless the three have one depth and adjacent
    # channels. Channels of zeros change no product.
    depth = max(query.shape[-1], value.shape[-1])
    depth += -depth % _ALIGNMENT
    padded_query, padded_key, padded_value = (
        functional.pad(each.contiguous(), (0, depth - each.shape[-1])).unsqueeze(1)
        for each in (query, key, value)
    )
    try:
        # The choice of backends belongs to the process, not to the thread.
        with _backend_lock, sdpa_kernel(_FUSED_BACKENDS):
            result = functional.scaled_dot_product_attention(
                padded_query, padded_key, padded_value, scale=1.0
            )
    except RuntimeError as error:
        if "No available kernel" not in str(error) and "No viable backend" not in str(error):
            raise
        raise DeviceError(
            f"The device {query.device} has no memory-saving attention for {query.dtype} numbers. "
            "Use float32 numbers, or the CPU."
        ) from error
    return result.squeeze(1)[..., : value.shape[-1]]


class FeedbackAttention(nn.Module):
    """Bring the output-side map back to the input side (Section 3 of the paper).

    ``A = scale * project(attention) + input_side``, with a learned ``scale`` that
    starts at 0.

    Parameters
    ----------
    channels : int
        Channels ``C`` of both maps.
    query_channels : int
        Channels of Query and Key; the paper's are ``C / 8``.
    mode : {"self", "source_target"}
        Query from the output-side map, or from the input-side map.
    key_pooling : int
        Key and Value are average-pooled ``p x p``; 1 is exact attention.
    query_pooling : int
        Query is average-pooled ``p x p``, and what was attended interpolated linearly; 1 is exact
        attention.
    """

    def __init__(
        self, channels: int, query_channels: int, mode: str, key_pooling: int, query_pooling: int = 1
    ) -> None:
        super().__init__()
        value_channels = max(1, channels // 2)
        self.mode = mode
        self.key_pooling = key_pooling
        self.query_pooling = query_pooling
        self.query = _projection(channels, query_channels)
        self.key = _projection(channels, query_channels)
        self.value = _projection(channels, value_channels)
        self.project = nn.Conv2d(value_channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels) if mode == "source_target" else nn.Identity()
        self.scale = nn.Parameter(torch.zeros(1))

    def query_and_key(self, input_side: Tensor, output_side: Tensor) -> tuple[Tensor, Tensor]:
        """Return Query (B, D, H / q, W / q) and Key (B, D, H / p, W / p), each pooled as it is attended."""
        query = self.query(input_side if self.mode == "source_target" else output_side)
        return _pool(query, self.query_pooling), _pool(self.key(output_side), self.key_pooling)

    def forward(self, input_side: Tensor, output_side: Tensor) -> Tensor:
        """Return the input-side map (B, C, H, W) with the attended output-side map added."""
        query, key = self.query_and_key(input_side, output_side)
        value = _pool(self.value(output_side), self.key_pooling)
        attended = attend(_places(query), _places(key), _places(value))
        attended = attended.unflatten(1, query.shape[-2:]).permute(0, 3, 1, 2)
        if self.query_pooling > 1:
            attended = functional.interpolate(attended, input_side.shape[-2:], mode="bilinear")
        fed_back: Tensor = self.scale * self.norm(self.project(attended))
        return input_side + fed_back


def _pool(feature_map: Tensor, size: int) -> Tensor:
    if size == 1:
        return feature_map
    return functional.avg_pool2d(feature_map, size, ceil_mode=True, count_include_pad=False)


def _places(feature_map: Tensor) -> Tensor:
    # Not flatten and transpose: their gradient for a batch of one has strides with which
    # batch norm on the CPU (torch 2.13) returns wrong gradients.
    return feature_map.permute(0, 2, 3, 1).flatten(1, 2)


def _projection(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out))

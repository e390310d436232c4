"""Attention to the places that a hash finds alike, the paper's future work after Reformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_feedback_seg.networks.attention import attend


class HashedAttention(nn.Module):
    """Attention of each place to some of the others, found by locality-sensitive hashing.

    A random rotation puts vectors of like direction into one of ``buckets``. Queries and
    keys, each sorted by bucket and within a bucket by place, are cut into as many chunks;
    the queries of a chunk see twice a chunk's keys, around those that stand where the
    middle one of the queries would. So each sees ``2 / buckets`` of the keys, and memory
    grows with the number of places only. The rotation is drawn once and saved with the
    weights, so that a network always gives the same answer.

    Parameters
    ----------
    channels : int
        Channels of Query and Key.
    buckets : int
        With 1 or 2 all keys are seen, as in :func:`~napari_feedback_seg.networks.attention.attend`.

    References
    ----------
    Kitaev, Kaiser, Levskaya: Reformer: the Efficient Transformer, 2020. There Query and Key
    are the same; here they are not, which is why a chunk of queries looks up its keys.
    """

    def __init__(self, channels: int, buckets: int) -> None:
        super().__init__()
        self.buckets = buckets
        self.register_buffer("rotation", torch.randn(channels, -(-buckets // 2)))
        self.rotation: Tensor

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the attended values (B, N, V) of Query (B, N, D), Key (B, M, D), Value (B, M, V)."""
        (batch, places), keys = query.shape[:2], key.shape[1]
        chunk = -(-places // self.buckets)
        chunks = -(-places // chunk)
        seen = min(keys, 2 * -(-keys // self.buckets))
        with torch.no_grad():
            codes, order = self._codes(query).sort(dim=1)
            # The last chunk is filled up with its last query.
            every = torch.arange(chunks * chunk, device=query.device).clamp(max=places - 1)
            order = order[:, every]
            key_codes, key_order = self._codes(key).sort(dim=1)
            middles = codes[:, every].unflatten(1, (chunks, chunk))[:, :, chunk // 2].contiguous()
            first = (torch.searchsorted(key_codes, middles) - seen // 2).clamp(0, keys - seen)
            around = first.unsqueeze(2) + torch.arange(seen, device=query.device)
            key_order = key_order.gather(1, around.flatten(1))
        attended = attend(
            _take(query, order).unflatten(1, (chunks, chunk)).flatten(0, 1),
            _take(key, key_order).unflatten(1, (chunks, seen)).flatten(0, 1),
            _take(value, key_order).unflatten(1, (chunks, seen)).flatten(0, 1),
        )
        attended = attended.unflatten(0, (batch, chunks)).flatten(1, 2)[:, :places]
        return _take(attended, order[:, :places].argsort(dim=1))

    def _codes(self, vectors: Tensor) -> Tensor:
        """Return the bucket of each vector (B, N, D), and behind the point its place in 0 to 1."""
        turned = vectors.float() @ self.rotation.float()
        bucket = torch.cat([turned, -turned], dim=2)[..., : self.buckets].argmax(dim=2)
        length = bucket.shape[1]
        return bucket * 2**32 + torch.arange(length, device=bucket.device) * 2**32 // length


def _take(vectors: Tensor, index: Tensor) -> Tensor:
    """Return the vectors (B, K, C) at the places (B, K) of vectors (B, N, C)."""
    return vectors.gather(1, index.unsqueeze(2).expand(-1, -1, vectors.shape[2]))

# The networks of napari-feedback-seg in one file that needs torch alone: a U-Net, and a U-Net that looks
# twice (Tsuda, Shibuya, Hotta 2020: Feedback Attention for Cell Image Segmentation, arXiv 2008.06474).
# BSD 3-clause licence, the napari-feedback-seg developers.
"""Networks for bioimage.io: images (B, 1, H, W) in, logits (B, classes, H, W) out."""

import torch
from torch import nn
from torch.nn import functional


class ConvUnit(nn.Module):
    """3 x 3 convolution, batch norm of the round, ReLU."""

    def __init__(self, channels: int, out: int, norms: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(out) for _ in range(norms))

    def forward(self, x: torch.Tensor, number: int = 0) -> torch.Tensor:
        """Return the map of a round, counted from 0."""
        return functional.relu(self.norms[min(number, len(self.norms) - 1)](self.conv(x)))


class ConvBlock(nn.Module):
    """Two convolution units."""

    def __init__(self, channels: int, out: int, norms: tuple[int, int]) -> None:
        super().__init__()
        self.first = ConvUnit(channels, out, norms[0])
        self.second = ConvUnit(out, out, norms[1])

    def forward(self, x: torch.Tensor, number: int = 0) -> torch.Tensor:
        """Return the map of a round, counted from 0."""
        return self.second(self.first(x, number), number)


class UNet(nn.Module):
    """U-Net: double convolutions, max-pool down, transposed convolution up, skips."""

    def __init__(
        self,
        in_channels: int,
        classes: int,
        width: int,
        depth: int,
        norms: int = 1,
        first: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(depth + 1)]
        pairs = list(zip(channels, channels[1:]))  # noqa: B905, RUF007 - for older Pythons
        self.first = ConvBlock(in_channels, width, first)
        self.down = nn.ModuleList(ConvBlock(above, below, (norms, norms)) for above, below in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, above, 2, 2) for above, below in pairs)
        self.merge = nn.ModuleList(ConvBlock(2 * above, above, (norms, norms)) for above, _ in pairs)
        self.classifier = nn.Conv2d(width, classes, 1)

    def body(self, x: torch.Tensor, number: int = 0) -> torch.Tensor:
        """Return the output-side map for a map after the first block."""
        skips = [x]
        for block in self.down:
            skips.append(block(functional.max_pool2d(skips[-1], 2), number))
        x = skips.pop()
        for level in reversed(range(len(self.up))):
            x = self.merge[level](torch.cat([skips.pop(), self.up[level](x)], dim=1), number)
        return x

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.classifier(self.body(self.first(image)))


class Attention(nn.Module):
    """Bring the output-side map of round 1 back to the input side; no 1 / sqrt(d), and the sum is exact."""

    def __init__(
        self, channels: int, query_channels: int, mode: str, key_pooling: int, query_pooling: int
    ) -> None:
        super().__init__()
        values = max(1, channels // 2)
        self.mode, self.key_pooling, self.query_pooling = mode, key_pooling, query_pooling
        self.query = self._projection(channels, query_channels)
        self.key = self._projection(channels, query_channels)
        self.value = self._projection(channels, values)
        self.project = nn.Conv2d(values, channels, 1)
        self.norm = nn.BatchNorm2d(channels) if mode == "source_target" else nn.Identity()
        self.scale = nn.Parameter(torch.zeros(1))

    @staticmethod
    def _projection(channels: int, out: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out))

    @staticmethod
    def _pool(x: torch.Tensor, size: int) -> torch.Tensor:
        if size == 1:
            return x
        return functional.avg_pool2d(x, size, ceil_mode=True, count_include_pad=False)

    def forward(self, input_side: torch.Tensor, output_side: torch.Tensor) -> torch.Tensor:
        """Return the input-side map with the attended output-side map added."""
        query = self._pool(
            self.query(input_side if self.mode == "source_target" else output_side), self.query_pooling
        )
        key = self._pool(self.key(output_side), self.key_pooling)
        value = self._pool(self.value(output_side), self.key_pooling)
        height, width = query.shape[-2:]
        places = [each.flatten(2).transpose(1, 2) for each in (query, key, value)]
        # torch saves memory if all have one depth, a multiple of 8; channels of zeros change nothing.
        depth = max(places[0].shape[-1], places[2].shape[-1])
        depth += -depth % 8
        padded = [functional.pad(each, (0, depth - each.shape[-1])).unsqueeze(1) for each in places]
        attended = functional.scaled_dot_product_attention(padded[0], padded[1], padded[2], scale=1.0)
        attended = attended.squeeze(1)[..., : places[2].shape[-1]].transpose(1, 2)
        attended = attended.unflatten(2, (height, width))
        if self.query_pooling > 1:
            attended = functional.interpolate(attended, input_side.shape[-2:], mode="bilinear")
        return input_side + self.scale * self.norm(self.project(attended))


class FeedbackAttentionUNet(nn.Module):
    """Two rounds of one U-Net, joined by attention."""

    def __init__(
        self,
        in_channels: int,
        classes: int,
        width: int,
        depth: int,
        mode: str,
        tap: str,
        norm_per_round: bool,
        query_pooling: int,
        key_pooling: int,
        query_channels: int,
        mean_of_rounds: bool,
    ) -> None:
        super().__init__()
        norms = 2 if norm_per_round else 1
        self.tap, self.mean_of_rounds = tap, mean_of_rounds
        first = (1, norms if tap == "one_conv" else 1)
        self.unet = UNet(in_channels, classes, width, depth, norms, first)
        self.feedback = Attention(width, query_channels, mode, key_pooling, query_pooling)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits of the answer."""
        unet = self.unet
        after_one = unet.first.first(image, 0)
        after_two = unet.first.second(after_one, 0)
        output_side = unet.body(after_two, 0)
        if self.tap == "one_conv":
            second = unet.first.second(self.feedback(after_one, output_side), 1)
        else:
            second = self.feedback(after_two, output_side)
        logits = unet.classifier(unet.body(second, 1))
        if self.mean_of_rounds:
            logits = (logits + unet.classifier(output_side)) / 2
        return logits

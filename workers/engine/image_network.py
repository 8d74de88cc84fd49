"""The image network: a small residual network that takes raw pixels."""

import torch
from torch import nn

from workers.engine.links import probabilities, scores_of

# Where the body starts: larger images are halved by strided layers until they fit.
_BODY = 48


class ImageNetwork(nn.Module):
    """Pixels, uint8 [batch, height, width, 3] → scores, float32 [batch, labels].

    A ResNet-9 in spirit: convolutions that widen, each halving the map, with residual blocks between them. A layer that
    pools does so right after its convolution: norm and ReLU, which cost a CPU more than the convolution, then see a
    quarter of the map. The body sees at most 48 pixels, so that its cost is nearly the same for every size.

    `mean` and `std` (per channel, in 0..1) are the training images'. Once `mirror` is set, answers outside of training
    are the mean over the image and its mirror image.
    """

    def __init__(
        self,
        labels: int,
        size: int,
        mean: torch.Tensor,
        std: torch.Tensor,
        *,
        width: int = 32,
        depth: int = 1,
        dropout: float = 0.0,
        multi_label: bool = False,
    ) -> None:
        super().__init__()
        self.mirror = False
        self.multi_label = multi_label
        self.register_buffer("scale", (1 / (255 * std)).reshape(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).reshape(1, 3, 1, 1))
        self.scale: torch.Tensor
        self.shift: torch.Tensor
        layers: list[nn.Module] = []
        channels = 3
        while size > _BODY:
            layers.append(_layer(channels, width, stride=2))
            channels, size = width, (size + 1) // 2
        self.body_size = size
        if not layers:
            layers.append(_layer(channels, width))
        layers += [_layer(width, 2 * width, pool=True), *(_Residual(2 * width) for _ in range(depth))]
        layers += [_layer(2 * width, 4 * width, pool=True), *(_Residual(4 * width) for _ in range(depth))]
        layers.append(_layer(4 * width, 8 * width))
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(16 * width, labels)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores before softmax. Seen as [batch, 3, height, width] the pixels already lie channels-last in memory."""
        pixels = images.permute(0, 3, 1, 2).float() * self.scale + self.shift
        scores = self._scores(pixels)
        if self.mirror and not self.training:
            both = [probabilities(one, self.multi_label) for one in (scores, self._scores(pixels.flip(3)))]
            scores = scores_of(torch.stack(both).mean(dim=0), self.multi_label)
        return scores

    def _scores(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.layers(pixels)
        pooled = torch.cat([features.amax(dim=(2, 3)), features.mean(dim=(2, 3))], dim=1)
        scores: torch.Tensor = self.out(self.dropout(pooled)) * 0.25
        return scores


def _layer(inputs: int, outputs: int, stride: int = 1, pool: bool = False) -> nn.Sequential:
    """Convolution, maximum of 2 × 2 if asked for, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        *([nn.MaxPool2d(2)] if pool else []),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_layer(channels, channels), _layer(channels, channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Same shape."""
        changed: torch.Tensor = self.body(features)
        return features + changed

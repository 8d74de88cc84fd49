"""The image network: a small residual network that takes raw pixels."""

import torch
from torch import nn
from torch.nn import functional


class _Conv(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )


class _Residual(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_Conv(channels, channels), _Conv(channels, channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Same shape."""
        changed: torch.Tensor = self.body(features)
        return features + changed


class ImageNetwork(nn.Module):
    """Pixels, uint8 [batch, height, width, 3] → scores, float32 [batch, labels].

    The first convolution is pooled at once: most of the work is then done on small maps, which a CPU trains on in a
    minute. Images above 48 pixels are halved by strided layers until the body sees at most 48: its cost is then the
    same for every size. `mean` and `std` (per channel, in 0..1) are the training images'.
    """

    def __init__(self, labels: int, size: int, width: int, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", (1 / (255 * std)).reshape(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).reshape(1, 3, 1, 1))
        self.scale: torch.Tensor
        self.shift: torch.Tensor
        layers: list[nn.Module] = []
        channels = 3
        while size > 48:
            layers.append(_Conv(channels, width, stride=2))
            channels, size = width, (size + 1) // 2
        layers += [_Conv(channels, width), nn.MaxPool2d(2)]
        layers += [_Conv(width, 2 * width), nn.MaxPool2d(2), _Residual(2 * width)]
        layers += [_Conv(2 * width, 4 * width), nn.MaxPool2d(2), _Residual(4 * width)]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(8 * width, labels)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores before softmax. Seen as [batch, 3, height, width] the pixels already lie channels-last in memory."""
        pixels = images.permute(0, 3, 1, 2).float() * self.scale + self.shift
        features = self.layers(pixels)
        peak = functional.adaptive_max_pool2d(features, 1).flatten(1)
        mean = features.mean(dim=(2, 3))
        scores: torch.Tensor = self.out(torch.cat([peak, mean], dim=1)) * 0.25
        return scores

"""Networks for images."""

import numpy as np
import torch
from torch import Tensor, nn


class ConvUnit(nn.Sequential):
    """3 × 3 convolution, batch normalisation, ReLU; `pool` halves the picture."""

    def __init__(self, inputs: int, outputs: int, *, pool: bool = False) -> None:
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
        layers.append(nn.ReLU())
        if pool:
            layers.append(nn.MaxPool2d(2))
        super().__init__(*layers)


class Residual(nn.Module):
    """Two units whose result is added to their input (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.units = nn.Sequential(ConvUnit(channels, channels), ConvUnit(channels, channels))

    def forward(self, pictures: Tensor) -> Tensor:
        changed: Tensor = self.units(pictures)
        return pictures + changed


class ResidualNetwork(nn.Module):
    """uint8 [batch, size, size, 3] → scores [batch, classes].

    A first convolution of `width` channels, then two stages that halve the picture, double the channels and end with a
    residual block; the largest value of each channel decides. After the small residual networks of DAWNBench.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, classes: int, *, width: int, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("deviation", torch.ones(1, 3, 1, 1))
        stages: list[nn.Module] = [ConvUnit(3, width)]
        # Large pictures are first brought to 48 or less without growing wider: that is where the time would go.
        while size > 48:
            stages.append(ConvUnit(width, width, pool=True))
            size //= 2
        stages += [ConvUnit(width, 2 * width, pool=True), Residual(2 * width)]
        stages += [ConvUnit(2 * width, 4 * width, pool=True), Residual(4 * width)]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(4 * width, classes, bias=False)
        # Scores of a normalised network are large; an eighth keeps the softmax soft at the start.
        self.scale = 0.125

    def measure(self, pixels: np.ndarray, sample: int = 2000) -> None:
        """Take mean and deviation per channel, on the scale of 0 to 1, from some of the train images."""
        step = max(1, len(pixels) // sample)
        seen = torch.from_numpy(np.ascontiguousarray(pixels[::step])).float() / 255
        self.mean = seen.mean(dim=(0, 1, 2)).view(1, 3, 1, 1)
        self.deviation = seen.std(dim=(0, 1, 2)).clamp(min=1e-3).view(1, 3, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        pictures = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.deviation
        features: Tensor = self.stages(pictures)
        scores: Tensor = self.head(features.amax(dim=(2, 3))) * self.scale
        return scores

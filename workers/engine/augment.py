"""Augmentation of whole batches of images, by torch's global generator."""

import torch
from torch import Tensor


def augment(pixels: Tensor, *, flip: bool, color: float) -> Tensor:
    """uint8 [batch, H, W, 3] → the same shape: shifted by up to an eighth, mirrored, its colours varied."""
    pixels = shift(pixels, max(1, pixels.shape[1] // 8))
    if flip:
        mirrored = torch.rand(len(pixels)) < 0.5
        pixels[mirrored] = pixels[mirrored].flip(2)
    return vary_colors(pixels, color) if color else pixels


def shift(pixels: Tensor, most: int) -> Tensor:
    """Each image moved by up to `most` pixels each way; the edge is filled with the mirrored image."""
    count, height, width, channels = pixels.shape
    padded = torch.nn.functional.pad(pixels.permute(0, 3, 1, 2).float(), (most,) * 4, mode="reflect").to(torch.uint8)
    tops = torch.randint(0, 2 * most + 1, (count, 1, 1, 1))
    lefts = torch.randint(0, 2 * most + 1, (count, 1, 1, 1))
    rows = tops + torch.arange(height).view(1, 1, height, 1)
    columns = lefts + torch.arange(width).view(1, 1, 1, width)
    images = torch.arange(count).view(count, 1, 1, 1)
    moved: Tensor = padded[images, torch.arange(channels).view(1, channels, 1, 1), rows, columns]
    return moved.permute(0, 2, 3, 1).contiguous()


def vary_colors(pixels: Tensor, strength: float) -> Tensor:
    """Brightness, contrast and saturation, each image's own, by up to `strength` of their value."""
    images = pixels.float()

    def factors() -> Tensor:
        return 1 + strength * (2 * torch.rand(len(pixels), 1, 1, 1) - 1)

    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * factors() + mean * factors()
    grey = images.mean(dim=3, keepdim=True)
    images = (images - grey) * factors() + grey
    return images.round().clamp(0, 255).to(torch.uint8)

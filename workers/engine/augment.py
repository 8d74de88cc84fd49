"""Variants of training images, made for a whole batch at once, on uint8 pixels."""

import torch


def flip_and_shift(images: torch.Tensor, flip: bool, shift: int, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images and move each by up to `shift` pixels; what comes in at an edge repeats the edge.

    uint8 [batch, height, width, 3] → the same. One gather: every pixel is read from where it comes from.
    """
    batch, height, width, _ = images.shape
    rows = torch.arange(height) + torch.randint(-shift, shift + 1, (batch, 1), generator=generator)
    columns = torch.arange(width) + torch.randint(-shift, shift + 1, (batch, 1), generator=generator)
    if flip:
        mirrored = torch.rand(batch, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    moved: torch.Tensor = images[torch.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


def vary_colours(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Change brightness, contrast and saturation of each image by up to `strength` (0.2: a fifth)."""
    if strength == 0:
        return images
    pixels = images.float()
    brightness, contrast, saturation = 1 + strength * (2 * torch.rand(3, len(images), 1, 1, 1, generator=generator) - 1)
    grey = pixels.mean(dim=3, keepdim=True)
    pixels = grey + (pixels - grey) * saturation
    middle = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = (middle + (pixels - middle) * contrast) * brightness
    varied: torch.Tensor = pixels.round().clamp(0, 255).to(torch.uint8)
    return varied

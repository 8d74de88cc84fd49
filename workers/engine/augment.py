"""Variants of training images, made for a whole batch at once on uint8 pixels [batch, height, width, 3].

Everything random is drawn from the generator that is passed in: a batch is a pure function of the loop's seed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """What is varied. `shift`: by up to that share of the side; `color`: how strongly; the others: the share of images
    (of batches, where images are mixed) that this happens to."""

    flip: bool = True
    shift: float = 0.125
    color: float = 0.0
    distort: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def mixes(self) -> bool:
        """Whether `mix` does anything."""
        return self.mixup > 0 or self.cutmix > 0

    def vary(self, images: torch.Tensor, chance: Generator) -> torch.Tensor:
        """Each image by itself: mirrored, moved, distorted, other colours, a part erased."""
        images = flip_and_shift(images, self.flip, int(images.shape[1] * self.shift), chance)
        images = vary_colours(distort(images, self.distort, chance), self.color, chance)
        return erase(images, self.erase, chance)

    def mix(self, images: torch.Tensor, targets: torch.Tensor, chance: Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """That share of the batches by CutMix or Mixup; `targets`: float32 [batch, labels], rows sum to 1."""
        drawn = torch.rand((), generator=chance).item()
        if drawn < self.cutmix:
            return cutmix(images, targets, chance)
        if drawn < self.cutmix + self.mixup:
            return mixup(images, targets, chance)
        return images, targets


def flip_and_shift(images: torch.Tensor, flip: bool, shift: int, chance: Generator) -> torch.Tensor:
    """Mirror half of the images and move each by up to `shift` pixels; what comes in at an edge repeats the edge.

    One gather: every pixel is read from where it comes from.
    """
    batch, height, width, _ = images.shape
    rows = torch.arange(height) + torch.randint(-shift, shift + 1, (batch, 1), generator=chance)
    columns = torch.arange(width) + torch.randint(-shift, shift + 1, (batch, 1), generator=chance)
    if flip:
        mirrored = torch.rand(batch, 1, generator=chance) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    rows = rows.clamp(0, height - 1) + height * torch.arange(batch)[:, None]
    places = width * rows[:, :, None] + columns.clamp(0, width - 1)[:, None, :]
    # Whole pixels by one index each: four times as fast as by three.
    return images.flatten(0, 2).index_select(0, places.int().flatten()).view(images.shape)


def vary_colours(images: torch.Tensor, strength: float, chance: Generator) -> torch.Tensor:
    """Change brightness, contrast and saturation of each image by up to `strength` (0.2: a fifth)."""
    if strength == 0:
        return images
    brightness, contrast, saturation = 1 + strength * _between(-1, 1, 3, len(images), chance=chance)
    # All three are one linear map of a pixel, of its grey, and of the image's mean; the half rounds.
    gain = brightness * contrast
    pixels = images.float()
    mean = brightness * (1 - contrast) * pixels.flatten(1).mean(dim=1) + 0.5
    grey = pixels[..., 0] + pixels[..., 1] + pixels[..., 2]
    grey = grey.mul_((gain * (1 - saturation) / 3)[:, None, None]).add_(mean[:, None, None])
    pixels.mul_(_per_image(gain * saturation)).add_(grey[..., None])
    return pixels.clamp_(0, 255).to(torch.uint8)


def distort(images: torch.Tensor, share: float, chance: Generator) -> torch.Tensor:
    """Apply to that share of the images one operation each, of random kind and strength.

    Source: Müller and Hutter, TrivialAugment (2021): one random operation does as well as searched sequences.
    """
    if share == 0:
        return images
    images = images.clone()
    # A kind beyond the table leaves the image as it is.
    kinds = (torch.rand(len(images), generator=chance) * len(_OPERATIONS) / share).long()
    for kind, operation in enumerate(_OPERATIONS):
        rows = torch.nonzero(kinds == kind)[:, 0]
        if len(rows):
            images[rows] = operation(images[rows], _between(-1, 1, len(rows), chance=chance), chance)
    return images


def erase(images: torch.Tensor, share: float, chance: Generator) -> torch.Tensor:
    """Cover a square of half the side, at a random place that may stick out, with the image's mean colour (Cutout)."""
    if share == 0:
        return images
    chosen = torch.rand(len(images), 1, 1, 1, generator=chance) < share
    inside = _box(images, torch.full((len(images),), 0.5), chance) & chosen
    middle = images.float().mean(dim=(1, 2), keepdim=True).to(torch.uint8)
    return torch.where(inside, middle, images)


def mixup(images: torch.Tensor, targets: torch.Tensor, chance: Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each image with another of the batch (Zhang et al., 2018), by a share from Beta(½, ½)."""
    other = torch.randperm(len(images), generator=chance)
    # The arcsine law: its distribution function is known, so that one uniform number gives one share.
    share = torch.sin(_between(0, math.pi / 2, len(images), chance=chance)) ** 2
    blended = images[other].float().lerp(images.float(), _per_image(share))
    return _uint8(blended), targets[other].lerp(targets, share[:, None])


def cutmix(images: torch.Tensor, targets: torch.Tensor, chance: Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Put a rectangle of another image of the batch into each, labels by area (Yun et al., 2019)."""
    other = torch.randperm(len(images), generator=chance)
    inside = _box(images, torch.rand(len(images), generator=chance).sqrt(), chance)
    replaced = inside.float().mean(dim=(1, 2, 3))[:, None]
    # Whole pixels, each from its own image or from the other one.
    pixels = images.flatten(0, 2)
    own = torch.arange(len(pixels), dtype=torch.int32)
    away = (other - torch.arange(len(images))).int() * (len(pixels) // len(images))
    places = own.view(inside.shape) + inside * _per_image(away)
    mixed = pixels.index_select(0, places.flatten()).view(images.shape)
    return mixed, targets.lerp(targets[other], replaced)


def _box(images: torch.Tensor, side: torch.Tensor, chance: Generator) -> torch.Tensor:
    """bool [batch, height, width, 1]: inside a box around a random pixel; `side` is its share of height and width."""
    batch, height, width, _ = images.shape
    centre_y, centre_x = torch.rand(2, batch, 1, generator=chance)
    rows = ((torch.arange(height) + 0.5) / height - centre_y).abs() * 2 < side[:, None]
    columns = ((torch.arange(width) + 0.5) / width - centre_x).abs() * 2 < side[:, None]
    inside: torch.Tensor = rows[:, :, None] & columns[:, None, :]
    return inside[..., None]


def _between(low: float, high: float, *shape: int, chance: Generator) -> torch.Tensor:
    return torch.rand(*shape, generator=chance) * (high - low) + low


def _per_image(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]


def _uint8(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.round().clamp(0, 255).to(torch.uint8)


# The operations of `distort`: images, strengths in [-1, 1], chance → images.


def _rotate(images: torch.Tensor, strength: torch.Tensor, chance: Generator) -> torch.Tensor:
    angle = strength * math.radians(30)
    return _resample(images, angle.cos(), -angle.sin(), angle.sin(), angle.cos())


def _shear(images: torch.Tensor, strength: torch.Tensor, chance: Generator) -> torch.Tensor:
    along = torch.rand(len(strength), generator=chance) < 0.5
    one, none, slant = torch.ones_like(strength), torch.zeros_like(strength), 0.4 * strength
    return _resample(images, one, torch.where(along, slant, none), torch.where(along, none, slant), one)


def _zoom(images: torch.Tensor, strength: torch.Tensor, chance: Generator) -> torch.Tensor:
    """To between 0.7 and 1.4 of the size, height and width up to a fifth apart."""
    none, scale = torch.zeros_like(strength), torch.exp(0.35 * strength)
    stretch = torch.exp(_between(-0.1, 0.1, len(strength), chance=chance))
    return _resample(images, scale * stretch, none, none, scale / stretch)


def _resample(
    images: torch.Tensor, xx: torch.Tensor, xy: torch.Tensor, yx: torch.Tensor, yy: torch.Tensor
) -> torch.Tensor:
    """Each pixel from (xx·x + xy·y, yx·x + yy·y), seen from the middle; beyond the edges, the edges."""
    matrices = torch.stack([torch.stack([xx, xy], dim=1), torch.stack([yx, yy], dim=1)], dim=1)
    planes = images.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(functional.pad(matrices, (0, 1)), list(planes.shape), align_corners=False)
    moved = functional.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return _uint8(moved.permute(0, 2, 3, 1))


def _brightness(images: torch.Tensor, strength: torch.Tensor, chance: Generator) -> torch.Tensor:
    return _uint8(images.float() * _per_image(1 + 0.6 * strength))


def _contrast(images: torch.Tensor, strength: torch.Tensor, chance: Generator) -> torch.Tensor:
    return _uint8(_contrasted(images.float(), 1 + 0.8 * strength))


def _contrasted(pixels: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    return pixels.mean(dim=(1, 2, 3), keepdim=True).lerp(pixels, _per_image(factors))


def _saturation(images: torch.Tensor, strength: torch.Tensor, chance: Generator) -> torch.Tensor:
    return _uint8(_saturated(images.float(), 1 + 0.9 * strength))


def _saturated(pixels: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    return pixels.mean(dim=3, keepdim=True).lerp(pixels, _per_image(factors))


def _tint(images: torch.Tensor, strength: torch.Tensor, chance: Generator) -> torch.Tensor:
    gains = 1 + strength.abs()[:, None] * _between(-0.4, 0.4, len(images), 3, chance=chance)
    return _uint8(images.float() * gains[:, None, None, :])


def _posterize(images: torch.Tensor, strength: torch.Tensor, chance: Generator) -> torch.Tensor:
    """Keep 3 to 6 bits of each channel."""
    step = _per_image(2 ** (2 + (strength.abs() * 4).floor().clamp(max=3)))
    return _uint8((images.float() / step).floor() * step)


def _solarize(images: torch.Tensor, strength: torch.Tensor, chance: Generator) -> torch.Tensor:
    """Invert what is brighter than a threshold."""
    return torch.where(images > _per_image(255 * (1 - 0.7 * strength.abs())), 255 - images, images)


def _spread(images: torch.Tensor, strength: torch.Tensor, chance: Generator) -> torch.Tensor:
    """Each channel over the full range."""
    pixels = images.float()
    low, high = pixels.amin(dim=(1, 2), keepdim=True), pixels.amax(dim=(1, 2), keepdim=True)
    return _uint8((pixels - low) * 255 / (high - low).clamp(min=1))


def _sharpness(images: torch.Tensor, strength: torch.Tensor, chance: Generator) -> torch.Tensor:
    """Away from the mean of the neighbours, or towards it."""
    planes = images.permute(0, 3, 1, 2).float()
    smooth = functional.avg_pool2d(planes, 3, stride=1, padding=1, count_include_pad=False)
    return _uint8(smooth.lerp(planes, _per_image(1 + 0.9 * strength)).permute(0, 2, 3, 1))


_OPERATIONS: tuple[Callable[[torch.Tensor, torch.Tensor, Generator], torch.Tensor], ...] = (
    _rotate,
    _shear,
    _zoom,
    _brightness,
    _contrast,
    _saturation,
    _tint,
    _posterize,
    _solarize,
    _spread,
    _sharpness,
)

"""Whether mirrored images still show what their labels say: so with photos, not so with letters, digits or arrows."""

import numpy as np
import torch
from torch import nn

from workers.engine.image_network import ImageNetwork
from workers.engine.optimizing import default_groups, make_optimizer, set_rate
from workers.engine.settings import Settings

# Fewer images can decide nothing.
_LEAST = 100
_MOST = 3000
# Side in pixels: enough to tell left from right.
_SIDE = 16
_STEPS = 120
_BATCH = 48
# What a mirror image may cost of what the probe gains over always giving the most common answer.
_KEPT = 0.75


def survives_mirroring(pixels: np.ndarray, labels: np.ndarray, seed: int) -> bool:
    """Train a small network on images as they are; see whether it knows others mirrored about as well.

    `pixels` uint8 [rows, size, size, 3], `labels` int64 [rows]. True too where the probe learns too little to tell:
    most pictures of the world may be mirrored. Takes a second or two.
    """
    order = np.random.default_rng(seed).permutation(len(labels))[:_MOST]
    if len(order) < _LEAST:
        return True
    images, truth = _shrunk(torch.from_numpy(pixels[order])), torch.from_numpy(labels[order])
    held = len(order) // 3
    network = _learn(images[held:], truth[held:], seed)
    straight, mirrored = _accuracy(network, images[:held], truth[:held])
    common = torch.bincount(truth[:held]).max().item() / held
    gain = straight - common
    noise = 2 * (straight * (1 - straight) / held) ** 0.5
    return bool(gain < noise or mirrored - common > _KEPT * gain - noise)


def _shrunk(images: torch.Tensor) -> torch.Tensor:
    planes = [part.permute(0, 3, 1, 2).float() for part in images.split(256)]
    small = torch.cat([nn.functional.interpolate(part, (_SIDE, _SIDE), mode="area") for part in planes])
    return small.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _learn(images: torch.Tensor, truth: torch.Tensor, seed: int) -> ImageNetwork:
    chance = torch.Generator().manual_seed(seed)
    sample = images.float().reshape(-1, 3) / 255
    network = ImageNetwork(
        int(truth.max()) + 1, _SIDE, sample.mean(dim=0), sample.std(dim=0).clamp_min(0.02), width=8, depth=0
    )
    settings = Settings(epochs=1, batch_size=_BATCH, learning_rate=0.01)
    optimizer = make_optimizer(default_groups(network, 0.0), settings)
    for step in range(_STEPS):
        set_rate(optimizer, settings, step / _STEPS, 1.0)
        rows = torch.randint(len(images), (_BATCH,), generator=chance)
        loss = nn.functional.cross_entropy(network(images[rows]), truth[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@torch.no_grad()
def _accuracy(network: ImageNetwork, images: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    """On the images and on their mirror images."""
    hits = [0, 0]
    for part, answers in zip(images.split(256), truth.split(256), strict=True):
        for way, shown in enumerate((part, part.flip(2))):
            hits[way] += int((network(shown).argmax(dim=1) == answers).sum())
    return hits[0] / len(images), hits[1] / len(images)

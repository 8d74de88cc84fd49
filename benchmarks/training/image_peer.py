"""A network as a user would write it in plain PyTorch: image_peer.py DATA.parquet NAME SEED → a line of JSON.

The seconds are those of training on tensors already in memory; nothing of Slipway is used.
"""

import io
import json
import sys
import time

import numpy as np
import pyarrow.parquet
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

EPOCHS = 40


def conv(inputs: int, outputs: int, pool: bool = False) -> nn.Sequential:
    """Convolution, batch norm, ReLU, and a maximum of 2 × 2 if asked for."""
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


class Residual(nn.Module):
    """Two convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels), conv(channels, channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Same shape."""
        return features + self.body(features)


def residual(labels: int) -> nn.Module:
    """conv(3→32) conv(→64) res(64) conv(→128) res(128), pooled early."""
    body = [conv(3, 32, True), conv(32, 64, True), Residual(64), conv(64, 128, True), Residual(128)]
    return nn.Sequential(*body, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(128, labels))


def keras_tutorial(labels: int) -> nn.Module:
    """Three plain convolutions and a dense layer: https://www.tensorflow.org/tutorials/images/cnn."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, labels)),
    )


def flip_and_crop(images: torch.Tensor) -> torch.Tensor:
    """One crop for the whole batch, half of the images mirrored."""
    top, left = torch.randint(0, 9, (2,)).tolist()
    padded = functional.pad(images, (4, 4, 4, 4), mode="reflect")[:, :, top : top + 32, left : left + 32]
    return torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, padded.flip(3), padded)


def read(path: str) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Images float32 [rows, 3, 32, 32] and labels of train (validation included) and test."""
    table = pyarrow.parquet.read_table(path, columns=["image", "label", "split"]).to_pydict()
    names = sorted(set(table["label"]))
    opened = (Image.open(io.BytesIO(data)) for data in table["image"])
    pixels = np.stack([np.asarray(image.convert("RGB").resize((32, 32))) for image in opened])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    labels = torch.tensor([names.index(name) for name in table["label"]])
    test = torch.tensor([split == "test" for split in table["split"]])
    return {"train": (images[~test], labels[~test]), "test": (images[test], labels[test])}


def main() -> None:
    """Train, test, print."""
    path, name, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    splits = read(path)
    images, labels = splits["train"]
    torch.manual_seed(seed)
    started, computed = time.monotonic(), time.process_time()
    strong = name == "residual"
    model = (residual if strong else keras_tutorial)(int(labels.max()) + 1)
    steps = EPOCHS * (len(images) // 128)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=strong, weight_decay=5e-4 * strong)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=steps, pct_start=0.2) if strong else None
    for step in range(steps):
        if step % (len(images) // 128) == 0:
            order = torch.randperm(len(images))
        rows = order[step % (len(images) // 128) * 128 :][:128]
        inputs = flip_and_crop(images[rows]) if strong else images[rows]
        loss = functional.cross_entropy(model(inputs), labels[rows], label_smoothing=0.1 * strong)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule:
            schedule.step()
    wall, cpu = time.monotonic() - started, time.process_time() - computed
    model.eval()
    with torch.no_grad():
        right = [model(part).argmax(dim=1) for part in splits["test"][0].split(500)]
    accuracy = float((torch.cat(right) == splits["test"][1]).float().mean())
    print(json.dumps({"accuracy": accuracy, "wall": wall, "cpu": cpu}))


if __name__ == "__main__":
    main()

"""Training of image classifiers: pixels decoded once into a file, examples, network, and what the served path needs."""

import base64
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workers.contracts.errors import JobError
from workers.engine.augment import flip_and_shift, vary_colours
from workers.engine.classification import TrainedClassifier, label_indices, training_labels
from workers.engine.examples import Examples
from workers.engine.image_network import ImageNetwork
from workers.engine.loop import fit
from workers.engine.run import Run
from workers.engine.settings import Settings
from workers.inference.core import InputError
from workers.inference.image import ImageLabels, decode_image
from workers.task_templates.image_classification import ImageParams

_SIZES = (32, 48, 64, 96, 128)
# Images that a training run reads, counted over all its epochs, where the user sets no epochs.
_BUDGET = {"fast": 90_000, "balanced": 150_000, "best": 400_000}


def train_image(run: Run) -> "TrainedImages":
    """Decode the images once, then train. Raises JobError."""
    params = run.params
    assert isinstance(params, ImageParams)
    run.progress(0.0, "Decoding images")
    labels = training_labels(run.preparation)
    size = params.image_size or choose_size(run.preparation, params.largest_size)
    run.choose(image_size=size)
    train, validation, test = (
        ImageExamples(run, split, labels, size, params, _DECODE_PROGRESS[split])
        for split in ("train", "validation", "test")
    )
    settings = _settings(run, params, len(train))
    mean, std = train.statistics()
    torch.manual_seed(run.seed)
    network = ImageNetwork(len(labels), size, params.width, mean, std)
    run.log(
        f"Learning {len(labels)} classes from {len(train):,} images at {size} × {size} pixels, "
        f"{settings.epochs} epochs in batches of {settings.batch_size}."
    )
    fit(run, network, train, validation, settings)
    evaluation: dict[str, Examples] = {"validation": validation, "test": test}
    if not len(validation) and not len(test):
        evaluation = {"train": train}
    return TrainedImages(run, network, labels, evaluation, size)


_DECODE_PROGRESS = {"train": 0.01, "validation": 0.03, "test": 0.04}


def choose_size(run: Run, largest: int) -> int:
    """The side for square images: the largest of 32, 48, 64, 96, 128 that half of the images fill, within bounds."""
    table = run.split("train", ["width", "height"])
    shorter = np.minimum(table["width"].to_numpy(), table["height"].to_numpy())
    fitting = [size for size in _SIZES if size <= min(largest, float(np.median(shorter)) * 1.1)]
    return fitting[-1] if fitting else min(_SIZES[0], largest // 8 * 8)


def _settings(run: Run, params: ImageParams, rows: int) -> Settings:
    """Fill in what the user left to the data: at least 30 steps per epoch, and a fixed number of images read in all."""
    batch_size = params.batch_size or min(128, max(16, 2 ** int(np.log2(max(1, rows / 30)))))
    epochs = params.epochs or min(40, max(4, round(_BUDGET[run.train.preset] / rows)))
    run.choose(epochs=epochs, batch_size=batch_size)
    # The step size belongs to batches of 128; smaller batches are noisier and take smaller steps.
    rate = params.learning_rate * min(1.0, batch_size / 128) ** 0.5
    return Settings.of(params, epochs=epochs, batch_size=batch_size, learning_rate=rate)


class ImageExamples(Examples):
    """Pixels of one split, uint8 [rows, size, size, 3], in a file that the operating system pages in as needed."""

    def __init__(
        self, run: Run, split: str, labels: list[str], size: int, params: ImageParams, progress: float
    ) -> None:
        self.labels = label_indices(run, split, labels)
        self._flip = params.flip
        self._color = params.color
        self._shift = max(1, size // 8)
        self._pixels = np.zeros((0, size, size, 3), dtype=np.uint8)
        if not len(self):
            return
        self._pixels = np.lib.format.open_memmap(
            run.cache / f"{split}.npy", mode="w+", dtype=np.uint8, shape=(len(self), size, size, 3)
        )
        done = 0
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for batch in run.batches(split, ["image", "name"]):
                files, names = batch["image"].to_pylist(), batch["name"].to_pylist()
                decoded = pool.map(_decode, files, names, repeat(size))
                for pixels in decoded:
                    self._pixels[done] = pixels
                    done += 1
                run.progress(progress, "Decoding images", step=done, steps=len(self))

    def batch(self, rows: np.ndarray) -> torch.Tensor:
        """uint8 [rows, size, size, 3]."""
        return torch.from_numpy(self._pixels[rows])

    def augment(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mirrored, moved by up to an eighth, with other colours."""
        return vary_colours(flip_and_shift(inputs, self._flip, self._shift, generator), self._color, generator)

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of each channel in 0..1, over up to 2,000 images."""
        rows = np.linspace(0, len(self) - 1, min(len(self), 2000)).astype(np.int64)
        pixels = self._pixels[rows].reshape(-1, 3).astype(np.float32) / 255
        return torch.tensor(pixels.mean(axis=0)), torch.tensor(np.maximum(pixels.std(axis=0), 0.02))


def _decode(data: bytes, name: str, size: int) -> np.ndarray:
    try:
        return decode_image(data, (size, size))
    except InputError as error:
        raise JobError("input_corrupt", evidence=f"{name[:200]}: {error.message}") from None


class TrainedImages(TrainedClassifier):
    """An image classifier, trained."""

    input_name = ImageLabels.input_name

    def __init__(
        self, run: Run, network: ImageNetwork, labels: list[str], evaluation: dict[str, Examples], size: int
    ) -> None:
        super().__init__(run, network, labels, evaluation)
        self._size = size

    def raw_inputs(self, split: str) -> Iterator[Any]:
        """The encoded files as uploaded."""
        for batch in self.run.batches(split, ["image"], 64):
            yield from batch["image"].to_pylist()

    def shown(self, split: str, rows: np.ndarray) -> list[str]:
        """The files' names."""
        names = self.run.split(split, ["name"])["name"].take(rows).to_pylist()
        return [name[:500] for name in names]

    def example_input(self) -> torch.Tensor:
        """Two black images."""
        return torch.zeros((2, self._size, self._size, 3), dtype=torch.uint8)

    def export_side_files(self, folder: Path) -> dict[str, Any]:
        """No file; the size to which images are stretched."""
        return {"height": self._size, "width": self._size, "resize": "stretch"}

    def reference_cases(self) -> list[Any]:
        """The first images of the evaluation rows, small ones only, in base64."""
        cases = []
        for raw in self.raw_inputs(self.certified_split()):
            if len(raw) < 100_000:
                cases.append({"image": base64.b64encode(raw).decode()})
            if len(cases) == 3:
                break
        return cases

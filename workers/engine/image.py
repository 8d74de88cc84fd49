"""Training of image classifiers: pixels decoded once into a file, examples, network, and what the served path needs."""

import base64
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from workers.engine.augment import Augmentation
from workers.engine.classification import TrainedClassifier
from workers.engine.edge_cases import EdgeCase, image_cases
from workers.engine.examples import Examples, known_rows
from workers.engine.image_network import ImageNetwork
from workers.engine.labels import label_indices, training_labels
from workers.engine.loop import fit
from workers.engine.mirroring import survives_mirroring
from workers.engine.pixels import decode
from workers.engine.run import Run
from workers.engine.settings import Settings
from workers.engine.variants import quantize_static
from workers.inference.image import STRETCHED, ImageLabels, Scaling, decode_image
from workers.task_templates.image_classification import ImageParams

# Training images that show an int8 variant its ranges.
_CALIBRATION = 200
_SIZES = (32, 48, 64, 96, 128)
# Images of 32 × 32 pixels that a training run reads, counted over all its epochs, where the user sets no epochs.
_BUDGET = {"fast": 50_000, "balanced": 150_000, "best": 250_000}
# Of that on a CPU without matrix units for bfloat16: its steps take nearly three times as long.
_SLOW = 0.6
# Few images are repeated this often at most.
_EPOCHS = {"fast": 60, "balanced": 200, "best": 300}


def train_image(run: Run) -> "TrainedImages":
    """Decode the images once, then train, from scratch or on a pretrained encoder. Raises JobError."""
    params = run.params
    assert isinstance(params, ImageParams)
    if params.encoder == "auto":
        run.log("There is no starter encoder for images: the network learns from scratch.")
    elif params.encoder != "none":
        # transformers takes seconds to import.
        from workers.engine.encoder_image import train_on_encoder

        return train_on_encoder(run, params)
    run.progress(0.0, "Reading images")
    labels = training_labels(run.preparation)
    size = params.image_size or choose_size(run.preparation, params.largest_size)
    run.choose(image_size=size)
    train, validation, test = (ImageExamples(run, split, labels, size) for split in ("train", "validation", "test"))
    augmentation = choose_augmentation(run, params, train)
    train.vary_by(augmentation)
    mean, std = train.statistics()
    torch.manual_seed(run.seed)
    network = ImageNetwork(
        len(labels),
        size,
        mean,
        std,
        width=params.width,
        depth=params.depth,
        dropout=params.dropout,
        multi_label=train.multi_label,
    )
    settings = _settings(run, params, len(train), network.body_size)
    run.log(
        f"Learning {len(labels)} classes from {len(train):,} images at {size} × {size} pixels, "
        f"{settings.epochs} epochs in batches of {settings.batch_size}."
    )
    fit(run, network, train, validation, settings)
    # Not before: the validation at the end of each epoch has no need of it.
    network.mirror = params.mirror_answers and augmentation.flip
    evaluation: dict[str, Examples] = {"validation": validation, "test": test}
    if not len(validation) and not len(test):
        evaluation = {"train": train}
    return TrainedImages(run, network, labels, evaluation, size)


def choose_size(run: Run, largest: int) -> int:
    """The side for square images: the largest of 32, 48, 64, 96, 128 that half of the images fill, within bounds."""
    table = run.split("train", ["width", "height"])
    shorter = np.minimum(table["width"].to_numpy(), table["height"].to_numpy())
    fitting = [size for size in _SIZES if size <= min(largest, float(np.median(shorter)) * 1.1)]
    return fitting[-1] if fitting else min(_SIZES[0], largest // 8 * 8)


def choose_augmentation(run: Run, params: ImageParams, train: "ImageExamples") -> Augmentation:
    """The user's, with mirroring decided by the images where it was left open."""
    flip = params.flip == "on"
    if params.flip == "auto":
        run.progress(0.045, "Looking whether images may be mirrored")
        rows = known_rows(train.labels)
        rows = np.sort(np.random.default_rng(run.seed).permutation(rows)[:3000])
        flip = survives_mirroring(train.read(rows), _classes(train.labels[rows]), run.seed)
        if not flip:
            run.log("Mirrored images are not recognised: left and right matter here, so training does not mirror.")
    run.choose(flip=flip)
    return Augmentation(
        flip=flip,
        color=params.color,
        distort=params.distort,
        erase=params.erase,
        mixup=params.mixup,
        cutmix=params.cutmix,
    )


def _classes(labels: np.ndarray) -> np.ndarray:
    """int64 [rows]: the labels; of several each, which of the different sets it is."""
    return labels if labels.ndim == 1 else np.unique(labels, axis=0, return_inverse=True)[1].ravel()


def _settings(run: Run, params: ImageParams, rows: int, body_size: int) -> Settings:
    """Fill in what the user left to the data: at least 30 steps per epoch, and a fixed amount of computing in all."""
    preset = run.train.preset
    slow = run.device.type == "cpu" and not torch.cpu.get_capabilities().get("amx_bf16", False)
    images = _BUDGET[preset] * (_SLOW if slow else 1) * (32 / body_size) ** 2
    batch_size = params.batch_size or min(128, max(16, 2 ** int(np.log2(max(1, rows / 30)))))
    epochs = params.epochs or min(_EPOCHS[preset], max(4, round(images / rows)))
    run.choose(epochs=epochs, batch_size=batch_size)
    return Settings.of(
        params,
        epochs=epochs,
        batch_size=batch_size,
        # The step size belongs to batches of 128; smaller batches are noisier and take smaller steps.
        learning_rate=params.learning_rate * min(1.0, batch_size / 128) ** 0.5,
        # Convolutions in bfloat16 are more than twice as fast on a CPU with AMX.
        precision="bf16" if params.precision == "auto" and run.device.type == "cpu" and not slow else params.precision,
    )


class ImageExamples(Examples):
    """Images of one split, uint8 [rows, size, size, 3]."""

    def __init__(self, run: Run, split: str, labels: list[str], size: int, scaling: Scaling = STRETCHED) -> None:
        self.labels = label_indices(run, split, labels)
        self._augmentation = Augmentation()
        self._pixels = decode(run, size, scaling)
        self._places = run.places(split)

    def vary_by(self, augmentation: Augmentation) -> None:
        """What training is to do to these images."""
        self._augmentation = augmentation
        self.mixes = augmentation.mixes

    def read(self, rows: np.ndarray) -> np.ndarray:
        """uint8 [len(rows), size, size, 3]."""
        return self._pixels.read(self._places[rows])

    def batch(self, rows: np.ndarray) -> torch.Tensor:
        """uint8 [len(rows), size, size, 3]."""
        return torch.from_numpy(self.read(rows))

    def augment(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """See Augmentation."""
        return self._augmentation.vary(inputs, generator)

    def mix(
        self, inputs: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """CutMix or Mixup."""
        return self._augmentation.mix(inputs, targets, generator)

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of each channel in 0..1, over up to 2,000 images."""
        rows = np.linspace(0, len(self) - 1, min(len(self), 2000)).astype(np.int64)
        pixels = self.read(rows).reshape(-1, 3).astype(np.float32) / 255
        return torch.tensor(pixels.mean(axis=0)), torch.tensor(np.maximum(pixels.std(axis=0), 0.02))


class TrainedImages(TrainedClassifier):
    """An image classifier, trained."""

    input_name = ImageLabels.input_name

    def __init__(
        self,
        run: Run,
        network: nn.Module,
        labels: list[str],
        evaluation: dict[str, Examples],
        size: int,
        scaling: Scaling = STRETCHED,
    ) -> None:
        super().__init__(run, network, labels, evaluation)
        self._size = size
        self._scaling = scaling

    def raw_inputs(self, split: str) -> Iterator[Any]:
        """The encoded files as uploaded."""
        for batch in self.run.batches(split, ["image"], 64):
            yield from batch["image"].to_pylist()

    def shown(self, split: str, rows: np.ndarray) -> list[str]:
        """The files' names."""
        names = self.run.split(split, ["name"])["name"].take(rows).to_pylist()
        return [name[:500] for name in names]

    def encode(self, raws: list[Any]) -> torch.Tensor:
        """uint8 [images, size, size, 3]."""
        return torch.from_numpy(
            np.stack([decode_image(raw, (self._size, self._size), scaling=self._scaling) for raw in raws])
        )

    def edge_cases(self) -> list[EdgeCase]:
        """Images of unusual sizes, modes and formats, and what is no image."""
        return image_cases(next(self.raw_inputs(self.certified_split())))

    def quantize(self, folder: Path) -> str:
        """Static: the ranges inside the network are those that training images give."""
        raws = islice(self.raw_inputs("train"), _CALIBRATION)
        pixels = (self.encode([raw]).numpy() for raw in raws)
        return quantize_static(folder, self.input_name, pixels)

    def example_input(self) -> torch.Tensor:
        """Two black images."""
        return torch.zeros((2, self._size, self._size, 3), dtype=torch.uint8)

    def export_side_files(self, folder: Path) -> dict[str, Any]:
        """No file; the size to which images are scaled, and how."""
        how = "crop" if self._scaling.crop else "stretch"
        return {"height": self._size, "width": self._size, "resize": how, **self._scaling._asdict()}

    def reference_cases(self) -> list[Any]:
        """The first images of the evaluation rows, small ones only, in base64."""
        cases = []
        for raw in self.raw_inputs(self.certified_split()):
            if len(raw) < 100_000:
                cases.append({"image": base64.b64encode(raw).decode()})
            if len(cases) == 3:
                break
        return cases

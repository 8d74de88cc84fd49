"""Image classification: images decoded once into a uint8 cache, augmentation on batches, a small residual network."""

import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor

from workers.contracts.errors import JobError
from workers.engine.augment import augment
from workers.engine.classification import TrainedClassifier, WithSoftmax, label_indices
from workers.engine.loop import Plan, fit
from workers.engine.networks import ResidualNetwork
from workers.engine.run import Run, Trained
from workers.inference.runtime import InputError, decode_image
from workers.task_templates.image_classification import ImageParams

_SMALLEST, _LARGEST = 32, 128
_SPLITS: Final = ("train", "validation", "test")


class ImageExamples:
    """Images of one split in a memory-mapped cache, uint8 [examples, size, size, 3]."""

    def __init__(self, pixels: np.ndarray, labels: Tensor, params: ImageParams) -> None:
        self.pixels, self.labels = pixels, labels
        self._params = params

    def batches(self, size: int, random: np.random.Generator) -> list[np.ndarray]:
        """Every image once, in random order; a last batch of one would upset batch normalisation and joins another."""
        order = random.permutation(len(self.labels))
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        if len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [np.concatenate(parts[-2:])]
        return parts

    def inputs(self, indices: np.ndarray, *, training: bool) -> Tensor:
        """uint8 [batch, size, size, 3]."""
        pixels = torch.from_numpy(np.ascontiguousarray(self.pixels[indices]))
        return augment(pixels, flip=self._params.flip, color=self._params.color) if training else pixels


class TrainedImages(TrainedClassifier):
    """A trained image classifier."""

    def raw(self, split: str) -> Iterator[tuple[int, bytes]]:
        """The encoded files as they were uploaded."""
        for batch in self.run.batches(split, ["row", "image"]):
            yield from zip(batch["row"].to_pylist(), batch["image"].to_pylist(), strict=True)

    def shown(self, raw: Any) -> str:
        """Nothing: the page shows the image by its row."""
        return ""

    def export(self, folder: Path) -> dict[str, Any]:
        """model.onnx: `images` uint8 [batch, size, size, 3] → `scores`. Normalisation and softmax are in the graph."""
        size = next(iter(self.splits.values())).pixels.shape[1]  # type: ignore[attr-defined]
        example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
        self.write_onnx(WithSoftmax(self.network), example, "images", folder / "model.onnx", {0: "batch"})
        return {"height": size, "width": size}

    def reference_cases(self) -> list[Any]:
        """Three images of the test split, spread over it."""
        split = "test" if "test" in self.splits else "train"
        step = max(1, len(self.splits[split].labels) // 3)
        chosen = [raw for index, (_row, raw) in enumerate(self.raw(split)) if index % step == 0][:3]
        return [{"image": base64.b64encode(raw).decode("ascii")} for raw in chosen]


def train_image(run: Run) -> Trained:
    """Decode the images, train the network. Raises JobError."""
    params = cast(ImageParams, run.params)
    size = params.image_size or choose_size(run)
    labels = sorted(set(run.split("train", ["label"])["label"].to_pylist()))
    splits = _decode(run, params, labels, size)
    if "train" not in splits:
        raise JobError("too_few_rows", evidence="There are no train rows.")
    counts = ", ".join(f"{len(examples.labels):,} {name}" for name, examples in splits.items())
    run.log(f"{counts} images of {len(labels)} classes, scaled to {size} × {size} pixels.")
    torch.manual_seed(run.seed)
    network = ResidualNetwork(len(labels), width=params.width, size=size)
    network.measure(splits["train"].pixels)
    plan = Plan(
        epochs=params.epochs,
        batch_size=params.batch_size,
        learning_rate=params.learning_rate,
        optimizer="sgd",
        weight_decay=params.weight_decay,
        warm_up=0.2,
        label_smoothing=params.label_smoothing,
        class_weights=params.class_weights,
        clip_norm=None,
        patience=params.patience,
    )
    fit(run, network, splits["train"], splits.get("validation"), plan)
    return TrainedImages(run, network, labels, dict(splits))


def choose_size(run: Run) -> int:
    """The median of the shorter sides of the train images, as a multiple of 8 between 32 and 128."""
    table = run.split("train", ["width", "height"])
    if not len(table):
        raise JobError("too_few_rows", evidence="There are no train rows.")
    sides = np.minimum(table["width"].to_numpy(), table["height"].to_numpy())
    return int(np.clip(round(float(np.median(sides)) / 8) * 8, _SMALLEST, _LARGEST))


def _decode(run: Run, params: ImageParams, labels: list[str], size: int) -> dict[str, ImageExamples]:
    """Every image once through the very function that serves, into memory-mapped files of the job's folder."""
    found = {}
    folder = run.job_dir.root / "cache"
    folder.mkdir(exist_ok=True)
    counts = {split: run.split(split, ["row"]).num_rows for split in _SPLITS}
    done, total, spoke = 0, max(1, sum(counts.values())), 0.0
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for split, count in counts.items():
            if not count:
                continue
            names: list[str] = []
            pixels = np.memmap(folder / f"{split}.u8", np.uint8, "w+", shape=(count, size, size, 3))
            for batch in run.batches(split, ["image", "label"]):
                decoded = pool.map(partial(_decoded, size=size), batch["image"].to_pylist())
                for offset, image in enumerate(decoded):
                    pixels[len(names) + offset] = image
                names += batch["label"].to_pylist()
                done += len(batch)
                if time.monotonic() - spoke > 0.5:
                    spoke = time.monotonic()
                    run.progress(0.0, f"Decoding images, {done:,} of {total:,}")
            found[split] = ImageExamples(pixels, label_indices(names, labels, split), params)
    return found


def _decoded(data: bytes, size: int) -> np.ndarray:
    try:
        return decode_image(data, (size, size))
    except InputError as error:
        # The import decoded it once: what lies in the file now is not what was imported.
        raise JobError("input_corrupt", evidence=error.message) from None

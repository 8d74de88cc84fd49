"""Image classifiers on a pretrained encoder: fine-tuned, or frozen with a layer on top."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from workers.engine.encoder import (
    ENCODER_SETTINGS,
    Source,
    encoder_batch,
    find_encoder,
    layer_groups,
    load_body,
    prepare_export,
    refuse,
    training_precision,
    width,
)
from workers.engine.encoder_head import Head, train_head
from workers.engine.examples import Examples
from workers.engine.image import ImageExamples, TrainedImages, choose_augmentation
from workers.engine.labels import training_labels
from workers.engine.loop import fit, judged, row_losses
from workers.engine.run import Run
from workers.engine.settings import Settings
from workers.engine.soup import train_soup
from workers.inference.image import Scaling
from workers.task_templates.image_classification import ImageParams

_RATE = 1e-4
_EPOCHS = 5
_LEAST_STEPS = 150
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


@dataclass(frozen=True)
class Seeing:
    """How an encoder wants to see images: what its image processor's settings say, as the served path does it."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scaling: Scaling


def seeing(source: Source, body: nn.Module, wanted: int | None) -> Seeing:
    """From preprocessor_config.json, with the usual values where it says nothing. Raises JobError `encoder_invalid`."""
    settings = source.settings("preprocessor_config.json")
    size = settings.get("size") or getattr(body.config, "image_size", None) or 224
    cut = settings.get("crop_size") if settings.get("do_center_crop", True) else None
    shortest = _side(size)
    seen = _side(cut) if cut else shortest
    # A convolutional encoder takes any size; a transformer has places for the one that it was trained on.
    side = wanted if wanted and not hasattr(body.config, "patch_size") else seen
    share = float(settings.get("crop_pct") or seen / shortest)
    keeps_proportions = cut is not None or (isinstance(size, dict) and "shortest_edge" in size)
    scaled = settings.get("do_normalize", True)
    mean = tuple(settings.get("image_mean") or (0.5,) * 3) if scaled else (0.0,) * 3
    std = tuple(settings.get("image_std") or (0.5,) * 3) if scaled else (1.0,) * 3
    usual = abs(settings.get("rescale_factor", 1 / 255) - 1 / 255) < 1e-6 and settings.get("do_rescale", True)
    if not usual or settings.get("do_flip_channel_order") or len(mean) != 3 or len(std) != 3 or not 8 <= side <= 1024:
        raise refuse(source.name, "its image processor's settings are not those of an encoder of RGB images")
    crop = min(1.0, share) if keeps_proportions else None
    return Seeing(side, mean, std, Scaling(crop, _RESAMPLE.get(settings.get("resample", 2), "bilinear")))


def _side(size: Any) -> int:
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height") or size.get("width") or 224
    return int(size)


class ImageEncoder(nn.Module):
    """Pixels, uint8 [batch, height, width, 3] → scores, float32 [batch, labels].

    The features are the model's own pooled ones where it is convolutional, else the mean of the last layer's vectors.
    """

    def __init__(self, source: Source, body: nn.Module, seen: Seeing, labels: int) -> None:
        super().__init__()
        std = torch.tensor(seen.std)
        self.register_buffer("scale", (1 / (255 * std)).reshape(1, 3, 1, 1))
        self.register_buffer("shift", (-torch.tensor(seen.mean) / std).reshape(1, 3, 1, 1))
        self.scale: torch.Tensor
        self.shift: torch.Tensor
        self.body = body.eval()
        example = torch.zeros((2, seen.size, seen.size, 3), dtype=torch.uint8)
        self.head = Head(width(source, self.features, example), labels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores before softmax."""
        scores: torch.Tensor = self.head(self.features(images))
        return scores

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """float32 [batch, width]."""
        pixels = images.permute(0, 3, 1, 2).float() * self.scale + self.shift
        last: torch.Tensor = self.body(pixel_values=pixels).last_hidden_state
        return last.mean(dim=(2, 3)) if last.ndim == 4 else last.mean(dim=1)


def train_on_encoder(run: Run, params: ImageParams) -> TrainedImages:
    """Decode the images as the encoder wants to see them, then train it, or a layer on top of it. Raises JobError."""
    run.progress(0.0, "Loading the encoder")
    labels = training_labels(run.preparation)
    source = find_encoder(run, params.encoder)
    torch.manual_seed(run.seed)
    body = load_body(source, "image")
    seen = seeing(source, body, params.image_size)
    run.choose(image_size=seen.size)
    network = ImageEncoder(source, body, seen, len(labels))
    train, validation, test = (
        ImageExamples(run, split, labels, seen.size, seen.scaling) for split in ("train", "validation", "test")
    )
    how = f"{len(labels)} classes from {len(train):,} images at {seen.size} × {seen.size} pixels"
    if params.encoder_training == "frozen":
        run.log(f"Learning {how}, from what {source.name} makes of them.")
        train_head(run, network, network.head, train, validation)
    else:
        train.vary_by(choose_augmentation(run, params, train))
        settings = _settings(run, params, len(train))
        run.log(f"Fine-tuning {source.name} on {how}, {settings.epochs} epochs in batches of {settings.batch_size}.")

        def once(stage: Run, _number: int) -> None:
            groups = layer_groups(body, network.head, decay=params.encoder_layer_decay)
            fit(stage, network, train, validation, settings, groups)

        def losses(network: nn.Module) -> np.ndarray:
            return row_losses(judged(network, validation, run.device, settings), validation.labels)

        train_soup(run, network, once, losses if len(validation) else None, params.encoder_rounds or 1, math.inf)
    prepare_export(body)
    evaluation: dict[str, Examples] = {"validation": validation, "test": test}
    if not len(validation) and not len(test):
        evaluation = {"train": train}
    trained = TrainedImages(run, network, labels, evaluation, seen.size, seen.scaling)
    trained.notes = [f"Starts from the pretrained encoder {source.name}."]
    return trained


def _settings(run: Run, params: ImageParams, rows: int) -> Settings:
    batch_size = params.batch_size or encoder_batch(rows)
    epochs = params.epochs or min(40, max(_EPOCHS, math.ceil(_LEAST_STEPS / math.ceil(rows / batch_size))))
    run.choose(epochs=epochs, batch_size=batch_size)
    return Settings.of(
        params,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=params.encoder_learning_rate or _RATE,
        warmup=0.1,
        precision=training_precision(run, params),
        **ENCODER_SETTINGS,
    )

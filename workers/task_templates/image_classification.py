"""Image classification: an image gets one of the labels of the training data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from workers.contracts.kinds import DatasetKind
from workers.task_templates.base import ADVANCED, ClassificationTemplate, Preset
from workers.task_templates.encoder import EncoderParams
from workers.task_templates.network import NetworkParams
from workers.task_templates.search_space import Range, SearchSpace

if TYPE_CHECKING:
    from workers.engine.run import Run, Trained

_SHARED: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.2,
    "warmup": 0.2,
    "weight_decay": 0.0005,
    "clip_norm": 5.0,
    "label_smoothing": 0.1,
    "ema": 0.05,
    # The learning rate falls to the end, and with it the error: whoever stops early, loses the best part.
    "patience": 100,
}


class ImageParams(EncoderParams, NetworkParams):
    """What can be set for an image classifier."""

    image_size: int | None = Field(
        default=None,
        ge=16,
        le=256,
        multiple_of=8,
        title="Image size",
        description="Side in pixels to which images are scaled. Empty: chosen from the data.",
    )
    largest_size: int = Field(
        default=64,
        ge=16,
        le=256,
        title="Largest image size",
        description="Where the size is chosen from the data: no larger than this.",
        json_schema_extra=ADVANCED,
    )
    width: int = Field(
        default=32,
        ge=8,
        le=256,
        multiple_of=8,
        title="Network width",
        description="Channels of the first layer. Wider networks learn more and take longer.",
    )
    depth: int = Field(
        default=1,
        ge=0,
        le=8,
        title="Network depth",
        description="Residual blocks of each of the two stages.",
        json_schema_extra=ADVANCED,
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        le=0.9,
        title="Dropout",
        description="Share of the last features that are left out at random in training.",
        json_schema_extra=ADVANCED,
    )
    flip: Literal["auto", "on", "off"] = Field(
        default="auto",
        title="Mirror images",
        description="Show images also mirrored in training. Auto: unless a small network that learned from some of the "
        "images does not recognise others mirrored, as with letters and digits.",
    )
    color: float = Field(
        default=0.0,
        ge=0,
        le=1,
        title="Vary colours",
        description="How strongly brightness, contrast and saturation are varied in training.",
        json_schema_extra=ADVANCED,
    )
    distort: float = Field(
        default=0.0,
        ge=0,
        le=1,
        title="Distort",
        description="Share of the images that are turned, slanted, zoomed, sharpened, or given fewer or other colours "
        "in training, one of these at random (TrivialAugment).",
        json_schema_extra=ADVANCED,
    )
    erase: float = Field(
        default=0.0,
        ge=0,
        le=1,
        title="Erase parts",
        description="Share of the images of which training covers a square (Cutout).",
        json_schema_extra=ADVANCED,
    )
    mixup: float = Field(
        default=0.0,
        ge=0,
        le=1,
        title="Mixup",
        description="Share of the batches in which training blends images, and their labels, in pairs.",
        json_schema_extra=ADVANCED,
    )
    cutmix: float = Field(
        default=0.0,
        ge=0,
        le=1,
        title="CutMix",
        description="Share of the batches in which training puts a part of another image into each.",
        json_schema_extra=ADVANCED,
    )
    mirror_answers: bool = Field(
        default=False,
        title="Mirror when answering",
        description="Answer with the mean over the image and its mirror image, where images may be mirrored: better, "
        "at twice the computing.",
        json_schema_extra=ADVANCED,
    )


class ImageClassification(ClassificationTemplate):
    """JPEG, PNG, WebP, GIF and BMP files of any size; labels are strings."""

    key = "image-classification"
    kind: ClassVar[DatasetKind] = "image"
    title = "Image classification"
    summary = "Sort photos and pictures into the classes of your examples: products, defects, species, documents."
    predictor = "image-labels"
    command = "python predict.py photo.jpg"
    libraries = "numpy onnxruntime pillow"
    limits = (
        "It sees an image stretched to {width} × {height} pixels: what is smaller than a few pixels there is lost. It "
        "answers with its own classes whatever the image."
    )
    params = ImageParams
    presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "fast": _SHARED | {"largest_size": 64, "color": 0.1, "int8": False},
        "balanced": _SHARED | {"largest_size": 96, "color": 0.2, "cutmix": 0.5},
        "best": _SHARED
        | {"largest_size": 128, "width": 48, "color": 0.2, "distort": 0.5, "cutmix": 0.5, "mirror_answers": True},
    }
    search_space: ClassVar[SearchSpace] = {
        "learning_rate": Range(0.02, 1.0, log=True),
        "label_smoothing": Range(0.0, 0.2),
        "weight_decay": Range(0.00005, 0.005, log=True),
        "color": Range(0.0, 0.6),
        "distort": Range(0.0, 0.9),
        "cutmix": Range(0.0, 0.8),
    }
    input_schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "title": "Image",
        "description": "The image file itself as the request's body, or JSON with the file in base64.",
        "required": ["image"],
        "properties": {"image": {"type": "string", "contentEncoding": "base64"}},
    }

    def toy_data(self, path: Path, seed: int = 0) -> None:
        """Red, green and blue blobs on noise, as PNG and JPEG: 240 rows, 160 of them to train on."""
        from workers.task_templates.toy import write_toy_images

        write_toy_images(path, seed)

    def train(self, run: "Run") -> "Trained":
        """Decode the images once, then train a residual network. Raises JobError."""
        from workers.engine.image import train_image

        return train_image(run)

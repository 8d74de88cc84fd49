"""Text classification: a text gets one of the labels of the training data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from workers.contracts.kinds import DatasetKind
from workers.task_templates.base import ADVANCED, ClassificationTemplate, Preset
from workers.task_templates.encoder import EncoderParams
from workers.task_templates.network import NetworkParams, dropout_field, networks_field
from workers.task_templates.search_space import Range, SearchSpace

if TYPE_CHECKING:
    from workers.engine.run import Run, Trained

_PRESET: dict[str, Any] = {
    "learning_rate": 0.005,
    "batch_size": 32,
    "label_smoothing": 0.05,
    "patience": 4,
}


class TextParams(EncoderParams, NetworkParams):
    """What can be set for a text classifier."""

    linear: bool = Field(
        default=True,
        title="Linear model",
        description="Also learn a logistic regression on TF-IDF of words, phrases and runs of characters, and let it "
        "answer together with the networks.",
    )
    channels: int = Field(
        default=32,
        ge=0,
        le=512,
        title="Pattern detectors",
        description="How many patterns over several words the network looks for, of each length. More take longer and "
        "need more examples; 0 leaves a plain bag of words, word parts and phrases.",
    )
    networks: int = networks_field(10)
    max_tokens: int = Field(
        default=512,
        ge=8,
        le=4096,
        title="Longest text",
        description="Words and word parts that are read of a text; the rest of longer texts is left out.",
    )
    vocabulary: int = Field(
        default=20_000,
        ge=300,
        le=200_000,
        title="Vocabulary",
        description="How many words and word parts the model knows, at most.",
        json_schema_extra=ADVANCED,
    )
    phrases: int = Field(
        default=3,
        ge=1,
        le=5,
        title="Longest phrase",
        description="Runs of up to this many words or word parts count as phrases.",
        json_schema_extra=ADVANCED,
    )
    lowercase: bool = Field(
        default=True,
        title="Ignore case",
        description="Treat capital and small letters alike.",
        json_schema_extra=ADVANCED,
    )
    dropout: float = dropout_field(0.5)


class TextClassification(ClassificationTemplate):
    """Texts of any language; labels are strings."""

    key = "text-classification"
    kind: ClassVar[DatasetKind] = "text"
    title = "Text classification"
    summary = "Sort texts into the classes of your examples: topics, intents, sentiment, spam. Any language."
    predictor = "text-labels"
    command = 'python predict.py "some text"'
    libraries = "numpy onnxruntime tokenizers"
    limits = (
        "It reads the first {max_tokens} words and word parts of a text. It has seen only the language and style of "
        "its training texts, and answers with its own classes whatever the text."
    )
    params = TextParams
    presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "fast": _PRESET | {"learning_rate": 0.008, "batch_size": 64, "int8": False},
        "balanced": _PRESET | {"networks": 3, "learning_rate": 0.003},
        "best": _PRESET
        | {
            "encoder": "auto",
            "networks": 5,
            "channels": 48,
            "learning_rate": 0.002,
            "vocabulary": 30_000,
            "patience": 6,
        },
    }
    search_space: ClassVar[SearchSpace] = {
        "learning_rate": Range(0.001, 0.02, log=True),
        "dropout": Range(0.1, 0.8),
        "label_smoothing": Range(0.0, 0.2),
        "weight_decay": Range(0.0001, 0.1, log=True),
        "phrases": Range(1, 4),
        "channels": Range(8, 128, log=True),
    }
    input_schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "title": "Text",
        "minLength": 1,
        "examples": ["Where can I change my delivery address?"],
    }

    def toy_data(self, path: Path, seed: int = 0) -> None:
        """Weather, food and travel sentences made of each class's own words: 360 rows, 240 of them to train on."""
        from workers.task_templates.toy import write_toy_texts

        write_toy_texts(path, seed)

    def train(self, run: "Run") -> "Trained":
        """Train a tokenizer and a network. Raises JobError."""
        from workers.engine.text import train_text

        return train_text(run)

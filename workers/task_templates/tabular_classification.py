"""Tabular classification: a row of numbers, categories and dates gets one of the labels of the training data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from workers.contracts.kinds import DatasetKind
from workers.task_templates.base import ADVANCED, ClassificationTemplate, Preset
from workers.task_templates.network import NetworkParams, dropout_field, networks_field
from workers.task_templates.search_space import Range, SearchSpace

if TYPE_CHECKING:
    from workers.engine.run import Run, Trained

_PRESET: dict[str, Any] = {
    "learning_rate": 0.002,
    "weight_decay": 0.05,
    "label_smoothing": 0.02,
    "patience": 12,
}


class TabularParams(NetworkParams):
    """What can be set for a classifier of rows."""

    ignore: str = Field(
        default="",
        max_length=4000,
        title="Leave out columns",
        description="Columns that the model must not look at, separated by commas: what is not known yet when a "
        "prediction is asked for, or gives the answer away.",
    )
    networks: int = networks_field(20)
    width: int = Field(
        default=192, ge=8, le=4096, title="Hidden width", description="Numbers in each hidden layer of the network."
    )
    depth: int = Field(
        default=2, ge=0, le=20, title="Hidden layers", description="How many residual blocks the network has."
    )
    embedding: int = Field(
        default=12,
        ge=1,
        le=256,
        title="Embedding",
        description="Numbers that describe a category, or the place of a number among its quantiles.",
        json_schema_extra=ADVANCED,
    )
    bins: int = Field(
        default=24,
        ge=2,
        le=256,
        title="Quantiles",
        description="How finely the place of a number among those of the training rows is told.",
        json_schema_extra=ADVANCED,
    )
    categories: int = Field(
        default=5000,
        ge=1,
        le=100_000,
        title="Most categories",
        description="How many values of a column the model knows, the most frequent ones; others are unknown.",
        json_schema_extra=ADVANCED,
    )
    hide: float = Field(
        default=0.02,
        ge=0,
        le=0.9,
        title="Hide cells",
        description="Share of cells that are hidden at random in training, so that the model can do without them.",
        json_schema_extra=ADVANCED,
    )
    dropout: float = dropout_field(0.15)


class TabularClassification(ClassificationTemplate):
    """Tables of numbers, categories and dates with missing values; labels are strings."""

    key = "tabular-classification"
    kind: ClassVar[DatasetKind] = "tabular"
    title = "Tabular classification"
    summary = (
        "Sort the rows of a table into the classes of your examples: customers, claims, measurements. Numbers, "
        "categories and dates, with gaps; always measured beside gradient boosting."
    )
    predictor = "table-labels"
    command = "python predict.py --row 'EXAMPLE'"
    limits = (
        "It knows the columns that it was trained on, and takes a missing value or an unknown category as such. It "
        "answers with one of its classes whatever the row."
    )
    params = TabularParams
    presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "fast": _PRESET | {"int8": False},
        "balanced": _PRESET | {"networks": 4},
        "best": _PRESET | {"networks": 8, "width": 256, "learning_rate": 0.0015, "patience": 20},
    }
    search_space: ClassVar[SearchSpace] = {
        "learning_rate": Range(0.0005, 0.01, log=True),
        "width": Range(64, 512, log=True),
        "depth": Range(1, 4),
        "embedding": Range(4, 32, log=True),
        "bins": Range(8, 64, log=True),
        "dropout": Range(0.0, 0.5),
        "weight_decay": Range(0.001, 0.5, log=True),
    }
    input_schema: ClassVar[dict[str, Any]] = {
        "title": "Row",
        "type": "object",
        "description": "A value by column; what is left out, null or empty counts as missing.",
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    }

    def toy_data(self, path: Path, seed: int = 0) -> None:
        """Plants: the class follows from a height, a colour and a date, with gaps: 360 rows, 240 of them to train
        on."""
        from workers.task_templates.toy import write_toy_table

        write_toy_table(path, seed)

    def train(self, run: "Run") -> "Trained":
        """Learn the columns and train a network. Raises JobError."""
        from workers.engine.table import train_table

        return train_table(run)

"""Training on rows of a table: columns to features, a network, and gradient boosting beside it in the report."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch

from workers.contracts.errors import JobError
from workers.contracts.report import Baseline
from workers.engine.boosting import boosted_scores, cross_fitted
from workers.engine.classification import TrainedClassifier
from workers.engine.edge_cases import EdgeCase, row_cases
from workers.engine.examples import Examples
from workers.engine.labels import label_indices, training_labels, true_labels
from workers.engine.loop import fit
from workers.engine.metrics import classification_metrics
from workers.engine.run import CrossFitted, Run, Trained
from workers.engine.settings import Settings
from workers.engine.table_network import TableNetwork, TableNetworks, layout_of
from workers.inference.tabular import DATE_WIDTH, FEATURES, TableLabels, cell_text, is_missing

if TYPE_CHECKING:
    from workers.task_templates.tabular_classification import TabularParams

_EXAMPLE_VALUES = 20


def train_table(run: Run) -> Trained:
    """Learn columns, train the network. Raises JobError."""
    params: TabularParams = run.params  # type: ignore[assignment]
    labels = training_labels(run.preparation)
    run.progress(0.01, "Reading the columns")
    columns, ignored = read_columns(run.preparation, params)
    train = TableExamples(run, "train", columns, labels)
    evaluation: dict[str, Examples] = {
        split: TableExamples(run, split, columns, labels) for split in ("validation", "test")
    }
    torch.manual_seed(run.seed)
    settings = _settings(run, params, len(train))
    numbers, categories, sizes = _places(columns)
    layout = layout_of(train.features, numbers, categories, sizes, params.bins)
    network = TableNetworks(
        [
            TableNetwork(
                layout,
                len(labels),
                embedding=params.embedding,
                width=params.width,
                depth=params.depth,
                dropout=params.dropout,
                hide=params.hide,
            )
            for _ in range(params.networks)
        ]
    )
    fit(run, network, train, evaluation["validation"], settings)
    return TrainedTable(run, network, labels, train, evaluation, columns, ignored)


def _settings(run: Run, params: "TabularParams", rows: int) -> Settings:
    epochs = params.epochs or int(np.clip(1_500_000 // rows, 8, 100))
    batch_size = params.batch_size or int(np.clip(2 ** round(np.log2(max(rows, 1) / 80)), 16, 1024))
    run.choose(epochs=epochs, batch_size=batch_size)
    return Settings.of(params, epochs=epochs, batch_size=batch_size)


def read_columns(run: Run, params: "TabularParams") -> tuple[list[dict[str, Any]], list[str]]:
    """What the model looks at, as manifest.preprocessing tells it, and the names of the other columns.

    A column is {"name", "type", "format"?, "values"?}; `values` are a category's, the most frequent first. Raises
    JobError where no column is left.
    """
    schema = pyarrow.parquet.read_schema(run.data_path)
    left_out = {name.strip() for name in params.ignore.split(",")}
    columns: list[dict[str, Any]] = []
    ignored = ["label"]
    values = run.split("train", ["values"])["values"].combine_chunks()
    for field in schema.field("values").type:
        facts = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        if facts.get("type") not in FEATURES or field.name in left_out:
            ignored.append(field.name)
            continue
        column: dict[str, Any] = {"name": field.name, "type": facts["type"]}
        if facts["type"] == "date":
            column["format"] = facts["format"]
        if facts["type"] == "category":
            column["values"] = _categories(_field(values, field.name), params)
        columns.append(column)
    if not columns:
        raise JobError("column_missing", "No column is left to learn from.", evidence=f"Left out: {params.ignore}")
    return columns, [name for name in ignored if name not in {column["name"] for column in columns}]


def _field(values: Any, name: str) -> Any:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values.field(name)


def _categories(cells: Any, params: "TabularParams") -> list[str]:
    """The cells that occur often enough to learn from, the most frequent first; rarer ones are unknown."""
    counted = cells.value_counts().to_pylist()
    counts = {row["values"].strip(): row["counts"] for row in counted if not is_missing(row["values"].strip())}
    often = sorted((name for name in counts if counts[name] > 1), key=lambda name: (-counts[name], name))
    return often[: params.categories]


def _places(columns: list[dict[str, Any]]) -> tuple[list[int], list[int], list[int]]:
    """Where numbers and categories stand in a row of features, and how many numbers each category has."""
    numbers: list[int] = []
    categories: list[int] = []
    sizes: list[int] = []
    at = 0
    for column in columns:
        width = DATE_WIDTH if column["type"] == "date" else 1
        if column["type"] == "category":
            categories.append(at)
            sizes.append(len(column["values"]) + 2)
        else:
            numbers.extend(range(at, at + width))
        at += width
    return numbers, categories, sizes


def encode_table(columns: list[dict[str, Any]], values: Any) -> np.ndarray:
    """float64 [rows, width]: the features of a struct array of cells. Each different cell is read once."""
    parts = []
    for column in columns:
        features = FEATURES[column["type"]](column)
        cells = _field(values, column["name"]).dictionary_encode()
        different = np.array([features(cell.strip()) for cell in cells.dictionary.to_pylist()], np.float64)
        width = DATE_WIDTH if column["type"] == "date" else 1
        parts.append(different.reshape(-1, width)[np.asarray(cells.indices)])
    return np.concatenate(parts, axis=1)


class TableExamples(Examples):
    """The features of one split, float64 [rows, width]."""

    def __init__(self, run: Run, split: str, columns: list[dict[str, Any]], labels: list[str]) -> None:
        self.labels = label_indices(run, split, labels)
        self.features = encode_table(columns, run.split(split, ["values"])["values"].combine_chunks())

    def batch(self, rows: np.ndarray) -> torch.Tensor:
        """float64 [rows, width]."""
        return torch.from_numpy(self.features[rows])


class TrainedTable(TrainedClassifier):
    """A classifier of rows, trained."""

    input_name = TableLabels.input_name

    def __init__(
        self,
        run: Run,
        network: torch.nn.Module,
        labels: list[str],
        train: TableExamples,
        evaluation: dict[str, Examples],
        columns: list[dict[str, Any]],
        ignored: list[str],
    ) -> None:
        super().__init__(run, network, labels, evaluation)
        self._train = train
        self._columns = columns
        self._ignored = ignored

    def raw_inputs(self, split: str) -> Iterator[Any]:
        """The rows as the file has them, with the columns that the model does not look at."""
        for batch in self.run.batches(split, ["values"]):
            yield from batch["values"].to_pylist()

    def shown(self, split: str, rows: np.ndarray) -> list[str]:
        """The cells that the model sees, with their columns' names."""
        names = [column["name"] for column in self._columns]
        picked = self.run.split(split, ["values"])["values"].take(rows).to_pylist()
        return ["; ".join(f"{name}: {row[name]}" for name in names)[:500] for row in picked]

    def encode(self, raws: list[Any]) -> torch.Tensor:
        """float64 [rows, width]."""
        cells = {column["name"]: [cell_text(raw.get(column["name"])) for raw in raws] for column in self._columns}
        values = pa.StructArray.from_arrays([pa.array(column) for column in cells.values()], names=list(cells))
        return torch.from_numpy(encode_table(self._columns, values))

    def edge_cases(self) -> list[EdgeCase]:
        """Rows with missing, unknown and impossible cells."""
        return row_cases(self._columns, next(self.raw_inputs(self.certified_split())))

    def example_input(self) -> torch.Tensor:
        """The first row, twice."""
        return torch.from_numpy(np.repeat(self._train.features[:1], 2, axis=0))

    def evaluate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """As for every classifier, with gradient boosting on the same features beside it."""
        metrics, report = super().evaluate()
        self.run.progress(0.91, "Training gradient boosting for comparison")
        categories = _places(self._columns)[1]
        tables = {name: found for name, found in self.evaluation.items() if isinstance(found, TableExamples)}
        scores = boosted_scores(self._train, tables, categories, self.run.seed)
        boosting = Baseline(name="gradient boosting")
        for split, given in scores.items():
            truth, names = true_labels(self.run, split, self.labels)
            padded = np.pad(given, ((0, 0), (0, len(names) - len(self.labels))))
            setattr(boosting, split, classification_metrics(truth, padded))
        return metrics, {**report, "compared": [boosting.model_dump(mode="json")]}

    def input_schema(self) -> dict[str, Any]:
        """A row of this very table: its columns with their types and most frequent values."""
        row = next(iter(self.raw_inputs(self.certified_split())))
        properties: dict[str, Any] = {}
        for column in self._columns:
            types = (
                ["number", "string", "null"] if column["type"] == "number" else ["string", "number", "boolean", "null"]
            )
            about: dict[str, Any] = {"type": types, "description": column["type"]}
            if examples := column.get("values", [])[:_EXAMPLE_VALUES]:
                about["examples"] = examples
            properties[column["name"]] = about
        example = {column["name"]: row[column["name"]] for column in self._columns}
        return {"type": "object", "title": "Row", "properties": properties, "examples": [example]}

    def export_side_files(self, folder: Path) -> dict[str, Any]:
        """No file: the columns are in the manifest."""
        return {"columns": self._columns, "ignored": self._ignored}

    def cross_fit(self, whole: Run, labels: list[str], given: np.ndarray, dealt: np.ndarray) -> CrossFitted:
        """See Trained. By gradient boosting: on most tables as good as the network, for a fraction of its time."""
        features = encode_table(self._columns, whole.split("train", ["values"])["values"].combine_chunks())
        answers = cross_fitted(features, given, len(labels), dealt, _places(self._columns)[1], self.run.seed)
        return CrossFitted(answers, "gradient boosting")

    def reference_cases(self) -> list[Any]:
        """The first rows of the evaluation."""
        names = [column["name"] for column in self._columns]
        rows = self.run.split(self.certified_split(), ["values"])["values"].slice(0, 5).to_pylist()
        return [{name: row[name][:1000] for name in names} for row in rows]

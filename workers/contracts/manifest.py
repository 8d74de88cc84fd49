"""manifest.json of a bundle: everything about a model but its weights."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.contracts.errors import ErrorCard
from workers.contracts.job import DatasetKind, TableFormat
from workers.contracts.report import Report

MANIFEST_VERSION: Final = 1
# The file of a training's output that says which labels look wrong.
SUSPECTS: Final = "suspects.parquet"
LOOKS: Final = "looks.parquet"
"""What was seen of each image of a version."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EdgeCases(_Part):
    """Odd raw inputs through both paths. `cases` says of each: "same" answer, "refused" as it has to be, or "differs",
    which is a flip (an answer where there should be none, too)."""

    examples: int
    label_flips: int
    max_abs_difference: float
    cases: dict[str, Literal["same", "refused", "differs"]]


class Certificate(_Part):
    """The parity certificate: the served path (raw input → preprocessing → ONNX → label) against PyTorch, over the
    whole test split (validation where there is no test row), or over `examples` of the `of` that it has.

    `label_flips` counts examples whose answer differs: the label, or for ranked items the ordered top 10 after ties
    within the tolerance. `max_abs_difference` is over all scores.
    """

    examples: int
    # None: all that the split has were compared.
    of: int | None = None
    label_flips: int
    max_abs_difference: float
    tolerance: float
    passed: bool
    split: str = "test"
    provider: str = "CPUExecutionProvider"
    # None in certificates from before there were any.
    edge_cases: EdgeCases | None = None

    @property
    def compared(self) -> str:
        """How many examples of which split, in words: "1,000 test", "50,000 of 200,000 test"."""
        return f"{self.examples:,} {f'of {self.of:,} ' if self.of else ''}{self.split}"


class Provenance(_Part):
    """Where the model comes from."""

    job: str
    attempt: int
    dataset: str
    dataset_version: str
    dataset_number: int
    dataset_hash: str
    template: str
    preset: str
    parameters: dict[str, Any]
    seed: int
    code_version: str
    torch_version: str
    trained_at: str
    device: str


class Latency(_Part):
    """Milliseconds of one prediction, and of 32 in one run, on one thread of the machine that trained."""

    single: float
    batch_32: float


class Variant(_Part):
    """Another form of the model in the same bundle, with its own certificate: it answers a little differently by
    nature. `deployable`: it costs at most `allowed_drop` of accuracy; else `reason` says what stands against it.

    `label_flips` and `max_abs_difference` are against PyTorch, over the certificate's split.
    """

    name: Literal["int8"]
    file: str
    method: Literal["dynamic", "static"]
    bytes: int
    bytes_fp32: int
    split: str
    examples: int
    label_flips: int
    max_abs_difference: float
    accuracy: float
    accuracy_fp32: float
    allowed_drop: float
    latency: Latency
    latency_fp32: Latency
    deployable: bool
    reason: str = ""


class Manifest(_Part):
    """`predictor` names the class that serves the bundle, by the table in workers/inference/runtime.py;
    `preprocessing` is that class's own settings."""

    manifest_version: Literal[1] = MANIFEST_VERSION
    name: str
    template: str
    kind: DatasetKind
    predictor: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    preprocessing: dict[str, Any]
    labels: list[str] = Field(default_factory=list)
    # Where an input may have several labels, or none: from which probability on each is answered, in their order.
    thresholds: list[float] = Field(default_factory=list)
    metrics: dict[str, Any]
    certificate: Certificate
    provenance: Provenance
    variants: list[Variant] = Field(default_factory=list)
    # name → {"sha256", "bytes"} of every other file of the bundle.
    files: dict[str, dict[str, Any]]


class TrainResult(_Part):
    """result.json of a train job (with `files` added by JobDir.write_result). output/ holds bundle.zip and, of
    classifiers that had enough rows for it, suspects.parquet.

    suspects.parquet tells of the version's rows, as far as a model that knows the row's label did not learn from it:
    `row` int32 (the version's), `predicted` string (that model's answer), `label_probability` float32 (which it gives
    the row's own label), `suspicion` float32 (0 to 1, higher: likelier a wrong label), `suspect` bool.

    `metrics`: {"validation": {name: value}, "test": {...}}, also in the report; for recommendation each split also
    holds "popularity": {...}.
    With `folds`, metrics["cross_validation"] holds {"folds", "mean": {name: value}, "std": {...}, "per_fold": [{...}]}
    of the held-out rows.
    """

    metrics: dict[str, Any]
    report: Report
    certificate: Certificate
    manifest: Manifest
    useful_seconds: float
    files: dict[str, dict[str, Any]] = Field(default_factory=dict)


class BatchPreview(_Part):
    """The first rows of the answered file, as text: cells, numbers and columns cut to what a page shows."""

    columns: list[str] = Field(default_factory=list)
    rows: list[list[str]] = Field(default_factory=list)


class BatchResult(_Part):
    """result.json of a batch prediction. output/ holds predictions.csv, .jsonl or .parquet.

    It has the rows of the file, all of them and in order, with `columns` added; `failed` of them hold an error instead
    of an answer. `labels`: how often each label was answered.
    """

    rows: int
    failed: int
    format: TableFormat
    columns: list[str]
    labels: dict[str, int] = Field(default_factory=dict)
    preview: BatchPreview = BatchPreview()
    seconds: float
    files: dict[str, dict[str, Any]] = Field(default_factory=dict)


class IngestResult(_Part):
    """result.json of an ingest job. output/ holds data.parquet, errors.csv and, where the data doctor found
    something in a row, findings.parquet: `row` int32, `code` (dictionary of strings), once per row and code; of images
    looks.parquet, by which an edit knows them without decoding them.

    data.parquet columns: `row` int64 (0-based, dense), `split` string, `hash` string (32 hex), and
    text: `text` string, `label` string; image: `image` binary (the encoded file as uploaded), `label` string, `name`
    string, `width` int32, `height` int32, `format` string; recommendation: `user` string, `item` string, `rating`
    float32?, `timestamp` int64 (seconds since the epoch)?; tabular: `label` string, `values` struct of strings, the
    table's own cells as written, each field with the metadata {"type": number, date, category or ignored, "format"}.
    Where texts come in pairs, `text_pair` string, the second one, stands behind `text`.
    Where texts or images have several labels each (profile["multi_label"]), `labels` list of strings, sorted, stands
    beside `label`, which is the same list as JSON; `classes` counts each label.
    Where some rows are nearly the same, `group` string: those of equal group are, of other rows it is null.
    """

    rows: int
    rejected: int
    content_hash: str
    # [{"name", "type"}] of the columns of data.parquet, and the mapping that was used.
    columns: list[dict[str, str]]
    mapping: dict[str, str]
    classes: dict[str, int] = Field(default_factory=dict)
    splits: dict[str, int]
    # Kind-specific facts for the dataset page: text lengths, image sizes, users, items, density, dates.
    profile: dict[str, Any]
    issues: list[dict[str, Any]]
    # Of an import that failed after it had rejected rows: why. Then output/ holds errors.csv alone.
    error: ErrorCard | None = None
    files: dict[str, dict[str, Any]] = Field(default_factory=dict)

"""What a job is told to do (JobSpec) and where it runs. Written by the control plane, read by runner and child
process."""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from workers.contracts.kinds import DatasetKind as DatasetKind

SPEC_VERSION: Final = 1

JobKind = Literal["ingest", "train", "batch"]
TableFormat = Literal["csv", "jsonl", "parquet"]
SPLITS = ("train", "validation", "test")


class Contract(BaseModel):
    """Unknown fields are an error: a typo must not pass for an option."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputFile(Contract):
    """A file that the runner fetches from storage into `inputs/<name>` before the child starts.

    With a `url` the file is fetched from there, of at most `max_bytes` (`is_room`: so many because the team has no room
    for more), and put into storage under `key`, if it is not there already.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")]
    key: str
    sha256: str | None = None
    url: str = ""
    max_bytes: int = 0
    is_room: bool = False


class IngestLimits(Contract):
    """Bounds of one import, in bytes, rows and pixels."""

    max_rows: int = 20_000_000
    max_field_chars: int = 1_000_000
    max_archive_entries: int = 200_000
    max_unpacked_bytes: int = 20 * 2**30
    max_compression_ratio: int = 200
    max_image_bytes: int = 32 * 2**20
    max_image_pixels: int = 50_000_000
    max_examples_per_issue: int = 5
    # So many different items are compared for being nearly the same; 0: none.
    max_compared: int = 1_000_000


MAX_FIRST_LINE: Final = 200
MAX_SHEET_CHARS: Final = 255


class FileOptions(Contract):
    """How tables are to be read, where that is not to be guessed. `header`: whether the first row names the columns;
    `first_line`: the line that it begins on, below what stands above the table; `sheet`: which one of a workbook."""

    header: bool | None = None
    first_line: Annotated[int, Field(ge=1, le=MAX_FIRST_LINE)] | None = None
    sheet: Annotated[str, Field(max_length=MAX_SHEET_CHARS, pattern=r"^[^\x00-\x1f]*$")] = ""


GUESSED: Final = FileOptions()


class IngestSpec(FileOptions):
    """Read `inputs/source` (called `filename` by its owner) into Parquet.

    `mapping` names columns: {"text", "text_pair"?, "label", "split"?}, {"user", "item", "rating"?, "timestamp"?,
    "split"?} or, for tables, {"label", "split"?}; what it leaves out is guessed, "" is none. "label_separator" in it is
    no column: what parts several labels in one cell of texts' or images' labels; nor is "empty_label": "none", by which
    an empty cell says that a row has none of several labels. `more` names further files,
    `inputs/source-1`, …, whose tables are one with the first's. With `append`, the rows are added to those of
    `inputs/parent`, an earlier version's data.parquet. With `corrections` or `repair`, `inputs/source` is the
    data.parquet of an earlier version: `changes.json` beside it says what to correct (see workers.ingest.correct), or
    `repair` names what to do (see workers.ingest.repairs), perhaps with findings.parquet and suspects.parquet beside.
    Of images the earlier version's looks.parquet may be beside, too.
    """

    kind: DatasetKind
    filename: str
    more: list[str] = Field(default_factory=list)
    append: bool = False
    corrections: bool = False
    repair: str = ""
    mapping: dict[str, str] = Field(default_factory=dict)
    limits: IngestLimits = IngestLimits()
    seed: int = 0


class DatasetRef(Contract):
    """The dataset version a job trains on: `inputs/data.parquet` and what is known of it."""

    dataset: str
    version: str
    number: int
    content_hash: str
    kind: DatasetKind
    name: str
    classes: dict[str, int] = Field(default_factory=dict)
    rows: int = 0


class Tune(Contract):
    """How long to search for better parameters: so many trials, so many minutes, or whichever ends first.

    The plain forms `20` (trials) and `"10m"` (minutes) are taken, too.
    """

    trials: Annotated[int, Field(ge=1, le=1000)] | None = None
    minutes: Annotated[float, Field(gt=0, le=7 * 24 * 60)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"trials": value}
        if isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,6})\s*(m?)", value.strip())):
            return {"minutes" if match[2] else "trials": int(match[1])}
        return value

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.trials is None and self.minutes is None:
            raise ValueError("give a number of trials or of minutes")
        return self


def _fold_count(value: int) -> int:
    if value == 1:
        raise ValueError("0 for none, or 2 to 10")
    return value


Folds = Annotated[int, Field(ge=0, le=10), AfterValidator(_fold_count)]


class TrainSpec(Contract):
    """Train `template` on `inputs/data.parquet`. `parameters` are validated by the template's Params."""

    template: str
    preset: Literal["fast", "balanced", "best"]
    parameters: dict[str, Any] = Field(default_factory=dict)
    dataset: DatasetRef
    model_name: str
    seed: int = 0

    @property
    def devices(self) -> int:
        """How many devices of one host the job asks for (the parameter `devices`, which the template validates)."""
        wanted = self.parameters.get("devices")
        return wanted if isinstance(wanted, int) and wanted >= 1 else 1


class BatchSpec(Contract):
    """Answer every row of `inputs/source` (called `filename` by its owner) with the model in `inputs/bundle.zip`.

    `mapping` names columns: {"text", "text_pair"?}, {"user"} or {"items"}, or for tables {column of the model: column
    of the file}; what it leaves out is guessed. `options`: how the file is to be read. `format` of the answers: that
    of the file where it is None, CSV for archives. `scores`: a column per class; `k`: how many items to recommend.
    `requests_left` of the team's monthly quota. The rest says whose usage it is.
    """

    prediction: str
    project: str
    endpoint: str = ""
    revision: str | None = None
    model: str
    # Of the model, which answers in its place; empty: the model itself.
    variant: str = ""
    kind: DatasetKind
    filename: str
    options: FileOptions = GUESSED
    mapping: dict[str, str] = Field(default_factory=dict)
    format: TableFormat | None = None
    scores: bool = False
    k: Annotated[int, Field(ge=1, le=1000)] | None = None
    requests_left: int | None = None
    limits: IngestLimits = IngestLimits()


class JobSpec(Contract):
    """One attempt of one job, whole: a runner needs nothing else."""

    spec_version: Literal[1] = SPEC_VERSION
    job: str
    attempt: int
    team: str
    kind: JobKind
    inputs: list[InputFile]
    output_prefix: str
    # Files of the checkpoint to resume from, put into `checkpoints/<name>`; empty for a fresh start.
    resume: list[InputFile] = Field(default_factory=list)
    # The step of that checkpoint.
    resume_step: int | None = None
    time_limit_s: int = 6 * 3600
    ingest: IngestSpec | None = None
    train: TrainSpec | None = None
    batch: BatchSpec | None = None

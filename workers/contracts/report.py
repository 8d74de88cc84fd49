"""The evaluation report: one document, which the model's page, the control API and the bundle (report.json) read.

`kind` says which of the two shapes it has. A figure that the rows cannot give is None, and `undefined` says why.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

REPORT_VERSION: Final = 1

# Name → value; the names are explained in workers.engine.metrics and workers.engine.ranking.
Metrics = dict[str, float]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Interval(_Part):
    """A 95 % interval."""

    low: float
    high: float


class Slice(_Part):
    """How well some of a split's rows are answered. `group` says by what the rows were divided, `name` which part."""

    group: str
    name: str
    rows: int
    accuracy: float
    # Wilson's interval: a bootstrap of few rows that are all right would promise certainty.
    interval: Interval


class ClassScores(_Part):
    """One class against all others. The two areas are None where the split has no row, or no other row, of it."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    train_rows: int | None = None
    roc_auc: float | None = None
    pr_auc: float | None = None
    # Of several labels per row: from which probability on it is answered.
    threshold: float | None = None


class Confusion(_Part):
    """How many rows with this label were given that one."""

    label: str
    predicted: str
    rows: int


class Mistake(_Part):
    """A wrong answer. `row` is the dataset version's; `input` the beginning of the text, or the file's name. Where rows
    have several labels: `labels` are the row's, `answered` the model's, and `score` is that of its strongest."""

    row: int
    input: str
    label: str
    predicted: str
    labels: list[str] = []
    answered: list[str] = []
    score: float


class ReliabilityBin(_Part):
    """Answers whose score lies in (low, high]: what the model promised, and how often it was right."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


class Calibration(_Part):
    """Whether a score of 0.8 is right in 80 of 100 cases: expected calibration error over 15 bins of equal width (Guo
    et al. 2017), before and after temperature scaling; the bins are those after."""

    error_before: float
    error: float
    bins: list[ReliabilityBin]


class Temperature(_Part):
    """What the scores before softmax are divided by, in the exported graph too. 1 where it was not fitted: `reason`
    says why."""

    value: float = 1.0
    rows: int = 0
    log_loss_before: float | None = None
    log_loss: float | None = None
    reason: str | None = None


class ClassificationSplit(_Part):
    """How good a classifier is on one split. `labels`: the model's, then those that no training row has."""

    rows: int = 0
    labels: list[str] = []
    metrics: Metrics = {}
    # 95 % percentile bootstrap over the rows (Efron 1979), by metric.
    intervals: dict[str, Interval] = {}
    # Metric → why it has no value.
    undefined: dict[str, str] = {}
    per_class: list[ClassScores] = []
    # Rows are true labels, columns answers, both in the order of `labels`; [] where there are too many classes.
    confusion: list[list[int]] = []
    confusions: list[Confusion] = []
    mistakes: list[Mistake] = []
    calibration: Calibration | None = None
    slices: list[Slice] = []


class Baseline(_Part):
    """What else answers the same rows: a rule that needs no learning, or another method."""

    name: str
    label: str | None = None
    train: Metrics | None = None
    validation: Metrics | None = None
    test: Metrics | None = None


class CrossValidation(_Part):
    """The held-out rows of each fold, judged by a model that learned from the other folds. `std`: of a sample."""

    folds: int
    mean: Metrics
    std: Metrics
    per_fold: list[Metrics]


class Search(_Part):
    """What `tune` tried: [{"number", "parameters", "state", "score", "seconds", "reason"}], and the trial it chose."""

    metric: str
    best: int
    trials: list[dict[str, Any]]


class SuspectedLabel(_Part):
    """Of several labels per row one: how many rows seem to lack it, and at how many it seems wrong."""

    label: str
    missing: int
    wrong: int


class SuspectedLabels(_Part):
    """How many of the version's labels look wrong, by confident learning on answers of models that did not learn from
    the row in question. `rows`: for how many there was such an answer, of `of_rows`. `pairs`: from which label to which
    answer, the most frequent first; `others`: rows of the pairs that are not listed. Where rows have several labels
    each: `suspected` rows, and `labels` instead of pairs. `expected`: how many of the suspected are wrong indeed, by
    an estimate of the share of wrong labels. `method` says in words what gave the answers."""

    rows: int
    of_rows: int
    suspected: int
    pairs: list[Confusion]
    labels: list[SuspectedLabel] = []
    expected: int | None = None
    others: int = 0
    method: str


class ClassificationReport(_Part):
    """The report of a classifier; `multi_label`: each row has several labels, or none."""

    version: Literal[1] = REPORT_VERSION
    kind: Literal["classification"] = "classification"
    labels: list[str]
    multi_label: bool = False
    splits: dict[str, ClassificationSplit]
    baseline: Baseline | None = None
    # Other methods, trained on the same rows.
    compared: list[Baseline] = []
    temperature: Temperature | None = None
    cross_validation: CrossValidation | None = None
    search: Search | None = None
    suspected_labels: SuspectedLabels | None = None
    notes: list[str] = []


class UserGroup(_Part):
    """The users whose history has `least` to `most` items (None: without bound)."""

    name: str
    least: int
    most: int | None
    users: int
    metrics: Metrics
    intervals: dict[str, Interval] = {}


class RankingSplit(_Part):
    """How good a recommender is on one split: metrics at several cut-offs, beside each baseline's, and per group of
    users."""

    users: int
    # Users of the split, where not all of them were judged but some, evenly spread over their list.
    of_users: int | None = None
    users_without_history: int
    held_out: int
    held_out_unknown_items: int
    already_seen: int
    metrics: Metrics = {}
    intervals: dict[str, Interval] = {}
    # "popularity", "item-knn", … → its metrics on the same users.
    baselines: dict[str, Metrics] = {}
    # Baseline → metric → how much better the model is, user by user; above zero where it surely is.
    gains: dict[str, dict[str, Interval]] = {}
    by_history: list[UserGroup] = []
    # Users judged as if only some of their items were known: what people who just came may expect.
    new_users: list[UserGroup] = []


class RankedExample(_Part):
    """What one test user is recommended."""

    user: str
    history: list[str]
    history_size: int
    # [{"item", "hit"}]: whether the item was among the held-out ones.
    recommendations: list[dict[str, Any]]
    held_out: int


class RecommendationReport(_Part):
    """The report of a recommender."""

    version: Literal[1] = REPORT_VERSION
    kind: Literal["recommendation"] = "recommendation"
    splits: dict[str, RankingSplit]
    examples: list[RankedExample] = []
    # [{"item", "lists", "users"}]: the share of lists that hold an item, and of users who know it.
    most_recommended: list[dict[str, Any]] = []
    catalogue: dict[str, int] = {}
    algorithm: dict[str, Any] = {}
    trials: list[dict[str, Any]] = []
    ratings: dict[str, Any] = {}
    search: Search | None = None
    notes: list[str] = []


Report = Annotated[ClassificationReport | RecommendationReport, Field(discriminator="kind")]
_REPORT: TypeAdapter[ClassificationReport | RecommendationReport] = TypeAdapter(Report)


def read_report(document: dict[str, Any]) -> ClassificationReport | RecommendationReport:
    """A stored report. Those of models from before there was a schema have no `kind`. Raises ValidationError."""
    kind = "recommendation" if "catalogue" in document else "classification"
    return _REPORT.validate_python({"kind": kind, **document})

"""Suspected label errors of the dataset version that a classifier learned from: suspects.parquet and the report's part.

Each row is answered by a model that did not learn from it. Where the job was cross-validated, these are its folds'
models, and for the test rows the model itself. Else they are cheap ones, cross-fitted in folds over all rows, the test
rows too, equal content always together (see each `cross_fit`).

For images nothing cheap will do: linear models on features that no label took part in (whitened random patches, Coates
and Ng 2011) are wrong so often that most of what they suspect is right. The network's own features know the labels of
its training rows. So without folds only the rows that the network did not learn from are judged: validation (which
chose among its epochs, no more) and test.
"""

import time
from collections import Counter
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.contracts.errors import JobError
from workers.contracts.job import SPLITS
from workers.contracts.manifest import SUSPECTS
from workers.contracts.report import Confusion, SuspectedLabels
from workers.engine.confident_learning import judge
from workers.engine.folds import deal
from workers.engine.label_noise import chance_of_error
from workers.engine.run import HeldOut, Run, Trained
from workers.engine.several_labels import indicator
from workers.engine.suspected_sets import judge_sets
from workers.task_templates.network import NetworkParams

FOLDS = 5
_MOST_PAIRS = 20
# Without so many rows there is nothing to learn twice from.
_FEWEST_ROWS = 20
# Less likely wrong than this, a label is not worth a look: most of those would be right.
_LEAST_CHANCE = 0.25
# With less of the time limit left than this share, the model itself goes first.
_LEAST_TIME_LEFT = 0.2


class Everything(Run):
    """All rows of a version as one split, "train", in the order of the file; it says nothing and saves nothing."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.job_dir, run.spec, run.params, name="everything", clock=run.clock)

    def mask(self, name: str) -> np.ndarray:
        """See Run."""
        return np.full(self.rows, name == "train")

    def log(self, message: str, level: str = "info") -> None:
        """Nothing."""

    def metric(self, step: int, values: dict[str, float]) -> None:
        """Nothing."""

    def progress(self, fraction: float, phase: str, **pace: object) -> None:
        """Nothing: the bar stands where evaluation left it."""


def find_suspects(run: Run, trained: Trained, folds: list[HeldOut]) -> SuspectedLabels | None:
    """Write suspects.parquet into the job's folder; None where labels cannot be judged, or are not to be.

    `folds`: the answers of a cross-validation's models, or [].
    """
    if not isinstance(run.params, NetworkParams) or not run.params.check_labels or run.rows < _FEWEST_ROWS:
        return None
    if run.seconds_left() < _LEAST_TIME_LEFT * run.spec.time_limit_s:
        run.note("The time limit left no time to look for wrong labels.")
        return None
    run.progress(0.93, "Looking for wrong labels")
    began = time.monotonic()
    whole = Everything(run)
    labels, given = _given(whole)
    answers = _from_folds(trained, folds, labels, given) or _cross_fitted(run, whole, trained, labels, given)
    answers = answers or _of_the_model(trained, labels, given)
    if answers is None:
        return None
    if run.multi_label:
        table, found = judge_sets(given, answers.probabilities, answers.judged, labels, answers.method)
    else:
        table, found = _judge(given, answers, labels)
    pq.write_table(table, run.job_dir.root / SUSPECTS, compression="zstd", row_group_size=100_000)
    seconds = time.monotonic() - began
    what = "rows have labels that" if run.multi_label else "labels"
    run.log(f"{found.suspected:,} of {found.rows:,} {what} look wrong (looked for in {seconds:.1f} s).")
    return found


def _given(whole: Run) -> tuple[list[str], np.ndarray]:
    """All labels, sorted, and each row's: int64 [rows], places among them; of several each uint8 [rows, labels]."""
    if whole.multi_label:
        sets = whole.split("train", ["labels"])["labels"].to_pylist()
        labels = sorted({label for one in sets for label in one})
        return labels, indicator(sets, labels)
    names = whole.split("train", ["label"])["label"].to_pylist()
    labels = sorted(set(names))
    index = {name: place for place, name in enumerate(labels)}
    return labels, np.array([index[name] for name in names], dtype=np.int64)


class _Answers(NamedTuple):
    """Probabilities, float32 [rows, labels]; which rows can be judged by them, bool [rows], or of several labels each
    which of the answers, bool [rows, labels]; their origin in words."""

    probabilities: np.ndarray
    judged: np.ndarray
    method: str


def _from_folds(trained: Trained, folds: list[HeldOut], labels: list[str], given: np.ndarray) -> _Answers | None:
    if not folds:
        return None
    test = trained.held_out("test")
    return _gathered([*folds, *([test] if test else [])], labels, given, f"the models of {len(folds)} folds")


def _cross_fitted(run: Run, whole: Run, trained: Trained, labels: list[str], given: np.ndarray) -> _Answers | None:
    try:
        dealt = deal(run, FOLDS, SPLITS)
    except JobError:
        return None
    fitted = trained.cross_fit(whole, labels, given, dealt)
    if fitted is None:
        return None
    method = f"{fitted.method}, in {FOLDS} folds"
    return _Answers(fitted.probabilities, known_to_folds(given, dealt, len(labels)), method)


def _of_the_model(trained: Trained, labels: list[str], given: np.ndarray) -> _Answers | None:
    parts = [part for split in ("validation", "test") if (part := trained.held_out(split))]
    if sum(len(part.rows) for part in parts) < _FEWEST_ROWS:
        return None
    return _gathered(parts, labels, given, "the model itself, on rows that it did not learn from")


def _gathered(parts: list[HeldOut], labels: list[str], given: np.ndarray, method: str) -> _Answers:
    probabilities = np.zeros((len(given), len(labels)), dtype=np.float32)
    judged = np.zeros(given.shape, dtype=bool)
    index = {name: place for place, name in enumerate(labels)}
    for part in parts:
        places = np.array([index[name] for name in part.labels])
        probabilities[np.ix_(part.rows, places)] = part.probabilities
        if given.ndim == 2:
            judged[np.ix_(part.rows, places)] = True
        else:
            judged[part.rows] = np.isin(given[part.rows], places)
    return _Answers(probabilities, judged, method)


def _judge(every: np.ndarray, answers: _Answers, labels: list[str]) -> tuple[pa.Table, SuspectedLabels]:
    """The rows of suspects.parquet, and what the report says of them."""
    rows = np.flatnonzero(answers.judged)
    given, probabilities = every[rows], answers.probabilities[rows]
    found = judge(given, probabilities)
    # Confident learning alone takes what a weak model cannot tell for errors of the labels.
    chances = chance_of_error(given, probabilities)
    predicted, suspect = found.answers, found.suspect & (chances > _LEAST_CHANCE)
    table = pa.table(
        {
            "row": pa.array(rows.astype(np.int32)),
            "predicted": pa.DictionaryArray.from_arrays(pa.array(predicted.astype(np.int32)), pa.array(labels)),
            "label_probability": pa.array(probabilities[np.arange(len(rows)), given].astype(np.float32)),
            "suspicion": pa.array(found.suspicion),
            "suspect": pa.array(suspect),
        }
    )
    pairs = Counter(zip(given[suspect].tolist(), predicted[suspect].tolist(), strict=True)).most_common()
    shown = [Confusion(label=labels[i], predicted=labels[j], rows=count) for (i, j), count in pairs[:_MOST_PAIRS]]
    others = sum(count for _pair, count in pairs[_MOST_PAIRS:])
    return table, SuspectedLabels(
        rows=len(rows),
        of_rows=len(every),
        suspected=int(suspect.sum()),
        expected=round(float(chances[suspect].sum())),
        pairs=shown,
        others=others,
        method=answers.method,
    )


def known_to_folds(given: np.ndarray, dealt: np.ndarray, labels: int) -> np.ndarray:
    """bool [rows]: whether rows of other folds have the row's label; of several labels each bool [rows, labels]."""
    folds = int(dealt.max()) + 1
    if given.ndim == 2:
        of_folds = np.stack([given[dealt == fold].sum(axis=0, dtype=np.int64) for fold in range(folds)])
        elsewhere: np.ndarray = (of_folds.sum(axis=0) - of_folds > 0)[dealt]
        return elsewhere
    counts = np.bincount(given * folds + dealt, minlength=labels * folds).reshape(labels, folds)
    found: np.ndarray = (counts.sum(axis=1)[:, None] - counts)[given, dealt] > 0
    return found

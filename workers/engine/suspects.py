"""Suspected label errors of the dataset version that a classifier learned from: suspects.parquet and the report's part.

Each row is answered by a model that did not learn from it, nor from rows of equal content: cross-fitted in folds over
all rows, the test rows too. These are models that cost little beside the one that was trained (see each `cross_fit`).
"""

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.contracts.errors import JobError
from workers.contracts.job import SPLITS
from workers.contracts.manifest import SUSPECTS
from workers.contracts.report import Confusion, SuspectedLabels
from workers.engine.confident_learning import judge
from workers.engine.folds import deal
from workers.engine.run import Run, Trained
from workers.task_templates.network import NetworkParams

FOLDS = 5
_MOST_PAIRS = 20
# Without so many rows there is nothing to learn twice from.
_FEWEST_ROWS = 20
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


def find_suspects(run: Run, trained: Trained) -> SuspectedLabels | None:
    """Write suspects.parquet into the job's output; None where labels cannot be judged, or are not to be."""
    if not isinstance(run.params, NetworkParams) or not run.params.check_labels or run.rows < _FEWEST_ROWS:
        return None
    if run.seconds_left() < _LEAST_TIME_LEFT * run.spec.time_limit_s:
        run.note("The time limit left no time to look for wrong labels.")
        return None
    run.progress(0.93, "Looking for wrong labels")
    whole = Everything(run)
    try:
        dealt = deal(run, FOLDS, SPLITS)
    except JobError:
        return None
    names = whole.split("train", ["label"])["label"].to_pylist()
    labels = sorted(set(names))
    if len(labels) < 2:
        return None
    index = {name: place for place, name in enumerate(labels)}
    given = np.array([index[name] for name in names], dtype=np.int64)
    began = time.monotonic()
    fitted = trained.cross_fit(whole, labels, given, dealt)
    if fitted is None:
        return None
    found = _write(run.job_dir.output, given, fitted.probabilities, labels, dealt, fitted.method)
    seconds = time.monotonic() - began
    run.log(f"{found.suspected:,} of {found.rows:,} labels look wrong (looked for in {seconds:.1f} s).")
    return found


def _write(
    folder: Path, given: np.ndarray, probabilities: np.ndarray, labels: list[str], dealt: np.ndarray, method: str
) -> SuspectedLabels:
    """Judge the rows whose label the fold's model could know; the others are not suspected of anything."""
    known = known_to_folds(given, dealt, len(labels))
    judged = judge(given[known], probabilities[known])
    rows = len(given)
    suspect, suspicion = np.zeros(rows, dtype=bool), np.zeros(rows, dtype=np.float32)
    suspect[known], suspicion[known] = judged.suspect, judged.suspicion
    answers = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(rows), given].astype(np.float32)
    table = pa.table(
        {
            "row": pa.array(np.arange(rows, dtype=np.int32)),
            "predicted": pa.DictionaryArray.from_arrays(pa.array(answers.astype(np.int32)), pa.array(labels)),
            "label_probability": pa.array(confidence, mask=~known),
            "suspicion": pa.array(suspicion),
            "suspect": pa.array(suspect),
        }
    )
    pq.write_table(table, folder / SUSPECTS, compression="zstd", row_group_size=100_000)
    pairs = Counter(zip(given[suspect].tolist(), answers[suspect].tolist(), strict=True)).most_common()
    shown = [Confusion(label=labels[i], predicted=labels[j], rows=count) for (i, j), count in pairs[:_MOST_PAIRS]]
    return SuspectedLabels(
        rows=rows,
        suspected=int(suspect.sum()),
        pairs=shown,
        others=sum(count for _pair, count in pairs[_MOST_PAIRS:]),
        method=method,
    )


def known_to_folds(given: np.ndarray, dealt: np.ndarray, labels: int) -> np.ndarray:
    """bool [rows]: whether rows of other folds have the row's label."""
    folds = int(dealt.max()) + 1
    counts = np.bincount(given * folds + dealt, minlength=labels * folds).reshape(labels, folds)
    found: np.ndarray = (counts.sum(axis=1)[:, None] - counts)[given, dealt] > 0
    return found

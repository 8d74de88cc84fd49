"""Which labels look wrong where rows have several: confident learning of each label by itself.

Thyagarajan, Snorrason, Northcutt and Mueller 2022 (arXiv:2211.13895): a label is a question of its own, answered with
yes or no. Confident learning judges each one; a row is suspected where any of its answers is. Rows are ranked by an
exponential moving average over their self-confidences, from the highest to the lowest (alpha 0.8), so that the worst
one counts most.

given: uint8 [rows, labels]; probabilities: float32 [rows, labels], of each label by itself; known: bool [rows, labels],
which of them come from a model that could know the label.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import orjson
import pyarrow as pa

from workers.contracts.report import SuspectedLabel, SuspectedLabels
from workers.engine.confident_learning import judge

# Of labels that fewer rows have, or lack, a model learns too little to doubt anybody.
FEWEST_ROWS: Final = 10
_ALPHA: Final = 0.8
# What the average makes of all self-confidences but the lowest few is less than 1e-5.
_LOWEST: Final = 8
_MOST_LABELS: Final = 20


def suspected(given: np.ndarray, probabilities: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool [rows, labels]: which answers are suspected, a label that is there or one that is not."""
    found = np.zeros(given.shape, dtype=bool)
    for k in range(given.shape[1]):
        rows = np.flatnonzero(known[:, k])
        answers = given[rows, k].astype(np.int64)
        if min(answers.sum(), len(answers) - answers.sum()) < FEWEST_ROWS:
            continue
        yes = probabilities[rows, k]
        found[rows, k] = judge(answers, np.stack([1 - yes, yes], axis=1)).suspect
    return found


def suspicion(confidence: np.ndarray) -> np.ndarray:
    """float32 [rows], 0 to 1: what the moving average over self-confidences, float [rows, labels], leaves."""
    lowest = min(_LOWEST, confidence.shape[1])
    ordered = -np.sort(-np.partition(confidence, lowest - 1, axis=1)[:, :lowest], axis=1)
    average = ordered[:, 0].astype(np.float64)
    for k in range(1, lowest):
        average = _ALPHA * ordered[:, k] + (1 - _ALPHA) * average
    left: np.ndarray = (1 - average).clip(0, 1).astype(np.float32)
    return left


def judge_sets(
    given: np.ndarray, probabilities: np.ndarray, known: np.ndarray, labels: Sequence[str], method: str
) -> tuple[pa.Table, SuspectedLabels]:
    """The rows of suspects.parquet, and what the report says of them.

    `predicted` is the row's set, as JSON, with what is suspected turned round; `label_probability` that of the answer
    that is least likely.
    """
    of_rows, rows = len(given), np.flatnonzero(known.any(axis=1))
    given, probabilities, known = given[rows] > 0, probabilities[rows], known[rows]
    found = suspected(given, probabilities, known)
    confidence = np.where(known, np.where(given, probabilities, 1 - probabilities), 1.0)
    suspect = found.any(axis=1)
    sets = [_text(labels, row) for row in given != found]
    table = pa.table(
        {
            "row": pa.array(rows.astype(np.int32)),
            "predicted": pa.array(sets, pa.string()).dictionary_encode(),
            "label_probability": pa.array(confidence.min(axis=1).astype(np.float32)),
            "suspicion": pa.array(suspicion(confidence)),
            "suspect": pa.array(suspect),
        }
    )
    wrong, missing = (found & given).sum(axis=0), (found & ~given).sum(axis=0)
    most = np.argsort(-(wrong + missing), kind="stable")
    shown = [
        SuspectedLabel(label=labels[k], missing=int(missing[k]), wrong=int(wrong[k]))
        for k in most[:_MOST_LABELS].tolist()
        if wrong[k] + missing[k]
    ]
    return table, SuspectedLabels(
        rows=len(rows),
        of_rows=of_rows,
        suspected=int(suspect.sum()),
        pairs=[],
        labels=shown,
        others=int((wrong + missing)[most[_MOST_LABELS:]].sum()),
        method=method,
    )


def _text(labels: Sequence[str], row: np.ndarray) -> str:
    """A set of labels as it stands in the column `label`."""
    return orjson.dumps([labels[k] for k in np.flatnonzero(row).tolist()]).decode()

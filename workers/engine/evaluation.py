"""From a split's true labels and scores to its part of the evaluation report."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from workers.contracts.report import (
    Calibration,
    ClassificationSplit,
    ClassScores,
    Confusion,
    Interval,
    Metrics,
    Mistake,
)
from workers.engine import metrics
from workers.engine.slices import class_sizes, sliced

_MOST_MISTAKES: Final = 50
_MOST_CONFUSIONS: Final = 50
_MATRIX_LABELS: Final = 200


@dataclass(frozen=True)
class Rows:
    """A split as it was answered. Labels beyond the model's own have no score: always wrong."""

    truth: np.ndarray  # int64 [rows]
    scores: np.ndarray  # float32 [rows, labels]
    labels: list[str]
    training_rows: np.ndarray  # int64 [labels]


def evaluate_rows(rows: Rows, seed: int) -> ClassificationSplit:
    """Everything that labels and scores tell. `seed` draws the bootstrap's samples."""
    truth, scores = rows.truth, rows.scores
    matrix = metrics.confusion_matrix(truth, scores.argmax(axis=1), len(rows.labels))
    found = metrics.classification_metrics(truth, scores)
    roc, precision_recall = metrics.areas(truth, scores)
    undefined = {}
    for name, values in (("roc_auc", roc), ("pr_auc", precision_recall)):
        if np.isfinite(values).any():
            found[name] = float(np.nanmean(values))
        else:
            undefined[name] = "All rows have the same label."
    if "roc_auc" in undefined and found.pop("pr_auc", None) is not None:
        undefined["pr_auc"] = undefined["roc_auc"]
    found["calibration_error"] = metrics.calibration_error(truth, scores)
    return ClassificationSplit(
        rows=len(truth),
        labels=rows.labels,
        metrics=_rounded(found),
        intervals=_intervals(truth, scores, seed),
        undefined=undefined,
        per_class=_per_class(matrix, rows, roc, precision_recall),
        confusion=matrix.tolist() if len(rows.labels) <= _MATRIX_LABELS else [],
        confusions=_confusions(matrix, rows.labels),
        calibration=_calibration(truth, scores, found["calibration_error"]),
        slices=sliced(
            "Training rows of the class",
            class_sizes(rows.training_rows[truth]),
            scores.argmax(axis=1) == truth,
        ),
    )


def majority_metrics(rows: Rows, majority: int) -> Metrics:
    """The metrics of always answering one label. It has no probabilities, so nothing that is measured on them."""
    always = np.zeros_like(rows.scores)
    always[:, majority] = 1.0
    found = metrics.classification_metrics(rows.truth, always)
    del found["log_loss"]
    return _rounded(found)


def worst_mistakes(rows: Rows) -> np.ndarray:
    """Places of the wrong answers that the model was surest of, surest first."""
    wrong = np.flatnonzero(rows.scores.argmax(axis=1) != rows.truth)
    order = np.argsort(-rows.scores[wrong].max(axis=1), kind="stable")
    worst: np.ndarray = wrong[order[:_MOST_MISTAKES]]
    return worst


def mistake(rows: Rows, place: int, row: int, shown: str) -> Mistake:
    """The wrong answer at a place of the split; `row` is its number in the dataset, `shown` how a person knows it."""
    answered = int(rows.scores[place].argmax())
    return Mistake(
        row=row,
        input=shown,
        label=rows.labels[rows.truth[place]],
        predicted=rows.labels[answered],
        score=_round(rows.scores[place, answered]),
    )


def _per_class(matrix: np.ndarray, rows: Rows, roc: np.ndarray, precision_recall: np.ndarray) -> list[ClassScores]:
    table = metrics.per_class(matrix)
    return [
        ClassScores(
            label=label,
            precision=_round(table["precision"][index]),
            recall=_round(table["recall"][index]),
            f1=_round(table["f1"][index]),
            support=int(table["support"][index]),
            train_rows=int(rows.training_rows[index]),
            roc_auc=_defined(roc[index]),
            pr_auc=_defined(precision_recall[index]),
        )
        for index, label in enumerate(rows.labels)
    ]


def _confusions(matrix: np.ndarray, labels: list[str]) -> list[Confusion]:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [
        Confusion(label=labels[true], predicted=labels[answered], rows=int(wrong[true, answered]))
        for true, answered in pairs
        if wrong[true, answered]
    ]


def _calibration(truth: np.ndarray, scores: np.ndarray, error: float) -> Calibration:
    bins = metrics.reliability_bins(scores.max(axis=1), scores.argmax(axis=1) == truth)
    return Calibration(error_before=_round(error), error=_round(error), bins=bins)


def _intervals(truth: np.ndarray, scores: np.ndarray, seed: int) -> dict[str, Interval]:
    found = metrics.bootstrap(truth, scores, seed)
    if "accuracy" not in found:
        # All right or all wrong: every resample says the same, which is no certainty.
        found["accuracy"] = metrics.wilson(int((scores.argmax(axis=1) == truth).sum()), len(truth))
    return {name: Interval(low=_round(low), high=_round(high)) for name, (low, high) in found.items()}


def _rounded(values: dict[str, float]) -> Metrics:
    return {name: _round(value) for name, value in values.items()}


def _round(value: Any) -> float:
    return round(float(value), 6)


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else _round(value)

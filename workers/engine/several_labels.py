"""Rows with several labels: where each label's probability counts as a yes, and how good such answers are.

truth: bool or uint8 [rows, labels]; scores: float [rows, labels], a probability of each label by itself; answers: bool
[rows, labels]. Names and definitions are scikit-learn's for multilabel data: accuracy is that of whole sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from workers.contracts.report import Calibration, ClassificationSplit, ClassScores, Interval, Metrics, Mistake
from workers.engine import metrics
from workers.engine.slices import Parts, sliced

# Probabilities and thresholds are compared as they are shown: with so many decimals.
DECIMALS: Final = 6
# A label's own threshold needs so many validation rows that have it; others share one.
_LEAST_ROWS: Final = 10
_MOST_MISTAKES: Final = 50
_MOST_CELLS: Final = 5_000_000
_CHUNK: Final = 4_000_000


def several_losses(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """float64 [rows]: minus the log of the probability of each row's whole set, labels taken as independent."""
    right = np.where(truth, scores, 1 - scores.astype(np.float64))
    losses: np.ndarray = -np.log(np.clip(right, 1e-15, 1)).sum(axis=1)
    return losses


def mean_average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """The mean over labels that some row has of the area under the precision-recall curve; 0 where no row has any."""
    areas = [metrics.label_areas(truth[:, k] > 0, scores[:, k])[1] for k in np.flatnonzero(truth.any(axis=0))]
    return float(np.mean(areas)) if areas else 0.0


def fit_thresholds(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """float64 [labels]: from which probability on a label is answered, so that its F1 on validation rows is highest.

    Labels of few rows share the one that is best for all labels together: their own would be chance (Lipton et al.
    2014). 0.5 where there is nothing to choose by.
    """
    labels = scores.shape[1]
    shared = _best_threshold(truth.ravel() > 0, scores.ravel()) if truth.any() else 0.5
    own = [_best_threshold(truth[:, k] > 0, scores[:, k]) for k in range(labels)] if len(truth) else []
    enough = truth.sum(axis=0) >= _LEAST_ROWS
    found: np.ndarray = np.where(enough, own, shared) if own else np.full(labels, 0.5)
    return found.round(DECIMALS).clip(10.0**-DECIMALS, 1.0)


def _best_threshold(positive: np.ndarray, score: np.ndarray) -> float:
    """In the middle between the last score that is to count and the first that is not."""
    order = np.argsort(-score, kind="stable")
    ordered = score[order].astype(np.float64)
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    hits = np.cumsum(positive[order])[last]
    best = last[np.argmax(hits / (last + 1 + positive.sum()))]
    below = ordered[best + 1] if best + 1 < len(ordered) else 0.0
    return float((ordered[best] + below) / 2)


def decided(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Which labels are answered."""
    answers: np.ndarray = scores.astype(np.float64).round(DECIMALS) >= thresholds
    return answers


def measure(truth: np.ndarray, answers: np.ndarray) -> Metrics:
    """accuracy (of whole sets), hamming_loss, micro and macro precision, recall and F1; labels without rows and answers
    take no part in macro means."""
    counts = _counts(truth, answers)
    return {name: float(value) for name, value in _metrics(counts, len(truth), answers.shape[1]).items()}


class _Counts(NamedTuple):
    """Right answers, rows and answers of each label, [..., labels], and the rows that are right as a whole, [...]."""

    hits: np.ndarray
    support: np.ndarray
    given: np.ndarray
    right: np.ndarray


def _counts(truth: np.ndarray, answers: np.ndarray) -> _Counts:
    known = truth > 0
    right = (known == answers).all(axis=1).sum()
    return _Counts((known & answers).sum(axis=0), known.sum(axis=0), answers.sum(axis=0), right)


def _metrics(counts: _Counts, rows: int, labels: int) -> dict[str, np.ndarray]:
    hits, support, given, right = counts
    all_hits, all_support, all_given = (one.sum(axis=-1) for one in (hits, support, given))
    occurring = np.maximum(((support + given) > 0).sum(axis=-1), 1)
    found = {"accuracy": right / max(1, rows)}
    found["hamming_loss"] = (all_support + all_given - 2 * all_hits) / max(1, rows * labels)
    for name, of, top in (("precision", given, 1), ("recall", support, 1), ("f1", support + given, 2)):
        found[f"micro_{name}"] = top * all_hits / np.maximum(of.sum(axis=-1), 1)
        found[f"macro_{name}"] = (top * hits / np.maximum(of, 1)).sum(axis=-1) / occurring
    return found


@dataclass(frozen=True)
class SetRows:
    """A split as it was answered. Labels beyond the model's own have no score and an unreachable threshold."""

    truth: np.ndarray
    scores: np.ndarray
    labels: list[str]
    thresholds: np.ndarray
    training_rows: np.ndarray  # int64 [labels]

    @property
    def answers(self) -> np.ndarray:
        """bool [rows, labels]."""
        return decided(self.scores, self.thresholds)


def evaluate_sets(rows: SetRows, seed: int) -> ClassificationSplit:
    """Everything that labels and scores tell. `seed` draws the bootstrap's samples."""
    truth, scores, answers = rows.truth > 0, rows.scores, rows.answers
    found = measure(truth, answers)
    found["mean_average_precision"] = mean_average_precision(truth, scores)
    found["log_loss"] = float(several_losses(truth, scores).mean())
    error = metrics.calibration_error_of(scores.ravel(), truth.ravel())
    bins = metrics.reliability_bins(scores.ravel(), truth.ravel())
    found["calibration_error"] = error
    right = (truth == answers).all(axis=1)
    return ClassificationSplit(
        rows=len(truth),
        labels=rows.labels,
        metrics={name: round(value, 6) for name, value in found.items()},
        intervals=_intervals(truth, answers, seed),
        per_class=_per_class(rows, truth, answers),
        calibration=Calibration(error_before=round(error, 6), error=round(error, 6), bins=bins),
        slices=sliced("Labels of the row", _set_sizes(truth), right),
    )


def baseline_metrics(truth: np.ndarray, always: np.ndarray) -> Metrics:
    """Of always answering the same labels, bool [labels]."""
    answers = np.broadcast_to(always, truth.shape)
    return {name: round(value, 6) for name, value in measure(truth, answers).items()}


def worst_sets(rows: SetRows) -> np.ndarray:
    """Places of the rows whose set is wrong, those first that hold the surest wrong answer."""
    wrong = rows.answers != (rows.truth > 0)
    surety = np.where(wrong, np.abs(rows.scores - rows.thresholds), -1).max(axis=1, initial=-1)
    places = np.flatnonzero(wrong.any(axis=1))
    found: np.ndarray = places[np.argsort(-surety[places], kind="stable")[:_MOST_MISTAKES]]
    return found


def wrong_set(rows: SetRows, place: int, row: int, shown: str) -> Mistake:
    """The wrong answer at a place of the split; `row` is its number in the dataset, `shown` how a person knows it."""
    given, answered = ([rows.labels[k] for k in np.flatnonzero(one[place])] for one in (rows.truth > 0, rows.answers))
    top = int(rows.scores[place].argmax())
    return Mistake(
        row=row,
        input=shown,
        label=", ".join(given),
        predicted=", ".join(answered),
        labels=given,
        answered=answered,
        score=round(float(rows.scores[place, top]), 6),
    )


def _per_class(rows: SetRows, truth: np.ndarray, answers: np.ndarray) -> list[ClassScores]:
    hits, support, given, _ = _counts(truth, answers)
    found = []
    for k, label in enumerate(rows.labels):
        roc, average = metrics.label_areas(truth[:, k], rows.scores[:, k]) if support[k] else (np.nan, np.nan)
        found.append(
            ClassScores(
                label=label,
                precision=round(float(hits[k] / max(1, given[k])), 6),
                recall=round(float(hits[k] / max(1, support[k])), 6),
                f1=round(float(2 * hits[k] / max(1, support[k] + given[k])), 6),
                support=int(support[k]),
                train_rows=int(rows.training_rows[k]),
                roc_auc=None if np.isnan(roc) else round(float(roc), 6),
                pr_auc=None if np.isnan(average) else round(float(average), 6),
                threshold=float(rows.thresholds[k]),
            )
        )
    return found


def _set_sizes(truth: np.ndarray) -> Parts:
    names = ["none", "1", "2", "3", "4 or more"]
    return names, np.minimum(truth.sum(axis=1), len(names) - 1)


def _intervals(truth: np.ndarray, answers: np.ndarray, seed: int) -> dict[str, Interval]:
    """95 % percentile intervals (Efron 1979) over the rows, of all that counts of labels tell."""
    rows, labels = truth.shape
    if not rows or truth.size > _MOST_CELLS:
        return {}
    generator = np.random.default_rng(seed)
    right = (truth == answers).all(axis=1)
    parts = (truth & answers, truth, answers, right[:, None])
    each = np.concatenate(parts, axis=1).astype(np.float32)
    step = max(1, _CHUNK // max(rows, each.shape[1]))
    drawn: dict[str, list[np.ndarray]] = {}
    for start in range(0, metrics.RESAMPLES, step):
        size = min(step, metrics.RESAMPLES - start)
        samples = generator.multinomial(rows, np.full(rows, 1 / rows), size=size).astype(np.float32)
        sums = samples @ each
        hits, support, given = np.split(sums[:, :-1], 3, axis=1)
        counts = _Counts(hits, support, given, sums[:, -1])
        for name, values in _metrics(counts, rows, labels).items():
            drawn.setdefault(name, []).append(values)
    found = {}
    for name, pieces in drawn.items():
        low, high = np.quantile(np.concatenate(pieces), (0.025, 0.975)).tolist()
        if low < high:
            found[name] = Interval(low=round(low, 6), high=round(high, 6))
    if "accuracy" not in found:
        low, high = metrics.wilson(int(right.sum()), rows)
        found["accuracy"] = Interval(low=low, high=high)
    return found


def said_of(truth: np.ndarray, scores: np.ndarray) -> str:
    """How good scores are, in words for the log; truth also int64 [rows], of one label each."""
    if truth.ndim == 2:
        return f"mean average precision {mean_average_precision(truth, scores):.4f}"
    return f"{(scores.argmax(axis=1) == truth).mean():.1%} right"


def indicator(sets: Sequence[Sequence[str]], labels: Sequence[str]) -> np.ndarray:
    """uint8 [rows, labels]: which labels each set holds; others are left out."""
    place = {name: number for number, name in enumerate(labels)}
    pairs = [(row, place[name]) for row, one in enumerate(sets) for name in one if name in place]
    found = np.zeros((len(sets), len(labels)), dtype=np.uint8)
    if pairs:
        found[tuple(np.array(pairs).T)] = 1
    return found

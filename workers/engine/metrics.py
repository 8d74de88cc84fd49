"""Metrics of classifiers, as arrays: rows × labels at once, no loop over rows.

truth: int64 [rows], label indices. scores: float [rows, labels], probabilities. Names and definitions are
scikit-learn's, with which the tests compare.
"""

from typing import Final

import numpy as np

from workers.contracts.report import ReliabilityBin

RESAMPLES: Final = 1000
BINS: Final = 15
# Numbers that one step of a bootstrap holds at once.
_CHUNK: Final = 4_000_000
_AVERAGES: Final = ("precision", "recall", "f1")


def classification_metrics(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """accuracy, macro and weighted precision, recall and F1, log_loss.

    Macro means go over the labels that occur in truth or answers; weighted ones weigh a label by its rows.
    """
    matrix = confusion_matrix(truth, scores.argmax(axis=1), scores.shape[1])
    metrics = _averages(np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0))
    found = {name: float(value) for name, value in metrics.items()}
    return {**found, "log_loss": float(losses(truth, scores).mean())}


def _averages(hits: np.ndarray, support: np.ndarray, answers: np.ndarray) -> dict[str, np.ndarray]:
    """From counts [..., labels]: right answers, rows, answers of each label."""
    rows = np.maximum(support.sum(axis=-1), 1)
    seen = (support + answers) > 0
    occurring = np.maximum(seen.sum(axis=-1), 1)
    values = (
        hits / np.maximum(answers, 1),
        hits / np.maximum(support, 1),
        2 * hits / np.maximum(support + answers, 1),
    )
    metrics = {"accuracy": hits.sum(axis=-1) / rows}
    for name, value in zip(_AVERAGES, values, strict=True):
        metrics[f"macro_{name}"] = value.sum(axis=-1) / occurring
        metrics[f"weighted_{name}"] = (value * support).sum(axis=-1) / rows
    return metrics


def losses(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """float64 [rows]: minus the log of the true label's probability."""
    right = scores[np.arange(len(truth)), truth].astype(np.float64)
    loss: np.ndarray = -np.log(np.clip(right, 1e-15, 1.0))
    return loss


def confusion_matrix(truth: np.ndarray, answered: np.ndarray, labels: int) -> np.ndarray:
    """int64 [labels, labels]: rows are true labels, columns answers."""
    return np.bincount(truth * labels + answered, minlength=labels * labels).reshape(labels, labels)


def per_class(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """precision, recall, f1, support of each label; 0 where undefined."""
    hits = np.diag(matrix).astype(np.float64)
    support, answers = matrix.sum(axis=1), matrix.sum(axis=0)
    precision = hits / np.maximum(answers, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(support + answers, 1)
    return {"precision": precision, "recall": recall, "f1": f1, "support": support}


def areas(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas under the ROC curve and the precision-recall curve (average precision), one label against the rest.

    float64 [labels] each. ROC is NaN where a label has no row or every row, precision-recall where it has no row.
    """
    labels = scores.shape[1]
    roc, precision_recall = np.full(labels, np.nan), np.full(labels, np.nan)
    for label in np.unique(truth).tolist():
        roc[label], precision_recall[label] = label_areas(truth == label, scores[:, label])
    return roc, precision_recall


def label_areas(positive: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """The two areas of one label (see `areas`): bool [rows], some of them true, and its scores [rows]."""
    order = np.argsort(-score, kind="stable")
    # Rows of one score are told apart by no threshold: a curve has one point for all of them.
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    hits = np.cumsum(positive[order])[last].astype(np.float64)
    misses = last + 1 - hits
    recall = hits / hits[-1]
    average = float(np.sum(np.diff(recall, prepend=0.0) * hits / (last + 1)))
    if misses[-1] == 0:
        return float("nan"), average
    return float(np.trapezoid(np.append(0.0, recall), np.append(0.0, misses / misses[-1]))), average


def binned(sure: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers, mean score and share of right ones, float64 [BINS] each, by bins (k/BINS, (k+1)/BINS].

    sure: probabilities; right: whether what they promise is so, each [answers].
    """
    sure = sure.astype(np.float64)
    bins = np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1)
    rows = np.bincount(bins, minlength=BINS).astype(np.float64)
    confidence = np.bincount(bins, weights=sure, minlength=BINS) / np.maximum(rows, 1)
    accuracy = np.bincount(bins, weights=right, minlength=BINS) / np.maximum(rows, 1)
    return rows, confidence, accuracy


def reliability_bins(sure: np.ndarray, right: np.ndarray) -> list[ReliabilityBin]:
    """The bins of `binned` that hold an answer, for the report."""
    found = zip(*binned(sure, right), strict=True)
    return [
        ReliabilityBin(
            low=round(index / BINS, 6),
            high=round((index + 1) / BINS, 6),
            rows=int(count),
            confidence=round(float(confidence), 6),
            accuracy=round(float(accuracy), 6),
        )
        for index, (count, confidence, accuracy) in enumerate(found)
        if count
    ]


def calibration_error(truth: np.ndarray, scores: np.ndarray) -> float:
    """Expected calibration error (Guo et al. 2017): the mean gap between score and accuracy, bins weighed by rows."""
    return calibration_error_of(scores.max(axis=1), scores.argmax(axis=1) == truth)


def calibration_error_of(sure: np.ndarray, right: np.ndarray) -> float:
    """As `calibration_error`, of any probabilities (see `binned`)."""
    rows, confidence, accuracy = binned(sure, right)
    return float((rows * np.abs(confidence - accuracy)).sum() / max(1.0, rows.sum()))


def bootstrap(truth: np.ndarray, scores: np.ndarray, seed: int) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals (Efron 1979) of `classification_metrics`, over the rows.

    All but log_loss depend on the rows through the confusion matrix alone, and drawing rows with replacement draws its
    cells from a multinomial distribution: one draw per resample instead of one per row. A metric that does not vary
    (every answer right, or every one wrong) has no interval here.
    """
    generator = np.random.default_rng(seed)
    rows, labels = len(truth), scores.shape[1]
    cells, counts = np.unique(truth * labels + scores.argmax(axis=1), return_counts=True)
    true, answered = np.divmod(cells, labels)
    drawn: dict[str, list[np.ndarray]] = {}
    step = max(1, _CHUNK // (max(labels, len(cells))))
    for start in range(0, RESAMPLES, step):
        samples = generator.multinomial(rows, counts / rows, size=min(step, RESAMPLES - start))
        hits, support, answers = (
            _gathered(samples[:, where], label[where], labels)
            for label, where in ((true, true == answered), (true, true >= 0), (answered, true >= 0))
        )
        for name, values in _averages(hits, support, answers).items():
            drawn.setdefault(name, []).append(values)
    drawn["log_loss"] = [_resampled_means(losses(truth, scores), generator)]
    intervals = {}
    for name, parts in drawn.items():
        values = np.concatenate(parts)
        if values.min() < values.max():
            low, high = np.quantile(values, (0.025, 0.975)).tolist()
            intervals[name] = (low, high)
    return intervals


def _gathered(samples: np.ndarray, label: np.ndarray, labels: int) -> np.ndarray:
    """Counts of cells [resamples, cells] summed by label: [resamples, labels]."""
    order = np.argsort(label, kind="stable")
    found, first = np.unique(label[order], return_index=True)
    summed = np.zeros((len(samples), labels))
    if len(found):
        summed[:, found] = np.add.reduceat(samples[:, order], first, axis=1)
    return summed


def _resampled_means(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """float64 [RESAMPLES]: means of resampled values; of very many they are normally distributed, and drawn so."""
    rows = len(values)
    if rows > 50_000:
        return generator.normal(values.mean(), values.std() / np.sqrt(rows), RESAMPLES)
    step = max(1, _CHUNK // rows)
    chosen = (
        generator.integers(0, rows, (min(step, RESAMPLES - start), rows), dtype=np.int32)
        for start in range(0, RESAMPLES, step)
    )
    return np.concatenate([values[places].mean(axis=1) for places in chosen])


def wilson(right: int, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927). `rows` at least 1."""
    z = 1.959964
    share = right / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * np.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))

"""Gradient boosting on the features of a table: what most would reach for first, to compare the network with."""

from collections.abc import Mapping
from itertools import islice
from typing import Protocol

import numpy as np

# scikit-learn's trees tell fewer categories than this apart; in columns with more they are ordered by frequency.
_MOST_CATEGORIES = 255
_ITERATIONS = 200
# Rows times trees: about what may be spent on a comparison, some 20 seconds.
_WORK = 100_000_000


class Table(Protocol):
    """`features` float64 [rows, width]; `labels` int64 [rows], -1 where the label is none that the model knows."""

    features: np.ndarray
    labels: np.ndarray


def boosted_scores(
    train: Table, evaluation: Mapping[str, Table], categories: list[int], seed: int
) -> dict[str, np.ndarray]:
    """Probabilities of the labels, float64 [rows, labels], for each split of `evaluation`.

    `categories`: columns of the features. As many trees as give the lowest log loss on the validation rows.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    told_apart = [place for place in categories if train.features[:, place].max() < _MOST_CATEGORIES]
    labels = int(train.labels.max()) + 1
    iterations = int(np.clip(_WORK // (len(train.labels) * (1 if labels == 2 else labels)), 20, _ITERATIONS))
    model = HistGradientBoostingClassifier(
        max_iter=iterations, categorical_features=told_apart or None, early_stopping=False, random_state=seed
    )
    model.fit(train.features, train.labels)
    if "validation" in evaluation:
        judged = evaluation["validation"]
        losses = [_log_loss(judged.labels, scores) for scores in model.staged_predict_proba(judged.features)]
        iterations = int(np.argmin(losses)) + 1
    return {
        name: next(islice(model.staged_predict_proba(table.features), iterations - 1, None))
        for name, table in evaluation.items()
    }


def _log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    known = np.flatnonzero(labels >= 0)
    return float(-np.log(scores[known, labels[known]].clip(1e-15, 1)).mean()) if len(known) else 0.0

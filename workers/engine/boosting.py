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
# The same for all folds of a look for wrong labels; how many rows a fold's model learns from at most.
_CROSS_WORK, _CROSS_ITERATIONS, _CROSS_ROWS = 50_000_000, 60, 100_000


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

    told_apart = _told_apart(train.features, categories)
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


def cross_fitted(
    features: np.ndarray, given: np.ndarray, labels: int, dealt: np.ndarray, categories: list[int], seed: int
) -> np.ndarray:
    """Probabilities, float32 [rows, labels], each row's by trees that learned from the other folds alone.

    `features`: float64 [rows, width]; `given`: int64 [rows], 0 to `labels` - 1; `dealt`: int64 [rows], the folds.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    folds = int(dealt.max()) + 1
    source = np.random.default_rng(seed)
    answers = np.zeros((len(given), labels), dtype=np.float32)
    for fold in range(folds):
        rows = source.permutation(np.flatnonzero(dealt != fold))[:_CROSS_ROWS]
        work = len(rows) * folds * (1 if labels == 2 else labels)
        model = HistGradientBoostingClassifier(
            max_iter=int(np.clip(_CROSS_WORK // work, 10, _CROSS_ITERATIONS)),
            categorical_features=_told_apart(features, categories) or None,
            early_stopping=False,
            random_state=seed,
        )
        model.fit(features[rows], given[rows])
        held = np.flatnonzero(dealt == fold)
        # Labels that the other folds do not have stay at nothing.
        answers[np.ix_(held, model.classes_)] = model.predict_proba(features[held])
    return answers


def _told_apart(features: np.ndarray, categories: list[int]) -> list[int]:
    return [place for place in categories if features[:, place].max() < _MOST_CATEGORIES]


def _log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    known = np.flatnonzero(labels >= 0)
    return float(-np.log(scores[known, labels[known]].clip(1e-15, 1)).mean()) if len(known) else 0.0

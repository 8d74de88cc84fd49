"""Which labels are probably wrong: confident learning (Northcutt, Jiang and Chuang, JAIR 2021, arXiv:1911.00068).

Everything follows from the given labels and from probabilities of models that did not learn from the row in question.
Sections and names are the paper's: a row's self-confidence is the probability of the label that it was given.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Judged:
    """`suspect` bool [rows]; `suspicion` float32 [rows], 0 to 1: what self-confidence leaves; `answers` int64 [rows],
    the most probable labels; `joint` float64 [labels, labels], of given and true labels, sums to 1."""

    suspect: np.ndarray
    suspicion: np.ndarray
    answers: np.ndarray
    joint: np.ndarray


def judge(given: np.ndarray, probabilities: np.ndarray) -> Judged:
    """Find label errors. `given`: int64 [rows], `probabilities`: float [rows, labels], rows sum to 1."""
    counts = confident_counts(given, probabilities, thresholds(given, probabilities))
    joint = estimated_joint(counts, np.bincount(given, minlength=probabilities.shape[1]))
    # Method 5, both prunings: a person looks at each row, so one that only one of them names is no good use of time.
    pruned = by_class(given, probabilities, joint) & by_noise_rate(given, probabilities, joint)
    answers = probabilities.argmax(axis=1)
    return Judged(
        # Nor is a row whose label is the model's own answer.
        suspect=pruned & (answers != given),
        suspicion=(1 - probabilities[np.arange(len(given)), given]).clip(0, 1).astype(np.float32),
        answers=answers,
        joint=joint,
    )


def thresholds(given: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """float64 [labels]: the mean self-confidence of each label's rows; infinite for labels of no row."""
    labels = probabilities.shape[1]
    confidence = np.bincount(given, weights=probabilities[np.arange(len(given)), given], minlength=labels)
    rows = np.bincount(given, minlength=labels)
    found: np.ndarray = np.divide(confidence, rows, out=np.full(labels, np.inf), where=rows > 0)
    return found


def confident_counts(given: np.ndarray, probabilities: np.ndarray, least: np.ndarray) -> np.ndarray:
    """int64 [labels, labels]: the confident joint. A row given i counts as a j where j's probability reaches j's
    threshold; of several such j the most probable; of none it does not count. (Equations 1 and 2.)"""
    labels = probabilities.shape[1]
    # A float32 mean may lie a hair above the very values that it is the mean of.
    reached = np.where(probabilities >= least - 1e-6, probabilities, -1.0)
    best = reached.argmax(axis=1)
    counted = reached[np.arange(len(given)), best] >= 0
    cells = np.bincount(given[counted] * labels + best[counted], minlength=labels * labels)
    return cells.reshape(labels, labels)


def estimated_joint(counts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float64 [labels, labels]: how likely a row is given i and truly j. Each i's counts are scaled to the `rows` that
    it has, int64 [labels], then all to 1. (Equation 3.)"""
    sums = counts.sum(axis=1)
    # A label none of whose rows counted says nothing of errors: taken as right.
    counts = np.where(sums[:, None] > 0, counts, np.diag(rows))
    joint = counts * (rows / np.maximum(1, counts.sum(axis=1)))[:, None]
    found: np.ndarray = joint / max(1.0, joint.sum())
    return found


def by_class(given: np.ndarray, probabilities: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """bool [rows]: method 3 of section 3.2. Of the rows given i, as many as the joint has for i truly another, the ones
    with the lowest self-confidence."""
    found = np.zeros(len(given), dtype=bool)
    wanted = np.rint((joint.sum(axis=1) - joint.diagonal()) * len(given)).astype(np.int64)
    for i in np.flatnonzero(wanted):
        rows = np.flatnonzero(given == i)
        found[rows[np.argsort(probabilities[rows, i], kind="stable")[: wanted[i]]]] = True
    return found


def by_noise_rate(given: np.ndarray, probabilities: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """bool [rows]: method 4 of section 3.2. Of the rows given i, as many as the joint has for i truly j, the ones with
    the largest margin p(j) - p(i); for every pair of labels."""
    found = np.zeros(len(given), dtype=bool)
    wanted = np.rint(joint * len(given)).astype(np.int64)
    np.fill_diagonal(wanted, 0)
    for i in np.flatnonzero(wanted.sum(axis=1)):
        rows = np.flatnonzero(given == i)
        for j in np.flatnonzero(wanted[i]):
            margins = probabilities[rows, j] - probabilities[rows, i]
            found[rows[np.argsort(-margins, kind="stable")[: wanted[i, j]]]] = True
    return found

"""How likely each given label is wrong, by a plain account of how labels come about.

A label is the true one, but for a share of all labels that any other one took the place of (uniform noise, as in
Angluin and Laird 1988); the true one comes from a model's probabilities at some temperature. Share and temperature are
those under which the given labels are likeliest (the share by EM), the chance of a wrong label is Bayes' rule. Of a
weak model confident learning takes what it cannot tell for errors of the labels; this account does not.
"""

from typing import Final

import numpy as np
import scipy.optimize
import scipy.special

# Logarithms of the temperatures among which is looked; steps of EM; entries of the rows that are learned from.
_TEMPERATURES: Final = (-2.0, 2.0)
_STEPS: Final = 60
_MOST_ENTRIES: Final = 1_000_000
_CHUNK: Final = 100_000
_LEAST: Final = 1e-12


def chance_of_error(given: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """float64 [rows]: how likely each label is wrong. `given`: int64 [rows]; `probabilities`: float [rows, labels], of
    models that did not learn from the row."""
    rows, labels = probabilities.shape
    if labels < 2 or not rows:
        return np.zeros(rows)
    some = np.arange(0, rows, max(1, -(-rows * labels // _MOST_ENTRIES)))
    logs, answers = _logs(probabilities[some]), given[some]

    def loss(temperature: float) -> float:
        right = _of_given(logs, answers, float(np.exp(temperature)))
        share = _share(right, labels)
        return -float(np.log((1 - share) * right + share * (1 - right) / (labels - 1) + _LEAST).sum())

    best = float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=_TEMPERATURES, method="bounded").x))
    share = _share(_of_given(logs, answers, best), labels)
    found = np.empty(rows)
    for start in range(0, rows, _CHUNK):
        part = slice(start, start + _CHUNK)
        right = _of_given(_logs(probabilities[part]), given[part], best)
        found[part] = _chance(right, share, labels)
    return found


def _logs(probabilities: np.ndarray) -> np.ndarray:
    logs: np.ndarray = np.log(np.maximum(probabilities, _LEAST, dtype=np.float64))
    return logs


def _of_given(logs: np.ndarray, given: np.ndarray, temperature: float) -> np.ndarray:
    """The probability of each row's given label at a temperature."""
    scaled = logs / temperature
    found: np.ndarray = np.exp(scaled[np.arange(len(given)), given] - scipy.special.logsumexp(scaled, axis=1))
    return found


def _chance(right: np.ndarray, share: float, labels: int) -> np.ndarray:
    """Bayes' rule; `right`: float [rows], how likely the given label was the true one before it was given."""
    wrong = share * (1 - right) / (labels - 1)
    found: np.ndarray = wrong / ((1 - share) * right + wrong + _LEAST)
    return found


def _share(right: np.ndarray, labels: int) -> float:
    """The share of labels that were replaced, by EM."""
    share = 0.05
    for _ in range(_STEPS):
        share = float(_chance(right, share, labels).mean())
    return share

"""Temperature scaling: one number by which scores are divided before softmax, so that they say how sure to be.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017. Dividing changes no order: no answer
changes, only how sure it sounds.
"""

import math
from typing import Final

import numpy as np
import torch
from scipy.special import expit, logit
from torch import nn

from workers.contracts.report import Temperature
from workers.engine.examples import known_rows
from workers.engine.metrics import losses
from workers.engine.several_labels import several_losses

LEAST_ROWS: Final = 100
# Scores that it is fitted on: more would sharpen one number by nothing that anybody could see.
_MOST_SCORES: Final = 1_000_000
_BOUNDS: Final = (0.2, 5.0)
_FOLDS: Final = 5


class Tempered(nn.Module):
    """A classifier whose scores are divided by a temperature, which the exported graph holds."""

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))
        self.temperature: torch.Tensor

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Scores before softmax."""
        scores: torch.Tensor = self.model(*inputs) / self.temperature
        return scores


def tempered(scores: np.ndarray, temperature: float, multi_label: bool = False) -> np.ndarray:
    """Probabilities as `Tempered` gives them, float32 [rows, labels], from those without it.

    The softmax of log-probabilities is that of the scores before softmax: both differ by a constant per row.
    """
    if temperature == 1.0:
        return scores
    if multi_label:
        several = np.clip(scores.astype(np.float64), 1e-12, 1 - 2.0**-24)
        odds: np.ndarray = expit(logit(several) / temperature).astype(np.float32)
        return odds
    logits = np.log(np.maximum(scores.astype(np.float64), np.finfo(np.float32).tiny)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def fit_temperature(truth: np.ndarray, scores: np.ndarray) -> Temperature:
    """The temperature with the least log loss on validation rows; 1 with a reason where it cannot be trusted.

    truth: int64 [rows], -1 for labels the model does not know, which say nothing about it, or uint8 [rows, labels] of
    several; scores: probabilities. It is trusted where temperatures fitted on four fifths of the rows lower the log
    loss of the fifth.
    """
    known = known_rows(truth)
    most = max(10 * LEAST_ROWS, _MOST_SCORES // scores.shape[1])
    if len(known) > most:
        known = known[np.linspace(0, len(known) - 1, most).astype(np.int64)]
    truth, scores = truth[known], scores[known]
    rows = len(truth)
    if rows < LEAST_ROWS:
        return Temperature(rows=rows, reason=f"It needs {LEAST_ROWS} validation rows; there are {rows}.")
    before = float(_losses(truth, scores).mean())
    fold = np.arange(rows) % _FOLDS
    held = np.empty(rows)
    for number in range(_FOLDS):
        inside = fold == number
        value = _best(truth[~inside], scores[~inside])
        held[inside] = _losses(truth[inside], tempered(scores[inside], value, truth.ndim == 2))
    if held.mean() >= before:
        return Temperature(rows=rows, log_loss_before=before, log_loss=before, reason="It did not lower the log loss.")
    value = round(_best(truth, scores), 4)
    after = float(_losses(truth, tempered(scores, value, truth.ndim == 2)).mean())
    return Temperature(value=value, rows=rows, log_loss_before=before, log_loss=after)


def _losses(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return several_losses(truth, scores) if truth.ndim == 2 else losses(truth, scores)


def _best(truth: np.ndarray, scores: np.ndarray) -> float:
    """Golden-section search over the log of the temperature.

    Where every answer is right, the likelihood would have it fall without end. As Platt (1999) does, the rows are
    counted as two more, one of them wrong: the right label weighs (n + 1) / (n + 2), the strongest other one the rest.
    """
    rows, several = len(truth), truth.ndim == 2
    if several:
        rival = 1 - truth
    else:
        others = scores.copy()
        others[np.arange(rows), truth] = -1.0
        rival = others.argmax(axis=1)

    def loss(log_temperature: float) -> float:
        answers = tempered(scores, math.exp(log_temperature), several)
        right, wrong = _losses(truth, answers).mean(), _losses(rival, answers).mean()
        return float(((rows + 1) * right + wrong) / (rows + 2))

    low, high = math.log(_BOUNDS[0]), math.log(_BOUNDS[1])
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-3:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return math.exp((low + high) / 2)

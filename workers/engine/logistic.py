"""Logistic regression on sparse rows, multinomial or of each label by itself: convex, deterministic, stopped where more
would change little."""

from collections.abc import Callable

import numpy as np
import scipy.optimize
import scipy.sparse
import scipy.special

_MEMORY = 8
_TOLERANCE = 1e-5


class Logistic:
    """Finds weights and bias that minimise |weights|² / 2 + strength · log loss, by L-BFGS (Liu and Nocedal, 1989).

    The weights are always a sum of rows, `weights = rowsᵀ · shares`, so the search is one for the shares, float32
    [rows, labels], which are few where features are many; inner products of weights come from shares and scores.
    A point of the search is float32 [2, rows · labels + labels]: shares, then bias; scores without bias, then bias.
    """

    def __init__(self, rows: scipy.sparse.csr_matrix, truth: np.ndarray, importance: np.ndarray, labels: int) -> None:
        """Rows float32 CSR [rows, features]; truth int64 [rows] with the importance of the rows, float32 [rows]; or, of
        several labels each, uint8 [rows, labels] with that of the labels, float32 [labels]."""
        self.rows = rows
        self.labels = labels
        self._columns = rows.T.tocsr()
        self._truth = truth
        self._importance = (importance if truth.ndim == 2 else importance[:, None]).astype(np.float32)
        self._inside = np.arange(len(truth))
        self._at = np.zeros((2, (len(truth) + 1) * labels), dtype=np.float32)

    def solve(self, strength: float, iterations: int, tell: Callable[[], None]) -> tuple[np.ndarray, np.ndarray]:
        """Go on from where the last solution was: weights float32 [features, labels] and bias [labels].

        `tell` is called at each iteration.
        """
        at = self._at
        loss, slope = self._measure(at, strength)
        moves: list[tuple[np.ndarray, np.ndarray]] = []
        for _ in range(iterations):
            direction = self._direction(slope, moves)
            step, there, loss_there, residual = self._search(at, direction, loss, slope, strength)
            slope_there = self._slope(there, residual)
            moves = [*moves[1 - _MEMORY :], (there - at, slope_there - slope)]
            gained = loss - loss_there
            at, slope, loss = there, slope_there, loss_there
            tell()
            if step == 0.0 or gained <= _TOLERANCE * abs(loss):
                break
        self._at = at
        shares, bias = at[0, : -self.labels], at[0, -self.labels :]
        return self._columns @ shares.reshape(-1, self.labels), bias.copy()

    def _measure(self, at: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
        loss, residual = self._loss(at, strength)
        return loss, self._slope(at, residual)

    def _loss(self, at: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
        """The loss at a point, and its derivative by the scores, float32 [rows, labels]."""
        count = self.labels
        scores = at[1, :-count].reshape(-1, count) + at[1, -count:]
        if self._truth.ndim == 2:
            each = np.logaddexp(np.float32(0), scores) - self._truth * scores
            lost = float((self._importance * each).sum(dtype=np.float64))
            residual = (scipy.special.expit(scores) - self._truth) * (self._importance * np.float32(strength))
            return strength * lost + 0.5 * float(at[0, :-count] @ at[1, :-count]), residual
        scores -= scores.max(axis=1, keepdims=True)
        right = scores[self._inside, self._truth]
        np.exp(scores, out=scores)
        totals = scores.sum(axis=1, keepdims=True)
        lost = float((self._importance[:, 0] * (np.log(totals[:, 0]) - right)).sum(dtype=np.float64))
        scores /= totals
        scores[self._inside, self._truth] -= 1
        scores *= self._importance * np.float32(strength)
        return strength * lost + 0.5 * float(at[0, :-count] @ at[1, :-count]), scores

    def _slope(self, at: np.ndarray, residual: np.ndarray) -> np.ndarray:
        count = self.labels
        slope = at.copy()
        slope[0, :-count] += residual.ravel()
        slope[1, :-count] += (self.rows @ (self._columns @ residual)).ravel()
        slope[:, -count:] = residual.sum(axis=0)
        return slope

    def _direction(self, slope: np.ndarray, moves: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Down, by the curvature that the last moves showed."""
        down = -slope
        seen = [(move, turn, 1.0 / float(move[0] @ turn[1])) for move, turn in moves if float(move[0] @ turn[1]) > 0]
        kept = []
        for move, turn, scale in reversed(seen):
            share = scale * float(move[0] @ down[1])
            down -= np.float32(share) * turn
            kept.append(share)
        if seen:
            move, turn, scale = seen[-1]
            down *= np.float32(1.0 / (scale * float(turn[0] @ turn[1])))
        else:
            down /= np.float32(max(1.0, float(np.sqrt(slope[0] @ slope[1]))))
        for (move, turn, scale), share in zip(seen, reversed(kept), strict=True):
            down += np.float32(share - scale * float(turn[0] @ down[1])) * move
        return down

    def _search(
        self, at: np.ndarray, direction: np.ndarray, loss: float, slope: np.ndarray, strength: float
    ) -> tuple[float, np.ndarray, float, np.ndarray]:
        """A step that lowers the loss, and where it leads: the loss along a line costs no product with the rows."""
        falls = float(slope[0] @ direction[1])
        count = self.labels
        low, high, step = 0.0, np.inf, 1.0
        for _ in range(20):
            there = at + np.float32(step) * direction
            found, residual = self._loss(there, strength)
            # The derivative along the line: of the weights' length, then of the log loss.
            still = float(there[0, :-count] @ direction[1, :-count])
            still += float((residual * (direction[1, :-count].reshape(-1, count) + direction[1, -count:])).sum())
            if found > loss + 1e-4 * step * falls:
                high = step
            elif still < 0.9 * falls:
                low = step
            else:
                return step, there, found, residual
            step = 2 * low if high == np.inf else (low + high) / 2
        found, residual = self._loss(at, strength)
        return 0.0, at, found, residual


def log_probabilities(scores: np.ndarray) -> np.ndarray:
    """float [rows, labels], along its last axis."""
    found: np.ndarray = scores - scipy.special.logsumexp(scores, axis=-1, keepdims=True)
    return found


def probabilities_of(scores: np.ndarray, multi_label: bool) -> np.ndarray:
    """float [rows, labels] of scores: along the last axis, or of each label by itself."""
    found: np.ndarray = scipy.special.expit(scores) if multi_label else np.exp(log_probabilities(scores))
    return found


def losses_of(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float [rows]: the log loss of scores [rows, labels]; truth int64 [rows], or uint8 [rows, labels] of several."""
    if truth.ndim == 2:
        several: np.ndarray = (np.logaddexp(0, scores) - truth * scores).sum(axis=1)
        return several
    found: np.ndarray = -log_probabilities(scores)[np.arange(len(truth)), truth]
    return found


def weigh(scores: list[np.ndarray], truth: np.ndarray, start: list[float]) -> list[float]:
    """How much each of several models' log probabilities (of several labels: log-odds), float [rows, labels], counts in
    their sum: lowest log loss. truth as in `losses_of`.

    Few rows say little: the weights are drawn towards `start` as if a few rows more had spoken for it.
    """
    stacked = np.stack(scores).astype(np.float64)

    def loss(logs: np.ndarray) -> float:
        lost = losses_of(np.tensordot(np.exp(logs), stacked, axes=1), truth).sum()
        return float(3.0 * ((logs - np.log(start)) ** 2).sum() + lost)

    found = scipy.optimize.minimize(loss, np.log(start), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-3})
    return [round(float(weight), 4) for weight in np.exp(found.x)]

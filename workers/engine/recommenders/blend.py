"""How much each component counts in the sum: weights that rank best for the users of the validation rows.

Ranking metrics have no gradient, so the weights are climbed to one at a time. Only items that some component ranks high
can reach the top of the sum; each user's are collected once, which makes judging a set of weights cheap.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from workers.engine.ranking import leave_out
from workers.engine.recommenders.interactions import HeldOut, Histories
from workers.engine.recommenders.linear import Component, LinearRecommender
from workers.engine.recommenders.measures import DEPTH, per_user
from workers.engine.recommenders.search import quality

_USERS = 3_000
# How many items of each component a user's pool takes.
_POOL = 100
_BATCH = 256
_STEPS = (-1.0, -0.3, -0.1, 0.1, 0.3, 1.0)
_SWEEPS = 4
# The score of an empty place: below all others, and still a number that can be multiplied by zero.
_NOTHING = -1e30
# A component must raise quality by this share to be worth its place.
_WORTH = 0.001


class Pool(NamedTuple):
    """Items that may be recommended: each component's scores, float32 [components, users, places], _NOTHING where a
    user has fewer; whether they are held out, bool [users, places]; and how many held-out items each user has."""

    scores: np.ndarray
    held_out: np.ndarray
    totals: np.ndarray

    def quality(self, weights: np.ndarray) -> float:
        """What the lists of the weighted sum are worth, by `search.quality`."""
        scores = np.einsum("c,cup->up", weights.astype(np.float32), self.scores)
        depth = min(DEPTH, scores.shape[1])
        top = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        top = np.take_along_axis(top, order, axis=1)
        hits = np.zeros((len(scores), DEPTH), bool)
        hits[:, :depth] = np.take_along_axis(self.held_out, top, axis=1)
        return quality({name: float(values.mean()) for name, values in per_user(hits, self.totals).items()})


def collect(components: Sequence[Component], known: Histories, held: HeldOut) -> tuple[Pool, np.ndarray]:
    """The pool of some users with a history, its scores divided by their spread in each component: those divisors."""
    held = held.chosen(np.flatnonzero(held.rows >= 0)).thinned(_USERS)
    models = [LinearRecommender([component]) for component in components]
    batches = [
        _batch(models, known, held.chosen(np.arange(start, min(start + _BATCH, len(held.users)))))
        for start in range(0, len(held.users), _BATCH)
    ]
    width = max(found.shape[2] for found, _ in batches)
    scores = np.concatenate(
        [np.pad(s, ((0, 0), (0, 0), (0, width - s.shape[2])), constant_values=_NOTHING) for s, _ in batches], axis=1
    )
    held_out = np.concatenate([np.pad(h, ((0, 0), (0, width - h.shape[1]))) for _, h in batches])
    filled = scores[0] > _NOTHING
    spread = np.array([float(part[filled].std()) if filled.any() else 0.0 for part in scores])
    spread[spread == 0] = 1.0
    scores = np.where(filled, scores / spread[:, None, None], _NOTHING).astype(np.float32)
    return Pool(scores, held_out, held.totals), spread


def _batch(models: Sequence[LinearRecommender], known: Histories, held: HeldOut) -> tuple[np.ndarray, np.ndarray]:
    histories = known.matrix[held.rows]
    scores = [model.scores(histories) for model in models]
    wanted = np.zeros(scores[0].shape, bool)
    for part in scores:
        leave_out(part, histories)
        most = min(_POOL, part.shape[1])
        np.put_along_axis(wanted, np.argpartition(-part, most - 1, axis=1)[:, :most], values=True, axis=1)
    wanted &= scores[0] > -np.inf
    row, item = np.nonzero(wanted)
    counts = wanted.sum(axis=1)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    found = np.full((len(models), len(wanted), max(1, int(counts.max()))), _NOTHING, np.float32)
    for part, pooled in zip(scores, found, strict=True):
        pooled[row, place] = part[row, item]
    held_out = np.zeros(found.shape[1:], bool)
    held_out[row, place] = held.relevant.toarray()[row, item]
    return found, held_out


def climb(pool: Pool, first: int) -> np.ndarray:
    """Weights ≥ 0, float64 [components], beginning with component number `first` alone."""
    weights = np.zeros(len(pool.scores))
    weights[first] = 1.0
    best = pool.quality(weights)
    for _ in range(_SWEEPS):
        before = best
        for place in range(len(weights)):
            for step in _STEPS:
                tried = weights.copy()
                tried[place] = round(max(0.0, weights[place] + step), 3)
                if tried[place] == weights[place] or not tried.any():
                    continue
                if (found := pool.quality(tried)) > best:
                    best, weights = found, tried
        if best == before:
            break
    for place in np.argsort(weights):
        tried = weights.copy()
        tried[place] = 0
        if weights[place] and tried.any() and (found := pool.quality(tried)) > best * (1 - _WORTH):
            best, weights = found, tried
    return weights

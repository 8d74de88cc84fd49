"""How good ranked lists are, and whether two ways of making them agree.

The whole catalogue is ranked, never a sample of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from workers.engine.recommenders.interactions import HeldOut, Histories
from workers.engine.recommenders.measures import DEPTH, of_lists, per_user
from workers.inference.ranked import top_items

# Histories, float32 [users, catalogue] → scores, float32 [users, catalogue].
Scorer = Callable[[scipy.sparse.csr_array], np.ndarray]


@dataclass(frozen=True)
class Evaluation:
    """`values` holds what was measured of each user, float64 [users]; `metrics` its means and what was measured of all
    lists; `best` item numbers, int64 [users, DEPTH], -1 where a list is shorter."""

    metrics: dict[str, float]
    values: dict[str, np.ndarray]
    best: np.ndarray
    hits: np.ndarray  # bool [users, DEPTH]
    without_history: int


def evaluate(
    score: Scorer,
    known: Histories,
    held: HeldOut,
    progress: Callable[[float], None] = lambda fraction: None,
    shown: scipy.sparse.csr_array | None = None,
) -> Evaluation:
    """Rank the whole catalogue for each user with held-out items, without what they have seen, and compare.

    A user whose history has no weight gets the popularity list, as the served model does. `shown` are the histories
    that the model is shown in place of those of `known`, float32 [users, catalogue].
    """
    users, width = len(held.users), known.matrix.shape[1]
    best = np.full((users, DEPTH), -1, np.int64)
    hits = np.zeros((users, DEPTH), bool)
    without_history = 0
    size = min(1024, max(1, 2**25 // max(1, width)))
    for start in range(0, users, size):
        rows = slice(start, min(start + size, users))
        seen = known.with_nobody[held.rows[rows]]
        batch = seen if shown is None else shown[rows]
        cold = batch.sum(axis=1) == 0
        scores = score(batch)
        scores[cold] = known.shares
        leave_out(scores, seen)
        top, values = top_items(scores, DEPTH)
        ranked = values != -np.inf
        depth = top.shape[1]
        best[rows, :depth] = np.where(ranked, top, -1)
        hits[rows, :depth] = np.take_along_axis(held.relevant[rows].toarray(), top, axis=1) & ranked
        without_history += int(cold.sum())
        progress(rows.stop / users)
    each = per_user(hits, held.totals)
    metrics = {name: float(column.mean()) for name, column in each.items()} if users else {}
    return Evaluation({**metrics, **of_lists(best, held.rows, known)}, each, best, hits, without_history)


def leave_out(scores: np.ndarray, seen: scipy.sparse.csr_array) -> None:
    """Set the scores of each row's stored items, zeros too, to -inf, in place."""
    scores[np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr)), seen.indices] = -np.inf


def popularity(known: Histories) -> Scorer:
    """The baseline: the share of users that met an item, whatever the history."""
    return lambda batch: np.tile(known.shares, (batch.shape[0], 1))


def flips(served: list[list[int]], expected: np.ndarray, scores: np.ndarray, tolerance: float) -> int:
    """How many served lists differ from the expected ones beyond ties.

    `expected` is int64 [users, k], -1 where shorter; `scores` float [users, catalogue] are those that `expected` was
    made from. At each place the two items must be the same or their scores at most `tolerance` apart.
    """
    count = 0
    for numbers, row, row_scores in zip(served, expected, scores, strict=True):
        wanted = row[row >= 0]
        same_length = len(numbers) == len(wanted) and len(set(numbers)) == len(numbers)
        count += not (same_length and np.all(np.abs(row_scores[numbers] - row_scores[wanted]) <= tolerance))
    return count

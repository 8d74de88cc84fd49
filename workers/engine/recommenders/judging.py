"""How good a recommender is on a split: beside its baselines, by users' histories, and for people who just came."""

import numpy as np
import scipy.sparse

from workers.contracts.report import Interval, RankingSplit, UserGroup
from workers.engine.ranking import Evaluation, Scorer, evaluate, popularity
from workers.engine.recommenders.interactions import HeldOut, Histories
from workers.engine.recommenders.measures import by_history_length, intervals, user_group
from workers.engine.recommenders.neighbours import COSINE, neighbours

# Newcomers are told of by their first items; users beyond this many would hardly change what is measured of them.
_NEWCOMERS = (1, 3, 5)
_NEWCOMERS_JUDGED = 5_000
_SLICED = ("recall@20", "ndcg@20")


def section(found: Evaluation, known: Histories, held: HeldOut) -> RankingSplit:
    """What the report tells of an evaluation."""
    baselines = baseline_evaluations(known, held)
    return RankingSplit(
        users=len(held.users),
        of_users=held.of if held.of > len(held.users) else None,
        users_without_history=found.without_history,
        held_out=int(held.totals.sum()),
        held_out_unknown_items=held.unknown_items,
        already_seen=held.already_seen,
        metrics=found.metrics,
        intervals=intervals(found.values),
        baselines={name: baseline.metrics for name, baseline in baselines.items()},
        gains={name: _gain(found.values, baseline.values) for name, baseline in baselines.items()},
        by_history=by_history_length(_sliced(found), _lengths(known, held)),
    )


def baseline_evaluations(known: Histories, held: HeldOut) -> dict[str, Evaluation]:
    """What needs no search: how good is it for the same users?"""
    return {
        "popularity": evaluate(popularity(known), known, held),
        "item-knn": evaluate(item_knn(known), known, held),
    }


def _lengths(known: Histories, held: HeldOut) -> np.ndarray:
    lengths: np.ndarray = np.diff(known.with_nobody.indptr)[held.rows]
    return lengths


def _sliced(found: Evaluation) -> dict[str, np.ndarray]:
    return {name: found.values[name] for name in _SLICED}


def item_knn(known: Histories) -> Scorer:
    """The baseline that knows users: cosine neighbourhoods of 100 items, as `neighbours` finds them."""
    near = neighbours(known.learnable, COSINE)
    return lambda batch: (batch @ near).toarray()


def _gain(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, Interval]:
    """95 % intervals of the difference to a baseline, user by user."""
    return intervals({name: ours[name] - theirs[name] for name in _SLICED})


def newcomers(score: Scorer, known: Histories, held: HeldOut) -> list[UserGroup]:
    """Users with longer histories, judged as if only `items` of them were known: the last by time, or any where no time
    is known. Their whole histories are left out of the lists."""
    groups, lengths = [], _lengths(known, held)
    for count in _NEWCOMERS:
        chosen = held.chosen(np.flatnonzero(lengths > count)).thinned(_NEWCOMERS_JUDGED)
        if not len(chosen.users):
            continue
        shown = some_items(known.matrix[chosen.rows], count, known.timed)
        found = evaluate(score, known, chosen, shown=shown)
        name = f"{count} item{'s' if count > 1 else ''}"
        groups.append(user_group(name, count, count, _sliced(found)))
    return groups


def some_items(histories: scipy.sparse.csr_array, count: int, last: bool) -> scipy.sparse.csr_array:
    """`count` items of each history: the last, or else any, by a fixed seed."""
    row = np.repeat(np.arange(histories.shape[0]), np.diff(histories.indptr))
    lot = np.arange(histories.nnz) if last else np.random.default_rng(0).permutation(histories.nnz)
    order = np.lexsort((-lot, row))
    place = np.arange(histories.nnz) - np.repeat(histories.indptr[:-1], np.diff(histories.indptr))
    kept = np.sort(order[place < count])
    starts = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=histories.shape[0]))])
    return scipy.sparse.csr_array((histories.data[kept], histories.indices[kept], starts), shape=histories.shape)

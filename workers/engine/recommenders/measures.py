"""What is measured of ranked lists: per user where a user can be judged alone, over all lists where not.

Definitions follow Herlocker et al. 2004 and, for popularity bias, Abdollahpouri et al. 2020.
"""

import numpy as np

from workers.contracts.report import Interval, UserGroup
from workers.engine.recommenders.interactions import Histories

CUTOFFS = (5, 10, 20)
DEPTH = max(CUTOFFS)
# Where lists are looked at as a whole: their coverage, novelty and popularity bias.
LISTS_AT = 10
# Upper ends, exclusive, of the history lengths that users are sorted by.
_LENGTHS = (1, 5, 10, 20, 50, 100, 200)
_RESAMPLES = 1000


def per_user(hits: np.ndarray, totals: np.ndarray) -> dict[str, np.ndarray]:
    """Recall, NDCG, reciprocal rank and average precision at each cutoff, float64 [users].

    `hits` is bool [users, DEPTH]: whether the list's place holds a held-out item; `totals` counts all held-out items of
    a user, at least one. Recall divides by that count; NDCG and average precision by the ideal list of min(k, count)
    items.
    """
    places = np.arange(1, hits.shape[1] + 1)
    gains = np.cumsum(hits / np.log2(places + 1), axis=1)
    ideal = np.cumsum(1 / np.log2(places + 1))
    found = np.cumsum(hits, axis=1)
    precision = np.cumsum(hits * found / places, axis=1)
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)
    values = {}
    for k in CUTOFFS:
        possible = np.minimum(totals, k)
        values[f"recall@{k}"] = found[:, k - 1] / totals
        values[f"ndcg@{k}"] = gains[:, k - 1] / ideal[possible - 1]
        values[f"mrr@{k}"] = np.where(first <= k, 1 / first, 0.0)
        values[f"map@{k}"] = precision[:, k - 1] / possible
    return values


def of_lists(best: np.ndarray, rows: np.ndarray, known: Histories) -> dict[str, float]:
    """What the lists are like, whoever they are for. `best` holds item numbers, int64 [users, DEPTH], -1 for none;
    `rows` are the users' rows of `known`, -1 for none.

    Coverage: the share of the catalogue that stands in a list. Novelty: the mean self-information -log2(share of users
    who know the item), in bits. Gini: how unevenly places are given to items, 0 = all alike. Popularity lift: how much
    more popular the listed items are than those of the histories; 0 = as popular, 1 = twice.
    """
    listed = best[:, :LISTS_AT]
    filled: np.ndarray = listed >= 0
    catalogue = len(known.items)
    shares = known.shares.astype(np.float64)
    times = np.bincount(listed[filled], minlength=catalogue)
    values = {
        f"coverage@{LISTS_AT}": coverage(listed, catalogue),
        f"novelty@{LISTS_AT}": float(-np.log2(shares[listed[filled]]).mean()) if filled.any() else 0.0,
        f"gini@{LISTS_AT}": gini(times),
    }
    histories = known.matrix[rows[rows >= 0]]
    lengths = np.diff(histories.indptr)
    judged = (filled.sum(axis=1)[rows >= 0] > 0) & (lengths > 0)
    if judged.any():
        total = np.bincount(
            np.repeat(np.arange(len(lengths)), lengths), shares[histories.indices], minlength=len(lengths)
        )
        theirs = (total[judged] / lengths[judged]).mean()
        of_list = np.where(filled, shares[listed], 0).sum(axis=1)[rows >= 0][judged]
        given = (of_list / filled.sum(axis=1)[rows >= 0][judged]).mean()
        values[f"popularity_lift@{LISTS_AT}"] = float(given / theirs - 1)
    return values


def coverage(best: np.ndarray, catalogue: int) -> float:
    """The share of the catalogue that stands in at least one list; -1 is no item."""
    return len(np.unique(best[best >= 0])) / max(1, catalogue)


def gini(times: np.ndarray) -> float:
    """The Gini coefficient of counts: 0 where all are equal, towards 1 where one has everything."""
    total = float(times.sum())
    if not total:
        return 0.0
    ordered = np.sort(times)
    ranks = np.arange(1, len(ordered) + 1)
    return float((2 * ranks - len(ordered) - 1) @ ordered / (len(ordered) * total))


def intervals(values: dict[str, np.ndarray], seed: int = 0) -> dict[str, Interval]:
    """95 % percentile bootstrap intervals of the means, over users (Efron 1979)."""
    names, matrix = list(values), np.stack(list(values.values()), axis=1)
    users = len(matrix)
    source = np.random.default_rng(seed)
    means = np.empty((_RESAMPLES, len(names)))
    for resample in range(_RESAMPLES):
        # How often each user was drawn says as much as who was drawn, and needs no copy of their values.
        times = np.bincount(source.integers(users, size=users), minlength=users)
        means[resample] = times @ matrix / users
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return {name: Interval(low=low[place], high=high[place]) for place, name in enumerate(names)}


def by_history_length(values: dict[str, np.ndarray], lengths: np.ndarray) -> list[UserGroup]:
    """Users with histories of similar length, shortest first."""
    bins = np.digitize(lengths, _LENGTHS)
    groups = []
    for place in np.unique(bins).tolist():
        least = _LENGTHS[place - 1] if place else 0
        most = _LENGTHS[place] - 1 if place < len(_LENGTHS) else None
        name = "no items" if not place else f"{least}–{most} items" if most else f"{least} items or more"
        chosen = {metric: column[bins == place] for metric, column in values.items()}
        groups.append(user_group(name, least, most, chosen))
    return groups


def user_group(name: str, least: int, most: int | None, values: dict[str, np.ndarray]) -> UserGroup:
    """Some users, with the means of what was measured of them."""
    return UserGroup(
        name=name,
        least=least,
        most=most,
        users=len(next(iter(values.values()))),
        metrics={metric: float(column.mean()) for metric, column in values.items()},
        intervals=intervals(values),
    )

"""Interactions as numbers: what is known of users at a time (`Histories`) and what they did later (`HeldOut`)."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse

TRAIN, VALIDATION, TEST = range(3)


@dataclass(frozen=True)
class Log:
    """Every interaction of a dataset version. Users and items are places in the sorted lists `users` and `items`."""

    users: list[str]
    items: list[str]
    user: np.ndarray  # int64 [rows]
    item: np.ndarray  # int64 [rows]
    split: np.ndarray  # int8 [rows]: TRAIN, VALIDATION or TEST
    weight: np.ndarray  # float32 [rows]; 0 is an interaction that was seen but says nothing good
    time: np.ndarray | None = None  # int64 [rows], seconds; None where nobody knows the order


@dataclass(frozen=True)
class Histories:
    """What some rows of a log tell: the catalogue, most popular first (equals by id), and each user's items.

    `matrix` is float32 [users, catalogue]; a stored 0 marks an item as seen, without weight. The items of a row stand
    in the order of time, oldest first, where `timed`; else by number.
    """

    items: np.ndarray  # int64 [catalogue]: places in Log.items
    counts: np.ndarray  # int64 [catalogue]: users with a positive weight, never increasing
    users: np.ndarray  # int64 [users]: places in Log.users, increasing
    matrix: scipy.sparse.csr_array
    timed: bool = False
    # Users that `counts` counts, where these are but some of them.
    population: int | None = None

    def tempered(self, power: float) -> "Histories":
        """With weights to this power; those of zero stay zero."""
        matrix = self.matrix.copy()
        matrix.data = np.where(matrix.data > 0, matrix.data**power, 0).astype(np.float32)
        return replace(self, matrix=matrix)

    def sampled(self, held: "HeldOut", interactions: int) -> tuple["Histories", "HeldOut"]:
        """About so many interactions of some users: those with held-out items, and others evenly spread over the list;
        and what is held out of the former. The catalogue stays."""
        if self.matrix.nnz <= interactions:
            return self, held
        share = interactions / self.matrix.nnz
        spread = np.linspace(0, len(self.users) - 1, int(share * len(self.users))).astype(np.int64)
        rows = np.union1d(held.rows[held.rows >= 0], spread)
        known = held.chosen(np.flatnonzero(held.rows >= 0))
        known = replace(known, rows=np.searchsorted(rows, known.rows))
        return replace(self, users=self.users[rows], matrix=self.matrix[rows], population=len(self.users)), known

    @cached_property
    def with_nobody(self) -> scipy.sparse.csr_array:
        """`matrix` and, as its last row, the empty history of somebody unknown: row -1."""
        nobody = scipy.sparse.csr_array((1, self.matrix.shape[1]), dtype=np.float32)
        return scipy.sparse.vstack([self.matrix, nobody], format="csr")

    @cached_property
    def shares(self) -> np.ndarray:
        """The share of the users that met an item, float32 [catalogue]: the score of popularity."""
        return (self.counts / max(1, self.population or len(self.users))).astype(np.float32)

    @cached_property
    def learnable(self) -> scipy.sparse.csr_array:
        """`matrix` without the stored zeros: what a model learns from."""
        matrix = self.matrix.copy()
        matrix.eliminate_zeros()
        return matrix


@dataclass(frozen=True)
class HeldOut:
    """What users did after their histories. Items that a user had already seen are not held out: they are excluded."""

    users: np.ndarray  # int64 [users]: places in Log.users, increasing
    rows: np.ndarray  # int64 [users]: rows of Histories.matrix, -1 where there is no history
    relevant: scipy.sparse.csr_array  # bool [users, catalogue]
    totals: np.ndarray  # int64 [users]: held-out items, those outside the catalogue too
    unknown_items: int
    already_seen: int
    # Users that there were before some were chosen.
    of: int

    def thinned(self, most: int) -> "HeldOut":
        """At most `most` of the users, evenly spread over their list."""
        if len(self.users) <= most:
            return self
        return self.chosen(np.linspace(0, len(self.users) - 1, most).astype(np.int64))

    def chosen(self, places: np.ndarray) -> "HeldOut":
        """Only the users at these places."""
        return replace(
            self,
            users=self.users[places],
            rows=self.rows[places],
            relevant=self.relevant[places],
            totals=self.totals[places],
        )


def histories(log: Log, rows: np.ndarray, min_users: int = 1) -> Histories:
    """What is known from the rows where the mask `rows` is true. Items of fewer than `min_users` users are left out."""
    user, item, weight, time = _distinct(log, rows)
    counts = np.bincount(item[weight > 0], minlength=len(log.items))
    # Items are numbered by id already: a stable sort leaves equals in that order.
    order = np.argsort(-counts, kind="stable")
    catalogue = order[counts[order] >= max(1, min_users)]
    place = _places(catalogue, len(log.items))
    kept = place[item] >= 0
    user, number, weight = user[kept], place[item[kept]], weight[kept]
    order = np.lexsort((number, user) if time is None else (number, time[kept], user))
    users, starts = np.unique(user[order], return_index=True)
    matrix = scipy.sparse.csr_array(
        (weight[order], number[order].astype(np.int32), np.append(starts, len(order))),
        shape=(len(users), len(catalogue)),
        dtype=np.float32,
    )
    return Histories(catalogue, counts[catalogue], users, matrix, log.time is not None)


def _distinct(log: Log, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Each pair of user and item of some rows once, with its largest weight and its last time."""
    pair = log.user[rows] * len(log.items) + log.item[rows]
    weight = log.weight[rows]
    order = np.lexsort((-weight, pair))
    pair, weight = pair[order], weight[order]
    first = np.flatnonzero(np.append(True, pair[1:] != pair[:-1])[: len(pair)])
    user, item = np.divmod(pair[first], max(1, len(log.items)))
    time = None
    if log.time is not None:
        time = np.maximum.reduceat(log.time[rows][order], first) if len(first) else log.time[rows]
    return user, item, weight[first], time


def hold_out(log: Log, rows: np.ndarray, known: Histories) -> HeldOut:
    """What the rows where the mask `rows` is true hold that `known` does not."""
    liked = rows & (log.weight > 0)
    user, item, _, _ = _distinct(log, liked)
    row = _places(known.users, len(log.users))[user]
    column = _places(known.items, len(log.items))[item]
    inside = (row >= 0) & (column >= 0)
    width = known.matrix.shape[1]
    stored = np.repeat(np.arange(known.matrix.shape[0]), np.diff(known.matrix.indptr)) * width + known.matrix.indices
    stored.sort()
    pairs = row * width + column
    # A search in sorted pairs takes a tenth of what np.isin takes for millions.
    place = np.searchsorted(stored, pairs)
    seen = inside & (np.append(stored, -1)[place] == pairs)
    user, row, column = user[~seen], row[~seen], column[~seen]
    users, first, inverse, totals = np.unique(user, return_index=True, return_inverse=True, return_counts=True)
    found = column >= 0
    relevant = scipy.sparse.csr_array(
        (np.ones(found.sum(), bool), (inverse[found], column[found])), shape=(len(users), width)
    )
    return HeldOut(users, row[first], relevant, totals, int((~found).sum()), int(seen.sum()), len(users))


def _places(chosen: np.ndarray, size: int) -> np.ndarray:
    places = np.full(size, -1)
    places[chosen] = np.arange(len(chosen))
    return places

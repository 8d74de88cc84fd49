"""Interactions as numbers: what is known of users at a time (`Histories`) and what they did later (`HeldOut`)."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse

from workers.contracts.job import SPLITS

TRAIN, VALIDATION, TEST = range(3)
Ratings = Literal["auto", "ignore", "weight", "threshold"]
# A single play count of a million must not drown everything else.
_MAX_WEIGHT = 10.0


@dataclass(frozen=True)
class Log:
    """Every interaction of a dataset version. Users and items are places in the sorted lists `users` and `items`."""

    users: list[str]
    items: list[str]
    user: np.ndarray  # int64 [rows]
    item: np.ndarray  # int64 [rows]
    split: np.ndarray  # int8 [rows]: TRAIN, VALIDATION or TEST
    weight: np.ndarray  # float32 [rows]; 0 is an interaction that was seen but says nothing good


@dataclass(frozen=True)
class Histories:
    """What some rows of a log tell: the catalogue, most popular first (equals by id), and each user's items.

    `matrix` is float32 [users, catalogue]; a stored 0 marks an item as seen, without weight.
    """

    items: np.ndarray  # int64 [catalogue]: places in Log.items
    counts: np.ndarray  # int64 [catalogue]: users with a positive weight, never increasing
    users: np.ndarray  # int64 [users]: places in Log.users, increasing
    matrix: scipy.sparse.csr_array

    @cached_property
    def with_nobody(self) -> scipy.sparse.csr_array:
        """`matrix` and, as its last row, the empty history of somebody unknown: row -1."""
        nobody = scipy.sparse.csr_array((1, self.matrix.shape[1]), dtype=np.float32)
        return scipy.sparse.vstack([self.matrix, nobody], format="csr")

    @cached_property
    def shares(self) -> np.ndarray:
        """The share of the users that met an item, float32 [catalogue]: the score of popularity."""
        return (self.counts / max(1, len(self.users))).astype(np.float32)

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

    def thinned(self, most: int) -> "HeldOut":
        """At most `most` of the users, evenly spread over their list."""
        if len(self.users) <= most:
            return self
        chosen = np.linspace(0, len(self.users) - 1, most).astype(np.int64)
        return replace(
            self,
            users=self.users[chosen],
            rows=self.rows[chosen],
            relevant=self.relevant[chosen],
            totals=self.totals[chosen],
        )


class Weighing(NamedTuple):
    """How ratings became weights: in words, and the number that was used."""

    mode: Ratings
    value: float | None
    explanation: str


def read_log(path: Path, ratings: Ratings, min_rating: float | None, seed: int) -> tuple[Log, Weighing]:
    """Read data.parquet.

    Where it has no validation rows, a tenth of the train rows becomes validation, by a seeded hash.
    """
    import pyarrow.compute
    import pyarrow.parquet

    rated = "rating" in pyarrow.parquet.read_schema(path).names and ratings != "ignore"
    table = pyarrow.parquet.read_table(
        path, columns=["user", "item", "split", *(["rating"] if rated else [])], memory_map=True
    )
    users, user = _encode(table["user"])
    items, item = _encode(table["item"])
    split = pyarrow.compute.index_in(table["split"], pyarrow.array(SPLITS)).to_numpy().astype(np.int8)
    values = table["rating"].to_numpy().astype(np.float64) if rated else np.ones(len(user))
    weight, weighing = _weigh(values, split == TRAIN, ratings if rated else "ignore", min_rating)
    if not (split == VALIDATION).any():
        split = np.where((split == TRAIN) & (_hash(user, item, seed) % np.uint64(10) == 0), VALIDATION, split)
    return Log(users, items, user, item, split.astype(np.int8), weight.astype(np.float32)), weighing


def _encode(column: Any) -> tuple[list[str], np.ndarray]:
    """Sorted distinct values, and each row's place among them."""
    import pyarrow

    column = column.combine_chunks()
    encoded = (column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column).dictionary_encode()
    values: list[str] = encoded.dictionary.to_pylist()
    order = sorted(range(len(values)), key=values.__getitem__)
    place = np.empty(len(values), np.int64)
    place[order] = np.arange(len(values))
    return [values[index] for index in order], place[encoded.indices.to_numpy()]


def _weigh(
    values: np.ndarray, train: np.ndarray, ratings: Ratings, min_rating: float | None
) -> tuple[np.ndarray, Weighing]:
    """Weights of ratings (NaN where there is none). Only train rows decide what an average rating is."""
    known = values[train & np.isfinite(values)]
    if ratings == "ignore" or not len(known):
        return np.ones(len(values)), Weighing("ignore", None, "Every interaction counts as one.")
    if ratings == "threshold":
        least = float(known.mean()) if min_rating is None else min_rating
        text = f"Interactions rated {least:g} or more count as one; the others only mark the item as seen."
        return np.where(np.isnan(values), True, values >= least), Weighing("threshold", least, text)
    positive = known[known > 0]
    mean = float(positive.mean()) if len(positive) else 1.0
    text = (
        f"An interaction weighs its rating divided by the average of {mean:g}, {_MAX_WEIGHT:g} at most; ratings of "
        "zero or less only mark the item as seen."
    )
    scaled = np.clip(values / mean, 0.0, _MAX_WEIGHT)
    return np.where(np.isnan(values), 1.0, scaled), Weighing("weight", mean, text)


def _hash(user: np.ndarray, item: np.ndarray, seed: int) -> np.ndarray:
    """64 well-mixed bits of (user, item, seed): the finaliser of SplitMix64 (Steele, Lea and Flood 2014), twice."""
    bits = user.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed % 2**63)
    for salt in (item.astype(np.uint64), np.uint64(0)):
        bits = bits ^ salt
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
    return bits


def histories(log: Log, rows: np.ndarray, min_users: int = 1) -> Histories:
    """What is known from the rows where the mask `rows` is true. Items of fewer than `min_users` users are left out."""
    user, item, weight = _distinct(log.user[rows], log.item[rows], log.weight[rows])
    counts = np.bincount(item[weight > 0], minlength=len(log.items))
    # Items are numbered by id already: a stable sort leaves equals in that order.
    order = np.argsort(-counts, kind="stable")
    catalogue = order[counts[order] >= max(1, min_users)]
    place = np.full(len(log.items), -1)
    place[catalogue] = np.arange(len(catalogue))
    kept = place[item] >= 0
    users, row = np.unique(user[kept], return_inverse=True)
    matrix = scipy.sparse.csr_array(
        (weight[kept], (row, place[item[kept]])), shape=(len(users), len(catalogue)), dtype=np.float32
    )
    matrix.sort_indices()
    return Histories(catalogue, counts[catalogue], users, matrix)


def _distinct(user: np.ndarray, item: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair of user and item once, with its largest weight."""
    order = np.lexsort((-weight, item, user))
    user, item, weight = user[order], item[order], weight[order]
    first = np.ones(len(user), bool)
    first[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    return user[first], item[first], weight[first]


def hold_out(log: Log, rows: np.ndarray, known: Histories) -> HeldOut:
    """What the rows where the mask `rows` is true hold that `known` does not."""
    liked = rows & (log.weight > 0)
    user, item, _ = _distinct(log.user[liked], log.item[liked], log.weight[liked])
    row = _places(known.users, len(log.users))[user]
    column = _places(known.items, len(log.items))[item]
    inside = (row >= 0) & (column >= 0)
    width = known.matrix.shape[1]
    stored = np.repeat(np.arange(known.matrix.shape[0]), np.diff(known.matrix.indptr)) * width + known.matrix.indices
    seen = np.zeros(len(user), bool)
    seen[inside] = np.isin(row[inside] * width + column[inside], stored)
    user, row, column = user[~seen], row[~seen], column[~seen]
    users, first, inverse, totals = np.unique(user, return_index=True, return_inverse=True, return_counts=True)
    found = column >= 0
    relevant = scipy.sparse.csr_array(
        (np.ones(found.sum(), bool), (inverse[found], column[found])), shape=(len(users), width)
    )
    return HeldOut(users, row[first], relevant, totals, int((~found).sum()), int(seen.sum()))


def _places(chosen: np.ndarray, size: int) -> np.ndarray:
    places = np.full(size, -1)
    places[chosen] = np.arange(len(chosen))
    return places

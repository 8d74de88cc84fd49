"""Items that occur more than once: how many, with different labels, in different splits."""

from typing import NamedTuple

import numpy as np
import polars as pl

from workers.ingest.hashing import Hashes
from workers.ingest.splits import Codes, Ints


class Duplicates(NamedTuple):
    """Rows by their place in the dataset, sorted. Each list holds examples: (an earlier occurrence, a later one).

    `repeated`: beyond each item's first; `conflicting`: of items with more than one label, whose hashes are
    `conflicts`; `straddling`: in an earlier split than another row of the same item, by which that one is no test.
    """

    repeated: Ints
    repeated_examples: list[tuple[int, int]]
    conflicts: Hashes
    conflicting: Ints
    conflict_examples: list[tuple[int, int]]
    straddling: Ints
    straddling_examples: list[tuple[int, int]]


def find(hashes: Hashes, labels: Ints, given: Codes | None, max_examples: int) -> Duplicates:
    """Compare all rows by hash; the splits where the file has given some."""
    # Few items occur again; only their rows are put in order.
    again = _again(hashes)
    order = again[np.argsort(hashes[again], kind="stable")]
    ordered = hashes[order]
    # Neighbours of equal hash: the later one repeats the earlier.
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    differing = same[labels[order[same]] != labels[order[same + 1]]]
    conflicts = np.unique(ordered[differing])
    crossing = straddling = same[:0]
    if given is not None:
        crossing = same[given[order[same]] != given[order[same + 1]]]
        straddling = _earlier(order, ordered, given) if len(order) else same
    return Duplicates(
        repeated=np.sort(order[same + 1]),
        repeated_examples=_examples(order, same, max_examples),
        conflicts=conflicts,
        conflicting=np.sort(order[np.isin(ordered, conflicts)]),
        conflict_examples=_examples(order, differing, max_examples),
        straddling=straddling,
        straddling_examples=_examples(order, crossing, max_examples),
    )


def _again(hashes: Hashes) -> Ints:
    """The rows of items that occur more than once, sorted."""
    ordered = np.sort(hashes)
    repeated = pl.Series(ordered[1:][ordered[1:] == ordered[:-1]])
    return pl.Series(hashes).is_in(repeated.implode()).arg_true().to_numpy().astype(np.int64)


def _earlier(order: Ints, ordered: Hashes, splits: Codes) -> Ints:
    """Rows in an earlier split than another row of the same item."""
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    last = np.maximum.reduceat(splits[order], starts)
    return np.sort(order[splits[order] < np.repeat(last, np.diff(np.append(starts, len(order))))])


def _examples(order: Ints, places: Ints, limit: int) -> list[tuple[int, int]]:
    # In hash order, so any thousand are as good as all.
    pairs = [(int(order[place]), int(order[place + 1])) for place in places[:1000].tolist()]
    return sorted(pairs, key=lambda pair: pair[1])[:limit]

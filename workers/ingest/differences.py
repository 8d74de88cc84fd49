"""What two versions of a dataset differ in: which rows were added, removed, relabelled, rewritten, or moved.

Rows are the same where it is known that one became the other, or else where they hold the same item: those with the
same label and split first, then any two that are left, as often as both have it.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from workers.ingest.hashing import Hashes
from workers.ingest.splits import Ints
from workers.ingest.version import Source, Version

CHANGES: Final = ("added", "removed", "relabelled", "changed", "moved")
# What stands in a row beside its item, label and split.
_VALUES: Final = ("rating", "timestamp")
_STEPS: Final = {"label": np.uint64(0x9E3779B97F4A7C15), "split": np.uint64(0xBF58476D1CE4E5B9)}
# The rows of the first and of the second version, in order; -1 where there is none.
Pairs = tuple[Ints, Ints]


class Differences(NamedTuple):
    """By kind of change the rows of the first and of the second version. A row can be in several kinds."""

    added: Pairs
    removed: Pairs
    relabelled: Pairs
    changed: Pairs
    moved: Pairs

    def counts(self) -> dict[str, int]:
        """How many rows of each kind."""
        return {change: len(rows[0]) for change, rows in self._asdict().items()}


def compare(first: Version, second: Version, same: Pairs | None = None) -> Differences:
    """Compare two versions of one dataset. `same`: rows that are known to be the same, where that is known."""
    known = _numbered_together(first, second)
    before, after = same or _same(known)
    gone, new = _others(before, first.rows), _others(after, second.rows)
    nothing = [np.full(int(mask.sum()), -1, np.int64) for mask in (new, gone)]

    def differing(*kinds: str) -> Pairs:
        found = np.zeros(len(before), np.bool_)
        for kind in kinds:
            if kind in known:
                found |= known[kind][0][before] != known[kind][1][after]
        return before[found], after[found]

    return Differences(
        added=(nothing[0], np.flatnonzero(new)),
        removed=(np.flatnonzero(gone), nothing[1]),
        relabelled=differing("label"),
        changed=differing("item", *_VALUES),
        moved=differing("split"),
    )


def linked(first: Ints, second: Ints, rows: int) -> Pairs:
    """The same rows of two versions of which it is known which of the `rows` of a third each row was."""
    place = np.full(rows, -1, np.int64)
    place[second] = np.arange(len(second))
    found = np.flatnonzero(place[first] >= 0)
    return found, place[first[found]]


def read_lineage(source: Source) -> Ints:
    """Which row of its parent each row of a version was."""
    rows: Ints = pq.read_table(source, columns=["row"], use_threads=False)["row"].to_numpy().astype(np.int64)
    return rows


Columns = dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]


def _numbered_together(first: Version, second: Version) -> Columns:
    """Item, label, split and values of both versions, the labels by one numbering."""
    found: Columns = {"item": (first.hashes, second.hashes), "split": (first.splits, second.splits)}
    shared = set(first.schema.names) & set(second.schema.names)
    if "label" in shared:
        (names, codes), (others, other_codes) = first.labels, second.labels
        places = {name: place for place, name in enumerate(dict.fromkeys([*names, *others]))}
        found["label"] = codes, np.array([places[name] for name in others], np.int64)[other_codes]
    for name in _VALUES:
        if name in shared:
            found[name] = first.numbers(name), second.numbers(name)
    return found


def _same(known: Columns) -> Pairs:
    items = known["item"]
    # Hashes are spread evenly, so one that is shifted by label and split is as good as a hash of all three.
    first, second = (
        items[side] + sum(known[kind][side].astype(np.uint64) * step for kind, step in _STEPS.items() if kind in known)
        for side in (0, 1)
    )
    before, after = _paired(first, second)
    left = np.flatnonzero(_others(before, len(first))), np.flatnonzero(_others(after, len(second)))
    more = _paired(items[0][left[0]], items[1][left[1]])
    before, after = np.concatenate([before, left[0][more[0]]]), np.concatenate([after, left[1][more[1]]])
    order = np.argsort(after)
    return before[order], after[order]


def _paired(first: Hashes, second: Hashes) -> Pairs:
    """Rows with equal keys: the first with the first, the second with the second, as far as both reach."""
    orders = np.argsort(first, kind="stable"), np.argsort(second, kind="stable")
    keys, others = first[orders[0]], second[orders[1]]
    if not len(keys) or not len(others):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    occurrence = np.arange(len(keys)) - np.repeat(starts, np.diff(np.append(starts, len(keys))))
    places = np.searchsorted(others, keys) + occurrence
    found = np.flatnonzero(others[np.minimum(places, len(others) - 1)] == keys)
    found = found[places[found] < len(others)]
    return orders[0][found], orders[1][places[found]]


def _others(rows: Ints, count: int) -> npt.NDArray[np.bool_]:
    """Which of so many rows are not among these."""
    mask = np.ones(count, np.bool_)
    mask[rows] = False
    return mask

"""Items that occur more than once: how many, with different labels, in different splits."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from workers.ingest.hashing import Hashes
from workers.ingest.splits import Codes, Ints


class Duplicates(NamedTuple):
    """Rows by their place in the dataset. Each list holds examples: (the first occurrence, a later one)."""

    repeated: int
    repeated_examples: list[tuple[int, int]]
    conflicting: Hashes
    conflict_examples: list[tuple[int, int]]
    straddling: int
    straddling_examples: list[tuple[int, int]]


def find(hashes: Hashes, labels: Ints, given: Codes | None, max_examples: int) -> Duplicates:
    """Compare all rows by hash. `repeated`: rows beyond each item's first; `straddling`: items, in given splits."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    # Neighbours of equal hash: the later one repeats the earlier.
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    differing = same[labels[order[same]] != labels[order[same + 1]]]
    repeated_examples = _examples(order, same, max_examples)
    conflict_examples = _examples(order, differing, max_examples)
    crossing = same[:0]
    if given is not None:
        crossing = same[given[order[same]] != given[order[same + 1]]]
    return Duplicates(
        repeated=len(same),
        repeated_examples=repeated_examples,
        conflicting=np.unique(ordered[differing]),
        conflict_examples=conflict_examples,
        straddling=len(np.unique(ordered[crossing])),
        straddling_examples=_examples(order, crossing, max_examples),
    )


def _examples(order: npt.NDArray[np.int64], places: npt.NDArray[np.int64], limit: int) -> list[tuple[int, int]]:
    # In hash order, so any thousand are as good as all.
    pairs = [(int(order[place]), int(order[place + 1])) for place in places[:1000].tolist()]
    return sorted(pairs, key=lambda pair: pair[1])[:limit]

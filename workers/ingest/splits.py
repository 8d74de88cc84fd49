"""Which row trains, validates, tests: decided once, from content and seed alone, so that a retry decides the same.

A split that the file brings is kept; what it lacks is carved out of train, a tenth each. Otherwise:
- classification: 80/10/10 by a hash of the content, so identical items never straddle. Then classes that got no row in
  a split get one if they have enough different items: 1 for train, 2 for test, 3 for validation. Whole groups of
  identical items move, and only groups with one label, so nothing straddles afterwards either.
- interactions: per user, the last tenth of their items by time is test, the tenth before it validation (by a hash where
  there is no time), each at least 1; users with fewer than 3 items stay in train.
"""

from collections import defaultdict
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from workers.contracts.errors import JobError
from workers.contracts.job import SPLITS
from workers.ingest import sorting
from workers.ingest.hashing import Hashes, uniform

TRAIN: Final = 0
VALIDATION: Final = 1
TEST: Final = 2
# What is carved out of each user's interactions, the last first.
HELD_OUT: Final = (TEST, VALIDATION)
# The split of a row that is added to others which have theirs.
UNDECIDED: Final = -1
CODES: Final = {name: code for code, name in enumerate(SPLITS)}
Codes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.signedinteger[Any]]
Floats = npt.NDArray[np.float64]


class Members(NamedTuple):
    """Which rows are of which class: pairs, one for each label of a row."""

    rows: Ints
    labels: Ints


# A user's items must be so many before some are held out.
MIN_ITEMS: Final = 3


def missing(given: Codes) -> list[int]:
    """The splits that a file's own split lacks and that must be carved. Raises JobError where nothing trains."""
    if not (given == TRAIN).any():
        raise JobError("too_few_rows", "The file's own split has no rows to train on.")
    return [code for code in (VALIDATION, TEST) if not (given == code).any()]


def by_content(hashes: Hashes, members: Members, given: Codes | None, conflicting: Hashes, seed: int) -> Codes:
    """The split of each classification row. `conflicting`: hashes of items that occur with more than one label, or set
    of labels."""
    share = uniform(hashes, seed)
    if given is None:
        carved: tuple[int, ...] = (TEST, VALIDATION)
        codes = np.zeros(len(hashes), np.int8)
    else:
        carved = tuple(reversed(missing(given)))
        codes = given.copy()
    train = codes == TRAIN
    for place, code in enumerate(carved):
        codes[train & (share >= place * 0.1) & (share < (place + 1) * 0.1)] = code
    if carved:
        _represent(codes, hashes, members, share, conflicting, (TRAIN, *carved))
    return codes


def added(hashes: Hashes, labels: Ints, members: Members, given: Codes, seed: int) -> Codes:
    """The splits of classification rows of which some are undecided: those of equal items, else by content.

    `labels`: a number for the label, or set of labels, of each row.
    """
    codes, rows = inherited(hashes, given)
    pairs = np.unique(np.stack([hashes[rows].view(np.int64), labels[rows]]), axis=1)[0]
    different, counts = np.unique(pairs, return_counts=True)
    conflicting = different[counts > 1].view(np.uint64)
    here = np.isin(members.rows, rows)
    among = Members(np.searchsorted(rows, members.rows[here]), members.labels[here])
    codes[rows] = by_content(hashes[rows], among, None, conflicting, seed)
    return codes


def inherited(hashes: Hashes, given: Codes) -> tuple[Codes, Ints]:
    """Give undecided rows the split of an equal row that has one; which rows are left."""
    codes = given.copy()
    open_rows = np.flatnonzero(codes == UNDECIDED)
    known, firsts = np.unique(hashes[codes != UNDECIDED], return_index=True)
    places = np.minimum(np.searchsorted(known, hashes[open_rows]), len(known) - 1)
    equal = known[places] == hashes[open_rows]
    codes[open_rows[equal]] = codes[codes != UNDECIDED][firsts[places[equal]]]
    return codes, open_rows[~equal]


def _represent(
    codes: Codes,
    hashes: Hashes,
    members: Members,
    share: npt.NDArray[np.float64],
    conflicting: Hashes,
    wanted: tuple[int, ...],
) -> None:
    """Give each class an item in each wanted split, in place and in that order, as far as its different items reach."""
    labels, row_of = members.labels, members.rows
    classes = int(labels.max(initial=-1)) + 1
    counts = np.bincount(labels * 3 + codes[row_of], minlength=3 * classes).reshape(-1, 3)
    lacking = np.flatnonzero((counts[:, list(wanted)] == 0).any(axis=1))
    if not len(lacking):
        return
    # Only classes without a row in some split are looked at: those are small, or there would be one by chance.
    free = np.isin(codes, wanted) & ~np.isin(hashes, conflicting)
    pairs = np.isin(labels, lacking) & free[row_of]
    groups: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, label in zip(row_of[pairs].tolist(), labels[pairs].tolist(), strict=True):
        groups[label][int(hashes[row])].append(row)
    # Of rows with several labels, the rarest label has the last word.
    for label in sorted(groups, key=lambda one: (-int(counts[one].sum()), one)):
        _spread(codes, share, list(groups[label].values()), wanted)


def _spread(codes: Codes, share: npt.NDArray[np.float64], groups: list[list[int]], wanted: tuple[int, ...]) -> None:
    """Move groups of one class (lists of rows) to wanted splits that have none."""
    groups.sort(key=lambda rows: (share[rows[0]], rows[0]))
    held: dict[int, list[list[int]]] = {code: [] for code in wanted}
    for rows in groups:
        held[int(codes[rows[0]])].append(rows)
    for place, code in enumerate(wanted):
        if held[code]:
            continue
        # From the split that has most; if none can spare one, from a split that is wanted less.
        donor = max(wanted, key=lambda one: len(held[one]))
        if len(held[donor]) < 2:
            donor = next((one for one in reversed(wanted[place + 1 :]) if held[one]), code)
        if held[donor]:
            moved = held[donor].pop()
            codes[moved] = code
            held[code].append(moved)


def by_user(users: Ints, order: Ints | Floats, parts: tuple[int, ...]) -> Codes:
    """The split of each interaction: per user in `order`, the last tenth is of parts[0], that before it of parts[1]."""
    # Floats that are not negative are in the order of the bits that they are made of.
    rows = sorting.order(users, order.view(np.int64))
    counts = np.bincount(users - users.min(initial=np.iinfo(users.dtype).max))
    enough = counts >= MIN_ITEMS
    ends, tenths = np.cumsum(counts)[enough], np.maximum(1, np.rint(counts[enough] / 10)).astype(np.int64)
    # By how much codes change from one row to the next.
    steps = np.zeros(len(users) + 1, np.int8)
    for place, part in enumerate(parts):
        steps[ends - tenths * (place + 1)] += part
        steps[ends - tenths * place] -= part
    codes = np.empty(len(users), np.int8)
    codes[rows] = np.cumsum(steps[:-1], dtype=np.int8)
    return codes


def added_interactions(users: Ints, hashes: Hashes, times: Ints | None, given: Codes, seed: int) -> Codes:
    """The splits of interactions of which some are undecided: those of equal pairs, else per user among the new."""
    codes, rows = inherited(hashes, given)
    order = times[rows] if times is not None else uniform(hashes[rows], seed)
    codes[rows] = by_user(users[rows], order, HELD_OUT)
    return codes

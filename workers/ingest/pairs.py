"""What is kept of the rows of a recommendation dataset: 8 bytes each in memory, the rest on disk."""

from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from workers.ingest import hashing, reading, sorting, splits
from workers.ingest.coding import LineNumbers
from workers.ingest.names import Names
from workers.ingest.parts import Part, Parts
from workers.ingest.spill import Spill
from workers.ingest.splits import Codes, Ints

Mask = npt.NDArray[np.bool_]
# Rows that are read in one go.
BLOCK: Final = 65_536
# Parts that are sorted at a time.
_THREADS: Final = 2
# The dtypes of what is on disk.
_VALUES: Final[dict[str, type[np.number[Any]]]] = {"rating": np.float32, "timestamp": np.int64}


class Block(NamedTuple):
    """Consecutive rows that stay: `first` is the number of the first in the version, `rows` those of all in the file.

    `values`: rating and timestamp, what of both there is.
    """

    first: int
    rows: Ints
    users: Ints
    items: Ints
    values: dict[str, npt.NDArray[Any]]


class Decided(NamedTuple):
    """`keep`: which rows stay. Of those: `codes`, their splits, and `by` what they were decided: "file", "time" or
    "hash"."""

    keep: Mask
    codes: Codes
    by: str


class Pairs:
    """User, item, rating, time, given split and line of each accepted row, in order."""

    def __init__(self, mapping: dict[str, str], folder: Path) -> None:
        self.users, self.items = Names(), Names()
        self.lines = LineNumbers()
        self._user_codes = array("i")
        self._item_codes = array("i")
        self._given = array("b")
        self._folder = folder
        self._spilt = {name: Spill(folder / name, dtype) for name, dtype in _VALUES.items() if name in mapping}

    def __len__(self) -> int:
        return len(self._user_codes)

    def extend(self, rows: pl.DataFrame) -> None:
        """Accepted rows: users and items as numbers of their names."""
        self._user_codes.frombytes(rows["user"].to_numpy().tobytes())
        self._item_codes.frombytes(rows["item"].to_numpy().tobytes())
        for name, spill in self._spilt.items():
            spill.extend(rows[name].to_numpy())
        if "split" in rows.columns:
            self._given.frombytes(rows["split"].to_numpy().tobytes())
        self.lines.extend(rows[reading.LINE].to_numpy())

    @property
    def user_codes(self) -> Ints:
        """int32, one per row."""
        return np.frombuffer(self._user_codes, np.int32)

    @property
    def item_codes(self) -> Ints:
        """int32, one per row."""
        return np.frombuffer(self._item_codes, np.int32)

    @property
    def times(self) -> Spill | None:
        """Seconds since the epoch, or None if the file has none."""
        return self._spilt.get("timestamp")

    @property
    def given(self) -> Codes | None:
        """The split that the file gives each row, or None if it gives none."""
        return np.frombuffer(self._given, np.int8) if self._given else None

    def hashes(self) -> Callable[[Ints], hashing.Hashes]:
        """What gives the hashes of rows."""
        users, items = hashing.of_names(self.users.texts(), "user"), hashing.of_names(self.items.texts(), "item")
        return lambda rows: hashing.of_pairs(users[self.user_codes[rows]], items[self.item_codes[rows]])

    def _chances(self, seed: int) -> Callable[[Ints], splits.Floats]:
        hashes = self.hashes()
        return lambda rows: hashing.uniform(hashes(rows), seed)

    def settle(self, seed: int) -> None:
        """Give rows that were added to an earlier version's their splits; those rows keep the ones they have."""
        given = self.given
        if given is not None and (given == splits.UNDECIDED).any():
            rows = np.arange(len(self))
            times = None if self.times is None else self.times.read(0, len(self))
            settled = splits.added_interactions(self.user_codes, self.hashes()(rows), times, given, seed)
            self._given = array("b", settled.tobytes())

    def decide(self, seed: int) -> Decided:
        """Which rows stay, and their splits. Raises JobError where nothing trains."""
        given = self.given
        by = "file" if given is not None else "hash" if self.times is None else "time"
        chances = self._chances(seed) if by == "hash" else None
        keep = np.ones(len(self), np.bool_)
        codes = np.zeros(len(self), np.int8) if given is None else given.copy()
        held_out: tuple[int, ...] = splits.HELD_OUT

        def settle(place: int) -> None:
            part = parts[place]
            self._keep_last(part, keep)
            if given is None:
                split(part, keep[part.rows])

        def split(part: Part, stay: Mask) -> None:
            rows, users, _, times = part if stay.all() else (column[stay] for column in part)
            codes[rows] = splits.by_user(users, chances(rows) if chances else times, held_out)

        def carve(place: int) -> None:
            part = parts[place]
            split(part, keep[part.rows] & (codes[part.rows] == splits.TRAIN))

        with ThreadPoolExecutor(_THREADS) as pool:
            parts = Parts(self.user_codes, self.item_codes, self.times, self._folder, pool)
            deque(pool.map(settle, range(len(parts))), 0)
            if given is not None and (held_out := tuple(reversed(splits.missing(given[keep])))):
                chances = self._chances(seed)
                deque(pool.map(carve, range(len(parts))), 0)
        return Decided(keep, codes[keep], by)

    def _keep_last(self, part: Part, keep: Mask) -> None:
        """Of each user and item the last by time, then by line, stays; one that trains before all others."""
        # All of each pair that comes again, which are few as a rule.
        found = sorting.repeated(part.users, part.items)
        rows, users, items, times = (column[found] for column in part)
        keys = [users, items]
        if self.given is not None:
            # Train comes last.
            keys.append(-self.given[rows])
        order = sorting.order(*keys, times)
        keep[rows[order[:-1]]] = ~_same(users[order], items[order])

    def blocks(self, keep: Mask, size: int | None = None, values: Collection[str] = tuple(_VALUES)) -> Iterator[Block]:
        """The rows that stay, of so many rows at a time; of their values those that are named and that there are."""
        size = size or BLOCK
        first = 0
        for start in range(0, len(self), size):
            here = slice(start, min(start + size, len(self)))
            rows = np.arange(here.start, here.stop)
            found = {name: spill.read(here.start, here.stop) for name, spill in self._spilt.items() if name in values}
            users, items = self.user_codes[here], self.item_codes[here]
            if not (stay := keep[here]).all():
                rows, users, items = rows[stay], users[stay], items[stay]
                found = {name: numbers[stay] for name, numbers in found.items()}
            yield Block(first, rows, users, items, found)
            first += len(users)


def _same(users: Ints, items: Ints) -> Mask:
    """Which rows have the user and item of the next one; one less than there are rows."""
    same: Mask = (users[1:] == users[:-1]) & (items[1:] == items[:-1])
    return same

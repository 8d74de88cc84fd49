"""Rows in parts of whole users, on disk, so that each part is sorted in little memory and none is looked for twice."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from workers.ingest.spill import Spill
from workers.ingest.splits import Ints

# About how many rows a part has: so few that a user, a time and a row fit into one number as a rule (see `sorting`).
ROWS: Final = 1 << 18
# How many rows are parted in one go.
STRETCH: Final = 1 << 20


class Part(NamedTuple):
    """All rows of some users: their numbers, which ascend, users, items, times; where there are none, the numbers."""

    rows: Ints
    users: Ints
    items: Ints
    times: Ints


class Parts:
    """All rows. Of every stretch of rows there are in the files those of the first part, then those of the second, …"""

    def __init__(self, users: Ints, items: Ints, times: Spill | None, folder: Path, pool: ThreadPoolExecutor) -> None:
        self._spills = [Spill(folder / f"part-{name}", np.int32) for name in ("rows", "users", "items")]
        self._times = Spill(folder / "part-times", np.int64) if times else None
        starts = np.arange(0, len(users), STRETCH)
        names = int(users.max(initial=-1)) + 1
        counts = np.zeros(names, np.int64)
        for start in starts:
            counts += np.bincount(users[start : start + STRETCH], minlength=names)
        part_of = np.cumsum(counts) // ROWS
        count = int(part_of.max(initial=0)) + 1
        # Small whole numbers are sorted in linear time.
        part_of = part_of.astype(np.min_scalar_type(count))
        self._sizes = np.zeros((len(starts), count), np.int64)

        def part(place: int) -> None:
            start = int(starts[place])
            here = slice(start, start + STRETCH)
            parts = part_of[users[here]]
            order = np.argsort(parts, kind="stable")
            for spill, values in zip(
                self._spills, (order + start, users[here][order], items[here][order]), strict=True
            ):
                spill.put(start, values)
            if times and self._times:
                self._times.put(start, times.read(here.start, here.stop)[order])
            self._sizes[place] = np.bincount(parts, minlength=count)

        deque(pool.map(part, range(len(starts))), 0)
        self._starts = np.cumsum(self._sizes).reshape(self._sizes.shape) - self._sizes

    def __len__(self) -> int:
        return self._sizes.shape[1]

    def __getitem__(self, place: int) -> Part:
        pieces = self._starts[:, place], self._sizes[:, place]
        rows, users, items = (spill.pieces(*pieces) for spill in self._spills)
        return Part(rows, users, items, self._times.pieces(*pieces) if self._times else rows)

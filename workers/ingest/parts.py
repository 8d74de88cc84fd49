"""Rows in parts of whole users, on disk, so that each part is sorted in little memory and none is looked for twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from workers.ingest.spill import Spill
from workers.ingest.splits import Ints

# About how many rows a part has, and how many are parted in one go.
ROWS: Final = 1 << 19


class Part(NamedTuple):
    """All rows of some users: their numbers, which ascend, and their times; where there are none, the numbers."""

    rows: Ints
    times: Ints


class Parts:
    """All rows. Of every stretch of rows there are in the files those of the first part, then those of the second, …"""

    def __init__(self, users: Ints, times: Spill | None, folder: Path) -> None:
        self._rows = Spill(folder / "part-rows", np.int32)
        self._times = Spill(folder / "part-times", np.int64) if times else None
        stretches = [slice(start, start + ROWS) for start in range(0, len(users), ROWS)]
        names = int(users.max(initial=-1)) + 1
        counts = np.zeros(names, np.int64)
        for stretch in stretches:
            counts += np.bincount(users[stretch], minlength=names)
        # Whole numbers of 16 bits are sorted in linear time.
        part_of = (np.cumsum(counts) // ROWS).astype(np.uint16)
        self._sizes = np.zeros((len(stretches), int(part_of.max(initial=0)) + 1), np.int64)
        for place, stretch in enumerate(stretches):
            parts = part_of[users[stretch]]
            order = np.argsort(parts, kind="stable")
            self._rows.extend(order + stretch.start)
            if times and self._times:
                self._times.extend(times.read(stretch.start, stretch.stop)[order])
            self._sizes[place] = np.bincount(parts, minlength=self._sizes.shape[1])

    def __iter__(self) -> Iterator[Part]:
        ends = np.cumsum(self._sizes).reshape(self._sizes.shape)
        for sizes, stops in zip(self._sizes.T, ends.T, strict=True):
            if sizes.any():
                pieces = list(zip((stops - sizes).tolist(), stops.tolist(), strict=True))
                rows = np.concatenate([self._rows.read(*piece) for piece in pieces])
                times = np.concatenate([self._times.read(*piece) for piece in pieces]) if self._times else rows
                yield Part(rows, times)

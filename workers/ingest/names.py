"""Names of users or items as numbers: each different cell is looked at once, however many rows hold it."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from workers.ingest import hashing
from workers.ingest.coding import Coding, Places

MAX_CHARS: Final = 1000
# In the place of a number.
EMPTY: Final = -1
TOO_LONG: Final = -2


class Names:
    """The different names that were met so far (see `cells.name`). Some numbers are of no name, but of other cells."""

    def __init__(self) -> None:
        self._cells = Coding()
        # Of each cell's number that of its name.
        self._codes = np.empty(0, np.int32)

    def __len__(self) -> int:
        return len(self._codes)

    def codes(self, cells: pl.Series) -> Places:
        """int32: the number of each cell's name; EMPTY or TOO_LONG where it cannot be used."""
        places = self._cells.codes(cells)
        if len(self._cells) > len(self):
            self._learn()
        return self._codes[places]

    def _learn(self) -> None:
        known = len(self)
        fresh = self._cells.texts(np.arange(known, len(self._cells)))
        names = hashing.named(fresh)
        changed = (names != fresh).arg_true().to_numpy()
        written = self._cells.codes(names.gather(changed)) if len(changed) else np.empty(0, np.int32)
        # Names that no cell was written like are names of their own.
        names = names.append(self._cells.texts(np.arange(known + len(fresh), len(self._cells))))
        codes = np.arange(known, len(self._cells), dtype=np.int32)
        codes[changed] = written
        codes[(names == "").to_numpy()] = EMPTY
        codes[(names.str.len_chars() > MAX_CHARS).to_numpy()] = TOO_LONG
        self._codes = np.concatenate([self._codes, codes])

    def texts(self) -> pl.Series:
        """The name, or the cell, of each number."""
        return self._cells.texts(np.arange(len(self)))

    def at(self, codes: Sequence[int]) -> list[str]:
        """Some names."""
        return self._cells.texts(codes).to_list()

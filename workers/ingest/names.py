"""Names of users or items as numbers: each different cell is looked at once, however many rows hold it."""

import secrets
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from workers.ingest import hashing
from workers.ingest.coding import Places
from workers.ingest.numbering import Numbering

MAX_CHARS: Final = 1000
# In the place of a number.
EMPTY: Final = -1
TOO_LONG: Final = -2


class Names:
    """The different names that were met so far (see `cells.name`). Some numbers are of no name, but of other cells.

    Cells are known by 64 bits: two of 20 million have the same once in 90,000 files. Nobody can make such cells, as
    their hashes are others in each import.
    """

    def __init__(self) -> None:
        self._seed = secrets.randbits(64)
        self._cells = Numbering()
        # By their numbers. Copies: cells as they are read hold on to all of their block.
        self._texts: list[pa.LargeStringArray] = []
        # Of each cell's number that of its name.
        self._codes = np.empty(0, np.int32)

    def __len__(self) -> int:
        return len(self._codes)

    def codes(self, cells: pl.Series) -> Places:
        """int32: the number of each cell's name; EMPTY or TOO_LONG where it cannot be used."""
        numbers, fresh = self._numbers(cells)
        if len(fresh):
            self._learn(cells.gather(fresh))
        return self._codes.take(numbers)

    def _numbers(self, cells: pl.Series) -> tuple[Places, npt.NDArray[np.int64]]:
        return self._cells.numbers(cells.hash(self._seed).to_numpy())

    def _learn(self, fresh: pl.Series) -> None:
        names = hashing.named(fresh)
        changed = (names != fresh).arg_true().to_numpy()
        rewritten = names.gather(changed)
        written, own = self._numbers(rewritten)
        self._texts += [fresh.to_arrow(), rewritten.gather(own).to_arrow()]
        # Names that no cell was written like are names of their own.
        names = names.append(rewritten.gather(own))
        codes = np.arange(len(self), len(self) + len(names), dtype=np.int32)
        codes[changed] = written
        codes[(names == "").to_numpy()] = EMPTY
        codes[(names.str.len_chars() > MAX_CHARS).to_numpy()] = TOO_LONG
        self._codes = np.concatenate([self._codes, codes])

    def texts(self) -> pl.Series:
        """The name, or the cell, of each number."""
        return pl.Series(self._whole())

    def at(self, codes: Sequence[int]) -> list[str]:
        """Some names."""
        texts: list[str] = self._whole().take(pa.array(codes, pa.int64())).to_pylist()
        return texts

    def _whole(self) -> pa.LargeStringArray:
        if len(self._texts) > 1:
            self._texts = [pa.concat_arrays(self._texts)]
        return self._texts[0]

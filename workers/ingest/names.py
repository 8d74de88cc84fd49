"""Names of users or items as numbers: each different cell is looked at once, however many rows hold it."""

import secrets
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from workers.ingest import hashing
from workers.ingest.coding import Places
from workers.ingest.numbering import Numbering

MAX_CHARS: Final = 1000
# In the place of a number.
EMPTY: Final = -1
TOO_LONG: Final = -2
# What is between both is ASCII and no white space.
_SPACE: Final = 0x20
_DELETE: Final = 0x7F


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
        self._count = 0
        # Of each cell's number that of its name; None as long as all cells are names.
        self._renumbered: Places | None = None

    def __len__(self) -> int:
        return self._count

    def codes(self, cells: pl.Series) -> Places:
        """int32: the number of each cell's name; EMPTY or TOO_LONG where it cannot be used."""
        numbers, fresh = self._cells.numbers(self._hashes(cells))
        if len(fresh):
            self._learn(cells.gather(fresh))
        return numbers if self._renumbered is None else self._renumbered[numbers]

    def _hashes(self, cells: pl.Series) -> hashing.Hashes:
        return cells.hash(self._seed).to_numpy()

    def _learn(self, fresh: pl.Series) -> None:
        """The cells of the next numbers."""
        first = len(self)
        self._add(fresh)
        if _are_names(self._texts[-1]):
            if self._renumbered is not None:
                self._renumber(np.arange(first, len(self), dtype=np.int32))
            return
        names = hashing.named(fresh)
        changed = (names != fresh).arg_true().to_numpy()
        rewritten = names.gather(changed)
        written, own = self._cells.numbers(self._hashes(rewritten))
        # Names that no cell was written like are names of their own.
        self._add(rewritten.gather(own))
        names = names.append(rewritten.gather(own))
        codes = np.arange(first, len(self), dtype=np.int32)
        codes[changed] = written
        codes[(names == "").to_numpy()] = EMPTY
        codes[(names.str.len_chars() > MAX_CHARS).to_numpy()] = TOO_LONG
        if self._renumbered is None:
            self._renumber(np.arange(first, dtype=np.int32))
        self._renumber(codes)

    def _add(self, texts: pl.Series) -> None:
        self._texts.append(texts.to_arrow().cast(pa.large_string()))
        self._count += len(texts)

    def _renumber(self, codes: Places) -> None:
        known = np.empty(0, np.int32) if self._renumbered is None else self._renumbered
        self._renumbered = np.concatenate([known, codes])

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


def _are_names(cells: pa.LargeStringArray) -> bool:
    """Whether all cells can be names as they are, seen by their bytes: none is blank, long, of more than ASCII or with
    white space; where it is False, some may be all the same."""
    _, offsets, content = cells.buffers()
    ends = np.frombuffer(offsets, np.int64, len(cells) + 1, 8 * cells.offset)
    lengths = np.diff(ends)
    if lengths.min() == 0 or lengths.max() > MAX_CHARS:
        return False
    written = np.frombuffer(content, np.uint8)[ends[0] : ends[-1]]
    return bool(written.min() > _SPACE and written.max() < _DELETE)

"""Hashes as numbers: each different one gets the next, in order of appearance.

A hash table with open addressing, of which whole columns are looked up at once: every row that meets another hash in
its slot looks into the next one, together with all others that do.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from workers.ingest.hashing import Hashes

_Rows = npt.NDArray[np.int64]
_Numbers = npt.NDArray[np.int32]
_FREE: Final = -1
# Tables of fewer slots grow to four times their size, larger ones to twice that.
_LARGE: Final = 1 << 24


class Numbering:
    """The hashes that were met so far. At most half of the slots are taken, by the number of a hash each."""

    def __init__(self, bits: int = 16) -> None:
        self._bits = bits
        self._slots = np.full(1 << bits, _FREE, np.int32)
        # By their numbers; more room than there are.
        self._hashes: Hashes = np.zeros(1 << bits - 1, np.uint64)
        self._count = 0

    def numbers(self, hashes: Hashes) -> tuple[_Numbers, _Rows]:
        """int32: the number of each hash; and the rows, which ascend, where one appears for the first time."""
        numbers = self._found(hashes)
        unknown = np.flatnonzero(numbers == _FREE)
        if not len(unknown):
            return numbers, unknown
        self._reserve(len(unknown))
        # Until it is known which are the same, each has a number of its own.
        own = np.arange(self._count, self._count + len(unknown), dtype=np.int32)
        self._hashes[own] = new = hashes[unknown]
        firsts, slots = self._put(own, new)
        is_first = firsts == own
        final = np.cumsum(is_first, dtype=np.int32) + np.int32(self._count - 1)
        fresh = unknown[is_first]
        self._slots[slots[is_first]] = final[is_first]
        self._hashes[self._count : self._count + len(fresh)] = hashes[fresh]
        numbers[unknown] = final[firsts - self._count]
        self._count += len(fresh)
        return numbers, fresh

    def _found(self, hashes: Hashes) -> _Numbers:
        """The numbers of those that were met before; _FREE for others."""
        slots = self._homes(hashes)
        numbers = self._slots.take(slots)
        rows = np.flatnonzero((self._hashes.take(numbers) != hashes) & (numbers != _FREE))
        slots, hashes = slots[rows], hashes[rows]
        while len(rows):
            slots = self._next(slots)
            numbers[rows] = found = self._slots.take(slots)
            other = (self._hashes.take(found) != hashes) & (found != _FREE)
            rows, slots, hashes = rows[other], slots[other], hashes[other]
        return numbers

    def _put(self, numbers: _Numbers, hashes: Hashes) -> tuple[_Numbers, _Rows]:
        """Find slots for hashes that are not there yet. Of equal ones the first has it: its number, and the slot."""
        held, found = numbers.copy(), self._homes(hashes)
        rows = np.arange(len(hashes))
        while len(rows):
            slots = found[rows]
            free = rows[self._slots[slots] == _FREE][::-1]
            # Of several numbers for one slot the last one stays.
            self._slots[found[free]] = numbers[free]
            held[rows] = here = self._slots[slots]
            rows = rows[self._hashes[here] != hashes[rows]]
            found[rows] = self._next(found[rows])
        return held, found

    def _reserve(self, more: int) -> None:
        """Make room for so many more."""
        wanted = 2 * (self._count + more)
        if wanted > len(self._slots):
            self._bits = (wanted if wanted > _LARGE else 2 * wanted).bit_length()
            self._slots = np.full(1 << self._bits, _FREE, np.int32)
            known = self._hashes[: self._count]
            self._hashes = np.append(known, np.zeros(len(self._slots) // 2 - self._count, np.uint64))
            self._put(np.arange(self._count, dtype=np.int32), known)

    def _homes(self, hashes: Hashes) -> _Rows:
        """Where hashes are looked for first."""
        return (hashes >> np.uint64(64 - self._bits)).view(np.int64)

    def _next(self, slots: _Rows) -> _Rows:
        return (slots + 1) & ((1 << self._bits) - 1)

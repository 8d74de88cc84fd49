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
        slots = self._homes(hashes)
        numbers = self._slots.take(slots)
        rows = np.flatnonzero(self._is_other(numbers, hashes))
        while len(rows):
            slots[rows] = self._next(slots[rows])
            numbers[rows] = self._slots.take(slots[rows])
            rows = rows[self._is_other(numbers[rows], hashes[rows])]
        unknown = np.flatnonzero(numbers == _FREE)
        _, firsts, places = np.unique(hashes[unknown], return_index=True, return_inverse=True)
        order = np.argsort(firsts)
        fresh = unknown[firsts[order]]
        ranks = np.empty(len(order), np.int32)
        ranks[order] = np.arange(self._count, self._count + len(order))
        numbers[unknown] = ranks[places]
        self._add(hashes[fresh])
        return numbers, fresh

    def _homes(self, hashes: Hashes) -> _Rows:
        """Where hashes are looked for first."""
        return (hashes >> np.uint64(64 - self._bits)).view(np.int64)

    def _next(self, slots: _Rows) -> _Rows:
        return (slots + 1) & ((1 << self._bits) - 1)

    def _is_other(self, numbers: _Numbers, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Whether a number is that of another hash."""
        other: npt.NDArray[np.bool_] = (self._hashes.take(numbers) != hashes) & (numbers != _FREE)
        return other

    def _add(self, hashes: Hashes) -> None:
        """Different ones that are not there yet."""
        first = known = self._count
        self._count += len(hashes)
        if 2 * self._count > len(self._slots):
            self._bits = (2 * self._count).bit_length()
            self._slots = np.full(1 << self._bits, _FREE, np.int32)
            self._hashes = np.append(self._hashes[:known], np.zeros(len(self._slots) // 2 - known, np.uint64))
            first = 0
        self._hashes[known : self._count] = hashes
        numbers = np.arange(first, self._count, dtype=np.int32)
        slots = self._homes(self._hashes[first : self._count])
        while len(numbers):
            free = self._slots.take(slots) == _FREE
            self._slots[slots[free]] = numbers[free]
            left = self._slots.take(slots) != numbers
            numbers, slots = numbers[left], self._next(slots[left])

"""The order of rows by several whole numbers at once."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.signedinteger[Any]]
_BITS = 64


class _Packed(NamedTuple):
    """All keys of a row in one number, if they fit: the first on top."""

    numbers: npt.NDArray[np.uint64]
    bits: int


def order(*keys: Ints) -> npt.NDArray[np.int64]:
    """The stable order by the first of the keys, then by the next, and so on.

    As a rule all keys of a row and its number fit into one number; those are sorted many times as fast.
    """
    packed = _packed(*keys)
    if packed is None:
        later = order(*keys[1:])
        return later[order(keys[0][later])]
    if (both := _with_rows(packed)) is None:
        return _stable(packed.numbers)
    return _rows(both.numbers, both.bits)


def repeated(*keys: Ints) -> npt.NDArray[np.int64]:
    """The rows, which ascend, of which another one has all the same keys."""
    packed = _packed(*keys)
    if packed is not None and (both := _with_rows(packed)) is not None:
        found = both.numbers >> np.uint64(both.bits)
        places = np.flatnonzero(_with_next(found[1:] == found[:-1]))
        return np.sort(_rows(both.numbers[places], both.bits))
    rows = order(*keys)
    same = np.logical_and.reduce([key[rows[1:]] == key[rows[:-1]] for key in keys])
    return np.sort(rows[_with_next(same)])


def _with_next(same: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which are the same as the next one or the one before, by which are the same as the next one."""
    both: npt.NDArray[np.bool_] = np.append(same, False) | np.append(False, same)
    return both


def _rows(numbers: npt.NDArray[np.uint64], bits: int) -> npt.NDArray[np.int64]:
    """What is in so many lowest bits."""
    numbers &= np.uint64((1 << bits) - 1)
    return numbers.view(np.int64)


def _packed(*keys: Ints) -> _Packed | None:
    lows = [int(key.min()) if len(key) else 0 for key in keys]
    widths = [(int(key.max(initial=low)) - low).bit_length() for key, low in zip(keys, lows, strict=True)]
    if sum(widths) > _BITS and len(keys) > 1:
        return None
    packed = np.zeros(len(keys[0]), np.uint64)
    for key, low, width in zip(keys, lows, widths, strict=True):
        packed <<= np.uint64(width % _BITS)
        packed |= np.subtract(key, low, dtype=np.int64).view(np.uint64)
    return _Packed(packed, sum(widths))


def _with_rows(packed: _Packed) -> _Packed | None:
    """Sorted, with the number of the row in the lowest bits, which are so many; None where those do not fit."""
    rows, bits = len(packed.numbers), len(packed.numbers).bit_length()
    if packed.bits + bits > _BITS:
        return None
    numbers = packed.numbers
    numbers <<= np.uint64(bits)
    numbers |= np.arange(rows, dtype=np.uint64)
    numbers.sort()
    return _Packed(numbers, bits)


def _stable(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The fastest sort has no care for the order of equal values, which are few as a rule and put right afterwards."""
    found = np.argsort(values)
    ordered = values[found]
    places = np.flatnonzero(_with_next(ordered[1:] == ordered[:-1]))
    tied = found[places]
    found[places] = tied[np.lexsort((tied, values[tied]))]
    return found

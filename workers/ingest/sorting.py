"""The order of rows by several whole numbers at once."""

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.signedinteger[Any]]
_BITS = 64


def order(*keys: Ints) -> npt.NDArray[np.int64]:
    """The stable order by the first of the keys, then by the next, and so on.

    As a rule all keys of a row and its number fit into one number; those are sorted many times as fast.
    """
    rows = len(keys[0])
    lows = [int(key.min(initial=0)) for key in keys]
    widths = [(int(key.max(initial=0)) - low).bit_length() for key, low in zip(keys, lows, strict=True)]
    row_bits = rows.bit_length()
    if sum(widths) > _BITS and len(keys) > 1:
        later = order(*keys[1:])
        return later[order(keys[0][later])]
    packed = np.zeros(rows, np.uint64)
    for key, low, width in zip(keys, lows, widths, strict=True):
        packed <<= np.uint64(width % _BITS)
        packed |= np.subtract(key, low, dtype=np.int64).view(np.uint64)
    if sum(widths) + row_bits > _BITS:
        return _stable(packed)
    packed <<= np.uint64(row_bits)
    packed |= np.arange(rows, dtype=np.uint64)
    packed.sort()
    packed &= np.uint64((1 << row_bits) - 1)
    return packed.view(np.int64)


def _stable(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The fastest sort has no care for the order of equal values, which are few as a rule and put right afterwards."""
    found = np.argsort(values)
    ordered = values[found]
    same = ordered[1:] == ordered[:-1]
    places = np.flatnonzero(np.append(same, False) | np.append(False, same))
    tied = found[places]
    found[places] = tied[np.lexsort((tied, values[tied]))]
    return found

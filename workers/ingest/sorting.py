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
    if sum(widths) > _BITS:
        return np.lexsort(keys[::-1])
    packed = np.zeros(rows, np.uint64)
    for key, low, width in zip(keys, lows, widths, strict=True):
        packed = packed << np.uint64(width) | (key.astype(np.int64) - low).astype(np.uint64)
    if sum(widths) + row_bits > _BITS:
        return np.argsort(packed, kind="stable")
    packed = packed << np.uint64(row_bits) | np.arange(rows, dtype=np.uint64)
    packed.sort()
    return (packed & np.uint64((1 << row_bits) - 1)).astype(np.int64)

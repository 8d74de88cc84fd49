"""The heap of the C library, which PyTorch takes tensors of the CPU from."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def release() -> None:
    """Give the system back what freed tensors left.

    Between pieces of many sizes, as of batches of short and long texts, glibc keeps several times of what is in use: of
    a small encoder three gigabytes after some hundred steps.
    """
    trim = _trim()
    if trim:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim; other C libraries have none."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    found: Callable[[int], int] | None = getattr(library, "malloc_trim", None)
    return found

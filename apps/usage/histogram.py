"""Latency histograms that can be added: four buckets to a doubling, from 10 microseconds to two minutes.

A percentile read from them lies in the right bucket, so it is wrong by at most a factor of 2 ** (1/8): 9 %.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

BUCKETS: Final = 96
_FIRST_US: Final = 10.0
_PER_DOUBLING: Final = 4


def bucket(latency_us: int) -> int:
    """The bucket of a latency in microseconds, from 0 (10 µs or less) to BUCKETS - 1 (everything beyond)."""
    if latency_us <= _FIRST_US:
        return 0
    return min(BUCKETS - 1, 1 + int(_PER_DOUBLING * math.log2(latency_us / _FIRST_US)))


def histogram(latencies_us: Iterable[int]) -> list[int]:
    """Counts per bucket."""
    counts = [0] * BUCKETS
    for latency in latencies_us:
        counts[bucket(latency)] += 1
    return counts


def percentile_ms(counts: Sequence[int], share: float) -> float | None:
    """The latency in milliseconds that `share` (0 to 1) of the requests did not exceed; None without requests."""
    total = sum(counts)
    if not total:
        return None
    wanted = max(1, math.ceil(share * total))
    index = bisect_left(list(accumulate(counts)), wanted)
    # The middle of the bucket on the logarithmic scale.
    return round(_FIRST_US * 2 ** ((index - 0.5) / _PER_DOUBLING) / 1000, 3)

"""What a process counts of its work: plain integers in lists, made into text only when somebody asks (exposition)."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

# Upper bounds of the buckets. Times in microseconds; the last bucket of each has none.
TIME_BOUNDS_US: Final = (
    *(100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000),
    *(100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000),
)
SIZE_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Histogram:
    """How many values fell into each bucket, and their sum. A bucket includes its upper bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[int]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0

    def add(self, value: int) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class EndpointCounts:
    """Of one endpoint, or of all requests that cannot be given to one."""

    __slots__ = ("bytes_in", "bytes_out", "errors", "items", "latency", "left", "queue", "replays", "statuses")

    def __init__(self) -> None:
        # By the first digit of the status, and by error code.
        self.statuses = [0] * 6
        self.errors: dict[str, int] = {}
        self.items = self.bytes_in = self.bytes_out = 0
        # Answers given again to the same Idempotency-Key, and clients that hung up before there was an answer.
        self.replays = self.left = 0
        # Of answered requests, from their headers to their answer; and their wait for the model.
        self.latency = Histogram(TIME_BOUNDS_US)
        self.queue = Histogram(TIME_BOUNDS_US)

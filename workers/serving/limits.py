"""Rate limits (a token bucket per key and per endpoint) and the monthly quotas of teams, endpoints and keys.

What other processes have let in comes by `hear`; what they have to hear is `untold` (workers.serving.sharing).
"""

import math
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from workers.contracts.errors import UserError
from workers.contracts.snapshot import KeyEntry, Route, Snapshot

# Requests of this many seconds may not have reached the ledger when the control plane makes a snapshot.
LAG_S = 2.0
# The control plane publishes more often than that.
_OLDEST_S = 15.0
_MONTH = "month:"


class Bucket:
    """Tokens that come back at `rate` per second, up to one second's worth (at least one).

    Fewer than none where other processes have let in more than there were.
    """

    __slots__ = ("at", "rate", "tokens")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.at = now
        self.tokens = max(1.0, rate)

    def refill(self, rate: float, now: float) -> float:
        """The tokens there are now."""
        self.rate = rate
        self.tokens = min(max(1.0, rate), self.tokens + (now - self.at) * rate)
        self.at = now
        return self.tokens

    def wait_s(self) -> int:
        """Whole seconds until there is a token."""
        return max(1, math.ceil((1.0 - self.tokens) / self.rate)) if self.rate > 0 else 3600


@dataclass(slots=True)
class _Second:
    at: float
    count: int


class Limits:
    """Everything this process has counted and heard. Times are monotonic: a clock that jumps changes no window."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}
        self._rates: dict[str, float] = {}
        # What was let in here and the other processes have not been told: by key or endpoint, and by _MONTH and whose
        # quota it was.
        self._untold: dict[str, int] = {}
        # Per team, endpoint or key with a quota: how many requests were let in lately, by monotonic second.
        self._own: dict[str, deque[_Second]] = {}
        self._left: dict[str, int] = {}

    def update(self, snapshot: Snapshot, now: float) -> None:
        """Take the quotas of a new snapshot; forget keys and endpoints that are gone."""
        limited = [(route.endpoint, route.rate_limit) for route in snapshot.routes]
        limited += [(entry.key, entry.rate_limit) for entry in snapshot.keys.values()]
        self._rates = {name: rate for name, rate in limited if rate is not None}
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if name in self._rates}
        teams = snapshot.teams.items()
        self._left = {team: quota.requests_left for team, quota in teams if quota.requests_left is not None}
        self._left |= snapshot.requests_left
        # What was let in before the snapshot was made is in its numbers, but for the recorder's lag. To a clock that is
        # ahead it looks as if it were from long ago, and nothing were in its numbers.
        age = min(max(0.0, time.time() - snapshot.published), _OLDEST_S)
        counted_until = now - age - LAG_S
        self._own = {name: self._own.get(name, deque()) for name in self._left}
        for seconds in self._own.values():
            while seconds and seconds[0].at < counted_until:
                seconds.popleft()

    def take(self, key: KeyEntry, route: Route, now: float) -> int | None:
        """Count one request. How many more may follow at once; None is unlimited.

        Raises UserError `rate_limited` or `quota_exceeded`, with the seconds to wait.
        """
        remaining = self.take_rate(key, route, now)
        if self._left:
            quota = self._take_quota(key, route, now)
            if quota is not None and (remaining is None or quota < remaining):
                return quota
        return remaining

    def quota_left(self, key: KeyEntry, route: Route) -> int | None:
        """How many more requests the tightest of the monthly quotas allows; None where there is none."""
        if not self._left:
            return None
        return min((self._count_left(name) for name in self._limited(key, route)), default=None)

    def take_rate(self, key: KeyEntry, route: Route, now: float) -> int | None:
        """`take` without the monthly quota."""
        if key.rate_limit is None and route.rate_limit is None:
            return None
        buckets = []
        for name, rate in ((key.key, key.rate_limit), (route.endpoint, route.rate_limit)):
            if rate is not None:
                bucket = self._buckets.get(name)
                if bucket is None:
                    bucket = self._buckets[name] = Bucket(rate, now)
                if bucket.refill(rate, now) < 1.0:
                    raise UserError("rate_limited", retry_after=bucket.wait_s())
                buckets.append((name, bucket))
        for name, bucket in buckets:
            bucket.tokens -= 1.0
            self._untold[name] = self._untold.get(name, 0) + 1
        return int(min(bucket.tokens for _, bucket in buckets))

    def _take_quota(self, key: KeyEntry, route: Route, now: float) -> int | None:
        limited = self._limited(key, route)
        left = min((self._count_left(name) for name in limited), default=None)
        if left is not None and left < 1:
            raise UserError("quota_exceeded", retry_after=seconds_left_of_month())
        for name in limited:
            _count(self._own[name], 1, now)
            self._tell_month(name, 1)
        return None if left is None else left - 1

    def _limited(self, key: KeyEntry, route: Route) -> list[str]:
        """Whose quotas a request counts against."""
        if not self._left:
            return []
        return [name for name in (route.team, route.endpoint, key.key) if name in self._left]

    def _count_left(self, name: str) -> int:
        return self._left[name] - sum(second.count for second in self._own[name])

    def give_back_quota(self, key: KeyEntry, route: Route) -> None:
        """A request that was let in ended without predictions: only answered ones count against quotas."""
        for name in self._limited(key, route):
            if seconds := self._own[name]:
                seconds[-1].count -= 1
                self._tell_month(name, -1)

    def _tell_month(self, name: str, count: int) -> None:
        """An endpoint or key may have a rate, too: its quota is told by another name."""
        told = _MONTH + name
        self._untold[told] = self._untold.get(told, 0) + count

    def untold(self) -> dict[str, int]:
        """What was let in here since the last call."""
        told, self._untold = self._untold, {}
        return told

    def hear(self, taken: dict[str, int], now: float) -> None:
        """What another process has let in lately."""
        for name, count in taken.items():
            if name.startswith(_MONTH):
                if (seconds := self._own.get(name.removeprefix(_MONTH))) is not None:
                    _count(seconds, count, now)
            elif rate := self._rates.get(name):
                bucket = self._buckets.get(name)
                if bucket is None:
                    bucket = self._buckets[name] = Bucket(rate, now)
                bucket.refill(rate, now)
                bucket.tokens -= count


def _count(seconds: deque[_Second], count: int, now: float) -> None:
    if seconds and now - seconds[-1].at < 1.0:
        seconds[-1].count += count
    else:
        seconds.append(_Second(now, count))


def seconds_left_of_month() -> int:
    """Seconds until the next calendar month (UTC), at least 1."""
    now = datetime.now(UTC)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return max(1, math.ceil(((first + timedelta(days=32)).replace(day=1) - now).total_seconds()))

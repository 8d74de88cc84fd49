"""Turns: where several endpoints are asked, each has a few requests in hand at a time; its others wait outside.

A flood of one endpoint then costs the others no more than those few requests, by however many connections it comes.
While one endpoint alone is asked there are no turns: more at once make larger batches.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final

# Requests of one endpoint that are read, predicted or answered at the same moment. Those that wait for a body or a
# thread do not count meanwhile.
AT_ONCE: Final = 8
# Seconds after the last change from one endpoint to another in which turns are taken.
_MEMORY_S: Final = 10.0
_MOST: Final = 10_000


class Lane:
    """The requests of one endpoint."""

    __slots__ = ("_busy", "_waiting")

    def __init__(self) -> None:
        self._busy = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def enter(self, start: Callable[[], None]) -> bool:
        """Whether a request may begin now; else `start` is called when its turn has come. Then `leave`, once."""
        if self._busy < AT_ONCE:
            self._busy += 1
            return True
        self._waiting.append(start)
        return False

    def leave(self) -> None:
        """A request is through, or need not be looked at for a while: the next, please."""
        self._busy -= 1
        if self._waiting and self._busy < AT_ONCE:
            self._busy += 1
            # Not from here: a chain of requests that end at once would nest.
            asyncio.get_running_loop().call_soon(self._waiting.popleft())

    def resume(self) -> None:
        """A request that had left for a while goes on."""
        self._busy += 1


class Turns:
    """The lanes of a process."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._last = ""
        self._until = -inf

    def taken(self, now: float) -> bool:
        """Whether several endpoints are asked at a moment of the same clock as `lane`'s."""
        return now <= self._until

    def lane(self, name: str, now: float) -> Lane | None:
        """Where a request of an endpoint goes that came at a moment of a clock; None where no turns are taken."""
        if name != self._last:
            if self._last:
                self._until = now + _MEMORY_S
            self._last = name
        if now > self._until:
            return None
        lane = self._lanes.get(name)
        if lane is None:
            # Addresses that do not exist share one, in the end.
            lane = self._lanes.setdefault(name if len(self._lanes) < _MOST else "", Lane())
        return lane

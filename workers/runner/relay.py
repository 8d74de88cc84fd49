"""Telling the control plane: one attempt's events, numbered, into the stream. Redis may be away for any time."""

import threading
import time
from collections import deque
from typing import Final

import redis

from workers.contracts import names
from workers.contracts.events import Event
from workers.contracts.usage import UsageRecord

_MOST_AT_ONCE: Final = 200
_PAUSE_S: Final = 1.0
# More than this is left in events.jsonl until Redis answers.
ENOUGH: Final = 5000


# What redis-py takes as fields of an entry.
_Fields = dict[bytes | bytearray | memoryview | str | int | float, bytes | bytearray | memoryview | str | int | float]


class Relay:
    """Numbers events 1, 2, 3, … and appends them in this order. One may come twice; the recorder knows its number.

    Usage records go the same way, in the order of what is said: an event is there after all usage that came before it.
    """

    def __init__(self, client: redis.Redis, job: str, attempt: int) -> None:
        self._client = client
        self._job, self._attempt = job, attempt
        self._seq = 0
        self._waiting: deque[tuple[str, _Fields]] = deque()
        self._not_before = 0.0

    def say(self, event: Event) -> None:
        """Queue an event; `flush` sends it."""
        self._seq += 1
        content = event.model_dump_json(exclude_none=True)
        fields: _Fields = {"job": self._job, "attempt": self._attempt, "seq": self._seq, "event": content}
        self._waiting.append((names.STREAM_EVENTS, fields))

    def book(self, record: UsageRecord) -> None:
        """Queue a usage record."""
        self._waiting.append((names.STREAM_USAGE, {"r": record.model_dump_json(exclude_none=True)}))

    @property
    def is_full(self) -> bool:
        """Whether so much waits that no more should be read."""
        return len(self._waiting) >= ENOUGH

    def flush(self) -> bool:
        """Send what waits; True when nothing is left. After a failure, nothing is tried for a second."""
        if self._waiting and time.monotonic() >= self._not_before:
            try:
                while self._waiting:
                    self._send()
            except redis.RedisError:
                self._not_before = time.monotonic() + _PAUSE_S
        return not self._waiting

    def _send(self) -> None:
        batch = [self._waiting[index] for index in range(min(_MOST_AT_ONCE, len(self._waiting)))]
        with self._client.pipeline(transaction=False) as pipeline:
            for stream, fields in batch:
                pipeline.xadd(stream, fields)
            pipeline.execute()
        for _ in batch:
            self._waiting.popleft()

    def flush_until(self, given_up: threading.Event) -> bool:
        """Send all, however long it takes; False where `given_up` was set before."""
        while not self.flush():
            if given_up.wait(0.1):
                return self.flush()
        return True

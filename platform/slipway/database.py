"""A connection to Postgres that does not wait for ever for a server that takes questions and answers none.

libpq's own bounds (connect_timeout, tcp_user_timeout, keepalives) end a wait where the machine is gone, and
statement_timeout ends one where the server works. A server that hangs, or a proxy before one that does, is neither: the
kernel at the other end goes on acknowledging what is sent.
"""

import time
from collections.abc import Generator
from typing import Any, ClassVar, TypeVar

import psycopg
from django.conf import settings
from psycopg import errors
from psycopg.rows import TupleRow

T = TypeVar("T")


class Connection(psycopg.Connection[TupleRow]):
    """A query ends with OperationalError, and the connection with it, once the server is known to be silent: it takes
    no new connection either, or statement_timeout, which it was to keep, is long over."""

    probe_after_s: ClassVar[float] = 3
    probe_timeout_s: ClassVar[int] = 2  # psycopg's least
    grace_s: ClassVar[float] = 3  # beyond statement_timeout

    def wait(self, gen: Generator[Any, Any, T], interval: float = 0.1, timeout: float | None = None) -> T:
        """psycopg: every wait for the server passes here."""
        return super().wait(self._listening(gen), interval, timeout)

    def _listening(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """The same, looking at the clock whenever psycopg has waited for an interval in vain."""
        heard = probed = time.monotonic()
        longest_s = settings.ENV.statement_timeout_s + self.grace_s
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready:
                    heard = probed = now
                elif now - heard > longest_s or (now - probed > self.probe_after_s and self._is_deaf()):
                    self.close()
                    raise errors.OperationalError("the server has fallen silent")
                elif now - probed > self.probe_after_s:
                    probed = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as done:
            result: T = done.value
            return result

    def _is_deaf(self) -> bool:
        """Whether the server does not even say a word to somebody new."""
        known: dict[str, str | int] = {**self.info.get_parameters(), "password": self.info.password}
        known["connect_timeout"] = self.probe_timeout_s
        try:
            psycopg.connect("", **known).close()  # type: ignore[arg-type]  # libpq's, not psycopg's own
        except errors.ConnectionTimeout:
            return True
        except psycopg.Error:
            return False  # it refuses: that is a word
        return False

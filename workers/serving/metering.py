"""Usage records and feedback on their way into Redis. No answer leaves before its record is there.

One connection: whatever has gathered while the last write was on its way goes in the next, as one pipeline. A record is
acknowledged by Redis's own reply to it; what had no reply when the connection broke is written again on the next one,
and the ledger drops the repeats. Callbacks of the event loop do all of it: a task per write would cost more than the
write.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import hiredis
import structlog
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import RedisError

from workers.contracts.errors import InfraError

log = structlog.get_logger(__name__)

# How long a record is tried to be written. Writing twice is harmless: the ledger knows each request id once.
PATIENCE_S: Final = 2.0
# Records that wait for the writer; one more is refused at once.
MAX_WAITING: Final = 20_000
_PIPELINE: Final = 500
_RETRY_S: Final = 0.05

# Told once: None when Redis has the entry, or why it has not.
Done = Callable[[InfraError | None], None]
_Entry = tuple[bytes, Done]
_Lost = Callable[[str], None]


class Meter:
    """Appends to Redis streams and says when the entries are there."""

    def __init__(self, redis_url: str) -> None:
        # protocol=2: nothing but replies may come.
        self._pool = ConnectionPool.from_url(redis_url, socket_timeout=None, socket_connect_timeout=1.0, protocol=2)
        self._loop = asyncio.get_running_loop()
        # What has not been sent, and what has been sent on `_link` and not been acknowledged.
        self._waiting: list[_Entry] = []
        self._sent: list[_Entry] = []
        self._link: _Link | None = None
        self._opening: asyncio.Task[None] | None = None
        self._flushing = False
        # Set while there is anything unacknowledged; `_since` is when the oldest of it came, or Redis last replied.
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0

    def write(self, stream: str, record: bytes, done: Done) -> None:
        """Append one entry with the field `r`, and tell `done`. Raises InfraError `unavailable` when too many wait."""
        if len(self._waiting) >= MAX_WAITING:
            raise InfraError("unavailable", retry_after=2)
        packed: bytes = hiredis.pack_command(("XADD", stream, "*", "r", record))  # type: ignore[arg-type]
        self._waiting.append((packed, done))
        if not self._flushing and not self._sent:
            self._flushing = True
            # Not at once: whoever else has been predicted in this turn of the loop joins.
            self._loop.call_soon(self._flush)

    def append(self, stream: str, record: bytes) -> "asyncio.Future[None]":
        """`write`, as a future: Redis has the entry, or InfraError `unavailable`."""
        written: asyncio.Future[None] = self._loop.create_future()
        self.write(stream, record, partial(_settle, written))
        return written

    async def close(self) -> None:
        """Write what is waiting and hang up."""
        # No longer than the patience: nothing new comes at the end of the process.
        while self._waiting or self._sent:  # noqa: ASYNC110 (an event would be set for every batch, and read once)
            await asyncio.sleep(0.01)
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._timer is not None:
            self._timer.cancel()
        self._hang_up()

    def _flush(self) -> None:
        """Send what waits, if nothing is on its way."""
        self._flushing = False
        if self._sent or not self._waiting:
            return
        if self._timer is None:
            self._since = self._loop.time()
            self._timer = self._loop.call_later(PATIENCE_S, self._check_patience)
        if self._link is None:
            if self._opening is None or self._opening.done():
                self._opening = self._loop.create_task(self._open())
            return
        self._sent, self._waiting = self._waiting[:_PIPELINE], self._waiting[_PIPELINE:]
        self._link.send(self._sent)

    def _replied(self) -> None:
        """Redis has everything that was sent."""
        done, self._sent = self._sent, []
        self._since = self._loop.time()
        self._flush()
        for _, tell in done:
            _tell(tell, None)

    def _lost(self, reason: str) -> None:
        """The connection is gone, or has refused a record: from the first one without a reply on, again."""
        log.warning("usage records not written yet", records=len(self._sent), reason=reason[:200])
        self._sent, self._waiting = [], self._sent + self._waiting
        self._hang_up()
        self._loop.call_later(_RETRY_S, self._flush)

    def _check_patience(self) -> None:
        self._timer = None
        if not self._waiting and not self._sent:
            return
        left = self._since + PATIENCE_S - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_patience)
            return
        failed, self._sent, self._waiting = self._sent + self._waiting, [], []
        log.warning("usage records not written", records=len(failed))
        self._hang_up()
        for _, tell in failed:
            _tell(tell, InfraError("unavailable", retry_after=2))

    async def _open(self) -> None:
        """Connect, again and again while anything waits."""
        while self._waiting:
            connection = self._pool.make_connection()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await connection.connect()
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(_RETRY_S)
            else:
                self._link = _Link(connection, self._replied, self._lost)
                self._flush()
                return

    def _hang_up(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()


def _tell(done: Done, error: InfraError | None) -> None:
    try:
        done(error)
    except Exception:  # one that stumbles may not keep the others from their answers
        log.exception("unhandled")


def _settle(written: "asyncio.Future[None]", error: InfraError | None) -> None:
    if written.done():
        return
    if error is None:
        written.set_result(None)
    else:
        written.set_exception(error)


class _Link(asyncio.Protocol):
    """A connection that redis-py has opened (address, TLS, login), read without its parser: replies are counted."""

    def __init__(
        self, connection: AbstractConnection, replied: Callable[[], None], lost: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._replied, self._lost = replied, lost
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self._missing = 0
        writer = connection._writer
        assert writer is not None
        self._transport: Any = writer.transport
        self._transport.set_protocol(self)

    def send(self, entries: list[_Entry]) -> None:
        """Send a pipeline. There may be no other on its way."""
        self._missing = len(entries)
        self._transport.write(b"".join([packed for packed, _ in entries]))

    def data_received(self, data: bytes) -> None:
        """Replies: the entries' ids, or an error."""
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not Ellipsis:
            if isinstance(reply, Exception) or not self._missing:
                self._tell_lost(str(reply))
                return
            self._missing -= 1
            if not self._missing:
                self._replied()

    def connection_lost(self, exc: Exception | None) -> None:
        """Redis has hung up, or `close` has."""
        self._tell_lost(str(exc or "Redis hung up"))

    def close(self) -> None:
        """Hang up, without a word to anybody."""
        self._lost = _nobody
        self._transport.abort()
        with contextlib.suppress(RedisError, OSError):
            self._connection._close()

    def _tell_lost(self, reason: str) -> None:
        lost, self._lost = self._lost, _nobody
        lost(reason)


def _nobody(reason: str) -> None:
    """Who hears of a connection's loss after the first time."""

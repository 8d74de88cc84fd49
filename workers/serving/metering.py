"""Usage records and feedback on their way into Redis. No answer leaves before its record is there.

One connection: whatever has gathered while the last write was on its way goes in the next, as one pipeline. A record is
acknowledged by Redis's own reply to it; what had no reply when the connection broke is written again on the next one,
and the ledger drops the repeats. Callbacks of the event loop do all of it: a task per write would cost more than the
write.

While Redis is away, records go to the spool on disk, which is as good. When it is back, the spool is delivered in
order; only then do new records go straight to Redis again.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import hiredis
import structlog
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import RedisError

from workers.contracts.errors import InfraError
from workers.serving.counts import Counts
from workers.serving.spool import Damaged, Spool, files, left_behind

log = structlog.get_logger(__name__)

# How long Redis is waited for. Then the record is spooled; writing it twice is harmless: the ledger knows each request
# id once.
PATIENCE_S: Final = 0.5
# Records that wait for the writer; one more is refused at once.
MAX_WAITING: Final = 20_000
_PIPELINE: Final = 500
_RETRY_S: Final = 0.05
# How often Redis is tried while it is away; with "everysec", the disk has the spool as often.
_AWAY_S: Final = 0.5

# Told once: None when Redis or the spool has the entry, or why neither has.
Done = Callable[[InfraError | None], None]
# Stream, record, whether it comes late, and whom to tell.
_Entry = tuple[str, bytes, bool, Done]
_Lost = Callable[[str], None]


class Meter:
    """Appends to Redis streams and says when the entries are there."""

    def __init__(self, redis_url: str, spool: Spool, counts: Counts) -> None:
        self.counts = counts
        self._spool = spool
        # While Redis is away: brings the spool there when it is back.
        self._delivery: asyncio.Task[None] | None = None
        # With fsync "always": what the spool has and the disk not yet.
        self._unsynced: list[_Entry] = []
        self._syncing: asyncio.Task[None] | None = None
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

    @property
    def spooled_bytes(self) -> int:
        """What waits on disk for Redis."""
        return self._spool.waiting_bytes

    def put(self, stream: str, record: bytes, done: Done, *, late: bool = False) -> None:
        """Append one entry with the field `r` at the next `flush`, and tell `done`.

        Raises InfraError `unavailable` when too many wait. `late` adds the field `t`, when it is sent: its record is
        from before.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise InfraError("unavailable", retry_after=2)
        self._waiting.append((stream, record, late, done))

    def append(self, stream: str, record: bytes, *, late: bool = False) -> "asyncio.Future[None]":
        """Append one entry. The future: it is safe, or InfraError `unavailable`."""
        written: asyncio.Future[None] = self._loop.create_future()
        self.put(stream, record, partial(_settle, written), late=late)
        if not self._flushing and not self._sent:
            self._flushing = True
            # Not at once: whoever else has something to say in this turn of the loop joins.
            self._loop.call_soon(self.flush)
        return written

    async def take_over(self, folder: Path) -> None:
        """Deliver what processes that are gone have left in the spool's folder. Raises InfraError."""
        for path in files(folder):
            with left_behind(path) as chunks:
                count = 0
                for entries in chunks or ():
                    await asyncio.gather(*(self.append(stream, record, late=True) for stream, record in entries))
                    count += len(entries)
                if chunks is not None:
                    log.info("spool taken over", file=path.name, records=count)

    async def close(self) -> None:
        """Write what is waiting and hang up. What is in the spool is left to the next process."""
        while self._waiting or self._sent or self._unsynced:  # noqa: ASYNC110 (an event would be set for every batch)
            await asyncio.sleep(0.01)
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._delivery is not None:
            self._delivery.cancel()
            await asyncio.wait([self._delivery])
        if self._timer is not None:
            self._timer.cancel()
        self._hang_up()
        self._spool.close()

    def flush(self) -> None:
        """Send what waits, if nothing is on its way; if something is, its replies will."""
        self._flushing = False
        if self._sent or not self._waiting:
            return
        if self._delivery is not None:
            entries, self._waiting = self._waiting, []
            self._keep(entries)
            return
        if self._timer is None:
            self._since = self._loop.time()
            self._timer = self._loop.call_later(PATIENCE_S, self._check_patience)
        if self._link is None:
            if self._opening is None or self._opening.done():
                self._opening = self._loop.create_task(self._open())
            return
        self._sent, self._waiting = self._waiting[:_PIPELINE], self._waiting[_PIPELINE:]
        self._link.send([_packed(stream, record, late) for stream, record, late, _ in self._sent])

    def _replied(self) -> None:
        """Redis has everything that was sent."""
        done, self._sent = self._sent, []
        self._since = self._loop.time()
        self.flush()
        _tell(done, None)

    def _lost(self, reason: str) -> None:
        """The connection is gone, or has refused a record: from the first one without a reply on, again."""
        log.warning("usage records not written yet", records=len(self._sent), reason=reason[:200])
        self._sent, self._waiting = [], self._sent + self._waiting
        self._hang_up()
        self._loop.call_later(_RETRY_S, self.flush)

    def _check_patience(self) -> None:
        self._timer = None
        if not self._waiting and not self._sent:
            return
        left = self._since + PATIENCE_S - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_patience)
            return
        entries, self._sent, self._waiting = self._sent + self._waiting, [], []
        log.warning("Redis is away: records are spooled", records=len(entries))
        self._hang_up()
        self._delivery = self._loop.create_task(self._deliver())
        self._keep(entries)

    # --- While Redis is away ---

    def _keep(self, entries: list[_Entry]) -> None:
        """Put entries into the spool, and tell."""
        try:
            self._spool.write([(stream, record) for stream, record, *_ in entries])
        except InfraError as error:
            _tell(entries, error)
            return
        if self._spool.fsync != "always":
            _tell(entries, None)
            return
        self._unsynced += entries
        if self._syncing is None or self._syncing.done():
            self._syncing = self._loop.create_task(self._sync())

    async def _sync(self) -> None:
        """Have the disk hold what was spooled, then tell: all that came during one turn share the next."""
        while self._unsynced:
            entries, error = list(self._unsynced), None
            try:
                await asyncio.to_thread(self._spool.sync)
            except OSError as failure:
                log.error("spool not synced", reason=str(failure)[:200])
                error = InfraError("unavailable", retry_after=5)
            del self._unsynced[: len(entries)]
            _tell(entries, error)

    async def _deliver(self) -> None:
        """Try Redis until it has taken the whole spool; then records go straight to it again."""
        while True:
            link: _Link | None = None
            try:
                async with asyncio.timeout(PATIENCE_S):
                    connection = self._pool.make_connection()
                    await connection.connect()
                link = _Link(connection)
                while (found := self._spool.read())[0]:
                    entries, size = found
                    await self._send_late(link, entries)
                    self._spool.delivered(size)
            except Damaged as error:
                log.error("spool damaged", reason=str(error))
                self._spool.set_aside()
            except Exception as error:  # whatever it is, what is spooled may not be stuck here
                if not isinstance(error, RedisError | OSError | TimeoutError):
                    log.exception("spool not delivered")
                await asyncio.sleep(_AWAY_S)
                if self._spool.fsync == "everysec":
                    with contextlib.suppress(OSError):
                        await asyncio.to_thread(self._spool.sync)
            else:
                log.info("Redis is back: the spool is delivered")
                link.listen(self._replied, self._lost)
                self._link, link, self._delivery = link, None, None
                self.flush()
                return
            finally:
                if link is not None:
                    link.close()

    async def _send_late(self, link: "_Link", entries: list[tuple[str, bytes]]) -> None:
        """Write spooled entries. Raises OSError, TimeoutError: then they have to be written again."""
        replied: asyncio.Future[None] = self._loop.create_future()

        def lost(reason: str) -> None:
            if not replied.done():
                replied.set_exception(ConnectionError(reason))

        link.listen(lambda: replied.set_result(None), lost)
        link.send([_packed(stream, record, late=True) for stream, record in entries])
        async with asyncio.timeout(4 * PATIENCE_S):
            await replied

    async def _open(self) -> None:
        """Connect, again and again while anything waits."""
        while self._waiting and self._delivery is None:
            connection = self._pool.make_connection()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await connection.connect()
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(_RETRY_S)
            else:
                link = _Link(connection)
                if self._delivery is not None:  # it took too long
                    link.close()
                    return
                link.listen(self._replied, self._lost)
                self._link = link
                self.flush()
                return

    def _hang_up(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()


def _tell(entries: list[_Entry], error: InfraError | None) -> None:
    for *_, done in entries:
        try:
            done(error)
        except Exception:  # one that stumbles may not keep the others from their answers
            log.exception("unhandled")


def _packed(stream: str, record: bytes, late: bool) -> bytes:
    """XADD in Redis's protocol (RESP)."""
    if late:
        command = ("XADD", stream, "*", "r", record, "t", str(time.time()))
        packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
        return packed
    # By hand: it is done for each request.
    return b"%b$%d\r\n%b\r\n" % (_beginning(stream), len(record), record)


@functools.cache
def _beginning(stream: str) -> bytes:
    """Of XADD with the field `r`: all before its value. There are only some streams."""
    return b"*5\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$1\r\n*\r\n$1\r\nr\r\n" % (len(stream), stream.encode())


def _settle(written: "asyncio.Future[None]", error: InfraError | None) -> None:
    if written.done():
        return
    if error is None:
        written.set_result(None)
    else:
        written.set_exception(error)


class _Link(asyncio.Protocol):
    """A connection that redis-py has opened (address, TLS, login), read without its parser: replies are counted."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._replied: Callable[[], None] = _unasked
        self._lost: _Lost = _nobody
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self._missing = 0
        writer = connection._writer
        assert writer is not None
        self._transport: Any = writer.transport
        self._transport.set_protocol(self)

    def listen(self, replied: Callable[[], None], lost: _Lost) -> None:
        """Who hears that a pipeline has been taken, and that the connection is gone or has refused one."""
        self._replied, self._lost = replied, lost

    def send(self, commands: list[bytes]) -> None:
        """Send a pipeline. There may be no other on its way."""
        self._missing = len(commands)
        self._transport.write(b"".join(commands))

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


def _unasked() -> None:
    """Nothing has been sent yet."""


def _nobody(reason: str) -> None:
    """Who hears of a connection's loss after the first time."""

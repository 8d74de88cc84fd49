"""Usage records and feedback on their way into Redis. No answer leaves before its record is there.

One connection and one writer: whatever has gathered while the last write was on its way goes in the next, as one
pipeline. The connection belongs to the writer alone and no client's departure can cancel it, so replies never meet the
wrong command.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import hiredis
import structlog
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import RedisError

from workers.contracts.errors import InfraError

log = structlog.get_logger(__name__)

# How long a record is tried to be written. Writing twice is harmless: the ledger knows each request id once.
PATIENCE_S = 2.0
# Records that wait for the writer; one more is refused at once.
MAX_WAITING = 20_000
_PIPELINE = 500


def _packed(stream: str, record: bytes) -> bytes:
    packed: bytes = hiredis.pack_command(("XADD", stream, "*", "r", record))  # type: ignore[arg-type]
    return packed


_Waiting = tuple[bytes, "asyncio.Future[None]"]


class Meter:
    """Appends to Redis streams and says when the entries are there."""

    def __init__(self, redis_url: str) -> None:
        self._pool = ConnectionPool.from_url(redis_url, socket_timeout=None, socket_connect_timeout=1.0)
        self._connection: AbstractConnection | None = None
        self._waiting: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    def append(self, stream: str, record: bytes) -> "asyncio.Future[None]":
        """Append one entry with the field `r`. The future: Redis has it, or InfraError `unavailable`."""
        if len(self._waiting) >= MAX_WAITING:
            raise InfraError("unavailable", retry_after=2)
        written: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((_packed(stream, record), written))
        if self._writer is None or self._writer.done():
            self._writer = self._loop.create_task(self._write_all())
        return written

    async def close(self) -> None:
        """Write what is waiting and hang up."""
        if self._writer is not None:
            await self._writer
        await self._drop()

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_PIPELINE], self._waiting[_PIPELINE:]
            try:
                await self._write(batch)
            except Exception as error:
                log.warning("usage records not written", records=len(batch), reason=str(error)[:200])
                for _, written in batch:
                    if not written.done():
                        written.set_exception(InfraError("unavailable", retry_after=2))

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        """Write a batch, on a new connection where the old one fails, until the patience is over."""
        clock = self._loop.time
        deadline = clock() + PATIENCE_S
        while True:
            try:
                # The connection has no time limits of its own: each would cost a task.
                async with asyncio.timeout_at(deadline):
                    return await self._attempt(batch)
            except (RedisError, OSError, TimeoutError):
                await self._drop()
                if clock() + 0.1 >= deadline:
                    raise
                await asyncio.sleep(0.05)

    async def _attempt(self, batch: Sequence[_Waiting]) -> None:
        if self._connection is None:
            self._connection = self._pool.make_connection()
            await self._connection.connect()
        await self._connection.send_packed_command(b"".join([command for command, _ in batch]), check_health=False)
        for _ in batch:
            await self._connection.read_response(disable_decoding=True)
        # All or none: after an error in the middle the batch is written again, and the ledger drops the repeats.
        for _, written in batch:
            if not written.done():
                written.set_result(None)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await connection.disconnect(nowait=True)

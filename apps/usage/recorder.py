"""The recorder: applies job events, usage records and feedback from Redis streams to the database, each exactly once.

How far a stream has been applied is kept in Postgres and moves in the transaction that applies the entries: a recorder
that dies anywhere goes on where the database is. Two recorders at once take turns on the position's row, and the one
that comes second finds it moved and reads again; so no lock service and no consumer group is needed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import redis
import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, transaction

from apps.endpoints import feedback
from apps.training import recording
from apps.usage import ledger
from apps.usage.models import DeadLetter, StreamPosition
from workers.contracts import names

log = structlog.get_logger(__name__)

Entry = tuple[str, Mapping[bytes, bytes]]
# stream → what applies its entries; each raises ValueError for an entry that can never be applied.
STREAMS: Final[dict[str, Callable[[Sequence[Entry]], None]]] = {
    names.STREAM_EVENTS: recording.apply,
    names.STREAM_USAGE: ledger.apply,
    names.STREAM_FEEDBACK: feedback.apply,
}
START: Final = "0-0"
_BATCH: Final = 1000
_WAIT_MS: Final = 500
_BACK_OFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)


class Recorder:
    """Reads the streams of one Redis until told to stop."""

    def __init__(self, client: "redis.Redis[bytes]") -> None:
        self._redis = client
        self._positions: dict[str, str] = {}
        self._stopping = False

    def stop(self) -> None:
        """Finish the batch at hand, then return from `run`."""
        self._stopping = True

    def run(self) -> None:
        """Apply entries as they come. Outages of Redis and Postgres are waited out; nothing is skipped for them."""
        failures = 0
        while not self._stopping:
            try:
                self.step()
                failures = 0
            except (redis.RedisError, OperationalError, InterfaceError) as error:
                pause = _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]
                log.warning("recorder_waits", reason=f"{type(error).__name__}: {error}"[:300], seconds=pause)
                failures += 1
                self._positions.clear()
                close_old_connections()
                self._rest(pause)

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < end:
            time.sleep(0.05)

    def step(self, wait_ms: int = _WAIT_MS) -> int:
        """Read once and apply what was read; how many entries that was."""
        for stream in STREAMS:
            if stream not in self._positions:
                self._positions[stream] = self._known_position(stream)
        found: Any = self._redis.xread(dict(self._positions), count=_BATCH, block=wait_ms)
        pairs = found.items() if isinstance(found, dict) else found
        applied = 0
        for stream, entries in pairs:
            name = stream.decode()
            applied += self._apply(name, [(position.decode(), fields) for position, fields in _flat(entries)])
        return applied

    def _known_position(self, stream: str) -> str:
        """Where the database is; the start where the stream is younger than that (Redis has lost its data)."""
        row, _ = StreamPosition.objects.get_or_create(stream=stream)
        try:
            last: bytes = self._redis.xinfo_stream(stream)["last-generated-id"]
        except redis.ResponseError:
            return row.position  # no such stream yet
        if _order(last.decode()) >= _order(row.position):
            return row.position
        # What is read again is known by its request id or sequence number, and counts once.
        log.warning("stream_began_anew", stream=stream, position=row.position, last=last.decode())
        StreamPosition.objects.filter(pk=stream).update(position=START)
        return START

    def _apply(self, stream: str, entries: list[Entry]) -> int:
        try:
            moved = self._in_transaction(stream, entries, STREAMS[stream])
        except (OperationalError, InterfaceError):
            raise
        except (ValueError, DatabaseError) as error:
            log.warning("batch_failed", stream=stream, entries=len(entries), reason=str(error)[:300])
            moved = self._in_transaction(stream, entries, lambda batch: _one_by_one(stream, batch))
        if not moved:
            self._positions.pop(stream)
            return 0
        self._positions[stream] = entries[-1][0]
        self._redis.xtrim(stream, minid=entries[-1][0], approximate=True)
        return len(entries)

    def _in_transaction(self, stream: str, entries: list[Entry], apply: Callable[[list[Entry]], None]) -> bool:
        """Apply and move the position; False, with nothing done, if another recorder has moved it meanwhile."""
        with transaction.atomic():
            row = StreamPosition.objects.select_for_update().get(pk=stream)
            if row.position != self._positions[stream]:
                return False
            apply(entries)
            StreamPosition.objects.filter(pk=stream).update(position=entries[-1][0])
        return True


def _one_by_one(stream: str, entries: list[Entry]) -> None:
    """Apply each entry by itself; the ones that cannot be applied become dead letters."""
    for entry in entries:
        try:
            with transaction.atomic():
                STREAMS[stream]([entry])
        except (OperationalError, InterfaceError):
            raise
        except (ValueError, DatabaseError) as error:
            _set_aside(stream, entry, error)


def _set_aside(stream: str, entry: Entry, error: Exception) -> None:
    position, fields = entry
    text = repr({name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in fields.items()})
    reason = f"{type(error).__name__}: {error}".replace("\x00", "\\0")[:400]
    log.error("dead_letter", stream=stream, position=position, reason=reason)
    DeadLetter.objects.get_or_create(
        stream=stream, position=position, defaults={"entry": text.replace("\x00", "\\0")[:10_000], "reason": reason}
    )


def _flat(entries: Any) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
    """Entries as pairs, however deep the protocol version nests them; deleted ones come without fields."""
    rows = entries[0] if entries and isinstance(entries[0], list) else entries
    return [(position, fields) for position, fields in rows if fields]


def _order(position: str) -> tuple[int, int]:
    milliseconds, _, number = position.partition("-")
    return int(milliseconds), int(number or 0)

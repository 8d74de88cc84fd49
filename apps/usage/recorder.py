"""The recorder: applies what runners and serving processes say in Redis streams to the database, exactly once.

How far a stream has been applied is written in the transaction that applied it. After a crash at any point the entries
are either applied and passed, or neither. One recorder works at a time: each transaction takes a lock, and checks that
the position is still the one it has read from.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis
import structlog
from django.db import InterfaceError, OperationalError, connection, transaction

from apps.endpoints import feedback, rollouts
from apps.training import recording
from apps.usage import dead_letters, ledger
from apps.usage.models import DeadLetter, StreamPosition
from workers.contracts import names

log = structlog.get_logger(__name__)

Entries = Sequence[tuple[str, Mapping[bytes, bytes]]]

BATCH: Final = 1000
BLOCK_MS: Final = 1000
_LOCK: Final = 0x736C6970  # "slip"
_BEGINNING: Final = "0-0"
_MAX_PAUSE_S: Final = 5.0
# How often to look whether a stream began anew, in seconds.
_RESTART_CHECK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Source:
    """A stream, and what applies a batch of its entries. `apply` raises for an entry that can never be applied."""

    stream: str
    apply: Callable[[Entries], None]


USAGE: Final = Source(names.STREAM_USAGE, ledger.apply)
FEEDBACK: Final = Source(names.STREAM_FEEDBACK, feedback.apply)
SHADOW: Final = Source(names.STREAM_SHADOW, rollouts.apply)
SOURCES: Final = (Source(names.STREAM_EVENTS, recording.apply), USAGE, FEEDBACK, SHADOW)


class Standby(Exception):
    """Another recorder is at work."""


class Recorder:
    """Reads, applies, commits, trims; over and over."""

    def __init__(self, client: redis.Redis, sources: Sequence[Source] = SOURCES) -> None:
        self._client = client
        self._sources = sources
        self._stop = threading.Event()
        self._checked = 0.0

    def stop(self) -> None:
        """End after the batch at hand."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop`. Redis and Postgres may come and go."""
        pause = 0.1
        while not self._stop.is_set():
            try:
                self.step()
                pause = 0.1
                continue
            except Standby:
                log.debug("standby")
                pause = 1.0
            except (redis.RedisError, OperationalError, InterfaceError) as error:
                log.warning("recorder_waits", reason=f"{type(error).__name__}: {error}"[:300], seconds=pause)
                connection.close()
            self._stop.wait(pause)
            pause = min(_MAX_PAUSE_S, pause * 2)

    def step(self, block_ms: int = BLOCK_MS) -> int:
        """Apply what has come, or wait a moment for it; how many entries. Raises Standby, errors of both stores."""
        positions: Any = self._positions()
        if time.monotonic() - self._checked > _RESTART_CHECK_S:
            self._checked = time.monotonic()
            positions = self._restarted(positions)
        # One command for all streams: whatever feedback it brings, the usage that came before is in the same answer.
        answer: Any = self._client.xread(positions, count=BATCH, block=block_ms)
        found = {stream.decode(): [(position.decode(), fields) for position, fields in rows] for stream, rows in answer}
        applied = 0
        for source in self._sources:
            entries = found.get(source.stream)
            if not entries:
                continue
            if source is FEEDBACK and len(found.get(USAGE.stream, ())) == BATCH:
                continue  # the usage it refers to may still be on its way: next time
            self._apply(source, positions[source.stream], entries)
            self._client.xtrim(source.stream, minid=entries[-1][0], approximate=False)
            applied += len(entries)
        return applied

    def _positions(self) -> dict[str, str]:
        known = dict(StreamPosition.objects.values_list("stream", "position"))
        return {source.stream: known.get(source.stream, _BEGINNING) for source in self._sources}

    def _restarted(self, positions: dict[str, str]) -> dict[str, str]:
        """Positions, back at the beginning where a stream's newest entry is older than they are.

        Then Redis has lost its data, and its clock may have been set back. Applying an entry twice is harmless; passing
        over it is not.
        """
        for stream, position in positions.items():
            try:
                facts: Any = self._client.xinfo_stream(stream)
            except redis.ResponseError:
                continue  # no such stream yet
            newest = facts["last-generated-id"].decode()
            if names.stream_order(newest) < names.stream_order(position):
                log.warning("stream_began_anew", stream=stream, position=position, newest=newest)
                StreamPosition.objects.filter(stream=stream, position=position).update(position=_BEGINNING)
                positions = {**positions, stream: _BEGINNING}
        return positions

    def _apply(self, source: Source, position: str, entries: Entries) -> None:
        """Apply a batch and move the position, in one transaction; entry by entry where the batch fails."""
        try:
            with transaction.atomic():
                self._claim(source, position)
                source.apply(entries)
                self._move(source, entries)
        except (OperationalError, InterfaceError, Standby):
            raise
        except Exception as error:
            reason = dead_letters.reason_of(error)
            log.warning("batch_failed", stream=source.stream, entries=len(entries), reason=reason)
            with transaction.atomic():
                self._claim(source, position)
                for entry in entries:
                    self._apply_one(source, entry)
                self._move(source, entries)

    def _apply_one(self, source: Source, entry: tuple[str, Mapping[bytes, bytes]]) -> None:
        """Apply an entry, or set it aside."""
        try:
            with transaction.atomic():
                source.apply([entry])
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            dead_letters.put(source.stream, *entry, error)

    def _claim(self, source: Source, position: str) -> None:
        """Be the only recorder until the end of the transaction, and still be where the entries were read from."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
            if cursor.fetchone() != (True,):
                raise Standby
        row, _ = StreamPosition.objects.select_for_update().get_or_create(stream=source.stream)
        if row.position != position:
            raise Standby

    def _move(self, source: Source, entries: Entries) -> None:
        StreamPosition.objects.filter(stream=source.stream).update(position=entries[-1][0])


def apply_again(letter: DeadLetter, by: str) -> bool:
    """Apply what was set aside, on behalf of `by`; False where it failed again, and waits on.

    What applies entries passes over those that it has seen, and takes them late: so it does here.
    """
    source = next(source for source in SOURCES if source.stream == letter.stream)
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])  # after the recorder's batch at hand
            if not dead_letters.settle(letter, DeadLetter.Outcome.APPLIED, by):
                return True
            source.apply([(letter.position, dead_letters.fields_of(letter))])
    except Exception as error:
        dead_letters.failed_again(letter, error)
        return False
    return True

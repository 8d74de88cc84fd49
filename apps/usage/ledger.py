"""Applying usage records (stream slipway:usage): each request into the ledger once, and into the sums of its minute.

The rollups are made from the rows that were really inserted, in the same transaction, so they are the ledger's sums
whatever comes twice, late or out of order.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connection
from pydantic import ValidationError

from apps.usage.histogram import BUCKETS, bucket
from workers.contracts.usage import UsageRecord

# A serving process whose clock is wrong must not write into next year (as Stripe's meters refuse it too).
_MOST_AHEAD_S: Final = 300.0
_ID_CHARS: Final = 32

_INSERT: Final = """
INSERT INTO usage_ledgerentry (request_id, time, team_id, project_id, endpoint_id, revision_id, model_id, key_id,
    status, code, items, compute_us, queue_us, latency_us, bytes_in, bytes_out)
SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::text[], %s::smallint[], %s::text[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[])
ON CONFLICT (request_id) DO NOTHING
RETURNING request_id
"""
_ADD: Final = """
INSERT INTO usage_minuterollup AS kept (minute, team_id, project_id, endpoint_id, model_id, key_id, status,
    requests, items, compute_us, latency_histogram)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (minute, endpoint_id, model_id, key_id, status) DO UPDATE SET
    requests = kept.requests + excluded.requests,
    items = kept.items + excluded.items,
    compute_us = kept.compute_us + excluded.compute_us,
    latency_histogram = add_arrays(kept.latency_histogram, excluded.latency_histogram)
"""


class PoisonRecord(ValueError):
    """A record that can never be applied."""


@dataclass(slots=True)
class _Sums:
    requests: int = 0
    items: int = 0
    compute_us: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * BUCKETS)


def apply(entries: Iterable[tuple[str, Mapping[bytes, bytes]]]) -> None:
    """Apply (position, fields) entries, all of them in a few statements. Raises PoisonRecord."""
    records: dict[str, tuple[UsageRecord, datetime]] = {}
    for position, fields in entries:
        record = _parse(fields)
        records.setdefault(record.request_id, (record, _time(record, position)))
    if not records:
        return
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, _columns(records.values()))
        inserted = [records[row[0]] for row in cursor.fetchall()]
        # In a fixed order, so that two writers can never wait for each other.
        cursor.executemany(_ADD, sorted(_rollups(inserted), key=lambda row: tuple(map(str, row[:7]))))


def _parse(fields: Mapping[bytes, bytes]) -> UsageRecord:
    try:
        record = UsageRecord.model_validate_json(fields[b"r"])
    except (ValidationError, KeyError) as error:
        raise PoisonRecord(f"{type(error).__name__}: {error}"[:400]) from error
    texts = (record.team, record.project, record.endpoint, record.revision, record.model, record.key)
    if any(len(text or "") > _ID_CHARS for text in texts) or len(record.code or "") > 40:
        raise PoisonRecord("an id is too long")
    # Postgres stores no NUL.
    if any("\x00" in (text or "") for text in (*texts, record.code, record.request_id)):
        raise PoisonRecord("a field holds a NUL character")
    if max(record.compute_us, record.queue_us, record.latency_us, record.bytes_in, record.bytes_out) >= 2**63:
        raise PoisonRecord("a number is out of range")
    if record.items >= 2**31:
        raise PoisonRecord("the number of items is out of range")
    return record


def _time(record: UsageRecord, position: str) -> datetime:
    """When the request was, by the serving process's clock; at most five minutes after Redis received the record."""
    received = int(position.split("-")[0]) / 1000
    return datetime.fromtimestamp(max(0.0, min(record.time, received + _MOST_AHEAD_S)), UTC)


def _columns(records: Iterable[tuple[UsageRecord, datetime]]) -> list[list[Any]]:
    rows = [
        (
            *(record.request_id, time, record.team, record.project, record.endpoint),
            *(record.revision or "", record.model or "", record.key or "", record.status, record.code or ""),
            *(record.items, record.compute_us, record.queue_us, record.latency_us, record.bytes_in, record.bytes_out),
        )
        for record, time in records
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _rollups(records: Iterable[tuple[UsageRecord, datetime]]) -> Iterable[tuple[Any, ...]]:
    groups: dict[tuple[Any, ...], _Sums] = defaultdict(_Sums)
    for record, time in records:
        minute = time.replace(second=0, microsecond=0)
        ids = (record.team, record.project, record.endpoint, record.model or "", record.key or "")
        sums = groups[(minute, *ids, record.status)]
        sums.requests += 1
        sums.items += record.items
        sums.compute_us += record.compute_us
        sums.latency[bucket(record.latency_us)] += 1
    return [(*group, sums.requests, sums.items, sums.compute_us, sums.latency) for group, sums in groups.items()]

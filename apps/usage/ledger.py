"""Usage records (stream slipway:usage) into the ledger, and the sums of what was really new into the rollups."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connection

from apps.usage.histogram import BUCKETS, bucket
from workers.contracts.usage import UsageRecord

Entries = Sequence[tuple[str, Mapping[bytes, bytes]]]

# A serving process whose clock is further than this from Redis' clock is not believed, in seconds.
_CLOCK_TOLERANCE_S: Final = 300

_INSERT: Final = """
INSERT INTO usage_ledgerentry (request_id, time, team_id, project_id, endpoint_id, revision_id, model_id, key_id,
    status, code, items, compute_us, queue_us, latency_us, bytes_in, bytes_out)
SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::text[], %s::smallint[], %s::text[], %s::integer[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[])
ON CONFLICT (request_id) DO NOTHING
RETURNING request_id
"""
_UPSERT: Final = """
INSERT INTO usage_minuterollup AS old (minute, team_id, project_id, endpoint_id, model_id, key_id, status, requests,
    items, compute_us, latency_histogram)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::bigint[])
ON CONFLICT (minute, endpoint_id, model_id, key_id, status) DO UPDATE SET
    requests = old.requests + excluded.requests,
    items = old.items + excluded.items,
    compute_us = old.compute_us + excluded.compute_us,
    latency_histogram = add_arrays(old.latency_histogram, excluded.latency_histogram)
"""


@dataclass(slots=True)
class _Sums:
    requests: int = 0
    items: int = 0
    compute_us: int = 0
    latencies: list[int] = field(default_factory=lambda: [0] * BUCKETS)


def apply(entries: Entries) -> None:
    """Insert the records of some stream entries and add them to the rollups. Call within a transaction.

    A request id that the ledger knows already changes nothing. Raises ValueError, KeyError or DataError for an entry
    that is no record.
    """
    rows = {row[0]: row for position, fields in entries for row in [_row(position, fields)]}
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [list(column) for column in zip(*rows.values(), strict=True)])
        inserted = [rows[request_id] for (request_id,) in cursor.fetchall()]
        cursor.executemany(_UPSERT, _sums(inserted))


def _row(position: str, fields: Mapping[bytes, bytes]) -> tuple[Any, ...]:
    """The ledger's columns, in the order of _INSERT."""
    record = UsageRecord.model_validate_json(fields[b"r"])
    return (
        record.request_id,
        _time(record.time, position),
        record.team,
        record.project,
        record.endpoint,
        record.revision or "",
        record.model or "",
        record.key or "",
        record.status,
        record.code or "",
        record.items,
        record.compute_us,
        record.queue_us,
        record.latency_us,
        record.bytes_in,
        record.bytes_out,
    )


def _time(said: float, position: str) -> datetime:
    """When the request was answered: as the serving process said, unless its clock is far from Redis'."""
    entered = int(position.partition("-")[0]) / 1000
    believed = math.isfinite(said) and abs(said - entered) <= _CLOCK_TOLERANCE_S
    return datetime.fromtimestamp(said if believed else entered, UTC)


def _sums(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Parameters of _UPSERT, one per minute and group, in a fixed order."""
    groups: dict[tuple[Any, ...], _Sums] = {}
    for _, time, team, project, endpoint, _, model, key, status, _, items, compute_us, _, latency_us, _, _ in rows:
        minute = time.replace(second=0, microsecond=0)
        sums = groups.setdefault((minute, team, project, endpoint, model, key, status), _Sums())
        sums.requests += 1
        sums.items += items
        sums.compute_us += compute_us
        sums.latencies[bucket(latency_us)] += 1
    return [
        (*group, sums.requests, sums.items, sums.compute_us, sums.latencies) for group, sums in sorted(groups.items())
    ]

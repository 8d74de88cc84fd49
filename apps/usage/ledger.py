"""Usage records (stream slipway:usage) into the ledger, and the sums of what was really new into the rollups."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db import connection

from apps.usage import gateway
from apps.usage.histogram import BUCKETS, bucket
from workers.contracts.usage import UsageRecord, source_of

Entries = Sequence[tuple[str, Mapping[bytes, bytes]]]

# A serving process whose clock is further than this from Redis' clock is not believed, in seconds.
_CLOCK_TOLERANCE_S: Final = 300
# A record that waited on disk for longer than this is not believed to be so old.
_MAX_AGE_S: Final = 40 * 86_400
_EPOCH: Final = datetime.fromtimestamp(0, UTC)

_INSERT: Final = """
INSERT INTO usage_ledgerentry (request_id, time, team_id, project_id, endpoint_id, revision_id, model_id, key_id,
    pinned, status, code, items, compute_us, queue_us, latency_us, bytes_in, bytes_out, process, number)
SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::text[], %s::boolean[], %s::smallint[], %s::text[], %s::integer[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[], %s::bigint[], %s::text[], %s::integer[])
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
_UPSERT_HOUR: Final = """
INSERT INTO usage_ledgerhour AS old (team_id, hour, entries, exported) VALUES (%s, %s, %s, 0)
ON CONFLICT (team_id, hour) DO UPDATE SET entries = old.entries + excluded.entries
"""


class _Row(NamedTuple):
    """The ledger's columns, in the order of _INSERT."""

    request_id: str
    time: datetime
    team: str
    project: str
    endpoint: str
    revision: str
    model: str
    key: str
    pinned: bool
    status: int
    code: str
    items: int
    compute_us: int
    queue_us: int
    latency_us: int
    bytes_in: int
    bytes_out: int
    process: str
    number: int


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
    rows = {row.request_id: row for position, fields in entries for row in [_row(position, fields)]}
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [list(column) for column in zip(*rows.values(), strict=True)])
        inserted = [rows[request_id] for (request_id,) in cursor.fetchall()]
        cursor.executemany(_UPSERT, _sums(inserted))
        hours = Counter((row.team, row.time.replace(minute=0, second=0, microsecond=0)) for row in inserted)
        cursor.executemany(_UPSERT_HOUR, [(*place, count) for place, count in sorted(hours.items())])
    gateway.note(_numbered(inserted))


def _row(position: str, fields: Mapping[bytes, bytes]) -> _Row:
    record = UsageRecord.model_validate_json(fields[b"r"])
    entered = int(position.partition("-")[0]) / 1000
    # A record that waited on disk says when it was sent; any other was made just now.
    believed = _is_believed(record.time, float(fields.get(b"t", record.time)), entered)
    return _Row(
        request_id=record.request_id,
        # Cut, not rounded: the process numbered it in the minute that it said.
        time=_EPOCH + timedelta(microseconds=int((record.time if believed else entered) * 1e6)),
        team=record.team,
        project=record.project,
        endpoint=record.endpoint,
        revision=record.revision or "",
        model=record.model or "",
        key=record.key or "",
        pinned=record.pinned,
        status=record.status,
        code=record.code or "",
        items=record.items,
        compute_us=record.compute_us,
        queue_us=record.queue_us,
        latency_us=record.latency_us,
        bytes_in=record.bytes_in,
        bytes_out=record.bytes_out,
        # The number is one of the minute that was said.
        process=record.process if believed else "",
        number=record.number if believed else 0,
    )


def _is_believed(said: float, sent: float, entered: float) -> bool:
    """Whether the request was answered when the serving process said: not if its clock is far from Redis'."""
    if not (math.isfinite(said) and math.isfinite(sent) and abs(sent - entered) <= _CLOCK_TOLERANCE_S):
        return False
    return -_CLOCK_TOLERANCE_S <= sent - said <= _MAX_AGE_S


def _sums(rows: Iterable[_Row]) -> list[tuple[Any, ...]]:
    """Parameters of _UPSERT, one per minute and group, in a fixed order."""
    groups: dict[tuple[Any, ...], _Sums] = {}
    for row in rows:
        minute = row.time.replace(second=0, microsecond=0)
        group = (minute, row.team, row.project, row.endpoint, row.model, row.key, row.status)
        sums = groups.setdefault(group, _Sums())
        sums.requests += 1
        sums.items += row.items
        sums.compute_us += row.compute_us
        # Nobody waited for the blocks of a file: they say nothing of how fast an endpoint is.
        if source_of(row.key) == "api":
            sums.latencies[bucket(row.latency_us)] += 1
    return [
        (*group, sums.requests, sums.items, sums.compute_us, sums.latencies) for group, sums in sorted(groups.items())
    ]


def _numbered(rows: Iterable[_Row]) -> dict[gateway.Place, gateway.Count]:
    """The highest number of each process, team and minute."""
    found: dict[gateway.Place, gateway.Count] = {}
    for row in rows:
        if row.number:
            place = gateway.Place(row.process, row.team, row.time.replace(second=0, microsecond=0))
            found[place] = gateway.Count(max(row.number, found.get(place, gateway.Count(0)).numbered))
    return found

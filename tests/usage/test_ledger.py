"""The ledger by the hour: each entry is in exactly one file, and all counts say the same, or say where not."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis
from rest_framework.test import APIClient

from apps.core.artifacts import storage
from apps.usage import export, gateway
from apps.usage.models import GatewayCount, LedgerEntry, LedgerFile, LedgerHour, MinuteRollup
from apps.usage.recorder import Recorder
from tests.cast import Cast
from tests.usage.records import record, send
from workers.contracts import names
from workers.contracts.snapshot import GatewayCount as Told
from workers.contracts.snapshot import ServingStatus
from workers.contracts.usage import UsageRecord

Api = Callable[[Any], APIClient]
Client = redis.Redis


def late(client: Client, *records: UsageRecord) -> None:
    """Deliver records that waited on disk, and apply them."""
    now = str(datetime.now(UTC).timestamp())
    for one in records:
        client.xadd(names.STREAM_USAGE, {"r": one.model_dump_json(), "t": now})
    Recorder(client).step(block_ms=1)


def at(hours_ago: float) -> float:
    """A moment in the middle of a minute, so many hours ago."""
    moment = datetime.now(UTC).replace(second=30, microsecond=0) - timedelta(hours=hours_ago)
    return moment.timestamp()


def numbered(cast: Cast, count: int, hours_ago: float = 2, process: str = "srv-a", first: int = 1) -> list[UsageRecord]:
    return [
        record(cast.ours, time=at(hours_ago), process=process, number=number) for number in range(first, first + count)
    ]


def rows_of(file: LedgerFile) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(io.BytesIO(storage().read_bytes(file.key))).to_pylist()
    return found


def test_an_hour_that_is_over_becomes_a_file_once(cast: Cast, redis_client: Client) -> None:
    records = numbered(cast, 30)
    late(redis_client, *records)
    send(redis_client, record(cast.ours))  # of this hour, which is not over
    Recorder(redis_client).step(block_ms=1)
    assert export.export_hours() == 1 and export.export_hours() == 0
    file = LedgerFile.objects.get()
    assert file.part == 1 and file.rows == 30 and file.bytes == storage().size(file.key)
    found = rows_of(file)
    assert [row["request_id"] for row in found] == [one.request_id for one in records]
    assert found[0]["time"] == datetime.fromtimestamp(records[0].time, UTC)
    assert {row["process"] for row in found} == {"srv-a"} and [row["number"] for row in found] == list(range(1, 31))


def test_a_file_is_the_same_however_often_it_is_written(cast: Cast, redis_client: Client) -> None:
    """As after a kill between the file and the note that it is there, with late records meanwhile."""
    late(redis_client, *numbered(cast, 20))
    file = export.fixed(LedgerHour.objects.get().pk)
    late(redis_client, *numbered(cast, 5, first=21))
    assert export.write(file)
    before = storage().read_bytes(file.key)
    again = export.fixed(LedgerHour.objects.get().pk)
    assert again.part == 2
    assert not export.write(file) and storage().read_bytes(file.key) == before


def test_what_comes_late_goes_to_another_file(cast: Cast, redis_client: Client) -> None:
    early, late_ones = numbered(cast, 10), numbered(cast, 3, first=11)
    late(redis_client, *early)
    export.export_hours()
    late(redis_client, *late_ones, early[0])
    assert export.export_hours() == 1
    first, second = LedgerFile.objects.order_by("part")
    assert (first.part, first.rows, second.part, second.rows) == (1, 10, 2, 3)
    assert second.key.endswith("-2.parquet") and first.key != second.key
    assert [row["request_id"] for row in rows_of(second)] == [one.request_id for one in late_ones]
    assert LedgerHour.objects.get().exported == 13


def test_a_record_that_waited_on_disk_is_counted_when_it_was_answered(cast: Cast, redis_client: Client) -> None:
    late(redis_client, *numbered(cast, 1, hours_ago=30))
    assert LedgerEntry.objects.get().time == datetime.fromtimestamp(at(30), UTC)


def test_all_counts_agree(cast: Cast, redis_client: Client, api_of: Api) -> None:
    records = [*numbered(cast, 12), *numbered(cast, 7, process="srv-b"), *numbered(cast, 4, hours_ago=3)]
    late(redis_client, *reversed(records))
    late(redis_client, *records[:5])  # once more
    late(redis_client, record(cast.ours, time=at(2)))  # by somebody who numbers nothing
    reply = api_of(cast.victor).get("/api/v1/usage/reconciliation", {"team": cast.ours.team.pk}).json()
    assert reply["agrees"] and (reply["gateway"], reply["ledger"], reply["rollup"]) == (24, 24, 24)
    assert reply["minutes"] == [] and (reply["exported"], reply["exportable"]) == (0, 24)
    theirs = api_of(cast.charlie).get("/api/v1/usage/reconciliation", {"team": cast.theirs.team.pk}).json()
    assert theirs["agrees"] and theirs["ledger"] == 0


def test_a_lost_record_shows_in_its_minute(cast: Cast, redis_client: Client, api_of: Api) -> None:
    lost_one = numbered(cast, 10)
    del lost_one[4]
    late(redis_client, *lost_one, *numbered(cast, 6, hours_ago=5))
    reply = api_of(cast.victor).get("/api/v1/usage/reconciliation", {"team": cast.ours.team.pk}).json()
    assert not reply["agrees"] and (reply["gateway"], reply["ledger"], reply["rollup"]) == (16, 15, 15)
    (minute,) = reply["minutes"]
    assert datetime.fromisoformat(minute["start"]) == datetime.fromtimestamp(at(2), UTC).replace(second=0)
    assert (minute["gateway"], minute["ledger"], minute["rollup"]) == (10, 9, 9)


def test_what_was_lost_last_is_told_by_the_living_process(cast: Cast, redis_client: Client) -> None:
    """No later record shows the gap: Redis lost the end of its data."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    told = Told(team=cast.ours.team.pk, minute=int(now.timestamp()) // 60, numbered=9, unwritten=2)
    status = ServingStatus(process="srv-a", version=1, revisions={}, time=now.timestamp(), counts=[told])
    gateway.note_told([status])
    gateway.note_told([status])
    count = GatewayCount.objects.get()
    assert (count.minute, count.numbered, count.unwritten) == (now, 9, 2)
    far = status.model_copy(update={"counts": [told.model_copy(update={"minute": 1})]})
    gateway.note_told([far])  # its clock is wrong
    assert GatewayCount.objects.count() == 1


def test_a_rollup_that_was_changed_shows(cast: Cast, redis_client: Client, api_of: Api) -> None:
    late(redis_client, *numbered(cast, 3))
    MinuteRollup.objects.update(requests=4)
    reply = api_of(cast.victor).get("/api/v1/usage/reconciliation", {"team": cast.ours.team.pk}).json()
    assert not reply["agrees"] and (reply["ledger"], reply["rollup"]) == (3, 4)


def test_files_are_for_owners_and_admins(cast: Cast, redis_client: Client, api_of: Api) -> None:
    late(redis_client, *numbered(cast, 3))
    export.export_hours()
    listed = api_of(cast.ada).get("/api/v1/usage/files", {"team": cast.ours.team.pk}).json()["results"]
    (file,) = listed
    reply = api_of(cast.ada).get(f"/api/v1/usage/files/{file['id']}")
    body = b"".join(reply.streaming_content)
    assert pq.read_table(io.BytesIO(body)).num_rows == file["rows"] == 3 and len(body) == file["bytes"]
    assert api_of(cast.bob).get(f"/api/v1/usage/files/{file['id']}").status_code == 403
    assert api_of(cast.charlie).get(f"/api/v1/usage/files/{file['id']}").status_code == 404


@pytest.mark.parametrize("span", [{"from": "2020-01-01"}, {"from": "2020-01-01", "to": "2020-01-02"}, {"from": "x"}])
def test_a_span_that_the_ledger_cannot_answer_is_422(cast: Cast, api_of: Api, span: dict[str, str]) -> None:
    query = {"team": cast.ours.team.pk, **span}
    assert api_of(cast.victor).get("/api/v1/usage/reconciliation", query).status_code == 422


def test_every_column_of_the_hourly_files_is_documented() -> None:
    told = (Path(__file__).parents[2] / "docs" / "running.md").read_text(encoding="utf-8")
    assert [name for name in export.SCHEMA.names if f"`{name}`" not in told] == []

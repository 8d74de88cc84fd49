"""The recorder counts every record once: delivered twice, replayed from the start, killed halfway, among poison."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from apps.usage import ledger, reports
from apps.usage.models import DeadLetter, LedgerEntry, MinuteRollup, StreamPosition
from apps.usage.recorder import STREAMS, Recorder
from workers.contracts import names

pytestmark = pytest.mark.django_db

NOW = 1_790_000_000.0


def record(number: int, **changes: Any) -> dict[str, Any]:
    """A usage record like those of the serving process."""
    return {
        "request_id": f"request-{number:06d}",
        "time": NOW + number,
        "team": "tem_a",
        "project": "prj_a",
        "endpoint": "end_a",
        "revision": "rev_a",
        "model": "mdl_a",
        "key": "key_a",
        "status": 200,
        "items": 2,
        "compute_us": 100,
        "latency_us": 1000 + number,
        **changes,
    }


def send(client: "redis.Redis[bytes]", *records: dict[str, Any] | str | bytes) -> None:
    for one in records:
        client.xadd(names.STREAM_USAGE, {"r": json.dumps(one) if isinstance(one, dict) else one})


def drain(recorder: Recorder) -> None:
    while recorder.step(wait_ms=1):
        pass


def requests_in_rollups() -> int:
    return sum(row.requests for row in MinuteRollup.objects.all())


@pytest.fixture
def recorder(redis_client: "redis.Redis[bytes]") -> Iterator[Recorder]:
    yield Recorder(redis_client)


def test_each_record_is_in_the_ledger_and_in_the_sums(recorder: Recorder, redis_client: "redis.Redis[bytes]") -> None:
    send(redis_client, *(record(n) for n in range(150)), record(200, status=429, items=0, code="rate_limited"))
    drain(recorder)
    assert LedgerEntry.objects.count() == 151
    total = reports.total(reports.rollups(endpoint="end_a"))
    assert (total["requests"], total["items"], total["errors"], total["compute_ms"]) == (151, 300, 1, 15.1)
    assert total["p50_ms"] == pytest.approx(1.075, rel=0.1)
    assert {row["status"]: row["requests"] for row in reports.usage(reports.rollups(), group="status")} == {
        200: 150,
        429: 1,
    }
    assert all(sum(row.latency_histogram) == row.requests for row in MinuteRollup.objects.all())


def test_a_record_that_comes_twice_counts_once(recorder: Recorder, redis_client: "redis.Redis[bytes]") -> None:
    send(redis_client, record(1), record(1), record(2))
    drain(recorder)
    send(redis_client, record(2, time=NOW - 3600), record(3))
    drain(recorder)
    assert LedgerEntry.objects.count() == requests_in_rollups() == 3


def test_a_replay_from_the_start_changes_nothing(recorder: Recorder, redis_client: "redis.Redis[bytes]") -> None:
    entries = [record(n) for n in range(40)]
    send(redis_client, *entries)
    drain(recorder)
    before = list(MinuteRollup.objects.order_by("id").values())
    redis_client.delete(names.STREAM_USAGE)
    send(redis_client, *entries)
    StreamPosition.objects.update(position="0-0")
    drain(Recorder(redis_client))
    assert list(MinuteRollup.objects.order_by("id").values()) == before


def test_poison_is_set_aside_and_the_next_record_counts(recorder: Recorder, redis_client: "redis.Redis[bytes]") -> None:
    poison = [
        "no json",
        b"\xff\xfe",
        "{}",
        json.dumps(record(8, team="a\x00b")),
        record(9, latency_us=2**70),
        record(10, endpoint="x" * 500),
        '{"request_id": "request-1e308", "time": 1e308}',
    ]
    send(redis_client, record(1), *poison, record(2))
    redis_client.xadd(names.STREAM_USAGE, {"wrong": "field"})
    send(redis_client, record(3))
    drain(recorder)
    assert set(LedgerEntry.objects.values_list("request_id", flat=True)) == {f"request-00000{n}" for n in (1, 2, 3)}
    assert DeadLetter.objects.count() == len(poison) + 1
    assert requests_in_rollups() == 3


def test_a_recorder_that_dies_before_the_commit_loses_and_doubles_nothing(
    recorder: Recorder, redis_client: "redis.Redis[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    send(redis_client, *(record(n) for n in range(10)))

    class Killed(BaseException):
        """Not an Exception: nothing may catch it, as nothing catches SIGKILL."""

    def apply_and_die(entries: Any) -> None:
        ledger.apply(entries)
        raise Killed

    monkeypatch.setitem(STREAMS, names.STREAM_USAGE, apply_and_die)
    with pytest.raises(Killed):
        recorder.step(wait_ms=1)
    monkeypatch.undo()
    assert LedgerEntry.objects.count() == requests_in_rollups() == 0
    drain(Recorder(redis_client))
    assert LedgerEntry.objects.count() == requests_in_rollups() == 10


def test_two_recorders_take_turns(recorder: Recorder, redis_client: "redis.Redis[bytes]") -> None:
    other = Recorder(redis_client)
    send(redis_client, record(1))
    recorder.step(wait_ms=1)
    other.step(wait_ms=1)
    send(redis_client, record(2))
    recorder.step(wait_ms=1)
    other.step(wait_ms=1)
    drain(other)
    assert LedgerEntry.objects.count() == requests_in_rollups() == 2


def test_after_redis_lost_its_data_new_records_count(recorder: Recorder, redis_client: "redis.Redis[bytes]") -> None:
    send(redis_client, record(1))
    drain(recorder)
    # A Redis that begins anew with its clock set back gives positions before those that are known.
    redis_client.delete(names.STREAM_USAGE)
    redis_client.xadd(names.STREAM_USAGE, {"r": json.dumps(record(2))}, id="5-1")
    drain(Recorder(redis_client))
    assert LedgerEntry.objects.count() == requests_in_rollups() == 2


def test_a_record_from_next_year_is_put_into_this_one(recorder: Recorder, redis_client: "redis.Redis[bytes]") -> None:
    send(redis_client, record(1, time=time.time() + 365 * 86400))
    drain(recorder)
    assert LedgerEntry.objects.get().time.timestamp() < time.time() + 400


def test_applied_entries_leave_the_stream(recorder: Recorder, redis_client: "redis.Redis[bytes]") -> None:
    send(redis_client, *(record(n) for n in range(3000)))
    drain(recorder)
    assert LedgerEntry.objects.count() == 3000
    assert redis_client.xlen(names.STREAM_USAGE) < 300

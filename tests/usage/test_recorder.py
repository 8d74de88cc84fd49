"""The recorder applies each entry of the streams once, whatever happens."""

import json
import random
import time
from datetime import UTC, datetime, timedelta

import pytest
import redis

from apps.endpoints.models import Feedback
from apps.usage import recorder as module
from apps.usage.models import DeadLetter, LedgerEntry, LedgerHour, MinuteRollup, StreamPosition
from apps.usage.recorder import Recorder, Standby
from tests.cast import Cast
from tests.usage.checkers import check_ledger, check_sums
from tests.usage.records import record, send, send_feedback
from workers.contracts import names

Client = redis.Redis


def work(client: Client) -> int:
    """Apply everything that is there; the number of entries."""
    recorder = Recorder(client)
    total = 0
    while count := recorder.step(block_ms=1):
        total += count
    return total


def test_records_become_ledger_entries_and_sums(cast: Cast, redis_client: Client) -> None:
    records = [record(cast.ours, items=2, latency_us=us) for us in (900, 1000, 40_000)]
    records.append(record(cast.ours, status=422, code="input_invalid", items=0))
    send(redis_client, *records)
    assert work(redis_client) == 4
    check_ledger((one.request_id, one.status) for one in records)
    check_sums()
    (good,) = MinuteRollup.objects.filter(status=200)
    assert (good.requests, good.items, good.compute_us) == (3, 6, 1500)


def test_a_repeated_record_is_counted_once(cast: Cast, redis_client: Client) -> None:
    one = record(cast.ours)
    send(redis_client, one, one)
    work(redis_client)
    send(redis_client, one)
    work(redis_client)
    check_ledger([(one.request_id, 200)])
    check_sums()


def test_replaying_the_whole_stream_changes_nothing(cast: Cast, redis_client: Client) -> None:
    records = [record(cast.ours) for _ in range(30)]
    send(redis_client, *records)
    kept = redis_client.xrange(names.STREAM_USAGE)
    work(redis_client)
    before = list(MinuteRollup.objects.values().order_by("pk"))
    redis_client.delete(names.STREAM_USAGE)
    for position, fields in kept:
        redis_client.xadd(names.STREAM_USAGE, fields, id=position)
    StreamPosition.objects.update(position="0-0")
    assert work(redis_client) == 30
    assert list(MinuteRollup.objects.values().order_by("pk")) == before
    check_ledger((one.request_id, 200) for one in records)


@pytest.mark.parametrize("seed", range(3))
def test_late_repeated_and_out_of_order_records_are_counted_once(cast: Cast, redis_client: Client, seed: int) -> None:
    """What two processes write while Redis comes and goes: records of hours, some twice, in any order."""
    chance, now = random.Random(seed), time.time()
    records = [
        record(cast.ours, time=now - chance.choice([0, 1, 70, 4000, 90_000]), status=chance.choice([200, 200, 429]))
        for _ in range(120)
    ]
    deliveries = chance.sample(records, len(records)) + chance.choices(records, k=80)
    for start in range(0, len(deliveries), 23):
        for one in deliveries[start : start + 23]:
            # One that waited on disk says when it was sent.
            redis_client.xadd(names.STREAM_USAGE, {"r": one.model_dump_json(), "t": str(time.time())})
        work(redis_client)
    check_ledger((one.request_id, one.status) for one in records)
    check_sums()
    told = {entry.request_id: entry.time.timestamp() for entry in LedgerEntry.objects.all()}
    assert all(abs(told[one.request_id] - one.time) < 1e-5 for one in records)


def test_the_position_is_committed_with_the_sums_or_not_at_all(
    cast: Cast, redis_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder dies after the sums and before the position: neither is there, and the next one does both."""
    records = [record(cast.ours) for _ in range(10)]
    send(redis_client, *records)
    dying = Recorder(redis_client)
    monkeypatch.setattr(dying, "_move", _die)
    with pytest.raises(SystemExit):
        dying.step(block_ms=1)
    assert not LedgerEntry.objects.exists() and not MinuteRollup.objects.exists() and not LedgerHour.objects.exists()
    assert work(redis_client) == 10
    check_ledger((one.request_id, 200) for one in records)
    check_sums()
    assert LedgerHour.objects.get().entries == 10


def _die(*_: object) -> None:
    raise SystemExit


@pytest.mark.parametrize(
    "poison",
    [
        {b"r": b"no json"},
        {b"other": b"field"},
        {b"r": b"\xff\xfe"},
        {b"r": json.dumps({"request_id": "12345678", "time": 1, "team": "a\x00b", "status": 200}).encode()},
        {b"r": b"{}"},
        {b"r": ("[" * 100_000).encode()},
    ],
)
def test_a_poison_entry_is_set_aside_and_the_next_is_applied(
    cast: Cast, redis_client: Client, poison: dict[bytes, bytes]
) -> None:
    first, last = record(cast.ours), record(cast.ours)
    send(redis_client, first)
    redis_client.xadd(names.STREAM_USAGE, poison)
    send(redis_client, last)
    assert work(redis_client) == 3
    check_ledger([(first.request_id, 200), (last.request_id, 200)])
    (letter,) = DeadLetter.objects.all()
    assert letter.stream == names.STREAM_USAGE and letter.reason


@pytest.mark.parametrize("change", [{"key": "k\x00"}, {"team": "t" * 33}, {"items": 2**40}, {"latency_us": 2**80}])
def test_what_the_database_refuses_is_set_aside(cast: Cast, redis_client: Client, change: dict[str, object]) -> None:
    good = record(cast.ours)
    send(redis_client, record(cast.ours, **change), good)
    work(redis_client)
    check_ledger([(good.request_id, 200)])
    check_sums()
    assert DeadLetter.objects.count() == 1


@pytest.mark.parametrize("said", [1e308, -1e308, 0.0, 4e9])
@pytest.mark.parametrize("sent", [None, "now", "nan", "then"])
def test_a_clock_that_is_far_off_is_not_believed(
    cast: Cast, redis_client: Client, said: float, sent: str | None
) -> None:
    one = record(cast.ours, time=said)
    moments = {"now": str(time.time()), "nan": "nan", "then": str(said)}
    redis_client.xadd(names.STREAM_USAGE, {"r": one.model_dump_json(), **({"t": moments[sent]} if sent else {})})
    work(redis_client)
    entry = LedgerEntry.objects.get()
    assert abs(entry.time - datetime.now(UTC)) < timedelta(minutes=1)


def test_what_was_applied_is_trimmed_and_nothing_else(cast: Cast, redis_client: Client) -> None:
    send(redis_client, *[record(cast.ours) for _ in range(10)])
    work(redis_client)
    assert redis_client.xlen(names.STREAM_USAGE) == 1
    (after,) = send(redis_client, record(cast.ours))
    assert [position.decode() for position, _ in redis_client.xrange(names.STREAM_USAGE)][-1] == after


def test_a_second_recorder_stands_by(cast: Cast, redis_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has read the same entries, and finds that the position has moved on."""
    one = record(cast.ours)
    send(redis_client, one)
    second = Recorder(redis_client)
    positions = second._positions()
    monkeypatch.setattr(second, "_positions", lambda: positions)
    send(redis_client, record(cast.ours))
    work(redis_client)
    send(redis_client, record(cast.ours))
    with pytest.raises(Standby):
        second.step(block_ms=1)
    assert LedgerEntry.objects.count() == 2
    check_sums()


def test_a_stream_that_began_anew_is_read_from_its_beginning(cast: Cast, redis_client: Client) -> None:
    """After Redis lost its data, with its clock set back."""
    StreamPosition.objects.create(stream=names.STREAM_USAGE, position="99999999999999-0")
    one = record(cast.ours)
    send(redis_client, one)
    assert work(redis_client) == 1
    check_ledger([(one.request_id, 200)])


def test_feedback_counts_only_for_predictions_of_the_same_endpoint(cast: Cast, redis_client: Client) -> None:
    mine, foreign, refused = record(cast.ours, items=2), record(cast.theirs), record(cast.ours, status=422)
    send(redis_client, mine, foreign, refused)
    send_feedback(redis_client, cast.ours, mine.request_id, index=1, label="bad")
    send_feedback(redis_client, cast.ours, mine.request_id, index=1, label="good")
    send_feedback(redis_client, cast.ours, mine.request_id, index=2)
    for other in (foreign.request_id, refused.request_id, "0" * 24):
        send_feedback(redis_client, cast.ours, other)
    work(redis_client)
    assert list(Feedback.objects.values_list("request_id", "index", "label")) == [(mine.request_id, 1, "good")]
    assert not DeadLetter.objects.exists()


def test_feedback_waits_for_usage_that_has_not_been_read(
    cast: Cast, redis_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 4)
    records = [record(cast.ours) for _ in range(9)]
    send(redis_client, *records)
    send_feedback(redis_client, cast.ours, records[-1].request_id)
    work(redis_client)
    assert Feedback.objects.get().request_id == records[-1].request_id

"""Redis goes away: predictions go on, their records wait on disk, and each is counted once."""

import os
import shutil
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from apps.usage.models import LedgerEntry
from tests.serving.clients import asking
from tests.serving.conftest import staged
from tests.serving.recording import caught_up, recording
from tests.serving.running import OwnServer, own_server, until
from tests.serving.test_metrics import scrape, value
from tests.usage.checkers import check_ledger, check_sums
from workers.contracts import names
from workers.contracts.errors import InfraError
from workers.serving import spool
from workers.serving.spool import Damaged, Spool

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnServer]:
    """A Redis that the test may kill."""
    with own_server(tmp_path / "redis-home", "redis") as running:
        yield running


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_predictions_go_on_and_are_counted_once(
    tmp_path: Path, bundle_folder: Path, own_redis: OwnServer, fsync: str
) -> None:
    with staged(tmp_path, own_redis.url, bundle_folder, SLIPWAY_SERVING_SPOOL_FSYNC=fsync) as stage:
        with asking(stage.serving.port, "reviews", stage.key, clients=4) as seen:
            until(lambda: len(seen.answers) > 200)
            for _ in range(2):
                own_redis.kill()
                away = len(seen.answers)
                until(lambda away=away: len(seen.answers) > away + 300)
                assert value(scrape(stage.serving.url), "slipway_spool_bytes") > 0
                own_redis.start()
                # Everything that was spooled, and something new beside it.
                until(lambda: not any(path.stat().st_size for path in spool.files(tmp_path / "spool")))
                until(lambda: value(scrape(stage.serving.url), "slipway_spool_bytes") == 0)
                back = len(seen.answers)
                until(lambda back=back: len(seen.answers) > back + 100)
        sequence = [record["time"] for record in stage.control.records()]
        with recording(own_redis.url, tmp_path / "log"):
            until(lambda: caught_up(stage.control.client), 60)
    assert set(seen.statuses()) == {200} and not seen.broken and not seen.uncounted
    assert max(before - after for before, after in pairwise(sequence)) < 2.0
    check_ledger(seen.answers)
    check_sums()


def test_a_process_that_starts_without_redis_serves_and_delivers(
    tmp_path: Path, bundle_folder: Path, own_redis: OwnServer
) -> None:
    """The first is killed with a full spool. The next knows routes and keys from disk, and models from its cache."""
    with staged(tmp_path, own_redis.url, bundle_folder) as stage:
        port = stage.serving.port
        own_redis.kill()
        with asking(port, "reviews", stage.key, clients=4) as before:
            until(lambda: len(before.answers) > 200)
            stage.serving.stop(signal.SIGKILL)
        shutil.move(tmp_path / "storage", tmp_path / "storage-away")
        stage.serving.process = stage.serving.again()
        until(stage.serving.answers)
        with asking(port, "reviews", stage.key, clients=4) as after:
            until(lambda: len(after.answers) > 100)
        assert stage.predict(["good film"], key="sk_unknown").status_code == 401
        (left, mine) = sorted(spool.files(tmp_path / "spool"), key=lambda path: path.stat().st_mtime)
        shutil.copy(left, tmp_path / "again")
        own_redis.start()
        until(lambda: not left.exists() and not mine.stat().st_size)
        # A file that comes back is delivered once more, and changes nothing.
        (tmp_path / "again").rename(left)
        until(lambda: not left.exists())
        assert stage.control.client.xlen(names.STREAM_USAGE) >= 2 * len(before.answers) + len(after.answers)
        with recording(own_redis.url, tmp_path / "log"):
            until(lambda: caught_up(stage.control.client), 60)
    assert set(after.statuses()) == {200} and not after.broken and not after.uncounted
    check_ledger([*before.answers, *after.answers], broken=before.broken + 1)
    check_sums()
    assert LedgerEntry.objects.filter(status=401).count() == 1


def test_a_full_spool_refuses_and_recovers(tmp_path: Path, bundle_folder: Path, own_redis: OwnServer) -> None:
    with staged(tmp_path, own_redis.url, bundle_folder, SLIPWAY_SERVING_SPOOL_BYTES="20000") as stage:
        own_redis.kill()
        replies = [stage.predict(["good film"]) for _ in range(80)]
        taken = [(reply.headers["x-request-id"], 200) for reply in replies if reply.status_code == 200]
        refused = replies[len(taken) :]
        assert 20 < len(taken) < 60 and {reply.status_code for reply in refused} == {503}
        assert refused[0].json()["error"]["code"] == "unavailable" and int(refused[0].headers["retry-after"]) > 0
        own_redis.start()
        until(lambda: stage.predict(["good film"]).status_code == 200)
        with recording(own_redis.url, tmp_path / "log"):
            until(lambda: caught_up(stage.control.client), 60)
    ledger = dict(LedgerEntry.objects.values_list("request_id", "status"))
    assert {request_id: ledger.get(request_id) for request_id, _ in taken} == dict(taken)
    assert not set(ledger) & {reply.headers["x-request-id"] for reply in refused}


ENTRIES = [(names.STREAM_USAGE, b'{"n": %d}' % number) for number in range(50)]


def test_a_torn_end_is_left_and_damage_is_found() -> None:
    frames = spool.packed(ENTRIES)
    assert spool.unpacked(frames) == (ENTRIES, len(frames))
    whole = len(spool.packed(ENTRIES[:-1]))
    for cut in range(whole, len(frames)):
        assert spool.unpacked(frames[:cut]) == (ENTRIES[:-1], whole)
    for place in (0, 3, 6, 20, whole + 2):
        flipped = bytearray(frames)
        flipped[place] ^= 0x40
        try:
            entries, _ = spool.unpacked(bytes(flipped))
        except Damaged:
            continue
        assert entries == ENTRIES[: len(entries)] and len(entries) < len(ENTRIES)


def test_a_spool_is_one_processes_until_it_ends(tmp_path: Path) -> None:
    mine = Spool(tmp_path, "srv-1", max_bytes=10**6, fsync="never")
    mine.write(ENTRIES[:20])
    mine.write(ENTRIES[20:])
    (path,) = spool.files(tmp_path)
    with spool.left_behind(path) as chunks:
        assert chunks is None
    entries, size = mine.read()
    assert entries == ENTRIES and mine.waiting_bytes == size == path.stat().st_size
    mine.close()
    with pytest.raises(InfraError), spool.left_behind(path) as chunks:  # Redis went away meanwhile
        raise InfraError("unavailable")
    with spool.left_behind(path) as chunks:
        assert chunks is not None and [entry for some in chunks for entry in some] == ENTRIES
    assert not spool.files(tmp_path)


def test_a_damaged_file_gives_what_is_whole_and_is_kept(tmp_path: Path) -> None:
    frames = bytearray(spool.packed(ENTRIES))
    frames[len(spool.packed(ENTRIES[:30])) + 10] ^= 1
    path = tmp_path / "srv-1.spool"
    path.write_bytes(frames)
    with spool.left_behind(path) as chunks:
        assert chunks is not None
        assert [entry for some in chunks for entry in some] == ENTRIES[:30]
    assert os.listdir(tmp_path) == ["srv-1.damaged"]


def test_what_does_not_fit_is_not_written_in_part(tmp_path: Path) -> None:
    size = len(spool.packed(ENTRIES))
    mine = Spool(tmp_path, "srv-1", max_bytes=size + 10, fsync="never")
    mine.write(ENTRIES)
    with pytest.raises(InfraError):
        mine.write(ENTRIES[:1])
    assert mine.read()[0] == ENTRIES
    mine.delivered(size)
    mine.write(ENTRIES[:1])
    assert mine.read()[0] == ENTRIES[:1]

"""Runners whose Redis or whose store fails, for them alone or for all: one result comes of a job, no work is lost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import redis

from tests.faults.edge import Edge, edge
from tests.runner.bench import JOB, Bench, is_gone, make_spec, until
from workers.contracts import names
from workers.contracts.errors import InfraError
from workers.contracts.events import TERMINAL
from workers.runner import patience
from workers.storage import FolderStorage, open_storage

HERE: Final = "1:runner-1"


class Failing(FolderStorage):
    """A store that answers nothing while it is away, and then no file below output/ as often as `refusals` says."""

    away = False
    asked_in_vain = 0
    refusals = 0

    def _put_file(self, path: Path, key: str) -> None:
        if self.away or ("/output/" in key and self.refusals):
            self.refusals -= 1
            raise InfraError("storage_unavailable")
        super()._put_file(path, key)

    def _open(self, key: str) -> object:  # type: ignore[override]
        if self.away:
            self.asked_in_vain += 1
            raise InfraError("storage_unavailable")
        return super()._open(key)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases run out in two seconds, and the store is tried again at once."""
    monkeypatch.setattr(names, "LEASE_TTL_S", 2)
    monkeypatch.setattr(names, "LEASE_RENEW_S", 0.5)
    monkeypatch.setattr(patience, "PAUSES_S", (0.01,))


@pytest.fixture
def failing(bench: Bench, tmp_path: Path) -> Failing:
    """The bench's store, which can fail."""
    store = Failing(tmp_path / "store")
    bench.storage = store
    return store


@pytest.fixture
def link(redis_url: str) -> Iterator[Edge]:
    """The edge between one runner and Redis."""
    with edge(redis_url) as made:
        yield made


@pytest.fixture
def far(link: Edge, redis_client: redis.Redis, tmp_path: Path) -> Iterator[Bench]:
    """A bench whose runner reaches Redis by that edge; the test itself does not."""
    made = Bench(redis_client, open_storage(str(tmp_path / "store")), tmp_path / "home", link.url)
    yield made
    link.become("open")
    made.close()


def check_told_once(bench: Bench, attempt: int) -> None:
    """J4: the events of an attempt are numbered without a gap, and one comes again only as it was."""
    told = {int(entry["seq"]): entry["event"] for entry in bench.entries() if entry["attempt"] == str(attempt)}
    assert sorted(told) == list(range(1, len(told) + 1))
    assert all(told[int(entry["seq"])] == entry["event"] for entry in bench.entries())


def test_a_store_that_does_not_take_the_result_costs_time_and_no_work(bench: Bench, failing: Failing) -> None:
    failing.refusals = 30
    events = bench.run("succeed")
    assert events[-1]["type"] == "succeeded" and bench.types().count("started") == 1
    assert any("Storage does not answer" in event.get("phase", "") for event in events)


def test_a_job_that_waits_for_the_store_can_be_cancelled(bench: Bench, failing: Failing) -> None:
    failing.refusals = 10**6
    thread = bench.start(bench.host(), bench.queue(make_spec("succeed")))
    until(lambda: any("Storage" in event.get("phase", "") for event in bench.events()), "the job to wait")
    bench.client.set(names.cancel_key(JOB), "1")
    thread.join(10)
    assert bench.types()[-1] == "cancelled"


def test_a_lease_that_was_forgotten_while_the_store_is_away_is_taken_again(bench: Bench, failing: Failing) -> None:
    thread = bench.start(bench.host(), bench.queue(make_spec("hang")))
    pid = bench.child_pid()
    failing.away = True
    bench.client.delete(names.lease_key(JOB))
    until(lambda: failing.asked_in_vain > 0, "the store to be asked")
    failing.away = False
    until(lambda: bench.client.get(names.lease_key(JOB)) == HERE.encode(), "the lease to be back")
    assert not is_gone(pid)
    bench.client.set(names.cancel_key(JOB), "1")
    thread.join(10)
    assert bench.types()[-1] == "cancelled"


@pytest.mark.parametrize("mode", ["refused", "silent"])
def test_a_runner_cut_off_from_redis_ends_what_was_given_to_another(far: Bench, link: Edge, mode: str) -> None:
    thread = far.start(far.host(), far.queue(make_spec("hang")))
    pid = far.child_pid()
    link.become(mode)
    until(lambda: far.client.get(names.lease_key(JOB)) is None, "the lease to run out", 10)
    far.queue(make_spec("hang", attempt=2))
    far.client.set(names.lease_key(JOB), "2:runner-2")
    until(lambda: is_gone(pid), "the first engine to be gone", 10)
    link.become("open")
    thread.join(10)
    assert not thread.is_alive()
    # J3: what was under way when the line went dead may still come, but no word on how it ended.
    assert not set(TERMINAL) & set(far.types())
    assert far.client.get(names.lease_key(JOB)) == b"2:runner-2"


def test_a_runner_cut_off_from_redis_goes_on_where_nobody_else_has_the_job(far: Bench, link: Edge) -> None:
    thread = far.start(far.host(), far.queue(make_spec("slow")))
    until(lambda: far.said("line"), "the first line")
    link.become("silent")
    until(lambda: far.client.get(names.lease_key(JOB)) is None, "the lease to run out", 10)
    link.become("open")
    thread.join(20)
    assert far.types()[-1] == "succeeded" and far.types().count("started") == 1
    check_told_once(far, 1)

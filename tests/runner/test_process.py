"""The runner as a process: signals, messages, and a Redis that comes and goes."""

import contextlib
import json
import signal
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from slipway import embedded
from tests.runner.bench import JOB, Bench, is_gone, make_spec, until
from tests.runner.worker import Worker, send
from workers.contracts import names
from workers.contracts.events import RUNNER_STOPPED
from workers.storage import open_storage

OTHER = "job_" + "b" * 24


@pytest.fixture
def workers(bench: Bench, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts runners; all are ended afterwards."""
    started: list[Worker] = []

    def start(**options: Any) -> Worker:
        started.append(Worker.start(bench.home, bench.url, str(tmp_path / "store"), **options))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


def test_a_runner_says_what_it_is_and_when_it_goes(workers: Callable[..., Worker]) -> None:
    worker = workers()
    status = worker.status()
    assert status
    assert status.queues == [names.QUEUE_INGEST, names.QUEUE_TRAIN_CPU]
    assert status.device.startswith("cpu (")
    assert status.job is None
    assert worker.stop() == 0
    assert worker.status() is None


def test_a_message_is_a_job(bench: Bench, workers: Callable[..., Worker]) -> None:
    workers()
    bench.queue(make_spec("succeed"))
    send(bench.url, JOB)
    until(lambda: "succeeded" in bench.types(), "the job to succeed")


def test_sigterm_hands_the_job_back_within_seconds(bench: Bench, workers: Callable[..., Worker]) -> None:
    worker = workers()
    bench.queue(make_spec("hang"))
    send(bench.url, JOB)
    pid = bench.child_pid()
    assert until(worker.status, "the status").job == JOB
    assert worker.stop(timeout_s=8) == 0
    assert is_gone(pid)
    assert bench.events()[-1]["reason"] == RUNNER_STOPPED
    assert bench.client.get(names.lease_key(JOB)) is None


def test_sigkill_takes_the_child_along_and_the_next_runner_clears_up(
    bench: Bench, workers: Callable[..., Worker]
) -> None:
    worker = workers()
    bench.queue(make_spec("hang"))
    send(bench.url, JOB)
    pid = bench.child_pid()
    worker.stop(signal.SIGKILL)
    until(lambda: is_gone(pid), "the child to be gone", 10)
    assert len(list((bench.home / "jobs").iterdir())) == 1
    workers(node="runner-2")
    assert list((bench.home / "jobs").iterdir()) == []


def test_a_runner_that_sleeps_past_its_lease_wakes_up_to_silence(bench: Bench, workers: Callable[..., Worker]) -> None:
    sleeper = workers()
    bench.queue(make_spec("hang_then_succeed"))
    send(bench.url, JOB)
    pid = bench.child_pid()
    until(lambda: "checkpoint" in bench.types(), "a checkpoint")
    sleeper.process.send_signal(signal.SIGSTOP)
    bench.client.delete(names.lease_key(JOB))  # it runs out
    bench.queue(make_spec("hang_then_succeed", attempt=2))
    workers(node="runner-2")
    send(bench.url, JOB, attempt=2)
    until(lambda: "succeeded" in bench.types(), "the second attempt to succeed")
    said = len(bench.entries())
    sleeper.process.send_signal(signal.SIGCONT)
    until(lambda: is_gone(pid), "the first engine to be gone", 10)
    until(lambda: until(sleeper.status, "the status").job is None, "the first runner to be free")
    assert [entry["attempt"] for entry in bench.entries()[said:]] == []
    assert not bench.storage.exists(f"{names.attempt_prefix(JOB, 1)}/result.json")
    assert bench.storage.exists(f"{names.attempt_prefix(JOB, 2)}/result.json")


def test_a_busy_runner_leaves_messages_for_others(bench: Bench, workers: Callable[..., Worker]) -> None:
    workers()
    bench.queue(make_spec("hang"))
    send(bench.url, JOB)
    bench.child_pid()
    bench.queue(make_spec("succeed", job=OTHER))
    send(bench.url, OTHER)
    workers(node="runner-2")
    until(lambda: "succeeded" in bench.types(), "the second runner to take it")


def test_what_is_urgent_goes_first(bench: Bench, workers: Callable[..., Worker]) -> None:
    for job, priority in ((JOB, 6), (OTHER, 0)):
        bench.queue(make_spec("succeed", job=job))
        send(bench.url, job, priority=priority)
    workers()
    until(lambda: bench.types().count("succeeded") == 2, "both to succeed")
    order = [entry["job"] for entry in bench.entries() if '"succeeded"' in entry["event"]]
    assert order == [OTHER, JOB]


def _message(task: str, content_type: str, body: bytes) -> str:
    identity = str(uuid.uuid4())
    properties = {"delivery_tag": identity, "delivery_info": {"exchange": "", "routing_key": names.QUEUE_INGEST}}
    return json.dumps(
        {
            "body": b64encode(body).decode(),
            "content-encoding": "binary",
            "content-type": content_type,
            "headers": {"lang": "py", "task": task, "id": identity, "root_id": identity, "parent_id": None},
            "properties": {**properties, "body_encoding": "base64", "correlation_id": identity, "reply_to": None},
        }
    )


def test_a_message_of_another_make_harms_nobody(bench: Bench, workers: Callable[..., Worker], tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickled = f"cposix\nsystem\n(S'touch {canary}'\ntR.".encode()
    bench.client.lpush(
        names.QUEUE_INGEST,
        _message(names.TASK_RUN_JOB, "application/x-python-serialize", pickled),
        _message("os.system", "application/json", b'[["touch x"], {}, {}]'),
        _message(names.TASK_RUN_JOB, "application/json", b'[["../../etc", 1], {}, {}]'),
        _message(names.TASK_RUN_JOB, "application/json", b'[["' + JOB.encode() + b'", "one"], {}, {}]'),
        _message(names.TASK_RUN_JOB, "application/json", b"{"),
    )
    worker = workers()
    bench.queue(make_spec("succeed"))
    send(bench.url, JOB)
    until(lambda: "succeeded" in bench.types(), "the good message to be done")
    assert worker.process.poll() is None
    assert not canary.exists()
    assert bench.types().count("started") == 1


def test_a_runner_works_again_when_redis_is_back(tmp_path: Path) -> None:
    home = tmp_path / "redis-home"
    with _redis(home) as url, contextlib.closing(redis.Redis.from_url(url)) as client:
        bench = Bench(client, open_storage(str(tmp_path / "store")), tmp_path / "home", url)
        worker = Worker.start(bench.home, url, str(tmp_path / "store"))
    try:
        until(lambda: "Trying again in" in worker.log.read_text(), "the runner to notice", 15)
        with _redis(home):
            bench.queue(make_spec("succeed"))
            send(url, JOB)
            until(lambda: "succeeded" in bench.types(), "the runner to take a job", 30)
            assert worker.stop() == 0
    finally:
        worker.close()


@contextlib.contextmanager
def _redis(home: Path) -> Iterator[str]:
    """A Redis of one's own, with the data of the last time."""
    (server,) = embedded.prepare(home, postgres=False)
    with embedded.running(server, home / "redis.log") as url:
        yield url


def test_training_goes_on_while_redis_is_away(tmp_path: Path) -> None:
    home = tmp_path / "redis-home"
    with _redis(home) as url:
        client = redis.Redis.from_url(url)
        bench = Bench(client, open_storage(str(tmp_path / "store")), tmp_path / "home", url)
        thread = bench.start(bench.host(), bench.queue(make_spec("slow")))
        until(lambda: bench.said("line"), "the first line")
    key = f"{names.attempt_prefix(JOB, 1)}/result.json"
    until(lambda: bench.storage.exists(key), "the job to be done without Redis", 15)
    with _redis(home) as again:
        assert again == url
        until(lambda: "succeeded" in bench.types(), "all to be told", 15)
        assert [int(entry["seq"]) for entry in bench.entries()] == list(range(1, len(bench.entries()) + 1))
        lines = [event["message"] for event in bench.events() if event["type"] == "log"]
        assert lines == [f"line {number}" for number in range(60)]
        thread.join(10)
        bench.close()

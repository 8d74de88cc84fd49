"""Jobs that nobody works on any more are found and started again: once, from where they were."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.db import connection
from django.utils import timezone

from apps.core.artifacts import storage
from apps.datasets.models import DatasetVersion
from apps.registry.models import ModelVersion
from apps.training import dispatch, reaper
from apps.training.actions import cancel_job
from apps.training.models import Job
from apps.usage.models import StreamPosition
from tests.cast import Cast
from tests.training.stories import Teller, queued, train_result
from workers.contracts import names
from workers.contracts.job import JobSpec

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def settled_redis(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> redis.Redis:
    """An empty Redis that has been up for long."""
    monkeypatch.setattr(reaper, "_SETTLED_S", 0)
    return redis_client


@pytest.fixture
def running(version: DatasetVersion) -> Job:
    """A job that says it runs, and whose runner is gone."""
    teller = Teller(queued(version))
    teller.start()
    return teller.checkpoint(40)


@pytest.fixture
def sweep(django_capture_on_commit_callbacks: Any) -> Callable[[], reaper.Sweep]:
    """One sweep, with what follows the commit."""

    def run() -> reaper.Sweep:
        with django_capture_on_commit_callbacks(execute=True):
            return reaper.sweep()

    return run


def _spec(job: Job) -> JobSpec:
    return JobSpec.model_validate_json(storage().read_bytes(names.job_spec_key(job.pk)))


def _waiting(client: redis.Redis, queue: str = names.QUEUE_TRAIN_CPU) -> list[list[Any]]:
    """The arguments of the messages in a queue."""
    import base64

    messages = [json.loads(raw) for name in dispatch.message_lists(queue) for raw in client.lrange(name, 0, -1)]
    return [json.loads(base64.b64decode(message["body"]))[0] for message in messages]


def test_a_running_job_without_a_lease_is_queued_again_from_its_checkpoint(
    running: Job, sweep: Callable[[], reaper.Sweep], redis_client: redis.Redis
) -> None:
    assert sweep().interrupted == 1
    running.refresh_from_db()
    assert (running.state, running.attempt) == ("queued", 2)
    assert _waiting(redis_client) == [[running.pk, 2]]
    spec = _spec(running)
    assert (spec.attempt, spec.resume_step) == (2, 40)
    assert [file.key for file in spec.resume] == [f"jobs/{running.pk}/attempts/1/checkpoints/step-40"]
    assert running.attempts.get(number=1).reason == "The runner stopped responding."


def test_a_running_job_with_a_lease_is_left_alone(
    running: Job, sweep: Callable[[], reaper.Sweep], redis_client: redis.Redis
) -> None:
    redis_client.set(names.lease_key(running.pk), "1:runner-1")
    assert sweep() == reaper.Sweep()


def test_a_second_sweep_finds_nothing_left_to_do(running: Job, sweep: Callable[[], reaper.Sweep]) -> None:
    sweep()
    assert sweep() == reaper.Sweep()


def test_a_result_that_was_stored_before_the_runner_died_counts(
    running: Job, version: DatasetVersion, sweep: Callable[[], reaper.Sweep]
) -> None:
    content = json.dumps(train_result(version, running)).encode()
    storage().put_bytes(content, f"{names.attempt_prefix(running.pk, 1)}/result.json")
    assert sweep().finished == 1
    running.refresh_from_db()
    assert running.state == "succeeded"
    assert ModelVersion.objects.get(job=running).bundle_sha256 == "b" * 64


def test_a_stored_result_that_the_database_cannot_hold_fails_the_job(
    running: Job, version: DatasetVersion, sweep: Callable[[], reaper.Sweep]
) -> None:
    result = train_result(version, running)
    content = json.dumps({**result, "metrics": {"test": {"accuracy\0": 1.0}}}).encode()
    storage().put_bytes(content, f"{names.attempt_prefix(running.pk, 1)}/result.json")
    assert sweep().finished == 1
    running.refresh_from_db()
    assert (running.state, running.error["code"]) == ("failed", "job_crashed")


def test_while_the_recorder_is_behind_nothing_is_concluded(
    running: Job, sweep: Callable[[], reaper.Sweep], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "RECORDER_PATIENCE_S", 0.0)
    last = redis_client.xadd(names.STREAM_EVENTS, {"job": running.pk})
    assert sweep() == reaper.Sweep()
    StreamPosition.objects.create(stream=names.STREAM_EVENTS, position=last.decode())
    assert sweep().interrupted == 1


def test_lost_jobs_are_found_while_others_never_stop_talking(
    running: Job, sweep: Callable[[], reaper.Sweep], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder is always a little behind, as where hundreds of jobs run."""
    said = redis_client.xadd(names.STREAM_EVENTS, {"job": "another"})
    StreamPosition.objects.create(stream=names.STREAM_EVENTS)

    def go_on(seconds: float) -> None:
        nonlocal said
        StreamPosition.objects.filter(stream=names.STREAM_EVENTS).update(position=said.decode())
        said = redis_client.xadd(names.STREAM_EVENTS, {"job": "another"})

    monkeypatch.setattr(time, "sleep", go_on)
    assert sweep().interrupted == 1


def test_a_redis_that_has_just_started_is_given_time(
    running: Job, sweep: Callable[[], reaper.Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "_SETTLED_S", 10**9)
    assert sweep() == reaper.Sweep()


def test_a_lost_job_that_was_to_be_cancelled_is_cancelled(
    running: Job, cast: Cast, sweep: Callable[[], reaper.Sweep]
) -> None:
    cancel_job(actor=cast.bob, job=running)
    assert sweep().cancelled == 1
    running.refresh_from_db()
    assert running.state == "cancelled"


def test_the_wish_to_cancel_is_told_again(
    running: Job, cast: Cast, sweep: Callable[[], reaper.Sweep], redis_client: redis.Redis
) -> None:
    cancel_job(actor=cast.bob, job=running)
    redis_client.set(names.lease_key(running.pk), "1:runner-1")
    sweep()
    assert redis_client.exists(names.cancel_key(running.pk))


def test_a_queued_job_whose_message_was_lost_is_sent_again(
    version: DatasetVersion, sweep: Callable[[], reaper.Sweep], redis_client: redis.Redis
) -> None:
    job = queued(version, sent=timezone.now() - timedelta(minutes=1))
    assert sweep().resent == 1
    assert _waiting(redis_client) == [[job.pk, 1]]
    assert sweep().resent == 0


def test_a_job_that_could_not_be_sent_is_sent_soon(
    version: DatasetVersion, sweep: Callable[[], reaper.Sweep], redis_client: redis.Redis
) -> None:
    job = queued(version, sent=None, queued=timezone.now() - timedelta(seconds=3))
    assert sweep().resent == 1
    assert _waiting(redis_client) == [[job.pk, 1]]


@pytest.mark.parametrize("priority", [1, 0, -1])
def test_a_message_that_waits_long_is_not_sent_twice(
    version: DatasetVersion, sweep: Callable[[], reaper.Sweep], redis_client: redis.Redis, priority: int
) -> None:
    job = queued(version, priority=priority)
    dispatch.send(job.pk, 1)
    Job.objects.filter(pk=job.pk).update(sent=timezone.now() - timedelta(hours=1))
    assert sweep().resent == 0
    assert _waiting(redis_client) == [[job.pk, 1]]


def test_a_queued_job_that_was_just_taken_is_not_sent_again(
    version: DatasetVersion, sweep: Callable[[], reaper.Sweep], redis_client: redis.Redis
) -> None:
    job = queued(version, sent=timezone.now() - timedelta(minutes=1))
    redis_client.set(names.lease_key(job.pk), "1:runner-1")
    assert sweep().resent == 0


def test_a_sweep_takes_only_so_many(
    version: DatasetVersion, sweep: Callable[[], reaper.Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "MOST_PER_SWEEP", 2)
    for _ in range(3):
        Teller(queued(version)).start()
    assert [sweep().interrupted for _ in range(2)] == [2, 1]


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_queue_a_job_again_once(cast: Cast, redis_client: redis.Redis) -> None:
    jobs = [queued(cast.ours.version) for _ in range(8)]
    for job in jobs:
        Teller(job).start()

    def run(_: int) -> int:
        try:
            return reaper.sweep().interrupted
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(run, range(4)))
    assert sum(done) == len(jobs)
    assert sorted(_waiting(redis_client)) == sorted([job.pk, 2] for job in jobs)

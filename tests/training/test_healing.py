"""A job outlives its process and its runner: the real queue, a real runner, the real engine, and kills in between."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import redis

from apps.core.artifacts import storage
from apps.training import actions, reaper
from apps.training.models import Job
from tests.cast import Cast
from tests.runner.bench import is_gone, until
from tests.runner.worker import Worker
from tests.training.courses import SMALL, Course, engine_of
from workers.contracts import names
from workers.task_templates import TEMPLATES

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def settled_redis(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty Redis that has been up for long."""
    monkeypatch.setattr(reaper, "_SETTLED_S", 0)


@pytest.fixture
def course(begin: Callable[..., Course]) -> Course:
    """A queued training of 300 steps."""
    return begin("image-classification", epochs=30, patience=30, **SMALL)


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_every_template_trains_through_the_queue(
    begin: Callable[..., Course], workers: Callable[..., Worker], template: str
) -> None:
    course = begin(template, **({"epochs": 2} if "epochs" in TEMPLATES[template].params.model_fields else {}))
    workers()
    course.ends_well()
    assert course.job.device.startswith("cpu (")
    assert storage().size(course.job.model.bundle_key) == course.job.model.bundle_bytes


def test_a_killed_engine_costs_what_came_after_its_checkpoint(course: Course, workers: Callable[..., Worker]) -> None:
    worker = workers()
    course.until(lambda job: job.checkpoint, "a checkpoint")
    os.kill(engine_of(worker), signal.SIGKILL)
    course.until(lambda job: job.attempt == 2, "the second attempt")
    course.ends_well()
    first, second = course.job.attempts.all()
    assert (first.outcome, second.outcome) == ("interrupted", "succeeded")
    assert second.resumed_from_step and second.resumed_from_step > 0
    assert first.lost_seconds < 30


def test_a_killed_runner_takes_its_engine_along_and_another_goes_on(
    course: Course, workers: Callable[..., Worker]
) -> None:
    worker = workers()
    course.until(lambda job: job.checkpoint, "a checkpoint")
    engine = engine_of(worker)
    worker.stop(signal.SIGKILL)
    until(lambda: is_gone(engine), "the engine to be gone", 10)

    def reaped(job: Job) -> bool:
        reaper.sweep()
        return job.attempt == 2

    course.until(reaped, "the reaper to notice", names.LEASE_TTL_S + 5)
    workers("runner-2")
    course.ends_well()
    assert [attempt.runner.partition(".")[0] for attempt in course.job.attempts.all()] == [
        "runner-1@test",
        "runner-2@test",
    ]


def test_a_runner_of_another_host_finishes_what_one_began(
    s3_bucket: str, settings: Any, begin: Callable[..., Course], workers: Callable[..., Worker]
) -> None:
    """The hosts share nothing but Redis and a bucket."""
    settings.SLIPWAY_STORAGE = s3_bucket
    course = begin("image-classification", epochs=20, patience=20, **SMALL)
    first = workers("runner-1", "host-1")
    checkpoint = course.until(lambda job: job.checkpoint, "a checkpoint")
    first.stop(signal.SIGKILL)

    def reaped(job: Job) -> bool:
        reaper.sweep()
        return job.attempt == 2

    course.until(reaped, "the reaper to notice")
    workers("runner-2", "host-2")
    job = course.ends_well()
    second = job.attempts.get(number=2)
    assert second.runner.startswith("runner-2@")
    assert second.resumed_from_step and second.resumed_from_step >= checkpoint["step"]
    assert storage().size(job.model.bundle_key) == job.model.bundle_bytes


def test_a_cancelled_training_is_gone_within_five_seconds(
    course: Course, cast: Cast, workers: Callable[..., Worker]
) -> None:
    worker = workers()
    course.until(lambda job: job.progress > 0, "training to begin")
    engine = engine_of(worker)
    actions.cancel_job(actor=cast.bob, job=course.job)
    until(lambda: is_gone(engine), "the engine to be gone", 5)
    course.until(lambda job: job.state == "cancelled", "the job to be cancelled", 5)

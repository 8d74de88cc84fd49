"""Ten kills at random moments, of the engine and of the runner: the job ends once, as if nothing had happened."""

import os
import random
import signal
from collections.abc import Callable
from functools import partial

import pytest
import redis

from apps.registry.models import ModelVersion
from apps.training import reaper
from apps.training.models import Job
from tests.runner.bench import is_gone, until
from tests.runner.worker import Worker
from tests.training.courses import SMALL, Course, engine_of

pytestmark = pytest.mark.django_db(transaction=True)

KILLS = 10
SLOW = SMALL | {"epochs": 40, "patience": 40}


@pytest.fixture(autouse=True)
def settled_redis(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty Redis that has been up for long."""
    monkeypatch.setattr(reaper, "_SETTLED_S", 0)


def test_ten_kills_at_random_moments_change_nothing(
    begin: Callable[..., Course], workers: Callable[..., Worker]
) -> None:
    worker = workers()
    undisturbed = begin("image-classification", **SLOW)
    undisturbed.ends_well()

    chance = random.Random(7)
    course = begin("image-classification", **SLOW)
    for number in range(KILLS):
        attempt = course.follow().attempt
        moment = "evaluation" if number == KILLS - 1 else chance.choice(["start", "loop", "loop"])
        _reach(course, moment, chance)
        engine = engine_of(worker)
        if chance.random() < 0.7:
            os.kill(engine, signal.SIGKILL)
        else:
            worker.stop(signal.SIGKILL)
            until(partial(is_gone, engine), "the engine to be gone", 10)
            worker = workers(f"runner-{number + 2}")
        course.until(partial(_is_beyond, attempt), "the next attempt")
    job = course.ends_well()
    assert [attempt.outcome for attempt in job.attempts.all()] == ["interrupted"] * KILLS + ["succeeded"]
    assert ModelVersion.objects.filter(job=job).count() == 1
    assert job.metrics == undisturbed.job.metrics
    assert _losses(job) == pytest.approx(_losses(undisturbed.job), rel=1e-6)


def _reach(course: Course, moment: str, chance: random.Random) -> None:
    """Follow the job to the start of its engine, to some step of the loop, or to the evaluation."""
    if moment == "start":
        course.until(lambda job: job.state == "running", "the attempt to start")
    elif moment == "evaluation":
        course.until(lambda job: job.progress > 0.9, "the evaluation", 240)
    else:
        step = course.job.checkpoint["step"] if course.job.checkpoint else 0
        further = chance.randrange(1, 25)
        course.until(lambda job: job.checkpoint and job.checkpoint["step"] >= step + further, "training to go on")


def _is_beyond(attempt: int, job: Job) -> bool:
    """Whether the job has a later attempt; the reaper looks, too."""
    if job.attempt == attempt:
        reaper.sweep()
        job.refresh_from_db()
    return job.attempt > attempt


def _losses(job: Job) -> list[float]:
    return list(job.metric_points.filter(name="train/loss").values_list("value", flat=True))

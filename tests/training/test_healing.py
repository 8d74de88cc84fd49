"""A job outlives its process and its runner: the real queue, a real runner, the real engine, and kills in between."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import transaction

from apps.core.artifacts import storage
from apps.datasets.models import Dataset, DatasetVersion
from apps.training import actions, reaper
from apps.training.models import Job
from apps.training.recording import apply_entry
from apps.usage.models import StreamPosition
from tests.cast import Cast
from tests.runner.bench import is_gone, until
from tests.runner.worker import Worker
from workers.contracts import names
from workers.task_templates import TEMPLATES

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def settled_redis(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty Redis that has been up for long."""
    monkeypatch.setattr(reaper, "_SETTLED_S", 0)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts real runners; all are ended afterwards."""
    started: list[Worker] = []

    def start(node: str = "runner-1") -> Worker:
        url, store = settings.REDIS_URL, str(settings.SLIPWAY_STORAGE)
        started.append(Worker.start(tmp_path / "home", url, store, app="tests.training.quick_worker", node=node))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


class Course:
    """A job, and the recorder that follows it."""

    def __init__(self, job: Job, client: redis.Redis) -> None:
        self.job, self._client = job, client

    def follow(self) -> Job:
        """Apply what is new in the stream, as `manage.py record` does; the job after it."""
        with transaction.atomic():
            place, _ = StreamPosition.objects.get_or_create(stream=names.STREAM_EVENTS)
            for position, fields in self._client.xrange(names.STREAM_EVENTS, min=f"({place.position}"):
                apply_entry(fields)
                place.position = position.decode()
            place.save()
        self.job.refresh_from_db()
        return self.job

    def until(self, probe: Callable[[Job], Any], what: str, timeout_s: float = 60) -> Any:
        """Follow the job until the probe answers something true. Where it does not, what the job said last is shown."""

        def ask() -> Any:
            found = probe(self.follow())
            assert found or not self.job.is_over, f"the job ended before {what}"
            return found

        try:
            return until(ask, what, timeout_s)
        except AssertionError as error:
            said = [f"{event.attempt}/{event.seq} {event.type} {event.data}" for event in self.job.events.all()]
            raise AssertionError("\n".join([str(error), *said[-25:]])) from None


@pytest.fixture
def begin(cast: Cast, redis_client: redis.Redis, tmp_path: Path) -> Callable[..., Course]:
    """Queues a training on a template's toy data."""

    def queue(template: str, **parameters: Any) -> Course:
        dataset = cast.ours.dataset
        Dataset.objects.filter(pk=dataset.pk).update(kind=TEMPLATES[template].kind)
        TEMPLATES[template].toy_data(tmp_path / "data.parquet")
        storage().put_file(tmp_path / "data.parquet", cast.ours.version.data_key)
        job = actions.create_training(
            actor=cast.bob,
            project=cast.ours.project,
            version=DatasetVersion.objects.get(pk=cast.ours.version.pk),
            template=template,
            preset="fast",
            parameters=parameters,
        )
        return Course(job, redis_client)

    return queue


@pytest.fixture
def course(begin: Callable[..., Course]) -> Course:
    """A queued training of 500 steps."""
    return begin("image-classification", epochs=50, patience=50, width=8, image_size=16, batch_size=16)


def _engine(worker: Worker) -> int:
    """The engine's process."""
    import psutil

    def found() -> int | None:
        for child in psutil.Process(worker.process.pid).children(recursive=True):
            if "tests.training.quick_engine" in child.cmdline():
                return child.pid
        return None

    return int(until(found, "the engine to start"))


def _ended_well(course: Course) -> None:
    job = course.until(lambda job: job if job.is_over else None, "the job to end", 240)
    assert job.state == "succeeded", job.error["evidence"]
    assert job.model.certificate["passed"]
    steps = list(job.metric_points.filter(name="train/loss").values_list("step", flat=True))
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_every_template_trains_through_the_queue(
    begin: Callable[..., Course], workers: Callable[..., Worker], template: str
) -> None:
    course = begin(template)
    workers()
    _ended_well(course)
    assert course.job.device.startswith("cpu (")
    assert storage().size(course.job.model.bundle_key) == course.job.model.bundle_bytes


def test_a_killed_engine_costs_what_came_after_its_checkpoint(course: Course, workers: Callable[..., Worker]) -> None:
    worker = workers()
    course.until(lambda job: job.checkpoint, "a checkpoint")
    os.kill(_engine(worker), signal.SIGKILL)
    course.until(lambda job: job.attempt == 2, "the second attempt")
    _ended_well(course)
    first, second = course.job.attempts.all()
    assert (first.outcome, second.outcome) == ("interrupted", "succeeded")
    assert second.resumed_from_step and second.resumed_from_step > 0
    assert first.lost_seconds < 30


def test_a_killed_runner_takes_its_engine_along_and_another_goes_on(
    course: Course, workers: Callable[..., Worker]
) -> None:
    worker = workers()
    course.until(lambda job: job.checkpoint, "a checkpoint")
    engine = _engine(worker)
    worker.stop(signal.SIGKILL)
    until(lambda: is_gone(engine), "the engine to be gone", 10)

    def reaped(job: Job) -> bool:
        reaper.sweep()
        return job.attempt == 2

    course.until(reaped, "the reaper to notice", names.LEASE_TTL_S + 5)
    workers("runner-2")
    _ended_well(course)
    assert [attempt.runner.partition(".")[0] for attempt in course.job.attempts.all()] == [
        "runner-1@test",
        "runner-2@test",
    ]


def test_a_cancelled_training_is_gone_within_five_seconds(
    course: Course, cast: Cast, workers: Callable[..., Worker]
) -> None:
    worker = workers()
    course.until(lambda job: job.progress > 0, "training to begin")
    engine = _engine(worker)
    actions.cancel_job(actor=cast.bob, job=course.job)
    until(lambda: is_gone(engine), "the engine to be gone", 5)
    course.until(lambda job: job.state == "cancelled", "the job to be cancelled", 5)

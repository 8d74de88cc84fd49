"""A job on its way through the real queue, a real runner and the real engine, as a test follows it."""

from collections.abc import Callable
from typing import Any

import psutil
import redis
from django.db import transaction

from apps.training.models import Job
from apps.training.recording import apply_entry
from apps.usage.models import StreamPosition
from tests.runner.bench import until
from tests.runner.worker import Worker
from workers.contracts import names

# An image classifier that trains step by quick step: small, no look at whether its images may be mirrored.
SMALL: dict[str, Any] = {"width": 8, "image_size": 16, "batch_size": 16, "flip": "off"}


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

    def ends_well(self) -> Job:
        """Follow the job to its end, which is a certified model, each step measured once."""
        job: Job = self.until(lambda job: job if job.is_over else None, "the job to end", 240)
        assert job.state == "succeeded", job.error["evidence"]
        assert job.model.certificate["passed"]
        steps = list(job.metric_points.filter(name="train/loss").values_list("step", flat=True))
        assert steps == sorted(set(steps))
        return job


def engine_of(worker: Worker) -> int:
    """The process of the engine that a runner has started."""

    def found() -> int | None:
        for child in psutil.Process(worker.process.pid).children(recursive=True):
            if "tests.training.quick_engine" in child.cmdline():
                return child.pid
        return None

    return int(until(found, "the engine to start"))

"""What can be said of a job at this moment: its place in the queue, why it waits, how long it took and will take."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import redis
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.training.models import Job, JobEvent
from apps.training.runners import live_runners
from workers.contracts import names


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a job stands. Durations in seconds; `position` counts from 1 and is None unless the job is queued."""

    position: int | None
    waiting_because: str | None
    queued_seconds: float
    run_seconds: float
    eta_seconds: float | None

    def as_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def situation(job: Job) -> Situation:
    """Where a job stands now."""
    now = timezone.now()
    queued = job.state == Job.State.QUEUED
    ahead = Job.objects.ahead_of(job).count() if queued else 0
    return Situation(
        position=ahead + 1 if queued else None,
        waiting_because=_waiting_because(job, ahead) if queued else None,
        queued_seconds=_seconds(job.created, job.started or job.ended or now),
        run_seconds=round(sum(attempt.seconds(job, now) for attempt in job.attempts.all()), 1),
        eta_seconds=eta_seconds(job, now),
    )


def eta_seconds(job: Job, now: datetime) -> float | None:
    """Seconds until the end as the job last said, less what has passed since; None where nobody knows."""
    if job.state != Job.State.RUNNING or job.eta_seconds is None or job.last_event is None:
        return None
    return round(max(0.0, job.eta_seconds - _seconds(job.last_event, now)), 1)


def log_lines(job: Job, most: int = 200) -> list[JobEvent]:
    """The last lines that the job wrote for its user, oldest first."""
    return list(reversed(job.events.filter(type="log").order_by("-id")[:most]))


def _seconds(start: datetime, end: datetime) -> float:
    return round(max(0.0, (end - start).total_seconds()), 1)


def _waiting_because(job: Job, ahead: int) -> str:
    """Why nobody has started a queued job yet, for a person."""
    if job.attempt > 1:
        again = _("The last attempt was interrupted; the job goes on from its last checkpoint.") + " "
    else:
        again = ""
    try:
        able = [runner for runner in live_runners() if job.queue in runner.queues]
    except redis.RedisError:
        return again + _("The queue cannot be reached just now. The job starts when it can.")
    if not able:
        return again + _no_runner(job)
    if ahead:
        return again + ngettext("%(n)d job is ahead of it.", "%(n)d jobs are ahead of it.", ahead) % {"n": ahead}
    if all(runner.job not in (None, job.pk) for runner in able):
        busy = ngettext("The runner is busy with another job.", "All %(n)d runners are busy.", len(able))
        return again + busy % {"n": len(able)}
    return again + _("A runner is about to start it.")


def _no_runner(job: Job) -> str:
    if job.devices > 1:
        waiting = _("No runner with %(n)d devices is alive. The job starts as soon as there is one.")
        return waiting % {"n": job.devices}
    if job.queue == names.QUEUE_TRAIN_GPU:
        return _("No runner with a GPU is alive. The job starts as soon as there is one.")
    return _("No runner for this kind of job is alive. The job starts as soon as there is one.")


def new_events(job_id: str, after: int, most: int = 500) -> QuerySet[JobEvent]:
    """The events of a job after a position, in order."""
    return JobEvent.objects.filter(job_id=job_id, pk__gt=after).order_by("pk")[:most]

"""Handing jobs to runners: the spec into storage, then a message to the job's queue.

Losing the message loses nothing: the job's row says `queued`, and the reaper sends again.
"""

from typing import Final

import redis
import structlog
from celery import current_app
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from apps.core import redis_client
from apps.core.artifacts import storage
from apps.training.models import Job
from apps.training.specs import build_spec
from workers.contracts import names
from workers.contracts.errors import SlipwayError

log = structlog.get_logger(__name__)

# A job's priority → Celery's on Redis, where 0 is first and only these steps have a list of their own.
PRIORITIES: Final = {1: 0, 0: 3, -1: 6}
# How Kombu names the list of a queue's priority step.
_STEP_SEPARATOR: Final = "\x06\x16"
CANCEL_TTL_S: Final = 7 * 24 * 3600


def send_on_commit(job: Job) -> None:
    """Send the job's present attempt when the transaction is safe."""
    job_id, attempt = job.pk, job.attempt
    # No partial: Django names the function when it fails.
    transaction.on_commit(lambda: send(job_id, attempt), robust=True)


def send(job_id: str, attempt: int) -> bool:
    """Send an attempt that is still queued; False where it is not, or where the reaper will have to try again."""
    waiting = Job.objects.filter(pk=job_id, attempt=attempt, state=Job.State.QUEUED)
    if waiting.update(sent=timezone.now()) != 1:
        return False
    job = Job.objects.select_related("project", "dataset_version__dataset", "dataset_version__parent").get(pk=job_id)
    try:
        storage().put_bytes(build_spec(job).model_dump_json().encode(), names.job_spec_key(job.pk))
        current_app.send_task(
            names.TASK_RUN_JOB,
            args=[job.pk, attempt],
            task_id=task_id(job.pk, attempt),
            queue=job.queue,
            priority=PRIORITIES[job.priority],
            ignore_result=True,
            retry=False,
        )
    except (SlipwayError, OperationalError, redis.RedisError, OSError) as error:
        log.warning("job_not_sent", job_id=job_id, attempt=attempt, error=type(error).__name__)
        waiting.update(sent=None)
        return False
    return True


def task_id(job_id: str, attempt: int) -> str:
    """The Celery task id of an attempt: the same for every copy of its message."""
    return f"{job_id}.{attempt}"


def message_lists(queue: str) -> list[str]:
    """The Redis lists in which messages of a queue wait, first to be taken first."""
    return [f"{queue}{_STEP_SEPARATOR}{step}" if step else queue for step in sorted(PRIORITIES.values())]


def tell_cancelled(job_id: str) -> None:
    """Tell whoever runs the job, or takes its message, to stop. The reaper repeats it where Redis does not answer."""
    try:
        redis_client.client().set(names.cancel_key(job_id), "1", ex=CANCEL_TTL_S)
    except redis.RedisError:
        log.warning("cancel_not_told", job_id=job_id)


def withdraw_spec(job_id: str) -> None:
    """A job that is over has no spec: a message that turns up late starts nothing."""
    try:
        storage().delete(names.job_spec_key(job_id))
    except SlipwayError:
        log.warning("spec_not_withdrawn", job_id=job_id)

"""Finding jobs that nobody works on any more, and starting them again.

State-driven: a missed sweep, a second sweep at the same time or one that is killed half way does no harm.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
import structlog
from django.db import DatabaseError, models, transaction
from django.utils import timezone

from apps.core import redis_client
from apps.core.artifacts import storage
from apps.training import dispatch, outcomes
from apps.training.models import Job
from apps.usage.models import StreamPosition
from workers.contracts import names
from workers.contracts.errors import JobError, SlipwayError

log = structlog.get_logger(__name__)

# After an outage all leases end at once: take a part of the jobs in each sweep rather than all.
MOST_PER_SWEEP: Final = 50
# A message that is neither waiting nor taken after this long is lost.
MESSAGE_PATIENCE: Final = timedelta(seconds=20)
# So long a sweep waits for the recorder, in seconds; with the next sweep it begins again.
RECORDER_PATIENCE_S: Final = 2.0
# A restarted Redis has forgotten leases of runners that are well: they need a moment to take them again.
_SETTLED_S: Final = names.LEASE_TTL_S
_LOST: Final = "The runner stopped responding."


@dataclass(slots=True)
class Sweep:
    """What one sweep did."""

    finished: int = 0
    interrupted: int = 0
    cancelled: int = 0
    resent: int = 0


def sweep() -> Sweep:
    """One sweep over running and queued jobs. Raises redis.RedisError: then nothing is known."""
    done = Sweep()
    client = redis_client.client()
    _reap_running(client, done)
    _resend_queued(client, done)
    return done


# --- Running jobs ----------------------------------------------------------------------------------------------------


def _reap_running(client: redis_client.Client, done: Sweep) -> None:
    jobs = list(Job.objects.filter(state=Job.State.RUNNING).order_by("last_event")[:1000])
    if not jobs or _seconds_up(client) < _SETTLED_S:
        return
    for job in jobs:
        if job.cancel_requested:
            dispatch.tell_cancelled(job.pk)
    leases = _leases(client, jobs)
    lost = [job for job, lease in zip(jobs, leases, strict=True) if lease is None]
    # A runner speaks its last word before it lets the lease go: once that is applied, it was heard.
    if not lost or not _all_is_applied(client):
        return
    for job in lost[:MOST_PER_SWEEP]:
        try:
            _settle(job, done)
        except (DatabaseError, SlipwayError):
            log.exception("job_not_reaped", job_id=job.pk)


def _leases(client: redis_client.Client, jobs: list[Job]) -> list[str | None]:
    return [None if value is None else str(value) for value in client.mget([names.lease_key(job.pk) for job in jobs])]


def _seconds_up(client: redis_client.Client) -> int:
    return int(client.info("server")["uptime_in_seconds"])


def _all_is_applied(client: redis_client.Client) -> bool:
    """Whether the recorder has applied, or applies within moments, all that was said until now. What is said meanwhile
    does not count: where many jobs run there is always more."""
    newest = client.xrevrange(names.STREAM_EVENTS, count=1)
    if not newest:
        return True
    wanted, end = names.stream_order(str(newest[0][0])), time.monotonic() + RECORDER_PATIENCE_S
    while _applied() < wanted:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _applied() -> tuple[int, int]:
    """How far the recorder is with what runners say."""
    position = StreamPosition.objects.filter(stream=names.STREAM_EVENTS).values_list("position", flat=True).first()
    return names.stream_order(position or "0-0")


def _settle(job: Job, done: Sweep) -> None:
    """End a running job without a runner: with its result if that was stored, else by another attempt."""
    result = _stored_result(job)
    now = timezone.now()
    with transaction.atomic():
        # `job` still carries the attempt that was seen without a lease: every outcome claims exactly that one.
        current = Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
        if current.attempt != job.attempt or current.state != Job.State.RUNNING:
            return
        if result is not None:
            done.finished += outcomes.succeed(current, result, now)
        elif current.cancel_requested:
            done.cancelled += outcomes.cancel(current, now)
        else:
            done.interrupted += outcomes.interrupt(current, _LOST, _last_sign(current, now))
    log.warning("job_reaped", job_id=job.pk, attempt=job.attempt)


def _stored_result(job: Job) -> dict[str, Any] | None:
    """result.json of the attempt; a runner stores it last, so where it is, all is."""
    try:
        content = orjson.loads(storage().read_bytes(f"{names.attempt_prefix(job.pk, job.attempt)}/result.json"))
    except JobError:
        return None
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _last_sign(job: Job, now: datetime) -> datetime:
    """When the attempt was last heard of: what came after was spent waiting, not computing."""
    return min(job.last_event or now, now)


# --- Queued jobs -----------------------------------------------------------------------------------------------------


def _resend_queued(client: redis_client.Client, done: Sweep) -> None:
    now = timezone.now()
    # In the future: the clock has been set back since.
    unsent = models.Q(sent=None) & ~models.Q(queued__range=(now - timedelta(seconds=2), now + MESSAGE_PATIENCE))
    long_sent = models.Q(sent__isnull=False) & ~models.Q(sent__range=(now - MESSAGE_PATIENCE, now + MESSAGE_PATIENCE))
    jobs = list(Job.objects.filter(unsent | long_sent, state=Job.State.QUEUED).order_by("queued")[:1000])
    if not jobs:
        return
    leases = _leases(client, jobs)
    waiting = {queue: _waiting(client, queue) for queue in {job.queue for job in jobs}}
    missing = [
        job
        for job, lease in zip(jobs, leases, strict=True)
        if not _leased(lease, job.attempt) and dispatch.task_id(job.pk, job.attempt) not in waiting[job.queue]
    ]
    for job in missing[:MOST_PER_SWEEP]:
        # Only one of several sweeps gets to send: `sent` is claimed as it was seen.
        claim = Job.objects.filter(pk=job.pk, attempt=job.attempt, state=Job.State.QUEUED, sent=job.sent)
        if claim.update(sent=timezone.now()) == 1:
            log.warning("job_sent_again", job_id=job.pk, attempt=job.attempt)
            done.resent += dispatch.send(job.pk, job.attempt)


def _leased(lease: str | None, attempt: int) -> bool:
    """Whether a runner holds this very attempt; the lease of an earlier one ends by itself."""
    return lease is not None and lease.startswith(f"{attempt}:")


def _waiting(client: redis_client.Client, queue: str) -> set[str]:
    """The task ids of the messages that wait in a queue."""
    found = set()
    for name in dispatch.message_lists(queue):
        for message in client.lrange(name, 0, -1):
            try:
                found.add(str(orjson.loads(message)["headers"]["id"]))
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue  # somebody else's message: the runner refuses it
    return found

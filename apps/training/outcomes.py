"""How attempts and jobs end, by the recorder or the reaper. Everything runs inside the caller's transaction."""

from datetime import datetime
from itertools import takewhile
from typing import Any, Final

import structlog
from django.db import DataError, transaction
from django.utils import timezone
from pydantic import ValidationError

from apps.training import dispatch
from apps.training.models import Attempt, Job
from apps.training.states import transition
from workers.contracts.error_codes import REPAIRS
from workers.contracts.errors import ErrorCard, JobError, SlipwayError
from workers.contracts.events import RUNNER_STOPPED
from workers.contracts.manifest import BatchResult, IngestResult, TrainResult

log = structlog.get_logger(__name__)

State = Job.State
# Attempts that may be lost one after another without getting any further, and in all, before a job is given up. Runners
# that were stopped in good order do not count.
MAX_ATTEMPTS: Final = 5
MAX_LOST: Final = 50
# After these a retry goes on from the failed job's checkpoint: its work was good.
RESUMABLE: Final = frozenset(code for code, action in REPAIRS.items() if action == "resume")


def succeed(job: Job, result: dict[str, Any], at: datetime) -> bool:
    """The job has its result: a model version, a ready dataset version or an answered file comes of it. False where it
    was over."""
    try:
        with transaction.atomic():
            return _succeed(job, result, at)
    except (ValidationError, DataError) as error:
        log.error("result_invalid", job_id=job.pk, error=type(error).__name__)
        job.refresh_from_db()
        return fail(job, JobError("job_crashed", "The job's result is not valid.").card(), at)
    except SlipwayError as error:
        job.refresh_from_db()
        return fail(job, error.card(), at)


def _succeed(job: Job, result: dict[str, Any], at: datetime) -> bool:
    changes: dict[str, Any] = {"ended": at, "progress": 1.0, "eta_seconds": 0.0, "phase": "", "error": None}
    if job.kind == Job.Kind.INGEST:
        from apps.datasets.actions import finish_import  # it imports our actions

        ingested = IngestResult.model_validate(result)
        if ingested.error:
            return fail(job, ingested.error, at, result)
        if not transition(job, to=State.SUCCEEDED, **changes):
            return False
        finish_import(job=job, result=ingested)
    elif job.kind == Job.Kind.BATCH:
        from apps.predictions.actions import finish_prediction

        answered = BatchResult.model_validate(result)
        if not transition(job, to=State.SUCCEEDED, **changes):
            return False
        finish_prediction(job=job, result=answered)
    else:
        from apps.datasets.actions import record_suspects  # it imports our actions
        from apps.registry.actions import register_model

        trained = TrainResult.model_validate(result)
        if not transition(job, to=State.SUCCEEDED, metrics=trained.metrics, **changes):
            return False
        register_model(job=job, result=trained)
        record_suspects(job, trained)
    _end_attempt(job, "succeeded", at)
    return True


def fail(job: Job, card: ErrorCard, at: datetime, result: dict[str, Any] | None = None) -> bool:
    """The job ends with an error card. `result`: of an import, the rows that it rejected."""
    if not transition(job, to=State.FAILED, ended=at, eta_seconds=None, error=card.model_dump()):
        return False
    _end_attempt(job, "failed", at, card.message, kept=card.code in RESUMABLE)
    _drop_import(job, card, result)
    return True


def cancel(job: Job, at: datetime) -> bool:
    """The job ends because somebody asked."""
    if not transition(job, to=State.CANCELLED, ended=at, eta_seconds=None):
        return False
    _end_attempt(job, "cancelled", at)
    _drop_import(job, JobError("cancelled").card())
    return True


def interrupt(job: Job, reason: str, at: datetime) -> bool:
    """The attempt is lost through no fault of the job: queue the next one, from the last checkpoint."""
    if job.cancel_requested:
        return cancel(job, at)
    if reason != RUNNER_STOPPED and _is_hopeless(job):
        return fail(job, JobError("attempts_exhausted", evidence=reason).card(), at)
    old = job.attempt
    again: dict[str, Any] = {
        "attempt": old + 1,
        "queued": timezone.now(),
        "sent": None,
        "last_seq": 0,
        "eta_seconds": None,
        "runner": "",
    }
    if not transition(job, to=State.QUEUED, **again):
        return False
    attempt, _ = Attempt.objects.get_or_create(job=job, number=old)
    _close(attempt, "interrupted", at, reason, kept=True)
    dispatch.send_on_commit(job)
    return True


def _is_hopeless(job: Job) -> bool:
    """Whether the present attempt, which is being lost, was the last one that the job had."""
    lost = [attempt for attempt in job.attempts.all() if attempt.reason != RUNNER_STOPPED]
    stuck = list(takewhile(lambda attempt: not attempt.got_further, reversed(lost)))
    return len(stuck) >= MAX_ATTEMPTS or len(lost) >= MAX_LOST


def _drop_import(job: Job, card: ErrorCard, result: dict[str, Any] | None = None) -> None:
    if job.kind == Job.Kind.INGEST:
        from apps.datasets.actions import fail_import  # it imports our actions

        fail_import(job=job, error=card, rejected=IngestResult.model_validate(result) if result else None)


def _end_attempt(job: Job, outcome: str, at: datetime, reason: str = "", *, kept: bool = False) -> None:
    # A job that was never taken by a runner has no attempt to close.
    attempt = job.attempts.filter(number=job.attempt).first()
    if attempt:
        _close(attempt, outcome, at, reason, kept=kept)
    job_id = job.pk
    transaction.on_commit(lambda: dispatch.withdraw_spec(job_id), robust=True)


def _close(attempt: Attempt, outcome: str, at: datetime, reason: str, *, kept: bool = False) -> None:
    """End an attempt. Where it failed, its seconds are lost; those up to a checkpoint that is `kept` are not."""
    attempt.outcome, attempt.reason, attempt.ended = outcome, reason[:400], at
    if outcome in ("interrupted", "failed") and attempt.started:
        useful_until = (attempt.last_checkpoint if kept else None) or attempt.started
        attempt.lost_seconds = max(0.0, (at - useful_until).total_seconds()) * attempt.devices
    attempt.save()

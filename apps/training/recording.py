"""Applying what runners say of jobs (stream slipway:events) to the database.

Idempotent on (job, attempt, seq), and deaf to attempts that are not the job's present one: entries may come twice, late
or from a runner that should have been dead. The recorder calls this inside its transaction, one savepoint per entry.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from django.db import DataError
from pydantic import ValidationError

from apps.training import outcomes
from apps.training.models import Attempt, Job, JobEvent, MetricPoint, Trial
from apps.training.states import transition
from workers.contracts import events, nul
from workers.contracts.events import EVENT, Event

log = structlog.get_logger(__name__)

_NUMBER = re.compile(r"[0-9]{1,18}\Z")


class PoisonEntry(ValueError):
    """An entry that can never be applied: set it aside and go on with the next."""


def apply(entries: Iterable[tuple[str, Mapping[Any, Any]]]) -> None:
    """Apply (position, fields) entries in order. Raises PoisonEntry at the first that cannot be applied."""
    for _position, fields in entries:
        apply_entry(fields)


def apply_entry(fields: Mapping[Any, Any]) -> None:
    """Apply one entry: `job`, `attempt`, `seq`, `event` (str or bytes). Raises PoisonEntry."""
    try:
        job_id, attempt, seq, event = _parse(fields)
        _apply(job_id, attempt, seq, event)
    except PoisonEntry:
        raise
    except (ValidationError, UnicodeDecodeError, OverflowError, DataError, KeyError) as error:
        raise PoisonEntry(f"{type(error).__name__}: {error}"[:400]) from error


def _parse(fields: Mapping[Any, Any]) -> tuple[str, int, int, Event]:
    texts = {_text(name): _text(value) for name, value in fields.items()}
    if missing := {"job", "attempt", "seq", "event"} - set(texts):
        raise PoisonEntry(f"no field {', '.join(sorted(missing))}")
    if not (_NUMBER.match(texts["attempt"]) and _NUMBER.match(texts["seq"])):
        raise PoisonEntry("attempt and seq are not whole numbers")
    if "\x00" in texts["job"] or nul.is_in(texts["event"].encode()):
        raise PoisonEntry("the entry holds a NUL character")
    return texts["job"], int(texts["attempt"]), int(texts["seq"]), EVENT.validate_json(texts["event"])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _apply(job_id: str, attempt: int, seq: int, event: Event) -> None:
    # The lock keeps people's actions and the reaper from deciding on the same job meanwhile.
    job = Job.objects.select_for_update(of=("self",)).filter(pk=job_id).first()
    if job is None:
        raise PoisonEntry("there is no such job")
    if attempt > job.attempt:
        raise PoisonEntry(f"attempt {attempt} was never queued")
    if attempt < job.attempt:
        log.info("stale_event", job_id=job_id, attempt=attempt, seq=seq)
        return
    # `last_seq` is the highest that was applied: only below it can an entry have been here before.
    newest = seq > job.last_seq
    if not newest and job.events.filter(attempt=attempt, seq=seq).exists():
        return
    at = datetime.fromtimestamp(event.time, UTC)
    JobEvent.objects.create(job=job, attempt=attempt, seq=seq, type=event.type, time=at, data=_shown(event))
    if job.is_over:
        # The end is decided; what was measured on the way is still worth keeping.
        if isinstance(event, events.Metric):
            _store_points(job, event)
        return
    if seq > job.last_seq + 1:
        log.warning("events_missing", job_id=job_id, attempt=attempt, after=job.last_seq, before=seq)
    told = {"last_seq": seq, "last_event": at} if newest else {}
    if event.type in events.TERMINAL:
        Job.objects.filter(pk=job.pk).update(**told)
        _END[type(event)](job, event, at)
        return
    if job.state == Job.State.QUEUED:
        transition(job, to=Job.State.RUNNING, expect=(Job.State.QUEUED,), started=job.started or at)
    changes = _COURSE[type(event)](job, event, at)
    if newest:
        Job.objects.filter(pk=job.pk).update(**told, **changes)


def _shown(event: Event) -> dict[str, Any]:
    """What the event stream shows. A result may be megabytes; its place is the model version."""
    left_out = {"type", "time", "result"}
    return event.model_dump(mode="json", exclude=left_out, exclude_none=True)


# Each of these writes down what an event says beside the job, and returns the changes of the job itself, which are made
# if nothing newer has been applied.


def _started(job: Job, event: events.Started, at: datetime) -> dict[str, Any]:
    host = {"runner": event.runner[:120], "device": event.device[:120]}
    known = {**host, "started": at, "resumed_from_step": event.resumed_from_step, "devices": job.devices}
    Attempt.objects.update_or_create(job=job, number=job.attempt, defaults=known)
    if job.last_seq == 0:
        # What the last attempt measured after the checkpoint is about to be measured again.
        points = job.metric_points.all()
        if event.resumed_from_step is not None:
            points = points.filter(step__gt=event.resumed_from_step)
        points.delete()
        # Those that the attempt goes on from, it tells again.
        job.trials.all().delete()
    return {**host, "phase": ""}


def _progress(job: Job, event: events.Progress, at: datetime) -> dict[str, Any]:
    return {"progress": event.fraction, "phase": event.phase, "eta_seconds": event.eta_seconds}


def _metric(job: Job, event: events.Metric, at: datetime) -> dict[str, Any]:
    _store_points(job, event)
    return {"metrics": {**job.metrics, **event.values}}


def _store_points(job: Job, event: events.Metric) -> None:
    points = [MetricPoint(job=job, name=name, step=event.step, value=value) for name, value in event.values.items()]
    MetricPoint.objects.bulk_create(
        points, update_conflicts=True, unique_fields=["job", "name", "step"], update_fields=["value"]
    )


def _trial(job: Job, event: events.Trial, at: datetime) -> dict[str, Any]:
    said = {**event.model_dump(mode="json", exclude={"type", "time", "number"}), "told": at}
    _known, is_new = Trial.objects.get_or_create(job=job, number=event.number, defaults=said)
    if not is_new:
        job.trials.filter(number=event.number, told__lte=at).update(**said)
    return {}


def _log(job: Job, event: events.Log, at: datetime) -> dict[str, Any]:
    return {}


def _device(job: Job, event: events.Device, at: datetime) -> dict[str, Any]:
    Attempt.objects.filter(job=job, number=job.attempt).update(device=event.device)
    return {"device": event.device}


def _checkpoint(job: Job, event: events.Checkpoint, at: datetime) -> dict[str, Any]:
    Attempt.objects.filter(job=job, number=job.attempt).update(last_checkpoint=at, last_step=event.step)
    files = [file.model_dump() for file in event.files]
    return {"checkpoint": {"job": job.pk, "attempt": job.attempt, "step": event.step, "files": files}}


_COURSE: Final[dict[type[Any], Callable[[Job, Any, datetime], dict[str, Any]]]] = {
    events.Started: _started,
    events.Progress: _progress,
    events.Metric: _metric,
    events.Trial: _trial,
    events.Log: _log,
    events.Device: _device,
    events.Checkpoint: _checkpoint,
}
_END: Final[dict[type[Any], Callable[[Job, Any, datetime], bool]]] = {
    events.Succeeded: lambda job, event, at: outcomes.succeed(job, event.result, at),
    events.Failed: lambda job, event, at: outcomes.fail(job, event.error, at, event.result),
    events.Cancelled: lambda job, event, at: outcomes.cancel(job, at),
    events.Interrupted: lambda job, event, at: outcomes.interrupt(job, event.reason, at),
}

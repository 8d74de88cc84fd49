"""The states of jobs: queued → running → succeeded, failed or cancelled; queued again when an attempt is lost."""

from typing import Any

from apps.training.models import Job

State = Job.State

ALLOWED: frozenset[tuple[str, str]] = frozenset(
    {
        (State.QUEUED, State.RUNNING),
        (State.QUEUED, State.QUEUED),
        (State.QUEUED, State.SUCCEEDED),
        (State.QUEUED, State.FAILED),
        (State.QUEUED, State.CANCELLED),
        (State.RUNNING, State.QUEUED),
        (State.RUNNING, State.SUCCEEDED),
        (State.RUNNING, State.FAILED),
        (State.RUNNING, State.CANCELLED),
    }
)
OVER = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
LIVE = (State.QUEUED, State.RUNNING)


def transition(job: Job, *, to: State, expect: tuple[State, ...] = LIVE, **changes: Any) -> bool:
    """Move a job into a state by one conditional UPDATE; True if this call, and no other, did it.

    The claim is on the attempt that `job` holds and on the states in `expect`: whoever comes second, or with an old
    attempt, changes nothing. `changes` are written along. The object is brought up to date on success.
    """
    if any((origin, to) not in ALLOWED for origin in expect):
        raise ValueError(f"no job goes from one of {expect} to {to}")
    claim = Job.objects.filter(pk=job.pk, attempt=job.attempt, state__in=expect)
    if claim.update(state=to, **changes) != 1:
        return False
    for name, value in {"state": to, **changes}.items():
        setattr(job, name, value)
    return True

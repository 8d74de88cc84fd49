"""What the serving processes say of the revisions that they hold: nothing is called online that does not answer."""

from dataclasses import dataclass

import redis

from apps.core.presence import present
from apps.endpoints.models import Endpoint, Revision
from workers.contracts import names
from workers.contracts.snapshot import ServingStatus

# idle: its model is loaded when a request asks for it, for want of memory.
READY, IDLE, DEPLOYING, FAILED = "ready", "idle", "deploying", "failed"
STATES = (READY, IDLE, DEPLOYING, FAILED)


@dataclass(frozen=True, slots=True)
class RevisionStatus:
    """A revision, its state over all serving processes, and why it failed."""

    revision: Revision
    state: str
    problem: str = ""


def serving_processes() -> list[ServingStatus]:
    """The serving processes that have spoken within SERVING_TTL_S; none where Redis is away."""
    try:
        return present(names.SERVERS, names.serving_key, ServingStatus)
    except redis.RedisError:
        return []


def revisions(endpoint: Endpoint, processes: list[ServingStatus]) -> list[RevisionStatus]:
    """The revisions of an endpoint, newest first: ready or idle where every serving process says so."""
    return [_revision(row, processes) for row in endpoint.revisions.all()]


def _revision(revision: Revision, processes: list[ServingStatus]) -> RevisionStatus:
    said = [process.revisions.get(revision.pk, "") for process in processes]
    failure = next((text for text in said if text.startswith("failed")), None)
    if failure is not None:
        return RevisionStatus(revision, FAILED, failure.removeprefix("failed").lstrip(": "))
    if not said or not set(said) <= {READY, IDLE}:
        return RevisionStatus(revision, DEPLOYING)
    return RevisionStatus(revision, READY if READY in said else IDLE)


def worst(rows: list[RevisionStatus]) -> str:
    """failed, deploying, ready or idle: the first that is true of a revision with traffic."""
    states = {row.state for row in rows if row.revision.traffic}
    return next((state for state in (FAILED, DEPLOYING, READY, IDLE) if state in states), DEPLOYING)

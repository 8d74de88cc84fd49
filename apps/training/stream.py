"""A job's course as server-sent events.

Frames of the job's own events carry the event's number as id, so that a client that comes back with `Last-Event-ID`
sees each once. A frame `state` without id tells of every change of state, and is the last one when the job is over.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from asgiref.sync import sync_to_async
from django.db import close_old_connections

from apps.training.live import new_events
from apps.training.models import Job, JobEvent

POLL_S: Final = 0.4
RECHECK_S: Final = 2.0
HEARTBEAT_S: Final = 10.0
RECONNECT_MS: Final = 2000
_BATCH: Final = 500


@dataclass(slots=True)
class _News:
    state: dict[str, Any] | None
    over: bool
    events: list[JobEvent] = field(default_factory=list)


async def event_stream(
    job_id: str, after: int, allowed: Callable[[], bool], poll_s: float = POLL_S, recheck_s: float = RECHECK_S
) -> AsyncIterator[bytes]:
    """Frames after event number `after`, until the job is over or `allowed()`, asked every few seconds, is false."""
    yield f"retry: {RECONNECT_MS}\n\n".encode()
    told: dict[str, Any] | None = None
    checked = spoke = time.monotonic()
    while True:
        news = await sync_to_async(_poll)(job_id, after)
        if news.state is None:
            return
        caught_up = len(news.events) < _BATCH
        frames = [_frame(event.type, _shown(event), event.pk) for event in news.events]
        if caught_up and news.state != told:
            told = news.state
            frames.append(_frame("state", told))
        if not frames and time.monotonic() - spoke > HEARTBEAT_S:
            frames.append(b": still here\n\n")
        if frames:
            spoke = time.monotonic()
            yield b"".join(frames)
        after = news.events[-1].pk if news.events else after
        if caught_up and news.over:
            return
        if time.monotonic() - checked > recheck_s:
            checked = time.monotonic()
            if not await sync_to_async(_asked)(allowed):
                return
        if caught_up:
            await asyncio.sleep(poll_s)


def _poll(job_id: str, after: int) -> _News:
    """The state first and then the events: a job that is over has all of its events."""
    try:
        job = Job.objects.filter(pk=job_id).only("state", "attempt", "error", "project_id").first()
        if job is None:
            return _News(None, over=True)
        state = {"state": job.state, "attempt": job.attempt, "error": job.error}
        return _News(state, job.is_over, list(new_events(job_id, after, _BATCH)))
    finally:
        close_old_connections()  # gives the connection back to the pool between two polls


def _asked(allowed: Callable[[], bool]) -> bool:
    try:
        return allowed()
    finally:
        close_old_connections()


def _shown(event: JobEvent) -> dict[str, Any]:
    return {"attempt": event.attempt, "seq": event.seq, "time": event.time, **event.data}


def _frame(name: str, data: dict[str, Any], number: int | None = None) -> bytes:
    head = f"id: {number}\n" if number is not None else ""
    # orjson escapes line breaks: the data is one line, whatever it holds.
    return f"{head}event: {name}\ndata: ".encode() + orjson.dumps(data) + b"\n\n"

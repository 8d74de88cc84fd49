"""Uploads that a runner fetches from an address (ADR 15), so that they can be looked at like files that were sent."""

import time
from typing import Final

import redis
import structlog
from celery import current_app
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError
from pydantic import ValidationError

from apps.core import audit, redis_client
from apps.core.artifacts import storage
from apps.core.sweeping import sweep
from apps.datasets import uploads
from apps.datasets.models import Upload
from apps.teams.access import require
from apps.teams.models import Team, User
from workers.contracts import names
from workers.contracts.errors import UserError
from workers.contracts.fetching import STATE_TTL_S, FetchSpec, FetchState

log = structlog.get_logger(__name__)

# A runner that was heard of every second is gone when it has been silent for so long.
_SILENT_S: Final = 60.0


@transaction.atomic
def fetch_upload(*, actor: User, team: Team, url: str) -> Upload:
    """An upload whose bytes a runner is to fetch. Raises UserError `url_not_allowed`, `storage_full`,
    `too_many_uploads`."""
    require(actor, team.pk, "write")
    target = settings.SLIPWAY_IMPORTS.target(url.strip())
    upload = uploads.waiting_upload(actor, team, target.filename, url.strip())
    audit.record(actor=actor, team=team, event="upload.fetching", noun=upload)
    transaction.on_commit(lambda: send(upload), robust=True)
    return upload


def send(upload: Upload) -> None:
    """Queue the fetch for the runners. Nothing is raised: a fetch whose message could not be sent is shown as failed,
    and can be queued again."""
    room = uploads.room_of(upload.team)
    spec = FetchSpec(upload=upload.pk, key=upload.key, url=upload.url, **room._asdict())
    try:
        _tell(upload, FetchState(state="waiting", time=time.time()))
        current_app.send_task(
            names.TASK_FETCH_UPLOAD,
            args=[spec.model_dump_json()],
            queue=names.QUEUE_INGEST,
            priority=0,  # on Redis the first
            ignore_result=True,
            retry=False,
        )
    except (OperationalError, redis.RedisError, OSError) as error:
        log.warning("fetch_not_sent", upload_id=upload.pk, error=type(error).__name__)
        uploads.stop_fetching(upload.pk)


def look(upload: Upload) -> FetchState | None:
    """How far the fetching of an upload is; None where its bytes are here. A fetched file for which the team has no
    room is deleted, and its fetch has failed."""
    if not upload.url or upload.finished:
        return None
    found = _told(upload)
    if found.state == "done":
        try:
            uploads.finish_fetched(upload, found.read)
        except UserError as error:
            found = FetchState(state="failed", time=time.time(), error=error.card())
            _tell(upload, found)
            storage().delete(upload.key)
            return found
        uploads.stop_fetching(upload.pk)
        return None
    if found.state == "running" and _silent_s(upload) > _SILENT_S:
        return _lost()
    return found


def look_at_all() -> None:
    """Finish the fetches whose bytes have come and whose pages nobody has opened since (see `look`)."""
    waiting = Upload.objects.filter(finished=None, expires__gt=timezone.now()).exclude(url="")
    sweep(waiting, look, "fetch_not_looked_at")


def is_overdue(state: FetchState) -> bool:
    """Whether it waits for so long that the message may be lost: asking twice does no harm."""
    return state.state == "waiting" and time.time() - state.time > _SILENT_S


def _silent_s(upload: Upload) -> float:
    """How long ago its state was told, by Redis' clock: a runner's own may be wrong."""
    try:
        left_ms = int(redis_client.client().pttl(names.fetch_key(upload.pk)))
    except redis.RedisError:
        return 0.0
    return STATE_TTL_S - left_ms / 1000


def _tell(upload: Upload, state: FetchState) -> None:
    redis_client.client().set(names.fetch_key(upload.pk), state.model_dump_json(), ex=STATE_TTL_S)


def _told(upload: Upload) -> FetchState:
    try:
        return FetchState.model_validate_json(redis_client.client().get(names.fetch_key(upload.pk)) or "")
    except redis.RedisError:
        return FetchState(state="waiting", time=time.time())
    except ValidationError:
        return _lost()


def _lost() -> FetchState:
    card = UserError("url_timeout", "The worker that fetched the file was not heard of any more.").card()
    return FetchState(state="failed", time=time.time(), error=card)

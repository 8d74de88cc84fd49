"""Periodic work that two do at once, that is killed, or whose store is away: it is done once, and wholly in the end."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest
import redis
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from apps.core.artifacts import storage
from apps.datasets import trash, uploads
from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.training import reaper
from apps.usage.models import LedgerFile
from slipway.celery_app import app as celery
from tests.cast import Cast, make_version
from tests.faults import checkers
from tests.training.stories import Teller, queued
from tests.usage.records import record
from tests.usage.records import send as send_records
from workers.contracts.errors import InfraError
from workers.storage import FolderStorage

pytestmark = pytest.mark.django_db(transaction=True)

TOGETHER = 3


@pytest.fixture(autouse=True)
def own_store(settings: Settings, tmp_path: Path) -> None:
    celery.loader.import_default_modules()
    settings.SLIPWAY_STORAGE, settings.SLIPWAY_HOME = str(tmp_path / "storage"), tmp_path


def together(task: str) -> None:
    """Several beats send a task at the same moment, and as many workers do it."""
    barrier = Barrier(TOGETHER)

    def run(_: int) -> None:
        try:
            barrier.wait(10)
            celery.tasks[task]()
        finally:
            connection.close()

    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(run, range(TOGETHER)))


def stored(cast: Cast, **fields: object) -> Upload:
    """A finished upload of ours, in the store."""
    upload = uploads._new(cast.bob, cast.ours.team, "a.csv", 3)
    storage().put_bytes(b"a,b", upload.key)
    upload.finished, upload.offset = timezone.now(), 3
    for name, value in fields.items():
        setattr(upload, name, value)
    upload.save(force_insert=True)
    return upload


def trashed(cast: Cast) -> tuple[Dataset, str]:
    """A dataset whose 30 days are over, and the key of its data."""
    dataset = Dataset.objects.create(project=cast.ours.project, name="old", kind="text", created_by=cast.bob)
    version = make_version(dataset)
    storage().put_bytes(b"rows", version.data_key)
    make_version(dataset, state=DatasetVersion.State.FAILED, data_key="", errors_key="")
    Dataset.every.filter(pk=dataset.pk).update(trashed=timezone.now() - timedelta(days=31))
    return dataset, version.data_key


def test_what_several_do_at_once_is_done_once(
    cast: Cast, redis_client: "redis.Redis[bytes]", monkeypatch: pytest.MonkeyPatch, mailoutbox: list[EmailMessage]
) -> None:
    monkeypatch.setattr(reaper, "_SETTLED_S", 0)
    ours = cast.ours
    job = Teller(queued(ours.version)).start()
    dataset, key = trashed(cast)
    old = stored(cast, finished=timezone.now() - timedelta(days=15))
    ours.team.monthly_requests = 1
    ours.team.save()
    send_records(redis_client, record(ours), record(ours))
    while checkers.recorder_did(redis_client):
        pass
    hour = timezone.now() - timedelta(hours=3)
    send_records(redis_client, record(ours, time=hour.timestamp()))
    while checkers.recorder_did(redis_client):
        pass
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        together(entry["task"])
    job.refresh_from_db()
    assert (job.state, job.attempt, job.attempts.count()) == ("queued", 2, 1)
    assert checkers.waiting(redis_client, job) == 1
    assert not Dataset.every.filter(pk=dataset.pk).exists() and not storage().exists(key)
    assert ours.team.audit_entries.filter(event="dataset.removed").count() == 1
    assert not Upload.objects.filter(pk=old.pk).exists() and not storage().exists(old.key)
    warned = [mail for mail in mailoutbox if "requests" in mail.body]
    assert len({tuple(mail.to) for mail in warned}) == len(warned) > 0
    assert ours.team.audit_entries.filter(event="team.quota_used_up").count() == 1
    assert all(part.rows is not None for part in LedgerFile.objects.filter(team_id=ours.team.pk))
    checkers.check_published(redis_client)
    checkers.check_sums()


def test_what_is_to_be_removed_is_removed_though_the_store_was_away(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, key = trashed(cast)
    old = stored(cast, finished=timezone.now() - timedelta(days=15))

    def away(*_: object) -> None:
        raise InfraError("storage_unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(FolderStorage, "_delete", away)
        assert trash.remove_trashed() == 0
        assert uploads.forget_expired() == 0
    assert storage().exists(key) and storage().exists(old.key)
    assert not Dataset.every.in_trash().filter(pk=dataset.pk).exists(), "nobody can take back what is half gone"
    assert trash.remove_trashed() == 1
    assert uploads.forget_expired() == 1
    assert not storage().exists(key) and not storage().exists(old.key)
    assert not Dataset.every.filter(pk=dataset.pk).exists()
    assert cast.ours.team.audit_entries.filter(event="dataset.removed").count() == 1
    assert trash.remove_trashed() == 0


def test_what_was_left_half_written_goes(cast: Cast, tmp_path: Path) -> None:
    """By a process that was killed between two steps: in the store, and where uploads gather."""
    kept = stored(cast)
    parts = tmp_path / "uploads"
    parts.mkdir()
    unfinished = stored(cast, finished=None)
    left = [parts / kept.pk, parts / f"upl_{'a' * 24}", tmp_path / "storage" / "teams" / ".put-abc"]
    under_way = [parts / unfinished.pk, tmp_path / "storage" / ".put-now"]
    for path in (*left, *under_way):
        path.write_bytes(b"half")
    for path in (*left, parts / unfinished.pk):
        os.utime(path, (0, 0))
    for name in ("datasets.forget_uploads", "datasets.tidy_store"):
        celery.tasks[name]()
    assert [path for path in left if path.exists()] == []
    assert all(path.exists() for path in under_way)
    assert storage().exists(kept.key)

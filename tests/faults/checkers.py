"""What must hold after every fault. U: usage, J: jobs, D: data, P: predictions, K: keys, S: the system as a whole."""

import hashlib
import os
from pathlib import Path

import psutil
import redis

from apps.core.artifacts import storage
from apps.datasets.models import DatasetVersion, Upload
from apps.endpoints import publish
from apps.registry.models import ModelVersion
from apps.teams.models import ApiKey
from apps.training import dispatch
from apps.training.models import Job
from apps.training.states import OVER
from apps.usage.recorder import Recorder, Standby
from tests.serving.clients import Seen
from tests.usage.checkers import check_ledger as check_ledger  # U1, U2
from tests.usage.checkers import check_sums as check_sums  # U3
from workers.contracts import names
from workers.contracts.snapshot import Snapshot


def check_over(*jobs: Job) -> None:
    """J1: each job has ended, once."""
    for job in jobs:
        job.refresh_from_db()
        assert job.state in OVER and job.ended, f"{job.pk} is {job.state}"
        assert job.attempts.exclude(outcome__in=("", "interrupted")).count() <= 1


def check_one_result(job: Job) -> None:
    """J2: a training has one model or none, and it is the file that the accepted attempt stored."""
    models = list(ModelVersion.objects.filter(job=job))
    assert len(models) == (job.kind == Job.Kind.TRAIN and job.state == Job.State.SUCCEEDED)
    for model in models:
        assert model.bundle_key.startswith(names.attempt_prefix(job.pk, job.attempt))


def check_fenced(job: Job) -> None:
    """J3: once an attempt was heard, no earlier one was."""
    attempts = list(job.events.order_by("id").values_list("attempt", flat=True))
    assert attempts == sorted(attempts)


def check_events(job: Job) -> None:
    """J4: the events of each attempt were applied in their order, each once, and none is missing."""
    for attempt in set(job.events.values_list("attempt", flat=True)):
        numbers = list(job.events.filter(attempt=attempt).order_by("id").values_list("seq", flat=True))
        assert numbers == list(range(1, len(numbers) + 1)), f"attempt {attempt}: {numbers}"


def check_progress_kept(job: Job) -> None:
    """J5: an attempt goes on from the last checkpoint that one before it stored; none lost more than it had."""
    step = 0
    for attempt in job.attempts.order_by("number"):
        assert (attempt.resumed_from_step or 0) >= step
        step = max(step, attempt.last_step or 0)
        if attempt.started and attempt.ended:
            assert attempt.lost_seconds <= (attempt.ended - attempt.started).total_seconds() * attempt.devices + 1e-6


def check_job(job: Job) -> None:
    """J1 to J5."""
    check_over(job)
    check_one_result(job)
    check_fenced(job)
    check_events(job)
    check_progress_kept(job)


def check_stored(upload: Upload, data: bytes) -> None:
    """D1: a finished upload is what was sent."""
    assert upload.finished and upload.offset == len(data)
    assert hashlib.sha256(storage().read_bytes(upload.key)).digest() == hashlib.sha256(data).digest()


def check_versions() -> None:
    """D2 and D3: a version that is ready has a hash and rows, and every finished upload is in the store."""
    for version in DatasetVersion.objects.filter(state=DatasetVersion.State.READY):
        assert version.content_hash and version.rows is not None
    for upload in Upload.objects.exclude(finished=None):
        assert storage().exists(upload.key)


def check_answers(seen: Seen) -> None:
    """P1 and P2: every answer is that of a model that was deployed, to the question of the one who asked."""
    assert set(seen.statuses()) <= {200} and not seen.broken and not seen.wrong


def check_published(client: "redis.Redis[bytes]") -> None:
    """P3 and K1: what serving processes are told is what the database says; no revoked key is among it."""
    stored = client.get(names.SNAPSHOT)
    assert stored
    told = Snapshot.model_validate_json(stored)
    said = publish.build(told.version)
    assert told.model_copy(update={"published": 0.0}) == said.model_copy(update={"published": 0.0})
    assert not set(told.keys) & set(ApiKey.objects.exclude(revoked=None).values_list("digest", flat=True))


def check_nothing_left(home: Path, client: "redis.Redis[bytes]") -> None:
    """S3: no job folder in use, no lease, no process of ours beyond those that the tests keep."""
    assert not list(client.scan_iter(names.lease_key("*")))
    assert not [child for child in psutil.Process(os.getpid()).children(recursive=True) if _is_fake(child)]
    assert not list((home / "uploads").glob("*")) if (home / "uploads").exists() else True


def _is_fake(process: psutil.Process) -> bool:
    try:
        return any("fake_child" in part for part in process.cmdline())
    except psutil.Error:  # it has just ended
        return False


def waiting(client: "redis.Redis[bytes]", job: Job) -> int:
    """How many messages of the job's present attempt wait."""
    task = dispatch.task_id(job.pk, job.attempt).encode()
    lists = [client.lrange(name, 0, -1) for name in dispatch.message_lists(job.queue)]
    return sum(b'"id": "' + task + b'"' in message for messages in lists for message in messages)


def recorder_did(client: "redis.Redis[bytes]") -> int:
    """How many entries a step of a recorder applied; the lock of one that was killed may live on for a moment."""
    try:
        return Recorder(client).step(block_ms=1)
    except Standby:
        return 1

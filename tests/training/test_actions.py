"""Starting, cancelling and retrying jobs; and what of it reaches storage and the queue."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from celery import Celery, current_app
from django.utils import timezone

from apps.core.artifacts import storage
from apps.core.models import AuditEntry
from apps.datasets.models import DatasetVersion
from apps.training import actions, runners, states
from apps.training.models import Job
from tests.cast import Cast, make_version
from tests.training.stories import Teller, queued
from workers.contracts import names
from workers.contracts.errors import JobError, UserError
from workers.contracts.job import JobSpec
from workers.contracts.snapshot import RunnerStatus

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def committed(django_capture_on_commit_callbacks: Any) -> Callable[[Callable[[], Any]], Any]:
    """Do something and what follows its commit."""

    def run(action: Callable[[], Any]) -> Any:
        with django_capture_on_commit_callbacks(execute=True):
            return action()

    return run


def _train(cast: Cast, **fields: Any) -> Job:
    options: dict[str, Any] = {"template": "text-classification", "preset": "fast", **fields}
    return actions.create_training(actor=cast.bob, project=cast.ours.project, version=cast.ours.version, **options)


def _spec(job: Job) -> JobSpec:
    return JobSpec.model_validate_json(storage().read_bytes(names.job_spec_key(job.pk)))


def test_a_training_is_queued_with_all_that_its_runner_needs(
    cast: Cast, committed: Callable[..., Any], redis_client: redis.Redis
) -> None:
    job = committed(lambda: _train(cast, parameters={"epochs": 3}, name="First try"))
    job.refresh_from_db()
    assert (job.state, job.attempt, job.queue, job.name) == ("queued", 1, "train.cpu", "First try")
    assert job.sent is not None
    spec = _spec(job)
    assert spec.train and spec.train.parameters == {"epochs": 3}
    assert spec.train.dataset.classes == cast.ours.version.classes
    assert [file.key for file in spec.inputs] == [cast.ours.version.data_key]
    assert spec.output_prefix == f"jobs/{job.pk}/attempts/1"
    assert redis_client.llen(names.QUEUE_TRAIN_CPU + "\x06\x163") == 1
    assert AuditEntry.objects.get(event="job.created").noun_id == job.pk


def test_a_live_runner_with_a_gpu_gets_the_training(cast: Cast, redis_client: redis.Redis) -> None:
    _is_there(redis_client, "gpu", names.QUEUE_TRAIN_GPU, 1)
    assert _train(cast).queue == names.QUEUE_TRAIN_GPU


def _is_there(client: redis.Redis, name: str, queue: str, devices: int) -> None:
    queues = names.training_queues(queue, devices)
    status = RunnerStatus(runner=name, queues=queues, device=name, devices=devices, time=1)
    client.set(names.runner_key(name), status.model_dump_json())
    client.sadd(names.RUNNERS, name)


@pytest.mark.parametrize(
    ("devices", "queue"), [(1, "train.gpu"), (2, "train.gpu.2"), (3, "train.gpu.4"), (4, "train.gpu.4")]
)
def test_a_training_on_several_devices_goes_where_so_many_are(
    cast: Cast, redis_client: redis.Redis, devices: int, queue: str
) -> None:
    _is_there(redis_client, "cpu", names.QUEUE_TRAIN_CPU, 8)
    _is_there(redis_client, "gpu", names.QUEUE_TRAIN_GPU, 4)
    assert runners.training_queue(devices) == queue


def test_where_no_gpu_runner_has_so_many_the_cores_do(cast: Cast, redis_client: redis.Redis) -> None:
    _is_there(redis_client, "gpu", names.QUEUE_TRAIN_GPU, 1)
    assert runners.training_queue(2) == "train.gpu.2"  # it waits for a host with two
    _is_there(redis_client, "cpu", names.QUEUE_TRAIN_CPU, 2)
    assert runners.training_queue(2) == "train.cpu.2"


def test_nothing_is_sent_for_a_transaction_that_fails(cast: Cast, redis_client: redis.Redis) -> None:
    with pytest.raises(UserError):
        _train(cast, parameters={"epochs": 0})
    assert Job.objects.filter(state=Job.State.QUEUED).count() == 0
    # Celery's queues are lists; what counts how often somebody asks is none.
    assert not [key for key in redis_client.scan_iter() if redis_client.type(key) == b"list"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"template": "fortune-telling"}, "template_unknown"),
        ({"template": "image-classification"}, "template_mismatch"),
        ({"parameters": {"optimizer": {"_target_": "os.system"}}}, "parameters_invalid"),
        ({"parameters": {"epochs": 10**9}}, "parameters_invalid"),
        ({"preset": "magic"}, "invalid"),
        ({"priority": 7}, "invalid"),
    ],
)
def test_what_cannot_be_trained_is_refused(cast: Cast, fields: dict[str, Any], code: str) -> None:
    with pytest.raises(UserError) as caught:
        _train(cast, **fields)
    assert caught.value.code == code


def test_a_version_that_is_not_ready_is_refused(cast: Cast) -> None:
    version = make_version(cast.ours.dataset, state=DatasetVersion.State.PROCESSING)
    with pytest.raises(UserError) as caught:
        actions.create_training(
            actor=cast.bob, project=cast.ours.project, version=version, template="text-classification"
        )
    assert caught.value.code == "dataset_not_ready"


@pytest.mark.parametrize(("name", "code"), [("victor", "not_allowed"), ("charlie", "not_found")])
def test_whoever_only_looks_starts_stops_and_repeats_nothing(cast: Cast, name: str, code: str) -> None:
    actor, running = getattr(cast, name), queued(cast.ours.version)
    where = {"project": cast.ours.project, "version": cast.ours.version, "template": "text-classification"}
    for act in (
        lambda: actions.create_training(actor=actor, **where),
        lambda: actions.cancel_job(actor=actor, job=running),
        lambda: actions.retry_job(actor=actor, job=cast.ours.job),
    ):
        with pytest.raises(UserError) as refused:
            act()
        assert refused.value.code == code


def test_a_version_of_another_project_is_not_found(cast: Cast) -> None:
    with pytest.raises(UserError) as caught:
        actions.create_training(
            actor=cast.bob, project=cast.ours.project, version=cast.theirs.version, template="text-classification"
        )
    assert caught.value.code == "not_found"


def test_the_same_idempotency_key_starts_one_job(cast: Cast) -> None:
    first = _train(cast, idempotency_key="k1")
    assert _train(cast, idempotency_key="k1") == first
    assert _train(cast, idempotency_key="k2") != first
    with pytest.raises(UserError) as caught:
        _train(cast, idempotency_key="k1", preset="best")
    assert caught.value.code == "conflict"
    assert _train(cast) != _train(cast)


def test_a_waiting_job_is_cancelled_at_once_and_never_starts(cast: Cast, committed: Callable[..., Any]) -> None:
    job = committed(lambda: _train(cast))
    committed(lambda: actions.cancel_job(actor=cast.bob, job=job))
    job.refresh_from_db()
    assert (job.state, job.ended is not None) == ("cancelled", True)
    assert not storage().exists(names.job_spec_key(job.pk))


def test_a_running_job_is_told_to_stop(cast: Cast, committed: Callable[..., Any], redis_client: redis.Redis) -> None:
    job = Teller(queued(cast.ours.version)).start()
    committed(lambda: actions.cancel_job(actor=cast.bob, job=job))
    job.refresh_from_db()
    assert (job.state, job.cancel_requested is not None) == ("running", True)
    assert redis_client.exists(names.cancel_key(job.pk))


def test_a_job_that_is_over_cannot_be_cancelled(cast: Cast) -> None:
    with pytest.raises(UserError) as caught:
        actions.cancel_job(actor=cast.bob, job=cast.ours.job)
    assert caught.value.code == "job_ended"


def test_a_retry_is_a_new_job_with_the_repair(cast: Cast) -> None:
    failed = queued(cast.ours.version, state=Job.State.FAILED, parameters={"epochs": 5, "batch_size": 64})
    again = actions.retry_job(actor=cast.bob, job=failed, parameters={"batch_size": 16})
    assert again.pk != failed.pk
    assert (again.state, again.parameters) == ("queued", {"epochs": 5, "batch_size": 16})


def test_a_retry_after_a_time_limit_goes_on_from_the_checkpoint(cast: Cast, committed: Callable[..., Any]) -> None:
    teller = Teller(queued(cast.ours.version))
    teller.start()
    teller.checkpoint(12)
    job = teller.say("failed", error=JobError("time_limit").card())
    again = committed(lambda: actions.retry_job(actor=cast.bob, job=job))
    assert [file.key for file in _spec(again).resume] == [f"jobs/{job.pk}/attempts/1/checkpoints/step-12"]
    assert _spec(again).resume_step == 12


def test_a_failed_import_can_be_started_again_once(cast: Cast) -> None:
    version = make_version(cast.ours.dataset, state=DatasetVersion.State.FAILED)
    job = queued(version, kind=Job.Kind.INGEST, state=Job.State.FAILED)
    again = actions.retry_job(actor=cast.bob, job=job)
    version.refresh_from_db()
    assert (again.kind, again.queue, version.state) == ("ingest", names.QUEUE_INGEST, "processing")
    with pytest.raises(UserError):
        actions.retry_job(actor=cast.bob, job=job)


def test_a_transition_is_claimed_by_one(cast: Cast) -> None:
    job = queued(cast.ours.version)
    same = Job.objects.get(pk=job.pk)
    assert states.transition(job, to=Job.State.RUNNING, expect=(Job.State.QUEUED,))
    assert not states.transition(same, to=Job.State.RUNNING, expect=(Job.State.QUEUED,))


def test_a_transition_of_another_attempt_does_nothing(cast: Cast) -> None:
    job = queued(cast.ours.version)
    Job.objects.filter(pk=job.pk).update(attempt=2)
    assert not states.transition(job, to=Job.State.FAILED, ended=timezone.now())


def test_no_job_comes_back_from_the_end(cast: Cast) -> None:
    for state in states.OVER:
        with pytest.raises(ValueError, match="no job goes"):
            states.transition(queued(cast.ours.version), to=Job.State.RUNNING, expect=(state,))


def test_a_job_is_kept_when_redis_is_away(cast: Cast, committed: Callable[..., Any], settings: Any) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    settings.REDIS_URL = nowhere
    before = current_app._get_current_object()
    with Celery("away", broker=nowhere) as away:
        away.conf.broker_transport_options = before.conf.broker_transport_options
        away.set_current()
        try:
            job = committed(lambda: _train(cast))
        finally:
            before.set_current()
    job.refresh_from_db()
    assert (job.state, job.sent) == ("queued", None)

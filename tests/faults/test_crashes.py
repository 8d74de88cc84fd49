"""A process is killed after each step of what it does, and then all goes on: nothing is lost, halved or done twice."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil
import pytest
import redis
from django.conf import settings
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from apps.core.artifacts import storage
from apps.datasets import uploads
from apps.datasets.models import DatasetVersion, Upload
from apps.endpoints import publish
from apps.endpoints.models import Endpoint
from apps.registry.models import ModelVersion
from apps.teams.models import ApiKey
from apps.training import dispatch, reaper
from apps.training.models import Job
from apps.usage.models import DeadLetter
from tests.cast import Cast, make_endpoint, make_job, make_model, make_token, make_version
from tests.faults import checkers
from tests.faults.doer import Doer, Done, crash_points, doer
from tests.runner.bench import is_gone
from tests.serving.running import until
from tests.training.stories import Teller, queued, train_result
from tests.usage.records import record, send
from workers.contracts import keys, names
from workers.contracts.job import JobSpec
from workers.runner.attempt import Host
from workers.runner.host import connect, run_job

pytestmark = pytest.mark.django_db(transaction=True)

DATA: Final = bytes(range(256)) * 200
TUS: Final = {"Tus-Resumable": "1.0.0"}
OCTETS: Final = "application/offset+octet-stream"
ApiOf = Callable[..., APIClient]
T = TypeVar("T")


@dataclass
class Scene:
    """Who does, on what, and who looks whether all is well."""

    doer: Doer
    cast: Cast
    token: str
    api: APIClient
    client: "redis.Redis[bytes]"
    home: Path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SLIPWAY_HOME of whoever is killed."""
    return tmp_path_factory.mktemp("crashes")


@pytest.fixture(scope="module")
def one_doer(django_db_setup: None, redis_server: str, home: Path) -> Iterator[Doer]:
    """One for all tests of the module: it holds nothing."""
    with doer(redis_server, home) as made:
        yield made


@pytest.fixture
def scene(
    one_doer: Doer, cast: Cast, api_of: ApiOf, redis_client: "redis.Redis[bytes]", home: Path, settings: Settings
) -> Scene:
    settings.SLIPWAY_HOME, settings.SLIPWAY_STORAGE = home, str(home / "storage")
    for model in ModelVersion.objects.all():  # in the store that the killed processes use
        storage().put_bytes(f"bundle of {model.job_id}".encode(), model.bundle_key)
    return Scene(one_doer, cast, make_token(cast.alice), api_of(cast.alice), redis_client, home)


def everywhere(prepare: Callable[[], T], act: Callable[[T, int | None], Done], check: Callable[[T], None]) -> None:
    """Let it happen undisturbed, then kill it after each step; `check` lets all go on, and looks."""
    made = prepare()
    done = act(made, None)
    assert not done.killed and done.steps > 3
    check(made)
    for last in crash_points(done.steps):
        made = prepare()
        act(made, last)
        check(made)


def patience_is_over(job: Job) -> None:
    """As if the time had passed after which a message counts as lost."""
    long_ago = timezone.now() - 2 * reaper.MESSAGE_PATIENCE
    Job.objects.filter(pk=job.pk).update(queued=long_ago)
    Job.objects.filter(pk=job.pk, sent__isnull=False).update(sent=long_ago)


def check_sent_once(client: "redis.Redis[bytes]", job: Job) -> None:
    """After a sweep, and another, one message of a queued job waits, and its spec says the same attempt."""
    for _ in range(2):
        job.refresh_from_db()
        patience_is_over(job)
        reaper.sweep()
    job.refresh_from_db()
    assert job.state == Job.State.QUEUED and checkers.waiting(client, job) == 1
    assert JobSpec.model_validate_json(storage().read_bytes(names.job_spec_key(job.pk))).attempt == job.attempt


def test_a_deployment_is_whole_or_not_there(scene: Scene) -> None:
    """P3: also killed between the commit and the snapshot, serving learns of it by the next turn of the clock."""
    ours = scene.cast.ours
    count = iter(range(2, 1000))

    def prepare() -> tuple[Endpoint, ModelVersion]:
        model = make_model(make_job(ours.version, name="another", state=Job.State.SUCCEEDED), number=next(count))
        return make_endpoint(ours.model, name=f"Reviews {model.pk[-6:]}"), model

    def deploy(made: tuple[Endpoint, ModelVersion], last: int | None) -> Done:
        path = f"/api/v1/endpoints/{made[0].pk}/deploy"
        return scene.doer.request("POST", path, scene.token, last=last, json={"model": made[1].pk})

    def check(made: tuple[Endpoint, ModelVersion]) -> None:
        endpoint, model = made
        publish.publish_if_changed()
        checkers.check_published(scene.client)
        assert sum(endpoint.revisions.values_list("traffic", flat=True)) == 100
        again = scene.api.post(f"/api/v1/endpoints/{endpoint.pk}/deploy", {"model": model.pk}, format="json")
        assert again.status_code == 202, again.content
        assert endpoint.revisions.get(traffic=100).model_id == model.pk and endpoint.revisions.count() == 2
        checkers.check_published(scene.client)

    everywhere(prepare, deploy, check)


def test_a_key_is_revoked_or_not_and_may_be_revoked_again(scene: Scene) -> None:
    """K1."""
    team = scene.cast.ours.team

    def prepare() -> ApiKey:
        new = keys.new_key(keys.API_KEY)
        key = ApiKey.objects.create(team=team, name="old", prefix=new.prefix, digest=new.digest)
        publish.publish_snapshot()
        return key

    def revoke(key: ApiKey, last: int | None) -> Done:
        return scene.doer.request("DELETE", f"/api/v1/keys/{key.pk}", scene.token, last=last)

    def check(key: ApiKey) -> None:
        key.refresh_from_db()
        was_revoked = key.revoked
        assert scene.api.delete(f"/api/v1/keys/{key.pk}").status_code == 204
        key.refresh_from_db()
        assert key.revoked and (was_revoked in (None, key.revoked))
        checkers.check_published(scene.client)
        assert team.audit_entries.filter(noun_id=key.pk, event="key.revoked").count() == 1

    everywhere(prepare, revoke, check)


def test_a_job_is_queued_once(scene: Scene) -> None:
    ours, count = scene.cast.ours, iter(range(10_000))

    def ask(name: str) -> dict[str, Any]:
        return {"project": ours.project.pk, "dataset": ours.dataset.pk, "template": "text-classification", "name": name}

    def create(name: str, last: int | None) -> Done:
        return scene.doer.request("POST", "/api/v1/jobs", scene.token, last=last, json=ask(name), Idempotency_Key=name)

    def check(name: str) -> None:
        again = scene.api.post("/api/v1/jobs", ask(name), format="json", headers={"Idempotency-Key": name})
        assert again.status_code == 202, again.content
        check_sent_once(scene.client, Job.objects.get(name=name))

    everywhere(lambda: f"job {next(count)}", create, check)


def test_a_lost_job_is_queued_again_once(scene: Scene) -> None:
    until(lambda: scene.client.info("server")["uptime_in_seconds"] > names.LEASE_TTL_S + 1)

    def prepare() -> Job:
        teller = Teller(queued(scene.cast.ours.version))
        teller.start()
        return teller.checkpoint(40)

    def check(job: Job) -> None:
        reaper.sweep()
        check_sent_once(scene.client, job)
        assert job.attempt == 2
        assert list(job.attempts.values_list("number", "outcome")) == [(1, "interrupted")]
        checkers.check_progress_kept(job)

    everywhere(prepare, lambda job, last: scene.doer.do("task", name="training.reap", last=last), check)


@pytest.mark.parametrize("fault", ["killed", "stopped"])
def test_what_runners_and_predictions_said_is_applied_once(scene: Scene, fault: str) -> None:
    """J2, J4, U1 to U3. While one recorder is stopped, in the midst of a transaction even, another comes along."""
    ours = scene.cast.ours
    received: list[tuple[str, int]] = []

    def prepare() -> Job:
        job = queued(ours.version)
        teller = Teller(job)
        said = [teller.entry("started", runner="runner-1", device="cpu")]
        said += [teller.entry("metric", step=step, values={"train/loss": 1 / step}) for step in (1, 2)]
        said += [teller.entry("succeeded", result=train_result(ours.version, job))]
        for entry in (*said, said[1]):  # one comes twice
            scene.client.xadd(names.STREAM_EVENTS, entry)
        asked = [record(ours) for _ in range(3)]
        send(scene.client, *asked, asked[0])
        received.extend((one.request_id, one.status) for one in asked)
        return job

    def check(job: Job) -> None:
        until(lambda: checkers.recorder_did(scene.client) == 0)
        checkers.check_job(job)
        assert job.state == Job.State.SUCCEEDED and job.metric_points.count() == 2
        checkers.check_ledger(received)
        checkers.check_sums()
        assert not DeadLetter.objects.exists()

    def apply(job: Job, last: int | None) -> Done:
        return scene.doer.do("record", last=last, meanwhile=another if fault == "stopped" and last else None)

    def another() -> None:
        for _ in range(3):
            checkers.recorder_did(scene.client)

    everywhere(prepare, apply, check)


def test_an_upload_goes_on_from_what_was_acknowledged(scene: Scene) -> None:
    """D1, and nothing is left of it but the one file in storage."""
    half = len(DATA) // 2

    def patch(address: str, offset: int, end: int) -> Any:
        headers = {**TUS, "Upload-Offset": str(offset)}
        return scene.api.generic("PATCH", address, DATA[offset:end], content_type=OCTETS, headers=headers)

    def prepare() -> str:
        begun = scene.api.post("/api/v1/uploads", headers={**TUS, "Upload-Length": str(len(DATA))})
        address = str(begun["Location"])
        assert patch(address, 0, half).status_code == 204
        return address

    def finish(address: str, last: int | None) -> Done:
        options = {**TUS, "Upload_Offset": str(half), "content_type": OCTETS}
        return scene.doer.request("PATCH", address, scene.token, last=last, content=DATA[half:], **options)

    def check(address: str) -> None:
        offset = int(scene.api.head(address, headers=TUS)["Upload-Offset"])
        assert offset >= half
        if offset < len(DATA):
            assert patch(address, offset, len(DATA)).status_code == 204
        upload = uploads.ensure_stored(Upload.objects.get(pk=address.rsplit("/", 1)[1]))
        checkers.check_stored(upload, DATA)
        uploads.forget_leftovers(older_than=timedelta(0))
        assert not list((scene.home / "uploads").iterdir())

    everywhere(prepare, finish, check)


def test_a_runner_is_killed_and_another_finishes(scene: Scene) -> None:
    """J1 to J5, D2, S3."""
    until(lambda: scene.client.info("server")["uptime_in_seconds"] > names.LEASE_TTL_S + 1)
    ours = scene.cast.ours

    def prepare() -> Job:
        version = make_version(ours.dataset, state=DatasetVersion.State.PROCESSING, source_name="save_and_succeed")
        storage().put_bytes(b"text,label\n", version.source_key)
        job = make_job(version, name="Import", kind="ingest", queue="ingest", state="queued", started=None, ended=None)
        assert dispatch.send(job.pk, 1)
        return job

    def check(job: Job) -> None:
        until(lambda: all(is_gone(pid) for pid in children_of_jobs()))
        scene.client.delete(names.lease_key(job.pk))  # it runs out
        for _ in range(3):
            until(lambda: checkers.recorder_did(scene.client) == 0)
            patience_is_over(job)
            reaper.sweep()
            job.refresh_from_db()
            if not job.is_over:
                run_here(scene, job)
        checkers.check_job(job)
        job.dataset_version.refresh_from_db()
        assert job.dataset_version.state == DatasetVersion.State.READY and job.dataset_version.rows == 3
        checkers.check_versions()
        checkers.check_nothing_left(scene.home, scene.client)

    everywhere(prepare, lambda job, last: scene.doer.do("job", job=job.pk, attempt=1, last=last), check)


def children_of_jobs() -> list[int]:
    """The processes of jobs that run anywhere."""
    found = psutil.process_iter(["cmdline"])
    return [one.pid for one in found if "tests.runner.fake_child" in (one.info["cmdline"] or [])]


def run_here(scene: Scene, job: Job) -> None:
    """The next attempt, by a runner that nobody kills."""
    client = connect(settings.REDIS_URL)
    host = Host(
        name=f"runner-{job.attempt}",
        device="cpu",
        home=scene.home,
        client=client,
        storage=storage(),
        modules={"ingest": "tests.runner.fake_child"},
    )
    assert run_job(host, None, job.pk, job.attempt)

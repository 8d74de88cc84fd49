"""The control API of training."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from rest_framework.test import APIClient

from apps.teams.models import User
from apps.training.models import Job, MetricPoint
from tests.cast import CANARY, Cast, make_version
from tests.training.stories import Teller, queued
from workers.contracts import names
from workers.contracts.errors import JobError
from workers.contracts.snapshot import RunnerStatus

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]

Login = Callable[[User | None], APIClient]


@pytest.fixture
def bobs(api_of: Login, cast: Cast) -> APIClient:
    return api_of(cast.bob)


def _body(cast: Cast, **fields: Any) -> dict[str, Any]:
    ours = cast.ours
    return {"project": ours.project.pk, "dataset": ours.dataset.pk, "template": "text-classification", **fields}


def test_the_templates_tell_their_parameters(bobs: APIClient) -> None:
    found = {template["key"]: template for template in bobs.get("/api/v1/task-templates").json()}
    assert {"text-classification", "image-classification", "recommendation"} <= set(found)
    text = found["text-classification"]
    assert text["presets"] == ["fast", "balanced", "best"]
    assert text["parameters"]["properties"]["epochs"]["title"] == "Epochs"


def test_a_job_is_started_and_told(bobs: APIClient, cast: Cast) -> None:
    reply = bobs.post("/api/v1/jobs", _body(cast, preset="fast", parameters={"epochs": 2}, name="One"))
    assert reply.status_code == 202
    job = reply.json()
    assert (job["state"], job["position"], job["name"]) == ("queued", 1, "One")
    told = bobs.get(f"/api/v1/jobs/{job['id']}").json()
    assert told["waiting_because"] == "No runner for this kind of job is alive. The job starts as soon as there is one."
    assert (told["progress"], told["attempt"], told["model"], told["error"]) == (0.0, 1, None, None)
    assert (told["dataset"], told["dataset_version"]) == (cast.ours.dataset.pk, 1)


def test_the_latest_ready_version_is_taken(bobs: APIClient, cast: Cast) -> None:
    make_version(cast.ours.dataset)
    make_version(cast.ours.dataset, state="processing")
    assert bobs.post("/api/v1/jobs", _body(cast)).json()["dataset_version"] == 2


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"template": "recommendation"}, 422, "template_mismatch"),
        ({"template": "x"}, 422, "template_unknown"),
        ({"preset": "x"}, 422, "invalid"),
        ({"state": "succeeded"}, 422, "invalid"),
        ({"priority": 2}, 422, "invalid"),
        ({"priority": "1e9"}, 422, "invalid"),
        ({"name": "a\x00b"}, 400, "malformed_json"),
        ({"parameters": []}, 422, "invalid"),
        ({"parameters": {"epochs": "many", "no_such": 1}}, 422, "parameters_invalid"),
        ({"dataset": "dst_" + "a" * 24}, 404, "not_found"),
        ({"project": "prj_" + "a" * 24}, 404, "not_found"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(
    bobs: APIClient, cast: Cast, fields: dict[str, Any], status: int, code: str
) -> None:
    reply = bobs.post("/api/v1/jobs", _body(cast, **fields))
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_each_bad_parameter_is_named(bobs: APIClient, cast: Cast) -> None:
    reply = bobs.post("/api/v1/jobs", _body(cast, parameters={"epochs": "many", "no_such": 1}))
    assert [field["field"] for field in reply.json()["error"]["params"]["fields"]] == ["epochs", "no_such"]


def test_a_dataset_without_a_ready_version_waits(bobs: APIClient, cast: Cast) -> None:
    cast.ours.dataset.versions.update(state="processing")
    assert bobs.post("/api/v1/jobs", _body(cast)).json()["error"]["code"] == "dataset_not_ready"


def test_a_strangers_dataset_is_not_found(bobs: APIClient, cast: Cast) -> None:
    reply = bobs.post("/api/v1/jobs", _body(cast, dataset=cast.theirs.dataset.pk))
    assert reply.status_code == 404
    assert not Job.objects.filter(state="queued").exists()


def test_a_viewer_may_look_and_not_touch(api_of: Login, cast: Cast) -> None:
    victors = api_of(cast.victor)
    job = queued(cast.ours.version)
    assert victors.get(f"/api/v1/jobs/{job.pk}").status_code == 200
    assert victors.post("/api/v1/jobs", _body(cast)).status_code == 403
    assert victors.post(f"/api/v1/jobs/{job.pk}/cancel").status_code == 403
    assert victors.post(f"/api/v1/jobs/{job.pk}/retry").status_code == 403


@pytest.mark.parametrize("path", ["", "/events", "/series"])
def test_a_strangers_job_is_not_found(bobs: APIClient, cast: Cast, path: str) -> None:
    for job in (cast.theirs.job.pk, "job_" + "a" * 24, "..%2f..", "x" * 3000):
        reply = bobs.get(f"/api/v1/jobs/{job}{path}")
        assert reply.status_code == 404
        assert CANARY not in reply.content.decode()
    for verb in ("cancel", "retry"):
        assert bobs.post(f"/api/v1/jobs/{cast.theirs.job.pk}/{verb}").status_code == 404


def test_nobody_is_asked_to_log_in(api_of: Login, cast: Cast) -> None:
    nobody = api_of(None)
    for path in ("task-templates", "jobs", f"jobs/{cast.ours.job.pk}", f"jobs/{cast.ours.job.pk}/events"):
        assert nobody.get(f"/api/v1/{path}").status_code == 401


def test_the_list_holds_the_teams_own_jobs_and_can_be_narrowed(bobs: APIClient, cast: Cast) -> None:
    waiting = queued(cast.ours.version)
    everything = bobs.get("/api/v1/jobs").json()
    assert [job["id"] for job in everything["results"]] == [waiting.pk, cast.ours.job.pk]
    assert everything["results"][1]["model"] == cast.ours.model.pk
    narrowed = bobs.get("/api/v1/jobs", {"project": cast.ours.project.pk, "state": "queued", "kind": "train"}).json()
    assert [job["id"] for job in narrowed["results"]] == [waiting.pk]


@pytest.mark.parametrize("query", ["created_by__password=x", "state=promoted", "page=0", "page=1e9", "state=a&state=b"])
def test_an_unknown_query_is_refused(bobs: APIClient, query: str) -> None:
    assert bobs.get(f"/api/v1/jobs?{query}").status_code == 422


def test_the_same_request_sent_twice_starts_one_job(bobs: APIClient, cast: Cast) -> None:
    first, second = (
        bobs.post("/api/v1/jobs", _body(cast), headers={"Idempotency-Key": "abc"}).json()["id"] for _ in range(2)
    )
    assert first == second


def test_a_waiting_job_is_cancelled(bobs: APIClient, cast: Cast) -> None:
    job = bobs.post("/api/v1/jobs", _body(cast)).json()["id"]
    reply = bobs.post(f"/api/v1/jobs/{job}/cancel")
    assert (reply.status_code, reply.json()["state"]) == (202, "cancelled")
    again = bobs.post(f"/api/v1/jobs/{job}/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "job_ended")


def test_a_retry_replaces_single_parameters(bobs: APIClient, cast: Cast) -> None:
    failed = queued(cast.ours.version, state="failed", parameters={"epochs": 5})
    reply = bobs.post(f"/api/v1/jobs/{failed.pk}/retry", {"parameters": {"batch_size": 16}})
    assert reply.status_code == 202
    assert reply.json()["parameters"] == {"epochs": 5, "batch_size": 16}
    assert bobs.post(f"/api/v1/jobs/{reply.json()['id']}/retry").status_code == 409


def test_a_failed_job_shows_its_card(bobs: APIClient, cast: Cast) -> None:
    teller = Teller(queued(cast.ours.version))
    teller.start()
    card = JobError("out_of_memory", repair={"action": "retry", "parameters": {"batch_size": 8}}).card()
    teller.say("failed", error=card)
    told = bobs.get(f"/api/v1/jobs/{teller.job.pk}").json()
    assert told["state"] == "failed"
    assert told["error"] == card.model_dump()


def test_why_a_job_waits_is_told(bobs: APIClient, cast: Cast, redis_client: redis.Redis) -> None:
    def why(job: Job) -> str:
        return str(bobs.get(f"/api/v1/jobs/{job.pk}").json()["waiting_because"])

    def runner(job: str | None) -> None:
        status = RunnerStatus(runner="r", queues=[names.QUEUE_TRAIN_CPU], device="cpu", job=job, time=1)
        redis_client.set(names.runner_key("r"), status.model_dump_json())
        redis_client.sadd(names.RUNNERS, "r")

    first, second = queued(cast.ours.version), queued(cast.ours.version)
    urgent = queued(cast.theirs.version, priority=1)
    runner("job_of_somebody")
    assert why(second) == "2 jobs are ahead of it."
    assert why(first) == "1 job is ahead of it."
    urgent.delete()
    assert why(first) == "The runner is busy with another job."
    runner(None)
    assert why(first) == "A runner is about to start it."


def test_the_time_left_shrinks_as_time_passes(bobs: APIClient, cast: Cast) -> None:
    teller = Teller(queued(cast.ours.version))
    teller.start()
    teller.say("progress", fraction=0.5, phase="training", eta_seconds=1000)
    told = bobs.get(f"/api/v1/jobs/{teller.job.pk}").json()
    assert (told["progress"], told["phase"], told["position"]) == (0.5, "training", None)
    assert 0 < told["eta_seconds"] <= 1010


def test_a_long_series_is_thinned_without_losing_its_peaks(bobs: APIClient, cast: Cast) -> None:
    job = cast.ours.job
    values = {step: (9.0 if step == 5003 else -9.0 if step == 7007 else step / 1e4) for step in range(10_000)}
    MetricPoint.objects.bulk_create(
        [MetricPoint(job=job, name="train/loss", step=step, value=value) for step, value in values.items()]
    )
    MetricPoint.objects.create(job=job, name="validation/accuracy", step=1, value=0.5)
    told = bobs.get(f"/api/v1/jobs/{job.pk}/series", {"points": 100}).json()["series"]
    assert [series["name"] for series in told] == ["train/loss", "validation/accuracy"]
    points = {int(step): value for step, value in told[0]["points"]}
    assert told[0]["total"] == 10_000
    assert len(points) <= 100
    assert points[5003] == 9.0
    assert points[7007] == -9.0
    assert {0, 9999} <= set(points)
    assert all(values[step] == value for step, value in points.items())
    only = bobs.get(f"/api/v1/jobs/{job.pk}/series", {"names": "validation/accuracy,no-such"}).json()["series"]
    assert only == [{"name": "validation/accuracy", "total": 1, "points": [[1, 0.5]]}]


@pytest.mark.parametrize("query", ["points=0", "points=99999", "points=x", "job=1", "names=a&names=b"])
def test_an_odd_question_for_series_is_refused(bobs: APIClient, cast: Cast, query: str) -> None:
    assert bobs.get(f"/api/v1/jobs/{cast.ours.job.pk}/series?{query}").status_code == 422


def test_names_of_series_are_never_part_of_the_question_to_the_database(bobs: APIClient, cast: Cast) -> None:
    reply = bobs.get(f"/api/v1/jobs/{cast.ours.job.pk}/series", {"names": 'loss".",x,\'; DROP TABLE x; --'})
    assert reply.json() == {"series": []}

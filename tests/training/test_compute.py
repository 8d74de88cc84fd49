"""Computing time: what was of use, what was lost, what it costs, and limits on both."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from rest_framework.test import APIClient

from apps.teams.models import User
from apps.training import actions
from apps.training.models import Job
from tests.cast import CANARY, Cast
from tests.training.stories import Teller, queued, train_result
from workers.contracts.errors import JobError

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def bobs(api_of: Callable[[User | None], APIClient], cast: Cast) -> APIClient:
    return api_of(cast.bob)


def _told(client: APIClient, job: Job) -> dict[str, Any]:
    reply: dict[str, Any] = client.get(f"/api/v1/jobs/{job.pk}").json()
    return reply


def _priced(cast: Cast, **fields: Any) -> Job:
    return queued(cast.ours.version, price_per_hour=Decimal("3600"), **fields)


def _ask(client: APIClient, cast: Cast, **fields: Any) -> Any:
    ours = cast.ours
    body = {"project": ours.project.pk, "dataset": ours.dataset.pk, "template": "text-classification", **fields}
    return client.post("/api/v1/jobs", body)


def test_what_an_interruption_lost_is_booked_apart_and_costs_nothing(bobs: APIClient, cast: Cast) -> None:
    job = _priced(cast)
    teller = Teller(job)
    teller.start()  # second 1
    teller.checkpoint(100)  # second 2
    teller.say("progress", fraction=0.5, phase="training")  # second 3
    teller.say("interrupted", reason="The runner stopped responding.")  # second 4
    second = Teller(job, attempt=2)
    second.start(resumed_from_step=100)
    job = second.say("succeeded", result=train_result(cast.ours.version, job))
    assert job.state == "succeeded"
    told = _told(bobs, job)
    assert told["seconds"] == {"useful": 2.0, "lost": 2.0}
    assert told["cost"] == "2.0000"


def test_a_failed_job_has_lost_all_its_seconds(bobs: APIClient, cast: Cast) -> None:
    job = _priced(cast)
    teller = Teller(job)
    teller.start()
    teller.checkpoint(100)
    teller.say("failed", error=JobError("not_finite").card().model_dump())
    assert _told(bobs, job)["seconds"] == {"useful": 0.0, "lost": 2.0}
    assert _told(bobs, job)["cost"] == "0.0000"


def test_a_failure_that_can_be_gone_on_from_keeps_what_its_checkpoint_holds(bobs: APIClient, cast: Cast) -> None:
    job = _priced(cast)
    teller = Teller(job)
    teller.start()
    teller.checkpoint(100)
    teller.say("failed", error=JobError("disk_full").card().model_dump())
    assert _told(bobs, job)["seconds"] == {"useful": 1.0, "lost": 1.0}


def test_seconds_of_several_devices_count_for_each(bobs: APIClient, cast: Cast) -> None:
    job = _priced(cast)
    Teller(job).start()
    job.attempts.update(devices=2)
    teller = Teller(job)
    teller.seq = 1
    teller.say("interrupted", reason="The runner stopped responding.")
    assert _told(bobs, job)["seconds"] == {"useful": 0.0, "lost": 2.0}


def test_a_time_limit_is_taken_along(bobs: APIClient, cast: Cast) -> None:
    reply = _ask(bobs, cast, limits={"minutes": 12.5})
    assert reply.status_code == 202
    job = Job.objects.get(pk=reply.json()["id"])
    assert job.time_limit_s == 750
    assert actions.retry_job(actor=cast.bob, job=_over(job)).time_limit_s == 750


def _over(job: Job) -> Job:
    Job.objects.filter(pk=job.pk).update(state=Job.State.CANCELLED)
    job.refresh_from_db()
    return job


def test_a_cost_limit_is_a_time_limit_by_the_price(bobs: APIClient, cast: Cast, settings: Any) -> None:
    settings.SLIPWAY_CPU_HOUR_PRICE = Decimal("0.50")
    reply = _ask(bobs, cast, limits={"cost": "0.25", "minutes": 600})
    job = Job.objects.get(pk=reply.json()["id"])
    assert (job.time_limit_s, job.price_per_hour, job.cost_limit) == (1800, Decimal("0.50"), Decimal("0.25"))


@pytest.mark.parametrize("limits", [{"minutes": 0}, {"minutes": 1e9}, {"cost": "-1"}, {"cost": "1"}, {"hours": 1}])
def test_limits_that_cannot_be_kept_are_refused(bobs: APIClient, cast: Cast, limits: dict[str, Any]) -> None:
    reply = _ask(bobs, cast, limits=limits)
    assert reply.status_code == 422, reply.json()
    assert any("limits" in field["field"] for field in reply.json()["error"]["params"]["fields"])


def test_the_team_sees_computing_time_by_project(bobs: APIClient, cast: Cast) -> None:
    job = _priced(cast)
    teller = Teller(job)
    teller.start()
    teller.say("failed", error=JobError("not_finite").card().model_dump())
    (row,) = bobs.get("/api/v1/usage/compute", {"team": cast.ours.team.pk}).json()["results"]
    assert (row["project"], row["device"], row["jobs"]) == (cast.ours.project.pk, "cpu", 1)
    assert (row["useful_seconds"], row["lost_seconds"], row["cost"]) == (0.0, 1.0, "0.0000")
    assert bobs.get("/api/v1/usage/compute", {"to": "2020-01-01"}).json()["results"] == []


def test_a_strangers_computing_time_is_not_told(api_of: Any, bobs: APIClient, cast: Cast) -> None:
    teller = Teller(queued(cast.theirs.version))
    teller.start()
    teller.say("failed", error=JobError("not_finite").card().model_dump())
    assert bobs.get("/api/v1/usage/compute").json()["results"] == []
    refused = bobs.get("/api/v1/usage/compute", {"team": cast.theirs.team.pk})
    assert refused.status_code == 404
    assert CANARY not in refused.content.decode()

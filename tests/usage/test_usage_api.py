"""GET /usage and /usage.csv: the ledger's sums, for those who may see them."""

import csv
import io
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from rest_framework.test import APIClient

from apps.teams.models import Membership
from apps.usage.recorder import Recorder
from tests.cast import Cast
from tests.usage.records import record, send

Api = Callable[[Any], APIClient]


@pytest.fixture
def used(cast: Cast, redis_client: redis.Redis) -> Cast:
    """Two answers and a refusal of ours, one answer of theirs."""
    send(
        redis_client,
        record(cast.ours, items=3, latency_us=1000),
        record(cast.ours, items=2, latency_us=100_000),
        record(cast.ours, status=422, code="input_invalid", items=0, key=None, model=None),
        record(cast.theirs, items=100),
    )
    Recorder(redis_client).step(block_ms=1)
    return cast


def rows(reply: Any) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.content
    found: list[dict[str, Any]] = reply.json()["results"]
    return found


def test_sums_by_status(used: Cast, api_of: Api) -> None:
    found = rows(api_of(used.victor).get("/api/v1/usage", {"by": "day", "group": "status"}))
    assert [(row["status"], row["requests"], row["items"], row["errors"]) for row in found] == [
        (200, 2, 5, 0),
        (422, 1, 0, 1),
    ]
    assert found[0]["p50_ms"] == pytest.approx(1, rel=0.1) and found[0]["p99_ms"] == pytest.approx(100, rel=0.1)
    assert datetime.fromisoformat(found[0]["start"]).date() == datetime.now(UTC).date()


@pytest.mark.parametrize("by", ["minute", "hour", "day"])
@pytest.mark.parametrize("group", ["endpoint", "key", "model", "status", "source", None])
def test_every_step_and_group_tells_the_same_total(used: Cast, api_of: Api, by: str, group: str | None) -> None:
    query = {"by": by, "endpoint": used.ours.endpoint.pk, **({"group": group} if group else {})}
    found = rows(api_of(used.bob).get("/api/v1/usage", query))
    assert sum(row["requests"] for row in found) == 3 and sum(row["items"] for row in found) == 5
    text = api_of(used.bob).get("/api/v1/usage.csv", query).content.decode()
    table = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["requests"]) for row in table] == [row["requests"] for row in found]
    assert list(table[0]) == list(found[0])


def test_of_several_teams_each_sees_its_own(used: Cast, api_of: Api) -> None:
    assert sum(row["requests"] for row in rows(api_of(used.charlie).get("/api/v1/usage"))) == 1
    assert sum(row["requests"] for row in rows(api_of(used.alice).get("/api/v1/usage"))) == 3
    Membership.objects.create(team=used.theirs.team, user=used.alice, role="viewer")
    assert sum(row["requests"] for row in rows(api_of(used.alice).get("/api/v1/usage"))) == 4


def test_a_strangers_usage_does_not_exist(used: Cast, api_of: Api) -> None:
    for name, of_us in (
        ("endpoint", used.ours.endpoint.pk),
        ("project", used.ours.project.pk),
        ("team", used.ours.team.pk),
    ):
        for path in ("/api/v1/usage", "/api/v1/usage.csv"):
            reply = api_of(used.charlie).get(path, {name: of_us})
            assert reply.status_code == 404 and reply.json()["error"]["code"] == "not_found"
    assert api_of(None).get("/api/v1/usage").status_code == 401


@pytest.mark.parametrize(
    "query",
    [
        "team__name__startswith=a",
        "group=created_by__email",
        "by=second",
        "from=yesterday",
        "to=1e999",
        "by=day&by=hour",
    ],
)
def test_what_is_not_known_is_422(used: Cast, api_of: Api, query: str) -> None:
    assert api_of(used.alice).get(f"/api/v1/usage?{query}").status_code == 422


def test_time_is_from_and_before(used: Cast, api_of: Api) -> None:
    now = datetime.now(UTC)
    api = api_of(used.alice)
    assert rows(api.get("/api/v1/usage", {"from": (now + timedelta(hours=1)).isoformat()})) == []
    assert rows(api.get("/api/v1/usage", {"to": (now - timedelta(hours=1)).isoformat()})) == []
    span = {"from": now.date().isoformat(), "to": (now + timedelta(days=1)).date().isoformat()}
    assert sum(row["requests"] for row in rows(api.get("/api/v1/usage", span))) == 3


def test_an_endpoint_that_was_deleted_keeps_its_usage(used: Cast, api_of: Api) -> None:
    api = api_of(used.alice)
    assert api.delete(f"/api/v1/endpoints/{used.ours.endpoint.pk}").status_code == 204
    assert sum(row["requests"] for row in rows(api.get("/api/v1/usage", {"endpoint": used.ours.endpoint.pk}))) == 3


def test_too_many_steps_are_refused_with_a_hint(used: Cast, redis_client: redis.Redis, api_of: Api) -> None:
    """By the minute over all time, where that is long."""
    assert rows(api_of(used.bob).get("/api/v1/usage", {"by": "minute"}))
    old = datetime.now(UTC) - timedelta(days=8)
    redis_client.xadd(
        "slipway:usage", {"r": record(used.ours, time=old.timestamp()).model_dump_json(), "t": time.time()}
    )
    Recorder(redis_client).step(block_ms=1)
    for path in ("/api/v1/usage", "/api/v1/usage.csv"):
        reply = api_of(used.bob).get(path, {"by": "minute"})
        assert reply.status_code == 422 and "`from`" in reply.json()["error"]["hint"]
        assert reply.json()["error"]["params"]["fields"][0]["field"] == "by"
    since = {"by": "minute", "from": (old + timedelta(days=2)).isoformat()}
    assert sum(row["requests"] for row in rows(api_of(used.bob).get("/api/v1/usage", since))) == 3
    assert sum(row["requests"] for row in rows(api_of(used.bob).get("/api/v1/usage", {"by": "hour"}))) == 4


def test_a_year_of_minutes_is_summed_in_the_database(cast: Cast, redis_client: redis.Redis, api_of: Api) -> None:
    from apps.usage.models import MinuteRollup

    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=30)
    MinuteRollup.objects.bulk_create(
        MinuteRollup(
            minute=start + timedelta(minutes=number),
            team_id=cast.ours.team.pk,
            project_id=cast.ours.project.pk,
            endpoint_id=cast.ours.endpoint.pk,
            status=200,
            requests=1,
            items=1,
            compute_us=1,
            latency_histogram=[1] + [0] * 95,
        )
        for number in range(20_000)
    )
    started = time.perf_counter()
    found = rows(api_of(cast.alice).get("/api/v1/usage", {"by": "day"}))
    assert sum(row["requests"] for row in found) == 20_000
    assert time.perf_counter() - started < 5

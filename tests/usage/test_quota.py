"""A team is warned once when most of its month's requests are used, and once when all are."""

from typing import Any

import pytest
import redis
from django.test import Client

from apps.core.models import AuditEntry
from apps.endpoints import publish
from apps.teams.models import Team
from apps.usage import quota
from apps.usage.recorder import Recorder
from tests.cast import Cast
from tests.usage.records import record, send


@pytest.fixture
def use(cast: Cast, redis_client: redis.Redis, django_capture_on_commit_callbacks: Any) -> Any:
    """Answer some requests, and let the control plane look."""

    def answer(count: int) -> int:
        send(redis_client, *[record(cast.ours) for _ in range(count)], record(cast.ours, status=422, items=0))
        Recorder(redis_client).step(block_ms=1)
        with django_capture_on_commit_callbacks(execute=True):
            return quota.warn() + quota.warn()

    return answer


def test_warnings_come_once_each(cast: Cast, use: Any, mailoutbox: list[Any]) -> None:
    Team.objects.filter(pk=cast.ours.team.pk).update(monthly_requests=10)
    assert [use(7), use(1), use(1), use(1), use(1)] == [0, 1, 0, 1, 0]
    assert sorted(mail.to[0] for mail in mailoutbox) == sorted([cast.alice.email, cast.ada.email] * 2)
    assert "80 %" in mailoutbox[0].subject and "all" in mailoutbox[-1].subject
    events = AuditEntry.objects.filter(team=cast.ours.team, event__startswith="team.quota").order_by("created")
    assert [entry.event for entry in events] == ["team.quota_nearly_used_up", "team.quota_used_up"]


def test_who_uses_all_at_once_is_told_only_that(cast: Cast, use: Any, mailoutbox: list[Any]) -> None:
    Team.objects.filter(pk=cast.ours.team.pk).update(monthly_requests=5)
    assert use(6) == 1 and len(mailoutbox) == 2


def test_another_limit_is_another_quota(cast: Cast, use: Any) -> None:
    Team.objects.filter(pk=cast.ours.team.pk).update(monthly_requests=5)
    assert use(5) == 1
    Team.objects.filter(pk=cast.ours.team.pk).update(monthly_requests=10)
    assert [use(1), use(2)] == [0, 1]


def test_an_owner_sets_the_limit(cast: Cast, use: Any, api_of: Any, django_capture_on_commit_callbacks: Any) -> None:
    address = f"/api/v1/teams/{cast.ours.team.pk}/limits"
    use(3)
    with django_capture_on_commit_callbacks(execute=True):
        reply = api_of(cast.alice).put(address, {"monthly_requests": 10}, format="json")
    assert reply.json() == {"monthly_requests": 10, "used": 3, "left": 7, "subjects": []}
    assert publish.build(1).teams[cast.ours.team.pk].requests_left == 7
    assert api_of(cast.victor).get(address).json()["left"] == 7
    assert api_of(cast.alice).put(address, {"monthly_requests": -1}, format="json").status_code == 422
    assert api_of(cast.alice).put(address, {"monthly_requests": None}, format="json").json()["left"] is None
    assert AuditEntry.objects.filter(event="team.limits_changed").count() == 2


@pytest.mark.parametrize("kind", ["key", "endpoint"])
def test_endpoints_and_keys_have_quotas_of_their_own(
    cast: Cast, use: Any, api_of: Any, browser_of: Any, mailoutbox: list[Any], kind: str
) -> None:
    address, subject = f"/api/v1/teams/{cast.ours.team.pk}/limits", getattr(cast.ours, kind)
    reply = api_of(cast.alice).put(address, {"subjects": {subject.pk: 5}}, format="json")
    assert reply.json()["subjects"] == [{"id": subject.pk, "monthly_requests": 5, "used": 0, "left": 5}]
    assert [use(3), use(1), use(1)] == [0, 1, 1]
    assert publish.build(1).requests_left == {subject.pk: 0} and publish.build(1).teams == {}
    assert subject.name in mailoutbox[0].subject and "80 %" in mailoutbox[0].subject
    page = browser_of(cast.bob).get(f"/teams/{cast.ours.team.pk}").content
    assert b'data-quota="100"' in page and b'data-quota="80"' not in page and subject.name.encode() in page
    theirs = {"subjects": {getattr(cast.theirs, kind).pk: 5}}
    assert api_of(cast.alice).put(address, theirs, format="json").status_code == 404
    gone = api_of(cast.alice).put(address, {"subjects": {subject.pk: None}}, format="json")
    assert gone.json()["subjects"] == [] and publish.build(1).requests_left == {}


def test_pages_show_the_warning(cast: Cast, use: Any, browser_of: Any) -> None:
    client: Client = browser_of(cast.bob)
    address = f"/teams/{cast.ours.team.pk}"
    Team.objects.filter(pk=cast.ours.team.pk).update(monthly_requests=5)
    assert b"data-quota" not in client.get(address).content
    use(4)
    assert b'data-quota="80"' in client.get(address).content
    use(1)
    assert b'data-quota="100"' in client.get(f"{address}/usage").content
    assert b"data-quota" not in browser_of(cast.charlie).get(f"/teams/{cast.theirs.team.pk}").content

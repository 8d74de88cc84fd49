"""Loops that have gone wrong are slowed down: 429 with Retry-After, for one person, not for the others."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from apps.core import throttle
from apps.teams.models import ApiKey
from tests.cast import Cast

pytestmark = pytest.mark.usefixtures("redis_client")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test reaches; and a minute that does not end in its middle."""
    monkeypatch.setattr(throttle, "PER_MINUTE", dict.fromkeys(throttle.PER_MINUTE, 2))
    monkeypatch.setattr(throttle, "clock", lambda: 1_800_000_015.0)


def bodies(cast: Cast) -> dict[str, dict[str, Any]]:
    project, team, dataset = cast.ours.project.pk, cast.ours.team.pk, cast.ours.dataset.pk
    return {
        "/api/v1/jobs": {"project": project, "dataset": dataset, "template": cast.ours.model.template},
        "/api/v1/datasets": {"project": project, "name": "again", "kind": "text", "upload": "upl_" + "a" * 24},
        "/api/v1/keys": {"team": team, "name": "again"},
        f"/api/v1/teams/{team}/invitations": {"email": "new@example.com", "role": "viewer"},
        "/api/v1/tokens": {"name": "again"},
    }


def test_each_way_to_begin_something_is_bounded_for_one_person(cast: Cast, api_of: Callable[[Any], APIClient]) -> None:
    alice, bob = api_of(cast.alice), api_of(cast.bob)
    for address, body in bodies(cast).items():
        replies = [alice.post(address, body, format="json") for _ in range(3)]
        if address == "/api/v1/datasets":  # its upload does not exist: nothing was begun
            assert {reply.status_code for reply in replies} == {404}
            continue
        assert [reply.status_code == 429 for reply in replies] == [False, False, True], (address, replies[0].content)
        error = replies[2].json()["error"]
        assert (error["code"], error["params"]["retry_after"], replies[2]["Retry-After"]) == ("rate_limited", 45, "45")
        assert bob.post(address, body, format="json").status_code != 429
    assert ApiKey.objects.filter(name="again", created_by=cast.alice).count() == 2


def test_a_form_says_it_in_words(cast: Cast, browser_of: Callable[[Any], Client]) -> None:
    client, address = browser_of(cast.alice), f"/teams/{cast.ours.team.pk}/keys"
    form = {"name": "again", "expires": "90"}
    replies = [client.post(address, form) for _ in range(3)]
    assert replies[2].status_code == 422 and "Too many requests." in replies[2].content.decode()


@pytest.mark.django_db
def test_signing_in_is_bounded_and_says_when_to_come_again(client: Client) -> None:
    form = {"login": "nobody@example.com", "password": "not the one"}
    replies = [client.post("/accounts/login/", form) for _ in range(31)]
    assert replies[0].status_code == 200
    assert replies[-1].status_code == 429 and replies[-1]["Retry-After"] == "60"
    assert "Too many requests." in replies[-1].content.decode()

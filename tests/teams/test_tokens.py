"""Personal tokens: they act as their user, for as long as the user may act."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from apps.teams import actions
from apps.teams.models import Membership, PersonalToken
from tests.cast import Cast, make_token
from workers.contracts.errors import UserError

ME = "/api/v1/me"
ApiOf = Callable[..., APIClient]


def test_a_token_is_shown_once_and_stored_as_a_digest(cast: Cast, api_of: ApiOf) -> None:
    reply = api_of(cast.bob).post("/api/v1/tokens", {"name": "laptop"})
    assert reply.status_code == 201
    text = reply.json()["token"]
    assert text not in str(list(PersonalToken.objects.values()))
    listed = api_of(cast.bob).get("/api/v1/tokens").json()["results"]
    assert any(row["id"] == reply.json()["id"] for row in listed)
    assert all("token" not in row for row in listed)


def test_a_revoked_token_opens_nothing(cast: Cast, api_of: ApiOf) -> None:
    client = api_of(cast.bob)
    token = PersonalToken.objects.get(user=cast.bob)
    assert client.delete(f"/api/v1/tokens/{token.pk}").status_code == 204
    assert client.get(ME).status_code == 401


def test_an_expired_token_opens_nothing(cast: Cast, api_of: ApiOf) -> None:
    client = api_of(cast.bob)
    PersonalToken.objects.update(expires=timezone.now() - timedelta(seconds=1))
    assert client.get(ME).status_code == 401


def test_a_deactivated_users_token_and_session_end_at_once(
    cast: Cast, api_of: ApiOf, browser_of: Callable[..., Client]
) -> None:
    client, browser = api_of(cast.bob), browser_of(cast.bob)
    assert (client.get(ME).status_code, browser.get(ME).status_code) == (200, 200)
    cast.bob.is_active = False
    cast.bob.save()
    assert (client.get(ME).status_code, browser.get(ME).status_code) == (401, 401)


def test_a_removed_member_finds_nothing_at_once(cast: Cast, api_of: ApiOf) -> None:
    client, address = api_of(cast.bob), f"/api/v1/projects/{cast.ours.project.pk}"
    assert client.get(address).status_code == 200
    actions.remove_member(actor=cast.alice, membership=Membership.objects.get(user=cast.bob))
    assert client.get(address).status_code == 404


def test_nobody_revokes_anothers_token(cast: Cast, api_of: ApiOf) -> None:
    make_token(cast.alice)
    token = PersonalToken.objects.get(user=cast.alice)
    assert api_of(cast.bob).delete(f"/api/v1/tokens/{token.pk}").status_code == 404


def test_a_user_has_a_bounded_number_of_tokens(cast: Cast) -> None:
    for _ in range(actions.TOKENS_PER_USER):
        make_token(cast.bob)
    with pytest.raises(UserError, match="too_many_tokens"):
        actions.create_personal_token(actor=cast.bob, name="one more")


def test_a_token_in_the_address_counts_for_nothing(cast: Cast) -> None:
    text = make_token(cast.bob)
    assert Client().get(ME, {"api_key": text, "token": text}).status_code == 401


def test_whoever_sends_a_bad_token_is_not_saved_by_a_cookie(cast: Cast, browser_of: Callable[..., Client]) -> None:
    browser = browser_of(cast.bob)
    assert browser.get(ME, headers={"Authorization": "Bearer swt_no"}).status_code == 401


def test_a_token_needs_no_csrf_token_and_ignores_the_cookie(cast: Cast, browser_of: Callable[..., Client]) -> None:
    browser = browser_of(cast.bob, csrf=True)
    headers = {"Authorization": f"Bearer {make_token(cast.alice)}"}
    reply = browser.post("/api/v1/projects", {"name": "By token"}, content_type="application/json", headers=headers)
    assert reply.status_code == 201
    assert cast.ours.team.projects.get(name="By token").created_by == cast.alice

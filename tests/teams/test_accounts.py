"""Accounts: by address only, with a team of one's own, and silent about who else has one."""

import re

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings as django_settings
from django.core import mail
from django.core.cache import cache
from django.test import Client
from pytest_django.fixtures import Settings

from apps.teams.models import Membership, Role, User

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]
PASSWORD = "seven grey geese"
SESSION = django_settings.SESSION_COOKIE_NAME


def sign_up(email: str, **fields: str) -> Client:
    client = Client()
    form = {"email": email, "password1": PASSWORD, "password2": PASSWORD, **fields}
    reply = client.post("/accounts/signup/", form)
    assert reply.status_code == 302, reply.content.decode()
    return client


def test_signing_up_makes_a_team_and_its_owner() -> None:
    client = sign_up("Nina@Example.com", name="Nina")
    membership = Membership.objects.get(user__email="nina@example.com")
    assert (membership.team.name, membership.role) == ("Nina's team", Role.OWNER)
    assert client.get("/api/v1/me").json()["teams"][0]["id"] == membership.team_id


def test_the_team_can_be_named() -> None:
    sign_up("nina@example.com", team_name="Grey Geese")
    assert Membership.objects.get(user__email="nina@example.com").team.name == "Grey Geese"


def test_an_address_is_confirmed_by_the_link_in_the_mail_and_work_need_not_wait_for_it() -> None:
    client = sign_up("nina@example.com")
    assert client.get("/api/v1/me").status_code == 200
    assert not EmailAddress.objects.get(email="nina@example.com").verified
    link = re.search(r"/accounts/confirm-email/\S+", str(mail.outbox[-1].body))
    assert link
    assert client.get(link[0]).status_code == 200
    assert client.post(link[0]).status_code == 302
    assert EmailAddress.objects.get(email="nina@example.com").verified


def test_a_second_sign_up_with_an_address_tells_only_its_owner(settings: Settings) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    form = {"password1": PASSWORD, "password2": PASSWORD}
    first = Client().post("/accounts/signup/", {"email": "nina@example.com", **form})
    EmailAddress.objects.update(verified=True)
    cache.clear()  # three minutes later: mail to one address is limited
    again = Client().post("/accounts/signup/", {"email": "Nina@Example.com", **form})
    assert (first.status_code, first["Location"]) == (again.status_code, again["Location"])
    assert User.objects.filter(email="nina@example.com").count() == 1
    assert "already exists" in mail.outbox[-1].body


def test_weak_passwords_are_refused() -> None:
    for password in ("short", "password123", "1234567890"):
        form = {"email": "weak@example.com", "password1": password, "password2": password}
        assert Client().post("/accounts/signup/", form).status_code == 200
    assert not User.objects.filter(email="weak@example.com").exists()


def test_login_is_by_address_in_any_case_and_renews_the_session() -> None:
    sign_up("nina@example.com")
    client = Client()
    client.get("/accounts/login/")
    client.cookies[SESSION] = "planted"
    reply = client.post("/accounts/login/", {"login": "NINA@example.com", "password": PASSWORD})
    assert reply.status_code == 302
    assert client.cookies[SESSION].value not in ("", "planted")
    assert client.get("/api/v1/me").status_code == 200


def test_a_password_is_reset_by_the_link_in_the_mail() -> None:
    sign_up("nina@example.com")
    old = Client()
    old.post("/accounts/login/", {"login": "nina@example.com", "password": PASSWORD})
    client = Client()
    client.post("/accounts/password/reset/", {"email": "nina@example.com"})
    found = re.search(r"https?://[^/]+(/accounts/password/reset/key/\S+)", mail.outbox[-1].body)
    assert found, mail.outbox[-1].body
    form = client.get(found.group(1))
    assert form.status_code == 302, "the key leaves the address before the form is shown"
    changed = {"password1": "nine blue herons", "password2": "nine blue herons"}
    assert client.post(form["Location"], changed).status_code == 302
    assert Client().get(found.group(1)).status_code == 200  # used up: the page says so
    assert old.get("/api/v1/me").status_code == 401, "other sessions end with the old password"
    again = Client().post("/accounts/login/", {"login": "nina@example.com", "password": "nine blue herons"})
    assert again.status_code == 302


def test_a_reset_for_an_unknown_address_looks_the_same() -> None:
    sign_up("nina@example.com")
    known = Client().post("/accounts/password/reset/", {"email": "nina@example.com"})
    unknown = Client().post("/accounts/password/reset/", {"email": "nobody@example.com"})
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])


def test_guessing_a_password_is_limited() -> None:
    sign_up("nina@example.com")
    guess = {"login": "nina@example.com", "password": "wrong"}
    for _ in range(6):
        last = Client().post("/accounts/login/", guess)
    right = Client().post("/accounts/login/", {"login": "nina@example.com", "password": PASSWORD})
    assert last.status_code == 200
    assert right.status_code == 200, "the right password must not get through the limit either"


@pytest.mark.parametrize(
    "target",
    [
        "//evil.test",
        "https:evil.test",
        "/\\evil.test",
        "/%09/evil.test",
        "http:///evil.test",
        "https://testserver@evil.test",
        "javascript:alert(1)",
    ],
)
def test_login_leads_to_no_other_host(target: str) -> None:
    sign_up("nina@example.com")
    reply = Client().post("/accounts/login/", {"login": "nina@example.com", "password": PASSWORD, "next": target})
    location = reply["Location"]
    assert location.startswith("/") and not location.startswith(("//", "/\\")), location

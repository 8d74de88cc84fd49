"""Signing in with a second factor: the password alone opens nothing, and neither does a new one."""

import re
import time
from collections.abc import Sequence

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core.mail import EmailMessage
from django.test import Client

from apps.teams.models import User
from tests.cast import make_user

pytestmark = pytest.mark.django_db

PASSWORD = "a long good password"


@pytest.fixture
def secret() -> str:
    return str(generate_totp_secret())


@pytest.fixture
def nina(secret: str, redis_client: object) -> User:
    """Somebody with a second factor."""
    user = make_user("nina")
    user.set_password(PASSWORD)
    user.save()
    TOTP.activate(user, secret)
    return user


def code(secret: str) -> str:
    """What her device shows now."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))


def is_in(client: Client) -> bool:
    """Whether the browser is signed in: the page of one's own account is shown to nobody else."""
    return client.get("/accounts/email/").status_code == 200


def test_the_password_alone_opens_nothing_and_a_code_works_once(nina: User, secret: str) -> None:
    client = Client()
    reply = client.post("/accounts/login/", {"login": nina.email, "password": PASSWORD})
    assert reply.status_code == 302 and "2fa" in reply["Location"]
    assert not is_in(client)
    wrong = "000000" if code(secret) != "000000" else "111111"
    client.post(reply["Location"], {"code": wrong})
    assert not is_in(client)
    used = code(secret)
    client.post(reply["Location"], {"code": used})
    assert is_in(client)
    other = Client()
    step = other.post("/accounts/login/", {"login": nina.email, "password": PASSWORD})["Location"]
    other.post(step, {"code": used})
    assert not is_in(other)


def test_a_new_password_does_not_do_away_with_it(nina: User, mailoutbox: Sequence[EmailMessage]) -> None:
    client = Client()
    client.post("/accounts/password/reset/", {"email": nina.email})
    (found,) = re.findall(r"http://\S+?(/accounts/password/reset/key/\S+)", mailoutbox[-1].body)
    page = client.get(found)["Location"]
    client.post(page, {"password1": "another long good password"})
    assert not is_in(client)
    client.post("/accounts/login/", {"login": nina.email, "password": "another long good password"})
    assert not is_in(client)
    assert Authenticator.objects.filter(user=nina).exists()


def test_a_very_long_password_is_refused_and_signs_in_nobody(nina: User) -> None:
    reply = Client().post("/accounts/login/", {"login": nina.email, "password": "x" * 1_000_000})
    assert reply.status_code in (200, 400, 422)

"""Signing in while Redis, which counts the attempts, is away."""

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from tests.cast import make_user


@pytest.mark.django_db
def test_nobody_guesses_passwords_uncounted(settings: Settings) -> None:
    user = make_user("nina")
    user.set_password("a long good password")
    user.save()
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}}
    client = Client(raise_request_exception=False)
    reply = client.post("/accounts/login/", {"login": user.email, "password": "a long good password"})
    assert reply.status_code == 503, reply.content[:300]
    assert client.get("/accounts/login/").status_code == 200

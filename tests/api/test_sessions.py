"""The API by the browser's session: writes need the CSRF token, and a type that no form of another site can send."""

import json
from collections.abc import Callable

import pytest
from django.conf import settings
from django.test import Client

from apps.projects.models import Project
from tests.access.matrix import API, Line
from tests.access.routes import fill
from tests.api.test_error_shape import UNKNOWN, one_shape
from tests.cast import Cast

BrowserOf = Callable[..., Client]
WRITES = [line for line in API if line.method not in ("GET", "HEAD")]


@pytest.fixture
def browser(cast: Cast, browser_of: BrowserOf) -> Client:
    """Bob's browser, with a CSRF cookie."""
    client = browser_of(cast.bob, csrf=True)
    client.get("/account")
    return client


def token_of(browser: Client) -> str:
    return browser.cookies[settings.CSRF_COOKIE_NAME].value


@pytest.mark.parametrize("line", WRITES, ids=lambda line: f"{line.method} {line.route}")
def test_no_write_without_the_csrf_token(line: Line, browser: Client) -> None:
    address = fill(line.route, UNKNOWN)
    one_shape(browser.generic(line.method, address, b"{}", content_type="application/json"), 403, "csrf_failed")


def test_a_write_with_the_csrf_token_passes(browser: Client) -> None:
    headers = {"X-CSRFToken": token_of(browser)}
    reply = browser.post("/api/v1/projects", {"name": "By session"}, content_type="application/json", headers=headers)
    assert reply.status_code == 201


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_form_of_another_site_is_refused_even_with_the_token(browser: Client, content_type: str) -> None:
    body, headers = json.dumps({"name": "Forged"}), {"X-CSRFToken": token_of(browser)}
    reply = browser.generic("POST", "/api/v1/projects", body, content_type=content_type, headers=headers)
    one_shape(reply, 415)
    assert not Project.objects.filter(name="Forged").exists()


@pytest.mark.parametrize("origin", ["https://evil.test", "null"])
def test_another_origin_is_refused_and_given_no_leave(browser: Client, origin: str) -> None:
    headers = {"X-CSRFToken": token_of(browser), "Origin": origin}
    reply = browser.post("/api/v1/projects", {"name": "x"}, content_type="application/json", headers=headers)
    one_shape(reply, 403, "csrf_failed")
    assert "Access-Control-Allow-Origin" not in reply


def test_a_page_form_without_the_token_gets_a_page(cast: Cast, browser_of: BrowserOf) -> None:
    reply = browser_of(cast.bob, csrf=True).post("/teams/new", {"name": "Forged"})
    assert reply.status_code == 403
    assert reply["Content-Type"].startswith("text/html")
    assert reply["X-Request-Id"] in reply.content.decode()


def test_htmx_gets_a_fragment_of_an_error(cast: Cast, browser_of: BrowserOf) -> None:
    browser = browser_of(cast.bob)
    whole = browser.get(f"/projects/{cast.theirs.project.pk}")
    part = browser.get(f"/projects/{cast.theirs.project.pk}", headers={"HX-Request": "true"})
    assert (whole.status_code, part.status_code) == (404, 404)
    assert "<html" in whole.content.decode()
    assert "<html" not in part.content.decode()


def test_of_two_sessions_none_counts(cast: Cast) -> None:
    """A neighbour on the host may plant a cookie beside ours, but cannot choose whose session is used."""
    name = str(settings.SESSION_COOKIE_NAME)
    client = Client()
    client.force_login(cast.bob)
    value = client.cookies[name].value
    for cookies, status in (
        (f"{name}={value}", 200),
        (f"{name}={value}; {name}=planted", 302),
        (f"{name}=planted; {name}={value}", 302),
        (f"={name}={value}", 302),
    ):
        assert Client().get("/account", headers={"Cookie": cookies}).status_code == status, cookies

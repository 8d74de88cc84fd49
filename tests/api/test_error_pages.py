"""Errors as pages: plain words, a request id, and never a blank or a traceback."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.test import AsyncClient, Client

from tests.access.matrix import PAGES, Line
from tests.access.routes import fill
from tests.api.test_error_shape import UNKNOWN
from tests.cast import Cast

pytestmark = pytest.mark.django_db
BrowserOf = Callable[..., Client]
FORMS = [line for line in PAGES if line.method == "POST"]


def a_page(response: Any, status: int) -> str:
    """The text of an error page, its form checked."""
    assert response.status_code == status
    assert response["Content-Type"].startswith("text/html")
    assert "default-src 'self'" in response["Content-Security-Policy"]
    text = str(response.content.decode())
    assert response["X-Request-Id"] in text
    return text


@pytest.mark.parametrize("line", FORMS, ids=lambda line: line.route)
def test_no_page_takes_a_form_without_the_csrf_token(line: Line, cast: Cast, browser_of: BrowserOf) -> None:
    reply = browser_of(cast.alice, csrf=True).post(fill(line.route, UNKNOWN | {"token": "x"}), {"name": "Forged"})
    a_page(reply, 403)


def test_what_is_not_there_has_a_page(client: Client, cast: Cast, browser_of: BrowserOf) -> None:
    a_page(client.get("/nothing/here"), 404)
    a_page(browser_of(cast.alice).get(f"/projects/{cast.theirs.project.pk}"), 404)


def test_a_host_that_is_not_ours_gets_a_page(client: Client) -> None:
    assert "evil.test" not in a_page(client.get("/", headers={"Host": "evil.test"}), 400)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Make the front page raise."""

    def fail(error: Exception) -> None:
        def broken(*args: Any, **kwargs: Any) -> None:
            raise error

        monkeypatch.setattr("apps.core.views.render", broken)

    return fail


def test_a_bug_has_a_page_that_tells_nothing(client: Client, failing: Callable[[Exception], None]) -> None:
    failing(KeyError("a secret in /srv/slipway"))
    client.raise_request_exception = False
    assert "secret" not in a_page(client.get("/"), 500)


def test_a_database_that_is_away_has_a_page(client: Client, failing: Callable[[Exception], None]) -> None:
    failing(OperationalError("connection refused"))
    client.raise_request_exception = False
    response = client.get("/")
    assert "refused" not in a_page(response, 503)
    assert response["Retry-After"] == "5"


def test_an_error_page_that_fails_does_not_hide_the_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("no menu without a database")

    monkeypatch.setattr("apps.core.errors.loader.select_template", broken)
    assert "There is nothing here" in a_page(client.get("/nothing/here"), 404)


@pytest.mark.django_db(transaction=True)
async def test_the_deployed_server_answers_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    client = AsyncClient(raise_request_exception=False)
    a_page(await client.get("/nothing/here"), 404)
    api = await client.get("/api/v1/nothing")
    assert (api.status_code, api.json()["error"]["code"]) == (404, "not_found")
    assert api.json()["error"]["request_id"] == api["X-Request-Id"]

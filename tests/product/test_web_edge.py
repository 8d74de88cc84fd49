"""What every answer of the web process carries, whoever asks and whatever happens."""

import re

import httpx
import pytest

from tests.stack import Stack

PATHS = [
    "/",
    "/healthz",
    "/readyz",
    "/accounts/login/",
    "/api/v1/schema",
    "/api/v1/docs",
    "/api/v1/me",
    "/nothing-here",
]


@pytest.fixture(scope="module")
def web(stack: Stack) -> httpx.Client:
    return httpx.Client(base_url=stack.url, timeout=20)


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_wrapped_in_security_headers(web: httpx.Client, path: str) -> None:
    headers = web.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "object-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "*" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] in ("no-store", "max-age=0, no-cache, no-store, must-revalidate, private")
    assert headers["X-Request-Id"]
    assert "Server" not in headers
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_foreign_host_name_is_refused(web: httpx.Client, method: str) -> None:
    reply = web.request(method, "/api/v1/me", headers={"Host": "evil.test"})
    assert reply.status_code == 400
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_it_says_that_it_lives_and_is_ready(web: httpx.Client) -> None:
    assert web.get("/healthz").json() == {"status": "live"}
    assert web.get("/readyz").json() == {"status": "ready", "database": True, "redis": True}


def test_the_font_that_pages_preload_is_the_one_that_the_style_names(web: httpx.Client) -> None:
    entrance = web.get("/accounts/login/").text
    font = re.search(r'rel="preload" href="([^"]+)"', entrance)
    style = re.search(r'href="(/static/css/base[^"]*)"', entrance)
    assert font and style
    assert font[1].rpartition("/")[2] in web.get(style[1]).text


def test_the_api_documents_itself(web: httpx.Client) -> None:
    schema = web.get("/api/v1/schema").json()
    assert {"/api/v1/me", "/api/v1/projects", "/api/v1/jobs", "/api/v1/endpoints"} <= set(schema["paths"])
    page = web.get("/api/v1/docs")
    assert page.status_code == 200
    assert "<style" not in page.text and "unpkg" not in page.text and "jsdelivr" not in page.text
    for part in ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js"):
        assert web.get(f"/static/vendor/swagger-ui/{part}").status_code == 200


def test_static_files_are_kept_by_browsers_under_names_that_change(web: httpx.Client) -> None:
    page = web.get("/accounts/login/").text
    address = next(part.split('"')[0] for part in page.split('href="') if part.startswith("/static/vendor/tabler/css/"))
    reply = web.get(address)
    assert reply.status_code == 200
    assert "immutable" in reply.headers["Cache-Control"]
    assert reply.headers["Content-Encoding"] == "gzip"

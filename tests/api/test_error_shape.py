"""One error shape at every address of the API, whatever went wrong and wherever."""

import re
from typing import Any

import pytest
from django.test import Client

from tests.access.matrix import API, Line
from tests.access.routes import Route, fill, routes
from tests.cast import Cast, make_token
from workers.contracts.error_codes import CATALOGUE

pytestmark = pytest.mark.django_db
UNKNOWN = {name: "x_unknown" for route in routes() for name in re.findall(r"<str:(\w+)>", route.path)}
UNKNOWN |= {"row": "1", "number": "1"}
API_ROUTES = [route for route in routes() if route.is_api and route.path not in ("api/v1/schema", "api/v1/docs")]
WRITES = [line for line in API if line.body is not None]


def one_shape(response: Any, status: int, code: str | None = None) -> dict[str, Any]:
    """The error of a response, its shape checked."""
    assert response.status_code == status, response.content
    assert response["Content-Type"].startswith("application/json")
    assert set(response.json()) == {"error"}
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"code", "message", "hint", "params", "request_id"}
    assert error["code"] in CATALOGUE
    assert code is None or error["code"] == code
    assert error["message"]
    assert error["request_id"] == response["X-Request-Id"]
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in response["Cache-Control"]
    return error


@pytest.fixture
def client(cast: Cast) -> Client:
    return Client(headers={"Authorization": f"Bearer {make_token(cast.alice)}"}, raise_request_exception=False)


def test_without_credentials(cast: Cast) -> None:
    for route in API_ROUTES:
        for method in route.methods - {"HEAD"}:
            response = Client(raise_request_exception=False).generic(method, fill(route.path, UNKNOWN))
            one_shape(response, 401, "not_authenticated")
            assert response["WWW-Authenticate"] == "Bearer", route.path


@pytest.mark.parametrize("route", API_ROUTES, ids=lambda route: route.path)
def test_a_method_that_is_not_taken(route: Route, client: Client) -> None:
    for method in {"PUT", "DELETE", "PATCH", "POST", "GET"} - route.methods:
        one_shape(client.generic(method, fill(route.path, UNKNOWN)), 405, "method_not_allowed")


def test_ids_that_nobody_has(client: Client) -> None:
    for route in API_ROUTES:
        if "<str:" not in route.path:
            continue
        for method in route.methods & {"GET", "DELETE"}:
            response = client.generic(method, fill(route.path, UNKNOWN), headers={"Tus-Resumable": "1.0.0"})
            one_shape(response, 404, "not_found")


@pytest.mark.parametrize(
    "odd", ["..%2f", "%252e%252e%252f", "..;", "....%2f%2f", "..%5c", "%c0%ae", "%00", "a" * 4096, "%0d%0aX:1"]
)
def test_odd_ids_are_like_unknown_ones(client: Client, odd: str) -> None:
    for route in API_ROUTES:
        if "<str:" not in route.path or "GET" not in route.methods:
            continue
        address = fill(route.path, {**UNKNOWN, **dict.fromkeys(re.findall(r"<str:(\w+)>", route.path), odd)})
        error = one_shape(client.get(address), 404, "not_found")
        assert error["message"] == CATALOGUE["not_found"].message


@pytest.mark.parametrize("line", WRITES, ids=lambda line: f"{line.method} {line.route}")
@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_json"),
        (b'{"name": "\xff"}', "application/json", 400, "malformed_json"),
        (b'{"name": "\\ud800"}', "application/json", 400, "malformed_json"),
        (b'{"name": NaN}', "application/json", 400, "malformed_json"),
        (b'{"x": "\\u0000"}', "application/json", 400, "malformed_json"),
        (b"[" * 100_000, "application/json", 400, "malformed_json"),
        (b'["name"]', "application/json", 422, "invalid"),
        (b'"name"', "application/json", 422, "invalid"),
        (b'{"nobody_knows_this": 1}', "application/json", 422, "invalid"),
        (b'{"name": "x"}', "text/plain", 415, "unsupported_media_type"),
        (b"<x/>", "text/<script>", 415, "unsupported_media_type"),
    ],
)
def test_a_body_that_is_none(
    line: Line, client: Client, cast: Cast, body: bytes, content_type: str, status: int, code: str
) -> None:
    response = client.generic(line.method, _mine(line, cast), body, content_type=content_type)
    one_shape(response, status, code)
    assert b"<script>" not in response.content


def _mine(line: Line, cast: Cast) -> str:
    """The address with things of the cast's own team."""
    ours = cast.ours
    membership = ours.team.memberships.get(user=cast.victor)
    arguments = {
        **UNKNOWN,
        "team_id": ours.team.pk,
        "membership_id": membership.pk,
        "project_id": ours.project.pk,
        "dataset_id": ours.dataset.pk,
        "job_id": ours.job.pk,
        "endpoint_id": ours.endpoint.pk,
    }
    return fill(line.route, arguments)


def test_an_address_that_is_none(client: Client) -> None:
    for address in ("/api/v1/nothing", "/api/", "/api/v2/me", "/api/v1/me/", "/api/v1/projects/a/b/c"):
        one_shape(client.get(address), 404, "not_found")


def test_a_nul_in_the_query(client: Client) -> None:
    one_shape(client.get("/api/v1/projects?team=%00"), 400, "bad_request")


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1.evil.test", "a b", "[::1", "x" * 300])
def test_a_host_that_is_not_ours(client: Client, host: str) -> None:
    for method in ("GET", "POST", "DELETE", "PATCH"):
        one_shape(client.generic(method, "/api/v1/me", headers={"Host": host}), 400, "bad_request")


def test_too_many_fields_in_a_form(client: Client, cast: Cast) -> None:
    body = {f"field{number}": "x" for number in range(2000)}
    one_shape(client.post("/api/v1/datasets", body), 400, "bad_request")


def test_a_multipart_body_that_is_none(client: Client) -> None:
    def send(content_type: str) -> Any:
        return client.generic("POST", "/api/v1/datasets", b"--x\r\n", content_type=content_type)

    one_shape(send("multipart/form-data"), 400, "bad_request")
    one_shape(send("multipart/form-data; boundary=" + "b" * 100_000), 415, "unsupported_media_type")


def test_a_json_body_over_the_limit(client: Client) -> None:
    body = b'{"name": "' + b"x" * (6 << 20) + b'"}'
    one_shape(client.post("/api/v1/projects", body, content_type="application/json"), 413, "payload_too_large")


def test_a_bug_tells_nothing_but_a_request_id(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise KeyError("a secret in /srv/slipway")

    monkeypatch.setattr("apps.projects.api.project_for", broken)
    error = one_shape(client.get("/api/v1/projects/x"), 500, "internal_error")
    assert "secret" not in str(error)


def test_a_database_that_is_away_is_said_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def away(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("connection refused at 10.0.0.7")

    monkeypatch.setattr("apps.projects.api.project_for", away)
    response = client.get("/api/v1/projects/x")
    one_shape(response, 503, "unavailable")
    assert response["Retry-After"] == "5"


@pytest.mark.parametrize("page", ["0", "-1", "1e9", "1e999999999", "NaN", "٣", "0x10", "true", "9" * 5000, "1.0"])
def test_numbers_are_plain(client: Client, page: str) -> None:
    one_shape(client.get("/api/v1/projects", {"page": page}), 422, "invalid")

"""The walk: every address, every role, one matrix."""

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test import Client
from psycopg import sql

from apps.core.artifacts import storage
from apps.teams.models import User
from tests.access.matrix import ARGUMENTS, MATRIX, ROLES, Line
from tests.access.routes import Route, fill, routes
from tests.access.scene import SENT, Scene
from tests.cast import CANARY, make_token

pytestmark = pytest.mark.django_db

# Written by looking: when a session or a token was last used, and which team was looked at.
_NOT_STATE = ("session", "personaltoken")


def test_every_route_has_its_line() -> None:
    known = {(line.method, line.route) for line in MATRIX}
    missing = []
    for route in routes():
        methods = route.methods or {"GET", "POST"}
        found = {method for method in methods if (method, route.path) in known}
        # DRF says which methods there are; a page has at least one.
        if found != methods if route.methods else not found:
            missing.append(f"{sorted(methods - found)} {route.path}")
    assert not missing, "tests/access/matrix.py has no line for:\n" + "\n".join(missing)


def test_every_line_has_its_route() -> None:
    there = {route.path for route in routes()}
    assert [line.route for line in MATRIX if line.route not in there] == []


@pytest.mark.parametrize("line", MATRIX, ids=lambda line: f"{line.method} {line.route}")
def test_each_role_gets_what_the_matrix_says(line: Line, scene: Scene) -> None:
    got = tuple(_visit(line, scene, role) for role in ROLES)
    assert dict(zip(ROLES, got, strict=True)) == dict(zip(ROLES, line.statuses, strict=True))


def _visit(line: Line, scene: Scene, role: str) -> int:
    """The status that a role gets; what it changed is undone."""
    with transaction.atomic():
        client, headers = _enter(line, _people(scene)[role])
        before = _dump()
        response = _send(line, scene, client, headers)
        changed = _dump() != before
        text = _text(response)
        transaction.set_rollback(True)
    # Bytes are deleted before their row is, and come back with no transaction.
    if not storage().exists(scene.upload.key):
        storage().put_bytes(SENT, scene.upload.key)
    looks = line.method in ("GET", "HEAD")
    assert not (changed and (looks or response.status_code >= 400)), f"a {response.status_code} changed something"
    assert role == "stranger" or CANARY not in text, f"{role} was shown what is the stranger's"
    return int(response.status_code)


def _enter(line: Line, user: User | None) -> tuple[Client, dict[str, str]]:
    """Programs come with a token, people with a session."""
    client = Client(raise_request_exception=False)
    if user is None:
        return client, {}
    if line.route.startswith("api/"):
        return client, {"Authorization": f"Bearer {make_token(user)}"}
    client.force_login(user)
    return client, {}


def _people(scene: Scene) -> dict[str, User | None]:
    cast = scene.cast
    return dict(zip(ROLES, (cast.alice, cast.ada, cast.bob, cast.victor, cast.charlie, None), strict=True))


def _send(line: Line, scene: Scene, client: Client, headers: dict[str, str]) -> Any:
    arguments = {name: (line.arguments.get(name) or value)(scene) for name, value in ARGUMENTS.items()}
    send: Callable[..., Any] = getattr(client, line.method.lower())
    options: dict[str, Any] = {"headers": {**line.headers, **headers}}
    if line.query is not None:
        options["query_params"] = line.query(scene)
    if line.body is not None:
        options["data"] = line.body(scene)
    if line.route.startswith("api/") and line.method not in ("GET", "HEAD"):
        options["content_type"] = "application/json"
    return send(fill(line.route, arguments), **options)


def _text(response: Any) -> str:
    if not response.streaming:
        return str(response.content.decode("utf-8", "replace"))
    # An event stream is followed elsewhere (tests/training); here it is enough that it was opened.
    return "" if response.is_async else b"".join(response.streaming_content).decode("utf-8", "replace")


def _dump() -> list[tuple[str, str]]:
    """A digest of every table that is state."""
    tables = sorted(model._meta.db_table for model in apps.get_models() if model._meta.model_name not in _NOT_STATE)
    digest = "SELECT {0}, md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM {1} AS t"
    parts = [sql.SQL(digest).format(sql.Literal(table), sql.Identifier(table)) for table in tables]
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(" UNION ALL ").join(parts))
        return list(cursor.fetchall())


def test_the_walk_knows_its_routes() -> None:
    assert Route("api/v1/me", frozenset({"GET"})) in routes()
    assert len(routes()) > 50

"""Ids that come in bodies and queries are looked at like those in addresses: what is not yours does not exist."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from apps.core.ids import new_id
from apps.core.models import AuditEntry
from tests.access.scene import Scene
from tests.cast import CANARY, make_token

pytestmark = pytest.mark.django_db
V1 = "/api/v1"

# Address, which field names what is not ours, the rest of the body.
CASES: list[tuple[str, str, str, Callable[[Scene], Any], Callable[[Scene], dict[str, Any]]]] = [
    ("projects", "team", "tem", lambda s: s.cast.theirs.team.pk, lambda s: {"name": "x"}),
    (
        "datasets",
        "project",
        "prj",
        lambda s: s.cast.theirs.project.pk,
        lambda s: {"name": "x", "kind": "text", "upload": s.upload.pk},
    ),
    (
        "datasets",
        "upload",
        "upl",
        lambda s: s.cast.theirs.team.uploads.get().pk,
        lambda s: {"project": s.cast.ours.project.pk, "name": "x", "kind": "text"},
    ),
    (
        "jobs",
        "project",
        "prj",
        lambda s: s.cast.theirs.project.pk,
        lambda s: {"dataset": s.cast.ours.dataset.pk, "template": "text-classification"},
    ),
    (
        "jobs",
        "dataset",
        "dst",
        lambda s: s.cast.theirs.dataset.pk,
        lambda s: {"project": s.cast.ours.project.pk, "template": "text-classification"},
    ),
    ("datasets/{dataset}/append", "upload", "upl", lambda s: s.cast.theirs.team.uploads.get().pk, lambda s: {}),
    ("predictions", "model", "mdl", lambda s: s.cast.theirs.model.pk, lambda s: {"upload": s.upload.pk}),
    ("predictions", "endpoint", "end", lambda s: s.cast.theirs.endpoint.pk, lambda s: {"upload": s.upload.pk}),
    (
        "predictions",
        "upload",
        "upl",
        lambda s: s.cast.theirs.team.uploads.get().pk,
        lambda s: {"model": s.cast.ours.model.pk},
    ),
    (
        "endpoints",
        "project",
        "prj",
        lambda s: s.cast.theirs.project.pk,
        lambda s: {"name": "x", "model": s.cast.ours.model.pk},
    ),
    (
        "endpoints",
        "model",
        "mdl",
        lambda s: s.cast.theirs.model.pk,
        lambda s: {"name": "x", "project": s.cast.ours.project.pk},
    ),
    ("keys", "team", "tem", lambda s: s.cast.theirs.team.pk, lambda s: {"name": "x"}),
    (
        "keys",
        "endpoints",
        "end",
        lambda s: [s.cast.theirs.endpoint.pk],
        lambda s: {"name": "x", "team": s.cast.ours.team.pk},
    ),
]


@pytest.mark.parametrize(
    ("path", "field", "prefix", "theirs", "rest"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_what_is_anothers_is_like_nothing(
    scene: Scene,
    path: str,
    field: str,
    prefix: str,
    theirs: Callable[[Scene], Any],
    rest: Callable[[Scene], dict[str, Any]],
) -> None:
    value = theirs(scene)
    nothing = [new_id(prefix)] if isinstance(value, list) else new_id(prefix)
    address = f"{V1}/{path.format(dataset=scene.cast.ours.dataset.pk)}"
    answers = [_post(scene, address, {**rest(scene), field: one}) for one in (value, nothing)]
    assert [status for status, _ in answers] == [404, 404]
    assert answers[0] == answers[1], "the answer tells whether it exists"


@pytest.mark.parametrize("at", ["ours", "theirs"])
def test_a_deployment_needs_both_the_endpoint_and_the_model(scene: Scene, at: str) -> None:
    endpoint = getattr(scene.cast, at).endpoint.pk
    model = scene.cast.theirs.model.pk if at == "ours" else scene.cast.ours.model.pk
    status, _ = _post(scene, f"{V1}/endpoints/{endpoint}/deploy", {"model": model, "traffic": 50})
    assert status == 404


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("projects", "team", lambda s: s.cast.theirs.team.pk),
        ("datasets", "project", lambda s: s.cast.theirs.project.pk),
        ("jobs", "project", lambda s: s.cast.theirs.project.pk),
        ("jobs", "dataset", lambda s: s.cast.theirs.dataset.pk),
        ("models", "project", lambda s: s.cast.theirs.project.pk),
        ("endpoints", "project", lambda s: s.cast.theirs.project.pk),
        ("keys", "team", lambda s: s.cast.theirs.team.pk),
        ("usage", "team", lambda s: s.cast.theirs.team.pk),
        ("usage", "project", lambda s: s.cast.theirs.project.pk),
        ("usage", "endpoint", lambda s: s.cast.theirs.endpoint.pk),
        ("usage.csv", "endpoint", lambda s: s.cast.theirs.endpoint.pk),
    ],
)
def test_a_filter_by_what_is_anothers_finds_nothing(
    scene: Scene, path: str, name: str, value: Callable[[Scene], str]
) -> None:
    reply = _get(scene, f"{V1}/{path}", {name: value(scene)})
    assert reply.status_code == 404, reply.content


@pytest.mark.parametrize("path", ["projects", "datasets", "jobs", "models", "endpoints", "usage", "tokens"])
@pytest.mark.parametrize(
    "query",
    [
        "created_by__password__startswith=p",
        "team__members__email=a",
        "ordering=-created_by__password",
        "q__regex=(a%2B)%2B%24",
        "_connector=OR",
        "a.b=1",
    ],
)
def test_queries_reach_no_field_of_the_database(scene: Scene, path: str, query: str) -> None:
    reply = _get(scene, f"{V1}/{path}?{query}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "unknown_parameter")


def test_a_parameter_is_given_once(scene: Scene) -> None:
    project = scene.cast.ours.project.pk
    reply = _get(scene, f"{V1}/jobs?project={project}&project={project}")
    assert reply.status_code == 422


def _get(scene: Scene, address: str, query: dict[str, str] | None = None) -> Any:
    headers = {"Authorization": f"Bearer {make_token(scene.cast.bob)}"}
    return Client(raise_request_exception=False).get(address, query, headers=headers)


def _post(scene: Scene, address: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Somebody who may do everything with what is theirs posts; what it changed is undone."""
    # The scene's upload is Bob's; all else is for an owner to do.
    user = scene.cast.bob if "upload" in body else scene.cast.alice
    headers = {"Authorization": f"Bearer {make_token(user)}"}
    client = Client(raise_request_exception=False)
    with transaction.atomic():
        seen = AuditEntry.objects.count()
        reply = client.post(address, body, content_type="application/json", headers=headers)
        assert AuditEntry.objects.count() == seen
        transaction.set_rollback(True)
    assert CANARY not in reply.content.decode()
    answer = reply.json()
    answer["error"].pop("request_id", None)
    return reply.status_code, answer
